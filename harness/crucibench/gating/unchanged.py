"""Whether two runs hold the same answers, so that no statistics are needed to call them equal.

Few samples can't prove two models equal by their labels: 200 labels alike still leave room for a
loss of a point. But the same model on the same data, or the same scores on every sample, is the
same function for all that a gate is about: a refactoring that changes nothing passes at any n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from crucibench.gating.sides import Number
from crucibench.store.cells import CellFile
from crucibench.store.pack import opened_together
from crucibench.store.run import Run
from crucibench.util.errors import CrucibenchError

_NOISE = 1e-5
"""Scores that differ by less are float noise: another batch size moves a float32 so much."""


class Unchanged:
    """Compares the cells of two runs; reads records only where it is asked, and once."""

    def __init__(
        self, baseline: Run, candidate: Run, models: Mapping[str, str], data: Mapping[str, str]
    ) -> None:
        """Takes two runs, and the candidate's names of models and data to the baseline's."""
        self._runs = (baseline, candidate)
        self._models = models
        self._data = data
        self._known: dict[tuple[str, ...], bool] = {}

    def __call__(self, number: Number) -> bool:
        """Whether the cell of a number, and all that it was computed from, is as it was."""
        address = number.address
        place = (number.data, address.model, address.suite, address.scenario)
        if place not in self._known:
            try:
                self._known[place] = self._same(place)
            except (CrucibenchError, KeyError, TypeError, ValueError):
                # Records that can't be read or laid side by side prove nothing.
                self._known[place] = False
        return self._known[place]

    @cached_property
    def _opened(self) -> tuple[Run, Run]:
        # A pack keys its ids, so that the other side's have to be keyed likewise.
        return opened_together(*self._runs)

    def _same(self, place: tuple[str, ...]) -> bool:
        data, model = place[:2]
        theirs_place = (
            self._data.get(data, data), self._models.get(model, model), *place[2:],
        )  # fmt: skip
        baseline, candidate = self._opened
        mine, theirs = _cell(candidate, place), _cell(baseline, theirs_place)
        if mine is None or theirs is None or mine.comparison != theirs.comparison:
            return False
        pairs = list(self._with_needs(mine, theirs))
        if all(_one_identity(a, b) for a, b in pairs):
            return True
        compared = [_same_records(candidate, baseline, a, b) for a, b in pairs]
        return all(same is not False for same in compared) and any(compared)

    def _with_needs(self, mine: CellFile, theirs: CellFile) -> Iterator[tuple[CellFile, CellFile]]:
        baseline, candidate = self._opened
        yield mine, theirs
        for alias, need in mine.needs.items():
            yield from self._with_needs(candidate.cells[need], baseline.cells[theirs.needs[alias]])


def _cell(run: Run, place: tuple[str, ...]) -> CellFile | None:
    for cell in run.cells.values():
        if (cell.data, cell.model, cell.suite, cell.scenario) == place:
            return cell
    return None


def _one_identity(a: CellFile, b: CellFile) -> bool:
    # A model without a fingerprint (a server, a function) may have changed under its name.
    if a.identity is None or b.identity is None or a.identity.digest != b.identity.digest:
        return False
    return "unknown" not in a.identity.fields.get("model", {"unknown": ""})


def _same_records(mine: Run, theirs: Run, a: CellFile, b: CellFile) -> bool | None:
    """Whether two cells hold the same records; None where neither holds any."""
    first, second = mine.records(a.cell), theirs.records(b.cell)
    if first.empty and second.empty:
        return None
    if len(first) != len(second):
        return False
    # A pack leaves out what comparing does not read.
    if not (mine.packed or theirs.packed) and set(first.columns) != set(second.columns):
        return False
    columns = [name for name in first.columns if name in set(second.columns)]
    by = [name for name in ("id", "point") if name in columns]
    first, second = (frame.sort_values(by, ignore_index=True) for frame in (first, second))
    fine = False
    for name in columns:
        same, continuous = _same_column(first[name], second[name])
        if not same:
            return False
        fine |= continuous
    # Labels alone don't tell two models apart finely enough.
    return fine


def _same_column(first: pd.Series, second: pd.Series) -> tuple[bool, bool]:
    """Whether two columns agree, and whether they are of real numbers that tell models apart."""
    if len(first) and isinstance(first.iloc[0], np.ndarray | list):
        a, b = np.stack(list(first)), np.stack(list(second))
    else:
        a, b = first.to_numpy(), second.to_numpy()
    if a.shape != b.shape:
        return False, False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b)), False
    varied = len(np.unique(a.ravel()[:1000])) > 2
    return bool(np.allclose(a, b, rtol=_NOISE, atol=_NOISE, equal_nan=True)), varied
