"""How often a gate is wrong: repeated draws of paired models whose true difference is known.

    python benchmarks/gate_simulation.py --repetitions 2000

Two models of equal or known quality answer the same samples, their errors correlated as those of
retrained models are. Differences are measured by `crucibench.comparing`, judged by
`crucibench.gating`: nothing here is a formula of its own but the draws. Timings are scripted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
from _report import publish
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from crucibench.comparing.cell import FormPair, measure_cell
from crucibench.comparing.resampled import ResamplingSettings
from crucibench.comparing.results import Comparison, MetricDifference
from crucibench.contracts.rows import Address
from crucibench.contracts.statistic import Form, Ranking, RowMetric, Share
from crucibench.gating.evaluate import Opponent, evaluate
from crucibench.gating.latency import MIN_ROUNDS, ROUNDS, Rounds, judge_latency
from crucibench.gating.policy import Policy, parse_policy
from crucibench.gating.result import Outcome, Sides
from crucibench.gating.sides import GatedNumber, GateSide
from crucibench.metrics.calibration import calibration_error_statistic

MARGINS = {"accuracy": 0.02, "auroc": 0.01, "ece": 0.02, "gap": 0.04}
DIRECTIONS = {"accuracy": "higher", "auroc": "higher", "ece": "lower", "gap": "lower"}
ADEQUATE = {"accuracy": 3000, "auroc": 3000, "ece": 12_000, "gap": 6000}
"""Samples with which a loss of the margin would be shown in 90 % of cases."""
ALL, INADEQUATE = 3000, 150
CORRELATION = 0.9

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """A model: how far it tells the classes apart in two groups, and how far it overstates."""

    first: float = 1.3
    second: float = 1.1
    temperature: float = 1.0


def _lower(distance: float, loss: float) -> float:
    """Returns the distance whose accuracy, Phi(distance), is lower by `loss`."""
    from scipy.special import ndtr

    return float(ndtri(ndtr(distance) - loss))


EQUAL = Quality()
WORSE = {
    "accuracy": Quality(_lower(1.3, 0.04), _lower(1.1, 0.04)),
    # AUROC of a mixture of two groups: found by a draw of two million; 0.020 below.
    "auroc": Quality(1.172, 0.972),
    # ECE 0.040 above, likewise.
    "ece": Quality(temperature=1.536),
    "gap": Quality(1.3, _lower(1.1, 0.08)),
}


AT_MARGIN = {
    "accuracy": Quality(_lower(1.3, 0.02), _lower(1.1, 0.02)),
    # As above, by draws of two million: AUROC 0.010 below, ECE 0.020 above.
    "auroc": Quality(1.2308, 1.0308),
    "ece": Quality(temperature=1.221),
    "gap": Quality(1.3, _lower(1.1, 0.04)),
}
"""Losses of exactly the margin."""


@dataclass(frozen=True)
class Answers:
    """What a model says of each sample."""

    probability: Floats
    positive: NDArray[np.bool_]
    second_group: NDArray[np.bool_]

    @property
    def right(self) -> NDArray[np.bool_]:
        return (self.probability > 0.5) == self.positive

    def forms(self, wanted: tuple[str, ...]) -> dict[str, Form]:
        right = self.right.astype(np.float64)
        made: dict[str, Callable[[], Form]] = {
            "accuracy": lambda: Share(self.right),
            "auroc": lambda: Ranking(self.probability, self.positive),
            "ece": lambda: _ece(self),
            "gap": lambda: RowMetric(_Gap(right, self.second_group.astype(np.float64))),
        }
        return {name: made[name]() for name in wanted}


def _ece(answers: Answers) -> RowMetric:
    confidence = np.maximum(answers.probability, 1 - answers.probability)
    return RowMetric(calibration_error_statistic(confidence, answers.right), bias="up")


class _Gap:
    """Accuracy of the first group minus that of the second."""

    def __init__(self, right: Floats, second: Floats) -> None:
        self.columns = np.stack([right * (1 - second), 1 - second, right * second, second], axis=1)

    def __call__(self, weights: Floats) -> Floats:
        sums = np.asarray(weights, dtype=np.float64) @ self.columns
        return np.asarray(sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3])


def draw(rng: np.random.Generator, n: int, *models: Quality) -> list[Answers]:
    """Draws n samples and what each model says of them."""
    positive, second = rng.random(n) < 0.5, rng.random(n) < 0.5
    shared = rng.standard_normal(n)
    answers = []
    for model in models:
        own = rng.standard_normal(n)
        noise = np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own
        distance = np.where(second, model.second, model.first)
        evidence = np.where(positive, 1.0, -1.0) * distance + noise
        probability = expit(2 * distance * evidence * model.temperature)
        answers.append(Answers(probability, positive, second))
    return answers


def differences(
    baseline: Answers, candidate: Answers, wanted: tuple[str, ...], *, replicates: int, seed: int
) -> list[MetricDifference]:
    """Measures the differences as `crucibench compare` does."""
    old, new = baseline.forms(wanted), candidate.forms(wanted)
    pairs = {
        (name, "", ""): FormPair(old[name], new[name], DIRECTIONS[name] == "lower")
        for name in wanted
    }
    ids = np.arange(len(baseline.positive)).astype(str).astype(object)
    measured = measure_cell(pairs, ids, None, ResamplingSettings(replicates=replicates, seed=seed))
    return [
        MetricDifference(
            address=_address(key[0]), data="d", direction=DIRECTIONS[key[0]],
            baseline=one.baseline, candidate=one.candidate, delta=one.delta, interval=one.interval,
            standard_error=one.standard_error, p=one.p, method=one.method, n=one.n,
            detectable=one.detectable, verdicts=("valid", "valid"), flips=one.flips,
            identical=one.identical, reason=one.reason,
        )
        for key, one in measured.items()
    ]  # fmt: skip


def _address(name: str) -> Address:
    return Address("m", "s", "c", "", name, "")


def policy_of(wanted: tuple[str, ...], *, no_worse: bool) -> Policy:
    """Returns a policy that requires every number."""
    rules = [
        {"address": str(_address(name))}
        | ({"no_worse": True, "detect": MARGINS[name]} if no_worse else {"margin": MARGINS[name]})
        for name in wanted
    ]
    return parse_policy({"required": rules}, "policy")


def judged(policy: Policy, found: list[MetricDifference]) -> dict[str, Outcome]:
    """Returns the outcome of each number, and of the gate as ``gate``."""
    verdict = evaluate(
        policy, _side(found, "candidate"),
        [Opponent(against="baseline", side=_side(found, "baseline"),
                  comparison=Comparison(found))],
        today=date(2026, 1, 1), sides=Sides(baseline="b", candidate="c"),
    )  # fmt: skip
    names = [check.address.rpartition("/")[2] for check in verdict.checks]
    outcomes = [check.outcome for check in verdict.checks]
    return {**dict(zip(names, outcomes, strict=True)), "gate": verdict.outcome}


def _side(found: list[MetricDifference], whose: str) -> GateSide:
    numbers = [
        GatedNumber(address=one.address, data=one.data, value=getattr(one, whose), n=one.n,
               direction=one.direction, percent=True)
        for one in found
    ]  # fmt: skip
    return GateSide(
        name=whose, numbers={one.key: one for one in numbers}, models=frozenset({("d", "m")})
    )


def repeated(
    candidate: Quality,
    n: int,
    repetitions: int,
    *,
    wanted: tuple[str, ...] = tuple(MARGINS),
    no_worse: bool = False,
    replicates: int = 400,
    seed: int = 0,
) -> Mapping[str, Counter[Outcome]]:
    """Counts outcomes over repeated draws of an average baseline and a candidate."""
    rng = np.random.default_rng([seed, n, repetitions])
    policy = policy_of(wanted, no_worse=no_worse)
    counts: dict[str, Counter[Outcome]] = {name: Counter() for name in (*wanted, "gate")}
    for repetition in range(repetitions):
        old, new = draw(rng, n, EQUAL, candidate)
        found = differences(old, new, wanted, replicates=replicates, seed=repetition)
        for name, outcome in judged(policy, found).items():
            counts[name][outcome] += 1
    return counts


def scripted(
    rng: np.random.Generator, rounds: int, slower: float, jitter: float
) -> Callable[[], Rounds]:
    """Returns a machine whose clock drifts, jitters and now and then stalls."""
    state = [0.0]

    def measure() -> Rounds:
        times = np.empty((rounds, 2))
        for position in range(rounds):
            # Drift is shared by a round; jitter and stalls are each model's own.
            state[0] = 0.8 * state[0] + 0.02 * rng.standard_normal()
            own = jitter * rng.standard_normal(2)
            stall = np.where(rng.random(2) < 0.02, 1 + rng.exponential(0.1, 2), 1.0)
            times[position] = 10.0 * np.exp(state[0] + own) * stall
        return Rounds.of(times[:, 0], times[:, 1] * slower)

    return measure


def repeated_latency(
    slower: float, jitter: float, repetitions: int, *, rounds: int = ROUNDS, seed: int = 0
) -> Counter[Outcome]:
    """Counts outcomes of scripted timings."""
    rng = np.random.default_rng([seed, rounds, repetitions, round(1000 * slower)])
    counts: Counter[Outcome] = Counter()
    for repetition in range(repetitions):
        same = scripted(rng, rounds, 1.0, jitter)
        both = scripted(rng, rounds, slower, jitter)
        found = judge_latency(same(), both(), both, seed=repetition)
        counts[found.outcome] += 1
    return counts


_ORDER = (Outcome.PASS, Outcome.REGRESSION, Outcome.INCONCLUSIVE)


def lines(repetitions: int, replicates: int) -> Iterator[str]:
    """Yields the table's lines as they are measured."""
    how = {"repetitions": repetitions, "replicates": replicates}
    for n in (ALL, INADEQUATE):
        counts = repeated(EQUAL, n, **how)
        yield _line("no difference, margins", "gate of 4 rules", n, counts["gate"])
        for name in MARGINS:
            yield _line("no difference, margins", name, n, counts[name])
    counts = repeated(EQUAL, ALL, no_worse=True, seed=1, **how)
    yield _line("no difference, no worse", "gate of 4 rules", ALL, counts["gate"])
    for name in MARGINS:
        yield _line("no difference, no worse", name, ALL, counts[name])
    for case, models in (("loss of the margin", AT_MARGIN), ("loss of twice the margin", WORSE)):
        for name, worse in models.items():
            for n in (ADEQUATE[name], INADEQUATE):
                counts = repeated(worse, n, wanted=(name,), seed=2, **how)
                yield _line(case, name, n, counts[name])
    for rounds, jitter in ((ROUNDS, 0.01), (MIN_ROUNDS, 0.01), (ROUNDS, 0.06)):
        for what, slower in (("no difference", 1.0), ("loss of twice the margin", 1.1)):
            latency = repeated_latency(slower, jitter, repetitions, rounds=rounds)
            yield _line(what, f"latency, jitter {jitter:.0%}", f"{rounds} rounds", latency)


def _line(case: str, name: str, n: int | str, counts: Counter[Outcome]) -> str:
    total = sum(counts.values())
    shares = " | ".join(f"{100 * counts[outcome] / total:.1f} %" for outcome in _ORDER)
    return f"| {case} | {name} | {n} | {shares} |"


_HEAD = """\
Outcomes over {repetitions} repetitions each; standard error at 5 %: {error:.2f} points. Two models
answer the same samples, correlated by {correlation}.
Margins: {margins}; latency 5 %.
The gate of four rules is the family: a regression there is any of the four, Holm-adjusted.
Bootstraps with {replicates} replicates (the command takes 2,000).
Made by `benchmarks/gate_simulation.py` in {seconds:.0f} s.

Budgets: with no difference, regression of the family at most 5 % + 3 standard errors
({limit:.2f} %), and of each number likewise with a loss of exactly the margin; with a loss of twice
the margin at adequate n, regression at least 90 %; at inadequate n, inconclusive, not pass.

| truth | number | n | pass | regression | inconclusive |
| --- | --- | ---: | ---: | ---: | ---: |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--replicates", type=int, default=400)
    options = parser.parse_args()
    start, table = time.perf_counter(), []
    for line in lines(options.repetitions, options.replicates):
        print(line, file=sys.stderr, flush=True)
        table.append(line)
    error = 100 * (0.05 * 0.95 / options.repetitions) ** 0.5
    text = _HEAD.format(
        repetitions=f"{options.repetitions:,}", error=error, correlation=CORRELATION,
        margins=", ".join(f"{name} {100 * size:g} points" for name, size in MARGINS.items()),
        replicates=options.replicates, seconds=time.perf_counter() - start, limit=5 + 3 * error,
    )  # fmt: skip
    publish("gate-simulation", "Gate: how often it is wrong", [text, *table], "numpy", "scipy")


if __name__ == "__main__":
    main()
