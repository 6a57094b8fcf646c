"""The benchmark's simulation, small: how often is a gate wrong?"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from crucibench.gating.result import Outcome

_PATH = Path(__file__).parents[3] / "benchmarks" / "gate_simulation.py"
REPETITIONS = 300
LIMIT = 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)
CHEAP = ("accuracy", "auroc")


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate_simulation", _PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(_PATH.parent))
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return module


def share(counts: Counter[Outcome], outcome: Outcome) -> float:
    return counts[outcome] / sum(counts.values())


@pytest.mark.parametrize("no_worse", [False, True])
@pytest.mark.parametrize("n", [120, 1500])
def test_without_a_difference_a_regression_is_rare(
    simulation: ModuleType, n: int, no_worse: bool
) -> None:
    counts = simulation.repeated(simulation.EQUAL, n, REPETITIONS, wanted=CHEAP, no_worse=no_worse)[
        "gate"
    ]
    assert share(counts, Outcome.REGRESSION) <= LIMIT


@pytest.mark.parametrize("name", CHEAP)
def test_a_loss_of_twice_the_margin_is_found_at_adequate_n_and_never_passes(
    simulation: ModuleType, name: str
) -> None:
    worse = simulation.WORSE[name]
    enough = simulation.repeated(worse, 3000, 100, wanted=(name,))[name]
    assert share(enough, Outcome.REGRESSION) >= 0.9
    at_margin = simulation.AT_MARGIN[name]
    just = simulation.repeated(at_margin, 1000, REPETITIONS, wanted=(name,))[name]
    assert share(just, Outcome.REGRESSION) <= LIMIT
    few = simulation.repeated(worse, 150, REPETITIONS, wanted=(name,))[name]
    assert share(few, Outcome.PASS) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / REPETITIONS)
    assert few.most_common(1)[0][0] is Outcome.INCONCLUSIVE


def test_bootstrapped_numbers_too(simulation: ModuleType) -> None:
    both = ("ece", "gap")
    none = simulation.repeated(simulation.EQUAL, 600, 60, wanted=both, replicates=200)["gate"]
    assert none[Outcome.REGRESSION] <= 8
    for name in both:
        lost = simulation.repeated(
            simulation.WORSE[name], simulation.ADEQUATE[name], 20, wanted=(name,), replicates=200
        )[name]
        assert share(lost, Outcome.REGRESSION) >= 0.85


def test_scripted_latency(simulation: ModuleType) -> None:
    same = simulation.repeated_latency(1.0, 0.01, 60)
    assert share(same, Outcome.REGRESSION) <= 0.05 and share(same, Outcome.PASS) >= 0.9
    assert share(simulation.repeated_latency(1.1, 0.01, 60), Outcome.REGRESSION) >= 0.9
    noisy = simulation.repeated_latency(1.1, 0.06, 60)
    assert share(noisy, Outcome.INCONCLUSIVE) >= 0.5 and not noisy[Outcome.PASS]
