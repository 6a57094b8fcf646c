"""Judge a run against a baseline run: match models and data sets, compare, evaluate the policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from crucibench.comparing.results import Comparison, MetricDifference
from crucibench.comparing.runs import name_pairs, replicated
from crucibench.contracts.records import KEYS
from crucibench.gating.decide import LEVEL
from crucibench.gating.evaluate import Opponent, evaluate, failed, with_checks
from crucibench.gating.history import History
from crucibench.gating.policy import Policy, literal_brackets
from crucibench.gating.result import GateVerdict, Sides
from crucibench.gating.sides import GatedNumber, GateSide, Key, side_of
from crucibench.store.cells import CellFile
from crucibench.store.manifest import differences
from crucibench.store.pack import opened_together
from crucibench.store.run import Run
from crucibench.util.errors import CrucibenchError, NotComparableError, UnreadableError

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

    def __call__(self, number: GatedNumber) -> bool:
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
    by = [name for name in KEYS if name in columns]
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
        sizes = [[len(value) for value in column] for column in (first, second)]
        if sizes[0] != sizes[1]:
            return False, False
        if len({*sizes[0]}) > 1:  # lists of any length: their items, one after the other
            first, second = (pd.Series(list(chain(*column))) for column in (first, second))
            return _same_column(first, second)
        a, b = np.stack(list(first)), np.stack(list(second))
    else:
        a, b = first.to_numpy(), second.to_numpy()
    if a.shape != b.shape:
        return False, False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b)), False
    varied = len(np.unique(a.ravel()[:1000])) > 2
    return bool(np.allclose(a, b, rtol=_NOISE, atol=_NOISE, equal_nan=True)), varied


def gate_runs(
    baseline: Run,
    candidate: Run,
    policy: Policy,
    *,
    anchor: Run | None = None,
    history: Sequence[Run] = (),
    policy_name: str = "",
    today: date | None = None,
    timed: bool = False,
) -> GateVerdict:
    """Holds a candidate against a baseline.

    Args:
        baseline: what must not be lost.
        candidate: what is judged.
        policy: the rules.
        anchor: an older baseline, held to the same rules.
        history: runs that the spread of trainings is borrowed from, where each side has one.
        policy_name: what the verdict calls the policy.
        today: the day that waivers are held against; today in UTC by default.
        timed: whether both models are timed afterwards; otherwise a policy that requires speed
            is not met.

    Returns:
        The verdict; runs that are incomplete or not comparable make it ``invalid``.
    """
    version, notes = _version(), list[str]()
    sides = Sides(
        baseline=baseline.id, candidate=candidate.id,
        anchor=None if anchor is None else anchor.id, policy=policy_name,
    )  # fmt: skip
    try:
        for run in (candidate, baseline, *([] if anchor is None else [anchor])):
            _require_sound(run)
        side = side_of(candidate)
        judged = _Judged(candidate, side, policy, notes, History(history))
        opponents = [_opponent("baseline", baseline, judged)]
        if anchor is not None:
            opponents.append(_opponent("anchor", anchor, judged))
    except (NotComparableError, UnreadableError) as error:
        return failed(sides, str(error), version)
    other = list(filter(None, (one.comparison.code_sentence for one in opponents)))
    if other and policy.code == "refuse":
        return failed(sides, other[0], version)
    notes += dict.fromkeys(other)
    biased = sorted(
        {str(d.address) for one in opponents for d in one.comparison.differences if d.biased}
    )
    if biased:
        more = f" and {len(biased) - 2} more" if len(biased) > 2 else ""
        notes.append(
            f"intervals of differences of numbers that are marked biased may be too narrow: "
            f"{', '.join(biased[:2])}{more}"
        )
    verdict = evaluate(
        policy, side, opponents, today=today or datetime.now(UTC).date(), sides=sides,
        version=version,
    )  # fmt: skip
    verdict = verdict.model_copy(update={"notes": notes})
    if policy.speed.tier != "required" or timed:
        return verdict
    reason = "the policy requires speed, which only `crucibench gate --rerun` measures"
    return with_checks(verdict.model_copy(update={"errors": [*verdict.errors, reason]}), [])


def _require_sound(run: Run) -> None:
    # A run that was never finished lacks cells that nobody can name. A pack is checked when opened.
    changed = [] if run.packed and run.manifest else differences(run.layout)
    if changed:
        raise UnreadableError(f"run {run.id} is not as its manifest says: {changed[0]}")
    if run.stopped_early:
        raise NotComparableError(
            f"run {run.id} asked until its own policy was decided, so that a gate of its numbers "
            "would be too sure: what its looks have decided stands in its folder, under gate"
        )


class _Judged(NamedTuple):
    run: Run
    side: GateSide
    policy: Policy
    notes: list[str]
    history: History


def _opponent(against: Literal["baseline", "anchor"], run: Run, judged: _Judged) -> Opponent:
    candidate, side, policy, notes, history = judged
    other = side_of(run)
    models = _model_pairs(run, candidate)
    data = data_pairs(run, candidate, other, side)
    notes += [
        f"{what} {new!r} is held against the {against}'s {old!r}"
        for what, pairs in (("model", models), ("data set", data))
        for new, old in pairs.items()
        if new != old
    ]
    unchanged = Unchanged(run, candidate, models, data)
    trained = {name for _, name in side.trainings.keys() & other.trainings.keys()}
    exact = {rule.address.partition(":")[0] for _, rule in policy.rules()}
    asked = {new: old for new, old in models.items() if new not in trained or {new, old} & exact}
    compared = history.lend(_compared(run, candidate, policy, asked), candidate)

    def same(key: Key) -> bool:
        return unchanged(side.numbers[key])

    return Opponent(
        against=against, side=other.renamed(_inverse(models), _inverse(data)),
        comparison=compared, unchanged=same,
    )  # fmt: skip


def _model_pairs(run: Run, candidate: Run) -> dict[str, str]:
    """Returns which models, and which recipes, belong together: candidate's to baseline's."""
    names = ({name for name, _ in one.models} for one in (run, candidate))
    recipes = (replicated(one).keys() for one in (run, candidate))
    return name_pairs(*names) | name_pairs(*recipes)


def data_pairs(run: Run, candidate: Run, other: GateSide, side: GateSide) -> dict[str, str]:
    """Returns which data sets belong together, as `compare_runs` has it: also those of one content.

    A live data set is called ``data``, whatever the baseline calls it.
    """
    old, new = ({name for name, _ in one.models} for one in (other, side))
    pairs = name_pairs(old, new)
    first, second = opened_together(run, candidate)
    prints = {first.cards[name].fingerprint: name for name in old - new if name in first.cards}
    for name in new - old:
        if name in second.cards and second.cards[name].fingerprint in prints:
            pairs[name] = prints[second.cards[name].fingerprint]
    return pairs


def _inverse(pairs: Mapping[str, str]) -> dict[str, str]:
    return {old: new for new, old in pairs.items()}


def _compared(run: Run, candidate: Run, policy: Policy, pairs: dict[str, str]) -> Comparison:
    patterns = [
        literal_brackets(rule.address)
        for _, rule in policy.rules()
        if rule.margin is not None or rule.no_worse
    ]
    # Floors alone ask for no comparison, and no pattern would mean all numbers.
    if not patterns or not pairs:
        return Comparison()
    from crucibench.comparing.runs import compare_runs

    return compare_runs(run, candidate, level=LEVEL, models=pairs, metrics=patterns)


def headline_differences(baseline: Run, candidate: Run) -> dict[Key, MetricDifference]:
    """Returns the differences of the numbers that suites show first."""
    from crucibench.comparing.runs import compare_runs

    side, other = side_of(baseline), side_of(candidate)
    pairs = _model_pairs(baseline, candidate)
    data = data_pairs(baseline, candidate, side, other)
    if not pairs or not side.headline:
        return {}
    patterns = [literal_brackets(f"*:{place}") for place in side.headline]
    found = compare_runs(baseline, candidate, level=LEVEL, models=pairs, metrics=patterns)
    return {
        (
            data.get(one.data, one.data),
            str(one.address._replace(model=pairs[one.address.model])),
        ): one
        for one in found.differences
    }


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("crucibench")
    except PackageNotFoundError:
        return ""
