"""Matching a model's classes to a data set's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.task import Task
from crucibench.util.errors import InputError


def plain_name(value: Any) -> str:
    """Returns a class label as text; 1.0 is "1"."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)


def class_order(
    classes: Sequence[Any], task: Task, what: str
) -> tuple[NDArray[np.int64], str | None]:
    """Returns, for each class of the data, the model's column for it.

    Classes are matched by name; a model whose classes are 0 to K - 1 (or False and True) by index,
    which the second part of the answer says in a sentence.

    Raises:
        InputError: if they don't match, showing both.
    """
    names = [plain_name(entry) for entry in classes]
    if len(set(names)) == len(names) and set(names) == set(task.classes):
        return np.array([names.index(name) for name in task.classes], dtype=np.int64), None
    numbers = [str(int(entry)) for entry in classes if isinstance(entry, _INTEGERS)]
    if len(classes) == len(numbers) and numbers == [str(at) for at in range(len(task.classes))]:
        note = f"classes are matched by index: {names[0]} is {task.classes[0]!r}, and so on"
        return np.arange(len(names)), note
    raise InputError(
        f"{what}: its classes are not the data's: the model has {', '.join(names)}; "
        f"the data has {', '.join(task.classes)}"
    )


_INTEGERS = (int, np.integer, np.bool_)
