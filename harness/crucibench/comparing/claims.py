"""Claims: "A is better than B in X by d [l, u]". Made here alone, stored, and rendered everywhere.

A claim rests on a paired test of both models on the same samples, corrected over all pairs and
columns that were tested together; never on two intervals that lie apart, nor on a number that is
not valid or that carries a mark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from crucibench.comparing.baselines import BaselineNumber, Baselines
from crucibench.comparing.cell_pairs import ComparedSide
from crucibench.comparing.power import n_needed
from crucibench.comparing.recipes import contenders_of
from crucibench.comparing.results import MetricDifference
from crucibench.comparing.runs import compare_models, headline_places
from crucibench.contracts.rows import RECIPE
from crucibench.contracts.verdict import Verdict
from crucibench.stats import holm
from crucibench.store.documents import read_document
from crucibench.store.run import Run
from crucibench.util.atomic import write_json
from crucibench.util.errors import CrucibenchError, UnreadableError

_Found = tuple[str, str, str, MetricDifference]
"""A data set, two models, and the second less the first."""

LEVEL = 0.95
"""Of the intervals; claims are made at one minus this, after correction."""

_FORMAT = 4
_MIXED = "a recipe is not compared with one training"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One model is better than another in one number.

    Attributes:
        data: the data set.
        place: ``SUITE/SCENARIO[POINT]/METRIC[@GROUP]``.
        better: the model that is better.
        worse: the other.
        values: of the better and of the worse model.
        by: how much better, positive.
        lower: the paired interval's lower end, of `by`; not corrected.
        upper: its upper end.
        p: two-sided, of no difference.
        p_adjusted: the same, Holm-adjusted over everything that was tested together.
        n: pairs of samples (or rounds).
        method: how interval and p-value were made.
        moved: samples that the better model answers better, and worse, where the number is no mean
            over samples, such as average precision; else None.
    """

    data: str
    place: str
    better: str
    worse: str
    values: tuple[float, float]
    by: float
    lower: float
    upper: float
    p: float
    p_adjusted: float
    n: int
    method: str
    moved: tuple[int, int] | None = None

    def by_sample(self, of_better: bool) -> str:
        """Returns `moved` in words, as of the better or of the worse model; "" without it."""
        if self.moved is None:
            return ""
        if of_better:
            return f", {self.moved[0]:,} samples better, {self.moved[1]:,} worse"
        return f", {self.moved[0]:,} samples worse, {self.moved[1]:,} better"


class Tested(NamedTuple):
    """A pair that was tested in one number, whatever came of it.

    Attributes:
        data: the data set.
        place: as of `Claim`.
        first: a model.
        second: the other.
        gain: by how much the second is better; negative where it is worse.
        lower: the paired interval's lower end, of `gain`; None without one.
        upper: its upper end.
        n: pairs of samples (or rounds).
        needed: pairs that a difference as large as `gain` needs; None where there is none to show.
    """

    data: str
    place: str
    first: str
    second: str
    gain: float = 0.0
    lower: float | None = None
    upper: float | None = None
    n: int = 0
    needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Untested:
    """A number by which two models could not be told apart or together, and why.

    Attributes:
        data: the data set.
        place: as of `Claim`.
        models: the two.
        reason: why there is no test.
    """

    data: str
    place: str
    models: tuple[str, str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a run's headline numbers say of its models, two by two.

    Attributes:
        claims: what was shown; pairs that were tested and are not here are open.
        tested: every pair that was tested.
        untested: pairs without a test.
        baselines: the numbers of trivial predictors.
        beside: claims of models and trivial predictors, one family apart; None where there are no
            such predictors.
        note: why there are no claims at all; "" where there may be.
    """

    claims: tuple[Claim, ...] = ()
    tested: tuple[Tested, ...] = ()
    untested: tuple[Untested, ...] = ()
    baselines: tuple[BaselineNumber, ...] = ()
    beside: Claims | None = None
    note: str = ""
    _better: dict[tuple[str, str, str, str], Claim] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for claim in self.claims:
            self._better[claim.data, claim.place, claim.better, claim.worse] = claim

    def better(self, data: str, place: str, first: str, second: str) -> Claim | None:
        """Returns the claim that `first` is better than `second`, where it is made."""
        return self._better.get((data, place, first, second))


def claims_of(run: Run) -> Claims:
    """Returns the claims of a finished run: as stored, or made and stored.

    Args:
        run: a run or a pack; a pack's claims are not stored.
    """
    if not run.finished:
        return Claims(note="models are not compared, since the run is not finished")
    path = run.layout.claims
    if not run.packed and path.is_file():
        stored = _read(path, run)
        if stored is not None:
            return stored
    made = make_claims(run)
    if not run.packed:
        write_json(path, _as_data(made, run))
    return made


def make_claims(run: Run) -> Claims:
    """Compares every two models of a run in its suites' headline numbers, and every two recipes.

    One family holds every test of the run: Holm's correction goes over all pairs of models and all
    columns of all data sets.
    """
    if run.stopped_early:
        return Claims(note="the run asked until its policy was decided, and only its gate compares")
    places = headline_places(run)
    rows = _usable(run)
    found: list[_Found] = []
    untested: list[Untested] = []
    try:
        side = ComparedSide(run, keep=True)
        trivial = Baselines(side, places)
        numbers: list[BaselineNumber] = []
        beside: list[_Found] = []
        for data in dict.fromkeys(data for _, data in run.models):
            names = [name for name, of in run.models if of == data]
            numbers += trivial.numbers(data, names)
            beside += [
                (data, one.baseline, name, one.difference)
                for name in names
                for one in trivial.beside(data, name, level=LEVEL)
                if rows.get((data, name, _place(one.difference))) == ""
                and one.difference.p is not None
            ]
            contenders = contenders_of(run, data)
            for first, second in combinations(contenders, 2):
                shared = []
                both = (*contenders[first], *contenders[second])
                mixed = first.endswith(RECIPE) != second.endswith(RECIPE)
                for place in places:
                    reasons = [rows.get((data, name, place)) for name in both]
                    reasons += [_MIXED] if mixed and None not in reasons else []
                    if any(reasons):
                        reason = next(filter(None, reasons))
                        untested.append(
                            Untested(data=data, place=place, models=(first, second), reason=reason)
                        )
                    elif None not in reasons:
                        shared.append(place)
                for difference in compare_models(side, data, (first, second), shared, level=LEVEL):
                    if difference.direction not in {"higher", "lower"}:
                        continue
                    place = _place(difference)
                    if difference.p is None or difference.delta is None:
                        reason = difference.reason or "no test fits it"
                        untested.append(
                            Untested(data=data, place=place, models=(first, second), reason=reason)
                        )
                    else:
                        found.append((data, first, second, difference))
    except CrucibenchError as error:
        # Comparing reads records as the installed suites understand them.
        return Claims(note=f"models are not compared: {error}")
    except Exception as error:
        # A report must come out whatever is wrong with a suite's numbers, and say so.
        return Claims(note=f"models are not compared: {type(error).__name__}: {error}")
    claims, tested = _family(found)
    apart = _family(beside)
    return Claims(
        claims=claims, tested=tested, untested=tuple(untested), baselines=tuple(numbers),
        beside=Claims(claims=apart[0], tested=apart[1]) if numbers else None,
    )  # fmt: skip


def _family(found: Sequence[_Found]) -> tuple[tuple[Claim, ...], tuple[Tested, ...]]:
    """Returns what tests show that are corrected together, and all of them."""
    adjusted = holm(np.array([difference.p for *_, difference in found], dtype=np.float64))
    claims = (_claim(*entry, float(p)) for entry, p in zip(found, adjusted, strict=True))
    return (
        tuple(claim for claim in claims if claim is not None),
        tuple(_tested(*entry) for entry in found),
    )


def _place(difference: MetricDifference) -> str:
    return difference.address.place


_READ = ["data", "model", "suite", "scenario", "point", "metric", "group", "verdict", "mark"]


def _usable(run: Run) -> dict[tuple[str, str, str], str]:
    """Returns by (data, model, place) why a number may bear no claim; "" where it may."""
    table = run.metric_table()
    table = table.filter(pc.invert(pc.is_null(table.column("value"), nan_is_null=True)))
    found = {}
    for row in table.select(_READ).to_pylist():
        point = f"[{row['point']}]" if row["point"] else ""
        group = f"@{row['group']}" if row["group"] else ""
        place = f"{row['suite']}/{row['scenario']}{point}/{row['metric']}{group}"
        reason = ""
        if row["verdict"] != str(Verdict.VALID):
            reason = f"the number of {row['model']} is {row['verdict']}"
        elif row["mark"]:
            reason = f"the number of {row['model']} is marked {row['mark']}"
        found[str(row["data"]), str(row["model"]), place] = reason
    return found


def _claim(
    data: str, first: str, second: str, difference: MetricDifference, p_adjusted: float
) -> Claim | None:
    """Returns what a tested difference shows; None where it shows nothing."""
    gain, interval = difference.gain, difference.gain_interval
    if gain is None or interval is None or difference.p is None:
        return None
    if not gain or not p_adjusted < 1 - LEVEL or difference.delta is None:
        return None
    lower, upper = interval
    old, new = difference.baseline, difference.candidate
    if old is None or new is None or not all(map(math.isfinite, (old, new, lower, upper))):
        return None
    ahead = gain > 0
    if (lower if ahead else -upper) <= 0:
        return None
    moved = None
    if difference.moved is not None:
        gained, lost = len(difference.moved.gained), len(difference.moved.lost)
        moved = (gained, lost) if ahead else (lost, gained)
    return Claim(
        data=data, place=_place(difference),
        better=second if ahead else first, worse=first if ahead else second,
        values=(new, old) if ahead else (old, new), by=abs(gain),
        lower=lower if ahead else -upper, upper=upper if ahead else -lower,
        p=difference.p, p_adjusted=p_adjusted, n=difference.n, method=difference.method,
        moved=moved,
    )  # fmt: skip


def _tested(data: str, first: str, second: str, difference: MetricDifference) -> Tested:
    interval, gain = difference.gain_interval or (None, None), difference.gain or 0.0
    return Tested(
        data=data, place=_place(difference), first=first, second=second,
        gain=gain, lower=interval[0], upper=interval[1], n=difference.n,
        needed=n_needed(difference, abs(gain)) if gain else None,
    )  # fmt: skip


def _as_data(claims: Claims, run: Run) -> dict[str, object]:
    return {"format": _FORMAT, "of": run.digest, "level": LEVEL, **_plain(claims)}


def _plain(claims: Claims) -> dict[str, object]:
    return {
        "claims": [asdict(claim) for claim in claims.claims],
        "tested": [list(entry) for entry in claims.tested],
        "untested": [asdict(entry) for entry in claims.untested],
        "baselines": [asdict(entry) for entry in claims.baselines],
        "beside": None if claims.beside is None else _plain(claims.beside),
        "note": claims.note,
    }


def _read(path: Path, run: Run) -> Claims | None:
    """Returns stored claims; None where they are damaged, or of another state of the run."""
    try:
        stored = read_document(path)
        if stored["format"] != _FORMAT or stored["of"] != run.digest:
            return None
        return _claims(stored)
    except (UnreadableError, LookupError, TypeError, AttributeError):
        return None


def _claims(stored: Mapping[str, Any]) -> Claims:
    beside, untested = stored["beside"], stored["untested"]
    return Claims(
        claims=tuple(
            Claim(
                **{
                    **one,
                    "values": tuple(one["values"]),
                    "moved": one["moved"] and tuple(one["moved"]),
                }
            )
            for one in stored["claims"]
        ),
        tested=tuple(Tested(*one) for one in stored["tested"]),
        untested=tuple(Untested(**{**one, "models": tuple(one["models"])}) for one in untested),
        baselines=tuple(BaselineNumber(**one) for one in stored["baselines"]),
        beside=None if beside is None else _claims(beside),
        note=str(stored["note"]),
    )
