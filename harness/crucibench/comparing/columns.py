"""The same number of several models, read from their records: what ranks are computed from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.comparing.cell import Key
from crucibench.comparing.cell_pairs import NO_FORM, ComparedSide, RefusedError
from crucibench.comparing.pairing import pair
from crucibench.comparing.standing import LinedUp
from crucibench.contracts.data import Samples
from crucibench.contracts.scenario import Timed
from crucibench.contracts.statistic import Form, Number, at_common_effort
from crucibench.metrics.forms import Aligner
from crucibench.store.run import Run
from crucibench.util.errors import InputError, NotComparableError

_Read = tuple[Samples, dict[Key, Number]]


class LineUp:
    """Reads what models are compared by; each cell once."""

    def __init__(self) -> None:
        self._sides: dict[str, ComparedSide] = {}
        self._read: dict[tuple[str, str], _Read] = {}

    def column(self, cells: Sequence[tuple[Run, str]], key: Key) -> LinedUp:
        """Lines up one number of several cells.

        Args:
            cells: run and cell of each model.
            key: metric, point and group.

        Raises:
            RefusedError: if they can't be compared sample by sample; the message says why.
        """
        read = [self._number(run, cell, key) for run, cell in cells]
        first = read[0][0]
        forms: list[Form] = []
        aligned = at_common_effort([number for _, number in read])
        for (samples, _), form in zip(read, aligned, strict=True):
            try:
                paired = pair(first.ids, samples.ids)
            except NotComparableError as error:
                raise RefusedError(str(error), "ids") from error
            rows = paired.rows_b
            same = np.array_equal(rows, np.arange(len(samples)))
            forms.append(Aligner(len(samples), None if same else rows)(form))
        clusters = None if first.clusters is None else np.asarray(first.clusters, dtype=object)
        return LinedUp(ids=first.ids, clusters=clusters, forms=tuple(forms))

    def unreadable(self, run: Run, cell: str) -> str:
        """Says why the installed scenario can't read a cell's records; "" where it can.

        Only another version of the scenario is a reason: its numbers had another meaning.
        """
        try:
            self._side(run).planned(run.cells[cell])
        except RefusedError as error:
            return str(error) if error.field == "scenario.version" else ""
        return ""

    def _number(self, run: Run, cell: str, key: Key) -> tuple[Samples, Number]:
        own, found = self._cell(run, cell)
        if key not in found:
            raise RefusedError(NO_FORM)
        return found[key].samples or own, found[key]

    def _cell(self, run: Run, cell: str) -> _Read:
        place = str(run.root), cell
        if place not in self._read:
            side = self._side(run)
            planned = side.planned(run.cells[cell])
            if isinstance(planned.scenario, Timed):
                raise RefusedError("timings: their rounds pair within one run alone")
            options = next(iter(self._sides.values())).scorer.options
            self._read[place] = side.numbers(planned, options)
        return self._read[place]

    def _side(self, run: Run) -> ComparedSide:
        name = str(run.root)
        if name not in self._sides:
            try:
                self._sides[name] = ComparedSide(run)
            except InputError as error:
                raise RefusedError(f"run {run.id} can't be planned again here: {error}") from error
        return self._sides[name]
