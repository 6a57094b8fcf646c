"""Claims: "A is better than B in X by d [l, u]". Made here alone, stored, and rendered everywhere.

A claim rests on a paired test of both models on the same samples, corrected over all pairs and
columns that were tested together; never on two intervals that lie apart, nor on a number that is
not valid or that carries a mark.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from crucibench.comparing.cell_pairs import ComparedSide
from crucibench.comparing.results import MetricDifference
from crucibench.comparing.runs import compare_models, headline_places
from crucibench.contracts.verdict import Verdict
from crucibench.stats import holm
from crucibench.store.documents import read_document
from crucibench.store.run import Run
from crucibench.util.atomic import write_json
from crucibench.util.errors import CrucibenchError, UnreadableError

LEVEL = 0.95
"""Of the intervals; claims are made at one minus this, after correction."""

_FORMAT = 1


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
        tested: (data, place, model, model) of every pair that was tested.
        untested: pairs without a test.
        note: why there are no claims at all; "" where there may be.
    """

    claims: tuple[Claim, ...] = ()
    tested: tuple[tuple[str, str, str, str], ...] = ()
    untested: tuple[Untested, ...] = ()
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
    """Compares every two models of a run in its suites' headline numbers.

    One family holds every test of the run: Holm's correction goes over all pairs of models and all
    columns of all data sets.
    """
    places = headline_places(run)
    rows = _usable(run)
    found: list[tuple[str, str, str, MetricDifference]] = []
    untested: list[Untested] = []
    try:
        side = ComparedSide(run, keep=True)
        for data in dict.fromkeys(data for _, data in run.models):
            names = [name for name, of in run.models if of == data]
            for first, second in combinations(names, 2):
                shared = []
                for place in places:
                    reasons = [rows.get((data, name, place)) for name in (first, second)]
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
                    place = str(difference.address).partition(":")[2]
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
    adjusted = holm(np.array([difference.p for *_, difference in found], dtype=np.float64))
    claims = [
        claim
        for (data, first, second, difference), p in zip(found, adjusted, strict=True)
        if (claim := _claim(data, first, second, difference, float(p))) is not None
    ]
    tested = [
        (data, str(difference.address).partition(":")[2], first, second)
        for data, first, second, difference in found
    ]
    return Claims(claims=tuple(claims), tested=tuple(tested), untested=tuple(untested))


def _usable(run: Run) -> dict[tuple[str, str, str], str]:
    """Returns by (data, model, place) why a number may bear no claim; "" where it may."""
    table = run.metrics()
    table = table[table["value"].notna()]
    found = {}
    for row in table.to_dict("records"):
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
    return Claim(
        data=data, place=str(difference.address).partition(":")[2],
        better=second if ahead else first, worse=first if ahead else second,
        values=(new, old) if ahead else (old, new), by=abs(gain),
        lower=lower if ahead else -upper, upper=upper if ahead else -lower,
        p=difference.p, p_adjusted=p_adjusted, n=difference.n, method=difference.method,
    )  # fmt: skip


def _as_data(claims: Claims, run: Run) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "of": run.digest,
        "level": LEVEL,
        "claims": [asdict(claim) for claim in claims.claims],
        "tested": [list(entry) for entry in claims.tested],
        "untested": [asdict(entry) for entry in claims.untested],
        "note": claims.note,
    }


def _read(path: Path, run: Run) -> Claims | None:
    """Returns stored claims; None where they are damaged, or of another state of the run."""
    try:
        stored = read_document(path)
        if stored["format"] != _FORMAT or stored["of"] != run.digest:
            return None
        return Claims(
            claims=tuple(
                Claim(**{**one, "values": tuple(one["values"])}) for one in stored["claims"]
            ),
            tested=tuple((one[0], one[1], one[2], one[3]) for one in stored["tested"]),
            untested=tuple(
                Untested(**{**one, "models": tuple(one["models"])}) for one in stored["untested"]
            ),
            note=str(stored.get("note", "")),
        )
    except (UnreadableError, LookupError, TypeError, AttributeError):
        return None
