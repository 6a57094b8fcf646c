"""foolbox's attacks by name: the table, closed forms, our own checks, seeds, refusals."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from crucibench.contracts.records import Records, to_table
from crucibench.contracts.scenario import MapContext, Work
from crucibench.metrics.scoring import score
from crucibench.util.draws import Draws
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.config import AdversarialConfig
from crucibench_suites.adversarial.foolbox_names import (
    FIXED,
    MINIMAL,
    NEEDS_DISTANCE,
    NEEDS_NUMBA,
    FoolboxName,
)
from crucibench_suites.adversarial.named import NamedAttack
from crucibench_suites.adversarial.of_foolbox import FoolboxAttack, seeded
from crucibench_suites.adversarial.protocol import SELF_TEST
from crucibench_suites.adversarial.scoring import read_outcomes
from crucibench_suites.adversarial.self_test import SelfTestResult

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of SciPy, at what foolbox imports
    import foolbox
    from foolbox.attacks import base

_spec = importlib.util.spec_from_file_location("exact", Path(__file__).parent / "exact.py")
assert _spec is not None and _spec.loader is not None
exact = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(exact)

GRIDS = {"linf": (0.01, 0.03, 0.06), "l2": (0.03, 0.1, 0.2)}
LEFT_OUT = {
    "GenAttack", "DatasetAttack", "PointwiseAttack", "BinarizationRefinementAttack",
    "GaussianBlurAttack", "VirtualAdversarialAttack",
}  # fmt: skip


PASSED = SelfTestResult(
    attack="foolbox", norm="linf", kind="within", passed=True, ratio=1.0, tolerance=1.5, found=1.0,
    optimum=0.02, samples=1, versions={}, reason="", distances=np.zeros(1),
)  # fmt: skip


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the self-tests, which have a test of their own."""
    monkeypatch.setattr("crucibench_suites.adversarial.self_test._tested", lambda *_: PASSED)


def _scenario(text: str, norm: Any, **settings: Any) -> NamedAttack:
    settings = {"force": False, "limit": None, **settings}
    grid = settings.pop("grid", GRIDS[norm])
    return NamedAttack.of_foolbox(
        "adversarial", FoolboxName.parse(text), (norm, grid, None), **settings
    )


def test_the_table_is_what_the_installed_foolbox_has() -> None:
    distances = {"linf": foolbox.distances.linf, "l2": foolbox.distances.l2}
    known = {name for names in (*FIXED.values(), *MINIMAL.values()) for name in names}
    for name, made in inspect.getmembers(foolbox.attacks, inspect.isclass):
        if not issubclass(made, base.AttackWithDistance) or name in LEFT_OUT:
            continue
        if name in NEEDS_DISTANCE:
            assert issubclass(made, base.MinimizationAttack)
            continue
        if "BrendelBethge" in name or inspect.isabstract(made):
            continue  # it needs numba to be made
        fixed = issubclass(made, base.FixedEpsilonAttack)
        own = [norm for norm in distances if made().distance == distances[norm]]
        expected = [norm for norm, names in (FIXED if fixed else MINIMAL).items() if name in names]
        assert own == expected, name
        known.discard(name)
    assert known == NEEDS_NUMBA | NEEDS_DISTANCE


@pytest.mark.parametrize(
    ("text", "norm", "exactly"),
    [
        ("foolbox:LInfFMNAttack", "linf", True),
        ("foolbox:L2DeepFoolAttack?overshoot=0.001", "l2", True),
        ("foolbox:LinfPGD", "linf", False),
        ("foolbox:L2PGD", "l2", False),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_linear_models_give_the_closed_form(
    drive: Any, plain: Any, linear: Any, text: str, norm: Any, exactly: bool
) -> None:
    model, x, y = linear(2, boxed=False, n=20)
    scenario = _scenario(text, norm)
    evidence = drive(scenario, plain(model, 2), x, y)
    outcomes = read_outcomes(scenario.series, evidence)
    weight, bias = (part.detach().double().numpy() for part in (model.weight, model.bias))
    truth = exact.distances(weight, bias, x.flatten(1).numpy(), y, norm, boxed=True)
    for at, eps in enumerate(GRIDS[norm]):
        # No attack breaks what can't be broken; a good one breaks what can, but for a margin.
        robust = outcomes.robust(at)
        assert robust[outcomes.right & (truth > eps * 1.0001)].all()
        assert robust[outcomes.right & (truth < eps / 1.4)].sum() <= 2
    found = np.isfinite(outcomes.distance) & outcomes.right
    assert found.sum() > 5
    assert (outcomes.distance[found] >= truth[found] * (1 - 1e-4)).all()
    if exactly:
        assert np.median(outcomes.distance[found] / truth[found]) < 1.05
    records = evidence.own.records
    assert (records.array("forwards") > 0).all()
    assert (records.array("backwards") > 0).all()
    assert (records.array("queries") == 0).all()
    rows = score(scenario, evidence).rows
    assert {row.metric for row in rows} <= {info.id for info in scenario.metrics}


@pytest.mark.usefixtures("trusted")
def test_radii_are_asked_from_the_smallest_and_the_broken_leave(
    drive: Any, plain: Any, linear: Any
) -> None:
    model, x, y = linear(2, boxed=False, n=20)
    scenario = _scenario("foolbox:LinfPGD?steps=10", "linf", grid=(0.02, 0.05, 0.2))
    records = drive(scenario, plain(model, 2), x, y).own.records
    level = records.array("level")
    assert len(set(level)) > 1
    spent = records.array("forwards") - records.array("confirmations")
    per_radius = spent / np.minimum(level + 1, 3)
    assert per_radius.min() == per_radius.max() >= 10


class _Outside:
    """An attack that answers with what is out of the box, out of the ball, or no number."""

    access, nearest = "white-box", False

    def __init__(self, named: FoolboxName, norm: Any) -> None:
        pass

    def run(self, given: Any) -> Any:
        wrong = given.points.x.clone()
        wrong[0::3] = torch.nan
        wrong[1::3] = -1.0
        wrong[2::3] = (wrong[2::3] + 0.5).clamp(0, 1)
        return wrong


@pytest.mark.usefixtures("trusted")
def test_nothing_counts_that_our_own_checks_refuse(
    drive: Any, plain: Any, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench_suites.adversarial.of_foolbox.FoolboxAttack", _Outside)
    model, x, y = linear(2, boxed=False, n=20)
    scenario = _scenario("foolbox:LinfPGD", "linf")
    evidence = drive(scenario, plain(model, 2), x, y)
    outcomes = read_outcomes(scenario.series, evidence)
    np.testing.assert_array_equal(outcomes.robust(2), outcomes.right)


@pytest.mark.usefixtures("trusted")
def test_it_is_seeded_by_the_ids_of_the_batch(drive: Any, plain: Any, linear: Any) -> None:
    model, x, y = linear(2, boxed=False, n=20)
    scenario = _scenario("foolbox:LinfRepeatedAdditiveUniformNoiseAttack?repeats=5", "linf")
    assert scenario.draws == "batch"
    tables = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(tables))
        before = torch.random.get_rng_state()
        tables.append(drive(scenario, plain(model, 2), x, y, seed=seed).own.records.frame())
        assert torch.equal(before, torch.random.get_rng_state())
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    assert (tables[0]["queries"] > 0).all()
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    with seeded(Draws(0, "t"), ("a", "b"), "step"):
        np.random.rand()
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # type: ignore[index]


def test_a_broken_attack_is_refused_unless_it_is_forced(
    drive: Any, plain: Any, linear: Any
) -> None:
    """foolbox's L2FMNAttack divides norms by themselves where it should project."""
    model, x, y = linear(2, boxed=False, n=6)
    context = MapContext(plain(model, 2), Draws(0, "t"))
    nothing: Any = Work(None, None, {})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"L2FMNAttack: .* times as far away .*force: true"):
        _scenario("foolbox:L2FMNAttack", "l2").probe(nothing, context)
    forced = _scenario("foolbox:L2FMNAttack", "l2", force=True)
    evidence = drive(forced, plain(model, 2), x, y)
    probes = evidence.own.probes

    def found(probes: Any) -> Any:
        return forced.audit(replace(evidence, own=replace(evidence.own, probes=probes)))

    (finding,) = found(probes)
    assert (finding.code, str(finding.severity)) == ("attack-fails-self-test", "suspect")
    assert finding.evidence["ratio"] > 3
    good = _scenario("foolbox:LInfFMNAttack", "linf").probe(nothing, context)
    assert found({SELF_TEST: Records(to_table(good[SELF_TEST]))}) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"attacks": "foolbox:LinfPDG"}, "did you mean 'foolbox:LinfPGD'"),
        ({"attacks": "LinfPGD"}, "did you mean 'foolbox:LinfPGD'"),
        ({"attacks": "foolbox:L2PGD"}, "is an attack in l2, not in linf"),
        ({"attacks": ["foolbox:LinfPGD", "foolbox:LinfPGD?steps=5"]}, "each attack once"),
        ({"attacks": "foolbox:LinfPGD?steps"}, "expected .OPTION=VALUE"),
        ({"eps": "0.1,8"}, "so that linf goes up to 1; got 8"),
        ({"eps": -1}, "not negative, got -1"),
        ({"eps": 0.1, "norm": ["linf", "l2"]}, "name one norm"),
        ({"norm": ["l2", "l2"]}, "expected each once"),
    ],
)
def test_settings_that_are_refused(settings: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        AdversarialConfig.model_validate(settings)


def test_settings_as_a_command_line_gives_them() -> None:
    config = AdversarialConfig.model_validate({"eps": "0.1,8/255", "attacks": "foolbox:LinfPGD"})
    assert config.eps == (0.1, 8 / 255)
    assert [str(FoolboxName.parse(text)) for text in config.attacks] == ["foolbox:LinfPGD"]
    assert FoolboxName.parse("foolbox:LinfPGD?steps=5&random_start=false").options == (
        ("random_start", False), ("steps", 5),
    )  # fmt: skip


def test_options_and_packages_are_looked_at_before_a_run() -> None:
    AdversarialConfig(attacks=("foolbox:LinfPGD?steps=5",)).check_installed()
    with pytest.raises(InputError, match=r"expected options of abs_stepsize, .*, got 'stepz'"):
        AdversarialConfig(attacks=("foolbox:LinfPGD?stepz=5",)).check_installed()
    if importlib.util.find_spec("numba") is None:
        with pytest.raises(InputError, match=r"needs numba.*: pip install numba"):
            FoolboxAttack(FoolboxName.parse("foolbox:L2BrendelBethgeAttack"), "l2")
