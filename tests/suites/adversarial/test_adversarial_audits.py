"""Audits: planted defences are found out, honest models are left alone, and probes stay cheap."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from crucibench.contracts.records import Records, to_table
from crucibench.contracts.statistic import at_common_effort
from crucibench.contracts.verdict import Severity, Verdict, verdict_of
from crucibench_suites.adversarial import known_answers
from crucibench_suites.adversarial.audits import cause, queries
from crucibench_suites.adversarial.audits.probed import beyond
from crucibench_suites.adversarial.probing.choosing import MOST_SAMPLES, PROBE, SHARE, choose
from crucibench_suites.adversarial.probing.collecting import computes_gradients
from crucibench_suites.adversarial.protocol import SECOND
from crucibench_suites.adversarial.scenario import Quick, Rand
from crucibench_suites.adversarial.scoring import read_outcomes
from crucibench_suites.adversarial.threat import ThreatModel

sys.path.append(str(Path(__file__).parent))
from defences import DEFENCES, Wrapped, straight_through
from small_models import Cast, digits, train

sys.path.pop()

pytestmark = pytest.mark.slow

N = 24
THREAT = {"norm": "linf", "eps": (0.05, 0.15), "steps": 12, "targets": 2, "queries": 40}


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, np.ndarray]:
    _, _, x, y = digits()
    return x[:N], y[:N]


@pytest.fixture(scope="module")
def mlp() -> nn.Module:
    return train("mlp", 0)


@pytest.fixture
def attacked(drive: Any, plain: Any, images: Any) -> Any:
    """Attacks a model; returns the scenario and the evidence."""

    def run(model: nn.Module, **threat: Any) -> Any:
        scenario = Quick.of("adversarial", ThreatModel(**{**THREAT, **threat}))
        torch.manual_seed(0)
        return scenario, drive(scenario, plain(model, 10), *images)

    return run


def _codes(run: Any) -> dict[str, Severity]:
    scenario, evidence = run
    return {one.code: one.severity for one in scenario.audit(evidence)}


_EXPECTED = {
    "saturation": "zero-gradients",
    "quantised-input": "zero-gradients",
    "quantised-straight-through": "quantised-input",
    "noise-layer": "random-under-attack",
    "shattered-gradient": "shattered-gradients",
    "dead-gradient": "planted-example-missed",
    "gives-up": "same-answer-to-odd-inputs",
    "random-augmentation": "random-under-attack",
    "vote-over-augmentations": "unbounded-attack-fails",
    "softmax": "probabilities-as-logits",
    "abstains": "abstains-under-attack",
    "purifies": "gradients-in-forward",
    "wrong-gradient": "gradient-disagrees-with-differences",
    "not-a-number": "gradients-not-finite",
    "vanishing-gradient": "vanishing-gradients",
}


_NO_MATTER = {"quantised-straight-through", "gives-up", "softmax", "vanishing-gradient"}
"""Causes for a second opinion, which finds that the attacks were none the worse for them."""


@pytest.mark.parametrize("name", list(_EXPECTED))
def test_planted_defences_are_found_out(attacked: Any, mlp: Any, images: Any, name: str) -> None:
    scenario, evidence = attacked(DEFENCES[name](mlp, images[0]))
    findings = scenario.audit(evidence)
    assert _EXPECTED[name] in {one.code for one in findings}
    assert (verdict_of(findings) is Verdict.VALID) == (name in _NO_MATTER)
    for one in findings:
        assert one.evidence, one.code
        assert one.message == one.message.strip()


@pytest.mark.parametrize(
    ("architecture", "adversarial", "coarse", "norm"),
    [
        ("linear", False, False, "linf"),
        ("mlp", False, False, "l2"),
        ("mlp", True, False, "linf"),
        ("deep-mlp", False, True, "linf"),
        ("deep-mlp", True, True, "l2"),
        ("cnn", False, False, "linf"),
    ],
)
def test_honest_models_are_left_alone(
    attacked: Any, architecture: Any, adversarial: bool, coarse: bool, norm: str
) -> None:
    model = train(architecture, 3, adversarial=adversarial, steps=100)
    eps = {"linf": (0.03, 0.12), "l2": (0.3, 0.8)}[norm]
    run = attacked(Cast(model) if coarse else model, norm=norm, eps=eps)
    assert _codes(run) == {}
    outcomes = read_outcomes(run[0].series, run[1])
    assert outcomes.robust(1).sum() < outcomes.robust(0).sum()
    assert (run[1].own.records.frame()["attack"] == PROBE).sum() > 3


_REPAIRED = ("dead-gradient", "wrong-gradient", "not-a-number", "saturation", "softmax")


@pytest.mark.parametrize("name", [*_REPAIRED, "turned", "half-hidden", "other-member", "no-graph"])
def test_the_second_opinion_repairs_the_number(attacked: Any, mlp: Any, name: str) -> None:
    others = [mlp, *(train("mlp", seed) for seed in (1, 2))]
    inner = {
        "turned": lambda: _Turned(mlp),
        "half-hidden": lambda: _Hidden(mlp),
        "other-member": lambda: _OneBackward(others),
        "no-graph": lambda: _NoGraph(mlp),
    }
    model = inner[name]() if name in inner else DEFENCES[name](mlp, torch.zeros(1))
    plain = _Mean(others) if name == "other-member" else mlp
    grid = (0.06, 0.08, 0.1, 0.12)
    robust = []
    for one in (plain, model):
        scenario, evidence = attacked(one, eps=grid, queries=150, steps=30)
        outcomes = read_outcomes(scenario.series, evidence)
        robust.append([int(outcomes.robust(at).sum()) for at in range(len(grid))])
    assert all(found <= true + 1 for true, found in zip(*robust, strict=True))


class _Turned(nn.Module):
    """Turns the gradient round near the boundary."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x)
        best = logits.topk(2, dim=1).values
        near = best[:, :1] - best[:, 1:] < 2
        return torch.where(near, 2 * logits.detach() - logits, logits)


class _NoGraph(nn.Module):
    """Answers without a graph."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.model(x)
        return logits


class _Hidden(nn.Module):
    """Keeps three quarters of the features from the gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        *first, self.head = model.children()
        self.features = nn.Sequential(*first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        logits: torch.Tensor = self.head(
            torch.cat([features[:, :32], features[:, 32:].detach()], 1)
        )
        return logits


class _Mean(nn.Module):
    """The mean of several networks."""

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([model(x) for model in self.models]).mean(0)


class _OneBackward(_Mean):
    """The mean of several networks, with the gradient of the first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return straight_through(self.models[0](x), super().forward(x))


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
def test_the_scale_of_logits_changes_no_verdict(attacked: Any, mlp: Any, factor: float) -> None:
    run = attacked(Wrapped(mlp, after=lambda z: factor * z))
    assert _codes(run) == {}
    plain = attacked(mlp)
    one, other = (read_outcomes(scenario.series, found) for scenario, found in (run, plain))
    assert np.abs(one.level - other.level).sum() <= 1


@pytest.mark.parametrize("kind", ["float16", "8 bits", "straight through", "idle dropout"])
def test_coarse_and_straight_through_networks_keep_their_verdict(
    attacked: Any, mlp: Any, kind: str
) -> None:
    made = {
        "float16": lambda: Wrapped(mlp, after=lambda z: z.half().float()),
        "8 bits": lambda: Wrapped(mlp, after=lambda z: straight_through(z, (4 * z).round() / 4)),
        "straight through": lambda: Wrapped(
            mlp, lambda x: straight_through(x, (64 * x).round() / 64)
        ),
        "idle dropout": lambda: nn.Sequential(mlp, nn.Dropout(0.5)).eval(),
    }
    scenario, evidence = attacked(made[kind]())
    assert verdict_of(scenario.audit(evidence)) is Verdict.VALID


class _FirstStepOnly(nn.Module):
    """Has a gradient where pixels are as they were, on a grid of 16 grey levels, and nowhere else.

    A step from the image itself leads to an example; attacks begin beside it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        clean = ((x * 16 - (x * 16).round()).abs().flatten(1).amax(1) < 1e-4).view(-1, 1, 1, 1)
        logits: torch.Tensor = self.model(torch.where(clean, x, x.detach() + 0 * x))
        return logits


def test_one_step_that_beats_many_is_told(attacked: Any, mlp: Any) -> None:
    codes = _codes(attacked(_FirstStepOnly(mlp), queries=1))
    assert "one-step-beats-many" in codes
    assert "zero-gradients" in codes  # beside the images


@pytest.fixture
def many(drive: Any, plain: Any) -> Any:
    """Attacks a model on 200 images: few passes a sample then are enough for probes."""

    def run(model: nn.Module, **threat: Any) -> Any:
        _, _, x, y = digits()
        scenario = Quick.of("adversarial", ThreatModel(**{**THREAT, **threat}))
        return scenario, drive(scenario, plain(model, 10), x[:200], y[:200], batch_size=200)

    return run


def test_attacks_that_stop_too_early_are_told(many: Any, mlp: Any) -> None:
    eps = (0.06, 0.08, 0.1, 0.12)
    early = _codes(many(mlp, steps=1, targets=2, queries=0, eps=eps))
    assert early["more-steps-gain"] == early["second-opinion-moves-number"] == Severity.SUSPECT
    assert _codes(many(mlp, queries=0, eps=eps)) == {}


class _HatesNoise(nn.Module):
    """Is wrong wherever pixels are not on a grid of 16 grey levels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x)
        odd = (x * 16 - (x * 16).round()).abs().flatten(1).amax(1) > 1e-3
        return torch.where(odd[:, None], logits.roll(1, 1), logits)


def test_models_that_fall_to_any_noise_are_told(many: Any, mlp: Any) -> None:
    assert "noise-does-as-well" in _codes(many(_HatesNoise(mlp), eps=(0.01, 0.02, 0.05, 0.1)))


class _Hides(nn.Module):
    """Dead gradients, and examples at two random corners in seven."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x.detach() + 0 * x)
        corner = (x * 1237).round().flatten(1).sum(1) % 7 < 2
        far = (x * 16 - (x * 16).round()).abs().flatten(1).amax(1) > 1e-3
        return torch.where((corner & far)[:, None], logits.roll(1, 1), logits)


def test_noise_that_beats_the_attacks_is_told(many: Any, mlp: Any) -> None:
    codes = _codes(many(_Hides(mlp), eps=(0.02,), steps=10, targets=1, queries=0))
    assert "noise-beats-attack" in codes


def test_random_models_under_averaged_gradients_are_as_expected(
    drive: Any, plain: Any, mlp: Any, images: Any
) -> None:
    threat = ThreatModel(norm="linf", eps=(0.05, 0.15), steps=6, targets=1, queries=0, eot=2)
    scenario = Rand.of("adversarial", threat)
    torch.manual_seed(0)
    model = DEFENCES["noise-layer"](mlp, images[0])
    codes = _codes((scenario, drive(scenario, plain(model, 10), *images)))
    assert codes["random-under-attack"] == Severity.INFO
    assert "gradient-disagrees-with-differences" not in codes


class _Counts(nn.Module):
    """Counts the images that it is asked about, and those whose gradients come back."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += len(x)
        if x.requires_grad:
            x.register_hook(self._back)
        logits: torch.Tensor = self.model(x)
        return logits

    def _back(self, gradient: torch.Tensor) -> None:
        self.backwards += len(gradient)


@pytest.mark.parametrize("defence", ["", "dead-gradient", "quantised-input", "temperature-1e4"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_probes_cost_what_they_say_and_at_most_a_quarter(
    attacked: Any, mlp: Any, images: Any, defence: str, norm: str
) -> None:
    model = DEFENCES[defence](mlp, images[0]) if defence else mlp
    eps = {"linf": (0.05, 0.15), "l2": (0.3, 1.0)}[norm]
    counts = _Counts(model)
    frame = attacked(counts, norm=norm, eps=eps)[1].own.records.frame()
    probes = frame[frame["attack"] == PROBE]
    assert len(probes) > 0
    # And the clean pass; what is asked about parts of the model, on noise, is not of samples.
    parts = counts.forwards - frame["forwards"].sum() - N
    again = int((frame["attack"] == "second-opinion").any())
    assert again == (defence in ("dead-gradient", "quantised-input"))
    assert (parts == 0) if not again else 0 < parts <= 19 * 12 * 3
    assert 0 <= counts.backwards - frame["backwards"].sum() <= parts
    cost = frame.groupby("attack")[["forwards", "backwards"]].sum().sum(axis=1)
    assert cost[PROBE] <= 0.25 * cost.drop(PROBE).sum()
    assert len(probes) <= 100


@pytest.mark.parametrize("spent", [0, 40, 300, 4000, 10**7])
@pytest.mark.parametrize("robust", [0, 3, 150, 400])
def test_few_are_chosen_and_those_that_withstand_come_first(spent: int, robust: int) -> None:
    threat = ThreatModel(norm="linf", eps=(0.1, 0.2), steps=40)
    n = 400
    right, level = np.arange(n) % 10 != 0, np.where(np.arange(n) < robust, 2, 0)
    half = np.array([spent // 2])
    records = Records(to_table({"id": ["a"], "forwards": half, "backwards": half}))
    chosen = choose(threat, right, level, [records])
    deep = chosen.carry["deep"]
    assert chosen.keep.sum() <= MOST_SAMPLES == 100
    assert SHARE == 0.25
    assert not (chosen.keep & ~right).any()
    assert not (deep & (~chosen.keep | (level == 0))).any()
    if spent == 10**7:
        falls = int((right & (level == 0)).sum())
        assert deep.sum() == min((right & (level > 0)).sum(), 100 - min(20, falls))
        assert chosen.keep.sum() == 100
    if spent == 0:
        assert not chosen.keep.any()


def test_gradients_inside_a_forward_pass_are_seen_whatever_their_way() -> None:
    layer = nn.Linear(4, 3)

    class Inner(nn.Module):
        def __init__(self, way: Any) -> None:
            super().__init__()
            self.way = way

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                seen = x.detach().clone().requires_grad_()
                moved = x + 0.1 * self.way(seen)
            logits: torch.Tensor = layer(moved)
            return logits

    def backward(seen: torch.Tensor) -> Any:
        layer(seen).square().sum().backward()
        return seen.grad

    def functional(seen: torch.Tensor) -> Any:
        return torch.func.grad(lambda one: layer(one).square().sum())(seen.detach())

    def grad(seen: torch.Tensor) -> Any:
        return torch.autograd.grad(layer(seen).square().sum(), seen)[0]

    x = torch.rand(5, 4)
    for way in (backward, functional, grad):
        assert computes_gradients(Inner(way), x)[1], way
    logits, inner = computes_gradients(Inner(lambda seen: layer(seen).sum(1, keepdim=True)), x)
    assert not inner
    assert not logits.requires_grad


def test_an_attack_that_failed_its_self_test_voids_the_numbers(attacked: Any, mlp: Any) -> None:
    scenario, evidence = attacked(mlp)
    probe = evidence.own.probes["self-test"]
    assert list(probe.ids) == ["apgd-ce", "apgd-t", "square", "second-opinion"]
    assert probe.array("passed").all()
    table = probe.table
    at = table.column_names.index("passed")
    failed = table.set_column(at, "passed", pa.array([True, False, True, True]))
    own = replace(evidence.own, probes={"self-test": Records(failed)})
    findings = scenario.audit(replace(evidence, own=own))
    assert [one.code for one in findings] == ["attack-fails-self-test"]
    assert findings[0].severity == Severity.INVALID
    assert findings[0].evidence["attack"] == "apgd-t"


def test_few_samples_are_no_few_findings() -> None:
    assert beyond(1, 1, 0.0)
    assert not beyond(1, 30, 0.0)
    assert beyond(2, 30, 0.05)
    assert not beyond(2, 60, 0.05)
    assert not beyond(0, 0, 0.0)


def test_a_straight_through_estimator_is_what_it_says() -> None:
    x = torch.rand(3).requires_grad_()
    assert torch.equal(straight_through(x, x.round()).detach(), x.detach().round())


def test_of_some_samples_it_is_asked_whether_anything_is_settled(
    attacked: Any, mlp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cause, "_SETTLED", 3)
    _, evidence = attacked(DEFENCES["dead-gradient"](mlp, torch.zeros(1)))
    frame = evidence.own.records.frame()
    told = frame.loc[frame["attack"] == SECOND, "unsettled"]
    assert len(told) > 3
    assert sorted(told)[-4:] == [-1, 0, 0, 0]


def test_models_are_compared_at_the_effort_that_both_had() -> None:
    """One lost two of its samples to a second opinion, which the other had no cause for."""
    second, none = known_answers._series(SECOND, 2), known_answers._series("square", 0)
    old, new = (
        next(one for one in case.scenario.numbers(case.evidence) if one.metric == "robust-accuracy")
        for case in (none, second)
    )
    assert (old.effort, new.effort) == ("", "second opinion")
    assert value_of_form(new.form) == 38 / 40
    assert [value_of_form(one) for one in at_common_effort([old, new])] == [1.0, 1.0]
    assert [value_of_form(one) for one in at_common_effort([new, new])] == [38 / 40, 38 / 40]


def value_of_form(form: Any) -> float:
    return float(form.hits.mean())


@pytest.mark.parametrize(
    ("ratio", "samples", "asked", "told"),
    [(0.9, 10, 100, True), (0.899, 10, 100, False), (0.9, 9, 100, False), (0.9, 10, 99, False)],
)
def test_examples_that_come_no_nearer_are_told_from_the_threshold_on(
    monkeypatch: pytest.MonkeyPatch, ratio: float, samples: int, asked: int, told: bool
) -> None:
    spent = SimpleNamespace(
        queries=np.full(samples, asked), first=np.ones(samples), distance=np.full(samples, ratio)
    )
    monkeypatch.setattr(queries, "read_spent", lambda *_: spent)
    found = queries.nearing(None, None)  # type: ignore[arg-type]
    assert [one.evidence["ratio"] for one in found] == [ratio] * told
