"""The gate on runs: compare, judge."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from typing import Literal, NamedTuple

from crucibench.comparing.results import Comparison, MetricDifference
from crucibench.gating.evaluate import evaluate, failed
from crucibench.gating.expand import Opponent
from crucibench.gating.patterns import literal_brackets
from crucibench.gating.policy import Policy
from crucibench.gating.result import Sides, Verdict
from crucibench.gating.sides import Key, Side, side_of
from crucibench.gating.unchanged import Unchanged
from crucibench.gating.verdict import LEVEL
from crucibench.store.manifest import differences
from crucibench.store.pack import opened_together
from crucibench.store.run import Run
from crucibench.util.errors import NotComparableError, UnreadableError


def gate_runs(
    baseline: Run,
    candidate: Run,
    policy: Policy,
    *,
    anchor: Run | None = None,
    policy_name: str = "",
    today: date | None = None,
) -> Verdict:
    """Holds a candidate against a baseline.

    Args:
        baseline: what must not be lost.
        candidate: what is judged.
        policy: the rules.
        anchor: an older baseline, held to the same rules.
        policy_name: what the verdict calls the policy.
        today: the day that waivers are held against; today in UTC by default.

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
        judged = _Judged(candidate, side, policy, notes)
        opponents = [_opponent("baseline", baseline, judged)]
        if anchor is not None:
            opponents.append(_opponent("anchor", anchor, judged))
    except (NotComparableError, UnreadableError) as error:
        return failed(sides, str(error), version)
    verdict = evaluate(
        policy, side, opponents, today=today or datetime.now(UTC).date(), sides=sides,
        version=version,
    )  # fmt: skip
    return verdict.model_copy(update={"notes": notes})


def _require_sound(run: Run) -> None:
    # A run that was never finished lacks cells that nobody can name. A pack is checked when opened.
    changed = [] if run.packed and run.manifest else differences(run.layout)
    if changed:
        raise UnreadableError(f"run {run.id} is not as its manifest says: {changed[0]}")


class _Judged(NamedTuple):
    run: Run
    side: Side
    policy: Policy
    notes: list[str]


def _opponent(against: Literal["baseline", "anchor"], run: Run, judged: _Judged) -> Opponent:
    candidate, side, policy, notes = judged
    other = side_of(run)
    models = name_pairs({name for _, name in other.models}, {name for _, name in side.models})
    data = data_pairs(run, candidate, other, side)
    notes += [
        f"{what} {new!r} is held against the {against}'s {old!r}"
        for what, pairs in (("model", models), ("data set", data))
        for new, old in pairs.items()
        if new != old
    ]
    unchanged = Unchanged(run, candidate, models, data)

    def same(key: Key) -> bool:
        return unchanged(side.numbers[key])

    return Opponent(
        against=against, side=other.renamed(_inverse(models), _inverse(data)),
        comparison=_compared(run, candidate, policy, models), unchanged=same,
    )  # fmt: skip


def name_pairs(old: AbstractSet[str], new: AbstractSet[str]) -> dict[str, str]:
    """Returns which belong together, new to old: those of one name, or the only one of each."""
    if not old & new and len(old) == len(new) == 1:
        return dict(zip(new, old, strict=True))
    return {name: name for name in sorted(old & new)}


def data_pairs(run: Run, candidate: Run, other: Side, side: Side) -> dict[str, str]:
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
    pairs = name_pairs({name for _, name in side.models}, {name for _, name in other.models})
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
