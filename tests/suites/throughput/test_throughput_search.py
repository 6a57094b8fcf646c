"""The highest rate that keeps a latency bound: against the theory of M/D/1, and its verdicts."""

from __future__ import annotations

import math

import pytest
from scipy.optimize import brentq

from crucibench.metrics.scoring import score
from crucibench_suites.throughput.search import Bracket, RateSearch, Trial

from .conftest import Measure, ScriptedClock

SERVICE = 1e-3


def search(
    bound: float, *, seconds: float = 40.0, turns: int = 20, tail: str = "p99"
) -> RateSearch:
    return RateSearch(
        name="highest-rate", seconds=seconds, turns=turns, bound=bound, percentile=tail
    )


def waits_no_longer(wait: float, rho: float) -> float:
    """P(W <= wait) of M/D/1 with service of one unit (Erlang 1909; Gross and Harris, 5.1.5)."""
    terms = (
        (rho * (k - wait)) ** k / math.factorial(k) * math.exp(-rho * (k - wait))
        for k in range(math.floor(wait) + 1)
    )
    return (1 - rho) * sum(terms)


def test_the_formula_is_that_of_the_mean_waiting_time() -> None:
    """E[W] = rho / (2 (1 - rho)), Pollaczek and Khinchine, is the integral of P(W > t)."""
    for rho in (0.3, 0.7):
        step = 0.01
        tail = sum(1 - waits_no_longer((k + 0.5) * step, rho) for k in range(1200)) * step
        assert tail == pytest.approx(rho / (2 * (1 - rho)), rel=0.01)


@pytest.mark.parametrize("bound", [3.0, 6.0])
def test_the_rate_that_is_found_is_that_of_queueing_theory(measure: Measure, bound: float) -> None:
    found = measure(search(bound * SERVICE), SERVICE, clock=ScriptedClock(reading_ns=0))
    row = found.rows["highest-rate", ""]
    trials = score(found.scenario, found.evidence).tables["trials"]
    last = trials[trials.rate == row.value].iloc[0]
    # Early stopping asks for a little more than the percentile, the fewer the queries.
    share = 1 - last.allowed / last.queries
    assert 0.99 < share < 0.994
    rho = brentq(lambda load: waits_no_longer(bound - 1, load) - share, 0.01, 0.99)
    assert row.value == pytest.approx(rho / SERVICE, rel=0.08)
    assert row.lower is not None and row.upper is not None
    assert 0 < row.upper - row.lower <= 0.021 * row.upper
    assert found.findings == {}


def test_a_bound_that_no_rate_keeps_is_null(measure: Measure) -> None:
    found = measure(search(0.5 * SERVICE, seconds=2.0, turns=5), SERVICE)
    row = found.rows["highest-rate", ""]
    assert row.value is None
    assert row.reason is not None and row.reason.startswith("no rate kept the bound, down to")


def test_a_model_too_slow_for_the_percentile_is_null(measure: Measure) -> None:
    row = measure(search(9.0, seconds=1.0), 0.5).rows["highest-rate", ""]
    assert row.value is None
    assert row.reason is not None and "lasts more than ten times" in row.reason


def test_a_search_that_is_cut_short_says_so(measure: Measure) -> None:
    found = measure(search(3 * SERVICE, seconds=4.0, turns=3), SERVICE).findings
    assert set(found) == {"search-left-open"}


def test_a_rate_that_is_not_kept_again_is_told(measure: Measure) -> None:
    """The model becomes slower once the search has narrowed: the last trial, the same, fails."""
    asked: list[int] = []

    def counting(call: int, batch: object) -> float:
        asked.append(call)
        return SERVICE

    steady = measure(search(6 * SERVICE, seconds=4.0, turns=12), counting)
    assert "search-contradicts-itself" not in steady.findings
    trials = score(steady.scenario, steady.evidence).tables["trials"]
    assert (trials.rate == trials.rate.iloc[-1]).sum() == 2  # it was confirmed
    last = len(asked) - int(trials.queries.iloc[-1])

    def latency(call: int, batch: object) -> float:
        return SERVICE if call < last else 2.5 * SERVICE

    found = measure(search(6 * SERVICE, seconds=4.0, turns=12), latency)
    assert "search-contradicts-itself" in found.findings
    assert 0 < found.rows["highest-rate", ""].value < steady.rows["highest-rate", ""].value


def test_brackets() -> None:
    def tried(*rates: tuple[float, bool]) -> Bracket:
        return Bracket.of([Trial(rate, 1000, 0 if passed else 9, 5) for rate, passed in rates])

    assert tried((10, True)).next_rate() == 20
    assert tried((10, False)).next_rate() == 5
    assert tried((10, True), (20, False)).next_rate() == 15
    assert tried((10, True), (20, False)) == (10, 20)
    assert tried((30, True), (20, False), (10, True)) == (10, 20)
    assert tried((99, True), (100, False)).narrow
    assert not tried((90, True), (100, False)).narrow
    assert not tried((90, True)).narrow
    assert not Trial(1.0, 10, 0, -1).passed  # too few queries to tell
