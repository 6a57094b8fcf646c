"""Opens two models by their addresses and checks their parity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crucibench.comparing.parity import Parity
from crucibench.comparing.parity_check import check_parity
from crucibench.contracts.adapter import Adapter
from crucibench.contracts.uri import split_name
from crucibench.engine.listener import Listener
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.worker.opening import Models, open_all_data
from crucibench.util.devices import resolve_device
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.folders import cache_folder
from crucibench.util.user_errors import one_line, user_traceback

_NAMES = ("first", "second")


def parity_of(
    models: tuple[str, str],
    data: Mapping[str, Any],
    *,
    base: Path,
    limit: int | None,
    tolerance: float,
    device: str = "auto",
    allow_pickle: bool = False,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Parity:
    """Checks the parity of two models.

    Args:
        models: their addresses, ``[NAME=]URI``.
        data: a data entry of a spec; ``uri`` may have a name before it.
        base: the folder that relative paths are relative to.
        limit: at most so many samples.
        tolerance: how far probabilities may differ.
        device: where models run.
        allow_pickle: whether pickled files may be read.
        tell: is told what is being done.

    Raises:
        InputError: if a model or the data can't be used, or the models can't be compared.
    """
    document = {
        "models": [
            {"name": name, "uri": split_name(text)[1]}
            for name, text in zip(_NAMES, models, strict=True)
        ],
        "data": [{**data, "name": "data", "uri": split_name(data["uri"])[1]}],
    }
    overrides = Overrides(suites=(), defaults={"device": device}, allow_pickle=allow_pickle)
    resolved = resolve(document, base, "command line", overrides)
    opened = open_all_data(resolved, cache_folder(), Listener(), "command line")["data"]
    found = Models(resolved, resolve_device(device), {"data": opened.card})
    try:
        first, second = (_opened(found, name, tell) for name in _NAMES)
        tell(f"asking both about {min(limit or 10**9, opened.card.counts['test']):,} samples")
        return check_parity(first, second, opened, limit=limit, tolerance=tolerance)
    finally:
        found.close()


def _opened(models: Models, name: str, tell: Callable[[str], None]) -> Adapter:
    tell(f"opening the {name} model")
    try:
        return models.get(name, "data", keep=2)
    except CrucibenchError as error:
        raise InputError(f"the {name} model: {error}", detail=error.detail) from error
    except Exception as error:
        raise InputError(
            f"the {name} model can't be opened: {one_line(error)}", detail=user_traceback(error)
        ) from error
