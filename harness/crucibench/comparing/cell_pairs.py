"""Compare two cells of one scenario, from their records."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.comparing.cell import FormPair, Key, MeasuredDifference, measure_cell
from crucibench.comparing.comparability import first_difference
from crucibench.comparing.pairing import Pairing, pair
from crucibench.comparing.resampled import ResamplingSettings
from crucibench.comparing.results import MetricDifference
from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.lists import Column, Lists, differing_rows
from crucibench.contracts.rows import Address
from crucibench.contracts.scenario import Timed
from crucibench.contracts.statistic import Form, Number, at_common_effort
from crucibench.contracts.verdict import Status
from crucibench.engine.plan.plan import PlannedCell, make_plan
from crucibench.engine.resolve.resolve import offline
from crucibench.engine.score.score import Scorer
from crucibench.metrics.askings import numbers_of_cell
from crucibench.metrics.forms import Aligner
from crucibench.passes.scenario import SUITE as PASS
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.util.errors import NotComparableError

TIMED_APART = (
    "the two were timed in different runs, whose rounds do not pair: crucibench gate --rerun "
    "measures both models in turns"
)
NO_FORM = "its scenario gives no form of it that two models could be compared by, sample by sample"

_WILD = re.compile(r"[*?\[]")
_COLUMNS = ("metric", "point", "group", "value", "n", "reason", "direction", "comparison_key")


class RefusedError(Exception):
    """Two cells that are not compared; `field` names what differs, "" where nothing does."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, kw_only=True)
class How:
    """What is asked of a comparison; attributes as of `compare_runs`."""

    settings: ResamplingSettings
    intersect: bool = False
    metrics: tuple[str, ...] = ()

    def wants(self, address: Address) -> bool:
        """Whether a number is asked for."""
        text = str(address)
        names = (text, text.partition(":")[2])
        return not self.metrics or any(
            fnmatchcase(name, pattern) for pattern in self.metrics for name in names
        )

    def may_want(self, file: CellFile) -> bool:
        """Whether a number of a cell may be asked for, by what patterns say before a wildcard."""
        cell = f"{file.suite}/{file.scenario}"
        heads = [_WILD.split(pattern)[0] for pattern in self.metrics]
        return not heads or any(
            head.startswith(name) or name.startswith(head)
            for head in heads
            for name in (cell, f"{file.model}:{cell}")
        )


@dataclass(frozen=True)
class StoredRow:
    """A metric row as the run holds it."""

    value: float | None
    n: int
    reason: str
    direction: str
    key: str


class ComparedSide:
    """A run, planned again from its spec."""

    def __init__(self, run: Run, *, keep: bool = False, beside: ComparedSide | None = None) -> None:
        """Plans a run again.

        Args:
            run: the run.
            keep: whether a cell's numbers are made once, however often they are read.
            beside: the other side, whose sample tables serve where they are the same.
        """
        self.run = run
        self._keep = keep
        self._kept: dict[str, tuple[Samples, dict[Key, Number]]] = {}
        resolved = offline(run.spec)
        other = None if beside is None else beside.scorer
        self.scorer: Scorer = Scorer(run, resolved.spec.defaults.scoring, other)
        self._plan = {cell.key: cell for cell in make_plan(resolved, run.models, run.cards)}

    @cached_property
    def biased(self) -> frozenset[tuple[str, str]]:
        """The data set and address of each number that is marked ``biased``."""
        rows = self.run.metrics()
        rows = rows[rows["mark"].str.contains("biased")]
        columns = ("model", "suite", "scenario", "point", "metric", "group")
        parts = zip(rows["data"], *(rows[name] for name in columns), strict=True)
        return frozenset((data, str(Address(*address))) for data, *address in parts)

    def cells(self, model: str) -> dict[tuple[str, str], CellFile]:
        """Returns a model's cells by (data, SUITE/SCENARIO), without plain passes."""
        return {
            (file.data, f"{file.suite}/{file.scenario}"): file
            for file in self.run.cells.values()
            if file.model == model and file.suite != PASS
        }

    def planned(self, file: CellFile) -> PlannedCell:
        """Returns a cell as the installed version of its suite plans it.

        Raises:
            RefusedError: if there is no such cell, its records are of another version, or the run
                lacks a cell that they are read with.
        """
        cell = self._plan.get((file.model, file.data, f"{file.suite}/{file.scenario}"))
        if cell is None:
            reason = f"the installed suite {file.suite!r} has no scenario {file.scenario!r}"
            raise RefusedError(reason, "scenario.address")
        if cell.scenario.version != file.version:
            raise RefusedError(
                f"its records are of version {file.version} of the scenario and version "
                f"{cell.scenario.version} is installed, which can't read them",
                "scenario.version",
            )
        for other in (cell.id, *cell.needs.values()):
            if other not in self.run.cells:
                raise RefusedError(f"run {self.run.id} has no cell {other}, which it is made of")
        return cell

    def numbers(
        self, cell: PlannedCell, options: ScoringOptions
    ) -> tuple[Samples, dict[Key, Number]]:
        """Returns the samples of a cell, and every number of it as a statistic of samples.

        Args:
            cell: as `planned` returns it.
            options: of the first of those that are compared, for all of them: a seed that the
                scenario's own draws leave out must not make two sides that may be compared split
                their samples in two ways.

        Raises:
            RefusedError: if a pack or bundle lacks what they are made of, as group columns.
        """
        if cell.id in self._kept:
            return self._kept[cell.id]
        evidence = replace(self.scorer.evidence(cell, self.run.cells), options=options)
        try:
            found = [
                one for one in numbers_of_cell(cell.scenario, evidence) if one.make is not None
            ]
        except LookupError as error:
            if not self.run.packed:
                raise
            raise RefusedError(f"left out of the file of run {self.run.id}: {error}") from error
        made = evidence.own.samples, {(one.metric, one.point, one.group): one for one in found}
        if self._keep:
            self._kept[cell.id] = made
        return made

    def rows(self, file: CellFile) -> dict[Key, StoredRow]:
        """Returns a cell's metric rows as stored."""
        part = self._rows.get(file.cell)
        if part is None:
            return {}
        return {
            (metric, point, group): StoredRow(
                None if math.isnan(value) else value, int(n), reason, direction, key
            )
            for metric, point, group, value, n, reason, direction, key in zip(
                *(part[name] for name in _COLUMNS), strict=True
            )
        }

    @cached_property
    def _rows(self) -> dict[str, pd.DataFrame]:
        table = self.run.metrics()
        return {str(cell): part for cell, part in table.groupby("cell", sort=False)}


@dataclass(frozen=True, kw_only=True)
class CellPair:
    """A cell of the candidate and its partner in the baseline.

    Attributes:
        first: the baseline's run.
        second: the candidate's.
        was: the baseline's cell.
        now: the candidate's.
        how: what is asked.
        notes: takes what a reader must know.
    """

    first: ComparedSide
    second: ComparedSide
    was: CellFile
    now: CellFile
    how: How
    notes: list[str] = field(default_factory=list)

    def differences(self) -> list[MetricDifference]:
        """Returns one difference for every number asked for that either has.

        Raises:
            RefusedError: if the two are not compared.
        """
        planned = self.planned()
        return list(self._differences(*planned)) if self.how.may_want(self.now) else []

    def planned(self) -> tuple[PlannedCell, PlannedCell]:
        """Returns both cells as planned, where they may be compared.

        Raises:
            RefusedError: if they may not.
        """
        for side, file in (("baseline", self.was), ("candidate", self.now)):
            if file.status is not Status.OK:
                what = "failed" if file.status is Status.FAILED else "was skipped"
                raise RefusedError(f"the {side}'s cell {what}: {file.reason}")
        cards = tuple(
            side.run.cards.get(file.data)
            for side, file in ((self.first, self.was), (self.second, self.now))
        )
        other = first_difference(
            self.was, self.now, (cards[0], cards[1]), intersect=self.how.intersect
        )
        if other is not None:
            raise RefusedError(str(other), other.field)
        cells = self.first.planned(self.was), self.second.planned(self.now)
        first, second = self.first.run, self.second.run
        if isinstance(cells[1].scenario, Timed) and (first.root != second.root or first.packed):
            raise RefusedError(TIMED_APART)
        return cells

    def _differences(self, old: PlannedCell, new: PlannedCell) -> Iterator[MetricDifference]:
        declared = {metric.id: metric for metric in new.scenario.metrics}
        stored = self.first.rows(self.was), self.second.rows(self.now)
        measured = self._measured(old, new)
        verdicts = str(self.was.verdict or ""), str(self.now.verdict or "")
        for key in dict.fromkeys([*stored[1], *stored[0], *measured]):
            if not self._wanted(key):
                continue
            rows = stored[0].get(key), stored[1].get(key)
            one = measured.get(key) or _of_rows(*rows)
            info, row = declared.get(key[0]), rows[1] or rows[0]
            yield MetricDifference(
                address=self._address(key), data=self.now.data,
                direction=info.direction if info else row.direction if row else "none",
                baseline=one.baseline, candidate=one.candidate, delta=one.delta,
                interval=one.interval, standard_error=one.standard_error, p=one.p,
                method=one.method, n=one.n, detectable=one.detectable, verdicts=verdicts,
                flips=one.flips, moved=one.moved, identical=one.identical,
                reason=_reason(one, rows),
            )  # fmt: skip

    def _measured(self, old: PlannedCell, new: PlannedCell) -> dict[Key, MeasuredDifference]:
        """Measures what both sides give in a form that can be compared sample by sample."""
        samples, forms_old = self._forms(self.first, old)
        others, forms_new = self._forms(self.second, new)
        common = [key for key in forms_new if key in forms_old]
        if not common:
            return {}
        if isinstance(new.scenario, Timed):
            return self._rounds({key: (forms_old[key].form, forms_new[key].form) for key in common})
        together: dict[tuple[int, int], list[Key]] = {}
        for key in common:
            of = id(forms_old[key].samples), id(forms_new[key].samples)
            together.setdefault(of, []).append(key)
        found: dict[Key, MeasuredDifference] = {}
        lower = {metric.id for metric in new.scenario.metrics if metric.direction == "lower"}
        for keys in together.values():
            own, other = forms_old[keys[0]].samples, forms_new[keys[0]].samples
            forms = {key: self._pair(forms_old[key], forms_new[key]) for key in keys}
            found |= self._of_samples(own or samples, other or others, forms, lower)
        return {key: found[key] for key in common}

    def _pair(self, old: Number, new: Number) -> tuple[Form, Form]:
        if old.effort != new.effort and new.common is not None:
            what, whose = (old.effort, self.was) if old.effort else (new.effort, self.now)
            note = (
                f"{whose.suite}/{whose.scenario}: compared without the {what} of {whose.model}, "
                "which the other had none of"
            )
            if note not in self.notes:
                self.notes.append(note)
        first, second = at_common_effort([old, new])
        return first, second

    def _of_samples(
        self,
        samples: Samples,
        others: Samples,
        forms: Mapping[Key, tuple[Form, Form]],
        lower: Set[str],
    ) -> dict[Key, MeasuredDifference]:
        """Measures the numbers of the same samples."""
        paired = self.paired(samples, others)
        align_old = Aligner(len(samples), _unless_whole(paired.rows_a, len(samples)))
        align_new = Aligner(len(others), _unless_whole(paired.rows_b, len(others)))
        pairs = {
            key: FormPair(align_old(was), align_new(now), key[0] in lower)
            for key, (was, now) in forms.items()
        }
        clusters = None
        if samples.clusters is not None:
            codes, _ = pd.factorize(samples.clusters[paired.rows_a], sort=True)
            clusters = np.asarray(codes, dtype=np.int64)
        # A pack has no names of the user's, and the run beside it does.
        if samples.keys is not None:
            names = samples.keys[paired.rows_a]
        elif others.keys is not None:
            names = others.keys[paired.rows_b]
        else:
            names = samples.ids[paired.rows_a]
        return measure_cell(pairs, names, clusters, self.how.settings)

    def _rounds(self, forms: Mapping[Key, tuple[Form, Form]]) -> dict[Key, MeasuredDifference]:
        """Measures timings of one cohort: its rounds were interleaved, so that they pair."""
        old, new = (
            np.unique(side.run.cell_records(file.cell).array("round"))
            for side, file in ((self.first, self.was), (self.second, self.now))
        )
        common, rows_old, rows_new = np.intersect1d(
            old, new, assume_unique=True, return_indices=True
        )
        if not len(common):
            reason = (
                "memory did not hold both at once, so that no round of one stands beside a round "
                "of the other: compare each with the first model of the run"
            )
            raise RefusedError(reason, "rounds")
        align_old = Aligner(len(old), _unless_whole(rows_old, len(old)))
        align_new = Aligner(len(new), _unless_whole(rows_new, len(new)))
        pairs = {key: FormPair(align_old(was), align_new(now)) for key, (was, now) in forms.items()}
        ids = np.array([f"round {number}" for number in common], dtype=object)
        return measure_cell(pairs, ids, None, self.how.settings)

    def _forms(self, side: ComparedSide, cell: PlannedCell) -> tuple[Samples, Mapping[Key, Number]]:
        samples, forms = side.numbers(cell, self.first.scorer.options)
        return samples, {key: one for key, one in forms.items() if self._wanted(key)}

    def paired(self, first: Samples, second: Samples) -> Pairing:
        """Pairs samples; where their orders differ, in the order of ids, whoever comes first.

        Raises:
            RefusedError: if they can't be paired.
        """
        if first.names.column.equals(second.names.column):
            # A sample table's ids are unique, so that position pairs them; the common case.
            rows = np.arange(len(first), dtype=np.int64)
            paired = Pairing(rows, rows, 0, 0)
        else:
            try:
                paired = pair(first.ids, second.ids, intersect=self.how.intersect)
            except NotComparableError as error:
                raise RefusedError(str(error), "ids") from error
        if not np.array_equal(paired.rows_a, paired.rows_b):
            order = np.argsort(first.ids[paired.rows_a].astype(str), kind="stable")
            paired = paired._replace(rows_a=paired.rows_a[order], rows_b=paired.rows_b[order])
        old, new = first.targets[paired.rows_a], second.targets[paired.rows_b]
        if self.first.run.packed or self.second.run.packed:
            kind = self.second.run.cards[self.now.data].task.definition
            old, new = kind.packed(old), kind.packed(new)
        other = np.flatnonzero(differing_rows(old, new))
        if len(other):
            row = other[:1]
            raise RefusedError(
                f"targets differ on {len(other)} of {len(old)} common samples: that of "
                f"{first.ids[paired.rows_a][row[0]]} is {_plain(old[row])!r} and "
                f"{_plain(new[row])!r}",
                "targets",
            )
        if paired.only_a or paired.only_b:
            self.notes.append(
                f"{self._address(('', '', '')).model}:{self.now.suite}/{self.now.scenario} on "
                f"{self.now.data}: {len(old)} common samples are compared; {paired.only_a} of the "
                f"baseline's and {paired.only_b} of the candidate's have no partner"
            )
        return paired

    def _address(self, key: Key) -> Address:
        metric, point, group = key
        return Address(self.now.model, self.now.suite, self.now.scenario, point, metric, group)

    def _wanted(self, key: Key) -> bool:
        return self.how.wants(self._address(key))


def _plain(target: Column) -> Any:
    """Returns the target of one sample, a column of one row, as Python has it."""
    return target.values.tolist() if isinstance(target, Lists) else target.item()


def _unless_whole(rows: NDArray[np.int64], n: int) -> NDArray[np.int64] | None:
    return None if len(rows) == n and np.array_equal(rows, np.arange(n)) else rows


def _of_rows(old: StoredRow | None, new: StoredRow | None) -> MeasuredDifference:
    """Returns what the stored rows say of a number that has no form to be compared by."""
    if old is not None and new is not None and old.key != new.key:
        reason = (
            "the rows of it are of different versions of the metric, and its scenario gives no "
            "form to compute it again by"
        )
        return MeasuredDifference(baseline=None, candidate=None, n=0, reason=reason)
    return MeasuredDifference(
        baseline=old.value if old else None,
        candidate=new.value if new else None,
        n=min((row.n for row in (old, new) if row), default=0),
    )


def _reason(one: MeasuredDifference, rows: tuple[StoredRow | None, StoredRow | None]) -> str:
    """Says why something is missing: in the rows' own words where they have some."""
    if one.delta is not None:
        return one.reason or ("" if one.interval is not None else NO_FORM)
    own = []
    for side, value, row in zip(
        ("baseline", "candidate"), (one.baseline, one.candidate), rows, strict=True
    ):
        if value is None and row is None and not one.reason:
            own.append(f"the {side} has no such number")
        elif value is None and row is not None and row.reason and row.value is None:
            own.append(f"{side}: {row.reason}")
    return "; ".join(own) or one.reason or NO_FORM
