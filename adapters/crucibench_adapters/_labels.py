"""Labels that a model answers, as names or numbers, made class indices of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.task import OutputError, Task
from crucibench.util.hashing import data_digest
from crucibench.util.suggest import unknown
from crucibench_adapters._classes import ClassMap, Declared, plain_name


class LabelMap:
    """Reads labels of a model that gives nothing else, or names its classes in its answers.

    Names are the model's, which the spec's ``classes`` may map to the data's. Whole numbers are
    names where `numbers_are_names` or the spec maps numbers; otherwise positions: in the list of
    the model's names where there is one, else in the data's.
    """

    def __init__(
        self,
        task: Task,
        what: str,
        *,
        names: Sequence[Any] | None = None,
        declared: Declared = None,
        numbers_are_names: bool = False,
    ) -> None:
        self.task = task
        self.what = what
        self.classes: ClassMap | None = None
        self.places = {name: index for index, name in enumerate(task.classes)}
        self.by_number = not numbers_are_names
        if isinstance(declared, tuple) or names is not None:
            self.classes = ClassMap.match(names, task, what, declared=declared)
            own = self.classes.names or tuple(plain_name(entry) for entry in names or ())
            if own:
                self.places = {}
                for index, columns in enumerate(self.classes.columns):
                    self.places |= {own[at]: index for at in columns}
        elif isinstance(declared, Mapping):
            known = dict(self.places)
            for name, of_data in declared.items():
                self.places.pop(name, None)
                if of_data in known:
                    self.places[name] = known[of_data]
            self.by_number = self.by_number and not any(name.isdigit() for name in declared)

    def fingerprint(self) -> dict[str, str]:
        """Returns the map's part of a model's fingerprint: none where names are the data's own."""
        if self.classes is not None:
            return self.classes.fingerprint()
        if self.places == {name: index for index, name in enumerate(self.task.classes)}:
            return {}
        return {"classes": data_digest(dict(self.places))}

    def indices(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the data's class indices, shape (N,).

        Raises:
            OutputError: if a label is no class of the data's.
        """
        if np.issubdtype(labels.dtype, np.integer) and self.by_number:
            positions = labels.astype(np.int64)
            return positions if self.classes is None else self.classes.apply_labels(positions)
        names = [plain_name(entry) for entry in labels.tolist()]
        strange = sorted({name for name in names if name not in self.places})
        if strange:
            raise OutputError(f"{self.what}: " + unknown("class", strange[0], self.places))
        return np.array([self.places[name] for name in names], dtype=np.int64)
