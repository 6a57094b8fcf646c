"""What holds for every model: Hypothesis chooses networks, radii, batches and orders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crucibench.metrics.scoring import score
from crucibench_suites.adversarial.probing.choosing import PROBE
from crucibench_suites.adversarial.scenario import Quick, Standard
from crucibench_suites.adversarial.scoring import read_outcomes, weighted_median
from crucibench_suites.adversarial.threat import ThreatModel, point_of

N = 16
_FEW = settings(max_examples=4, deadline=None)


def _network(seed: int, classes: int) -> tuple[nn.Module, torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 25, classes)
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    x = torch.rand((N, 1, 5, 5), generator=generator)
    y = model(x).argmax(1).numpy()
    y[::7] = (y[::7] + 1) % classes
    return model, x, y


def _threat(norm: Any, eps: Any, seed: int | None = None) -> Any:
    return ThreatModel(norm=norm, eps=eps, steps=8, targets=2, queries=30, seed=seed)


_CASES = given(
    seed=st.integers(0, 10_000),
    classes=st.sampled_from([2, 3, 6]),
    norm=st.sampled_from(["linf", "l2"]),
    scale=st.floats(0.02, 0.6),
)


@_FEW
@_CASES
def test_robust_is_at_most_clean_and_falls_with_eps(
    drive: Any, plain: Any, seed: int, classes: int, norm: Any, scale: float
) -> None:
    model, x, y = _network(seed, classes)
    grid = (0.0, 0.25 * scale, 0.5 * scale, scale)
    scenario = Standard.of("adversarial", _threat(norm, grid))
    evidence = drive(scenario, plain(model, classes), x, y)
    outcomes = read_outcomes(scenario.series, evidence)
    np.testing.assert_array_equal(outcomes.robust(0), outcomes.right)  # eps = 0 is the identity
    for at in range(1, len(grid)):
        assert not (outcomes.robust(at) & ~outcomes.robust(at - 1)).any()
    for row in score(scenario, evidence).rows:
        assert row.point in scenario.points
    # The ensemble is the worst case of each sample: no better than after any of its stages.
    for stage in scenario.series.stages:
        for at in range(len(grid)):
            assert not (outcomes.robust(at) & ~outcomes.robust(at, stage)).any()
    broken = outcomes.right & (outcomes.level < len(grid))
    radius = np.array(grid)[outcomes.level[broken]]
    assert (outcomes.distance[broken] <= radius).all()
    assert (outcomes.prediction[broken] != y[broken]).all()


@_FEW
@_CASES
def test_batches_and_order_change_nothing(
    drive: Any, plain: Any, seed: int, classes: int, norm: Any, scale: float
) -> None:
    model, x, y = _network(seed, classes)
    # In float64, sums of another order are the same but for what float32 inputs hide.
    scenario = Quick.of("adversarial", _threat(norm, (0.4 * scale, scale)))
    model = _Doubled(model.double())
    whole = read_outcomes(scenario.series, drive(scenario, plain(model, classes), x, y))
    order = np.random.default_rng(seed).permutation(N)
    parts = drive(scenario, plain(model, classes), x, y, batch_size=5, order=order)
    again = read_outcomes(scenario.series, parts)
    np.testing.assert_array_equal(again.level, whole.level[order])
    np.testing.assert_allclose(again.distance, whole.distance[order], rtol=1e-3)


class _Doubled(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x.double()).float()


class _Watched(nn.Module):
    """Counts what it is asked, and refuses what is outside ball or box."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.asked, self.low, self.high = model, 0, 0.0, 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        seen = x.detach()
        self.low = min(self.low, float(seen.min()))
        self.high = max(self.high, float(seen.max()))
        assert torch.isfinite(x).all()
        logits: torch.Tensor = self.model(x)
        return logits


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_inputs_stay_in_the_box_and_every_pass_is_counted(
    drive: Any, plain: Any, norm: Any
) -> None:
    model, x, y = _network(3, 4)
    watched = _Watched(model)
    scenario = Standard.of("adversarial", _threat(norm, (0.05, 0.2)))
    evidence = drive(scenario, plain(watched, 4), x, y)
    outcomes = read_outcomes(scenario.series, evidence)
    frame = evidence.own.records.frame()
    assert watched.asked == frame["forwards"].sum() + N  # and the clean pass
    attacks = frame[frame["attack"] != PROBE]
    assert attacks["forwards"].sum() == outcomes.spent["forwards"].sum()
    assert watched.low == 0.0
    assert watched.high <= 1.0
    assert (outcomes.spent["queries"] <= outcomes.spent["forwards"]).all()


def test_seed_of_the_threat_overrides_the_runs(drive: Any, plain: Any) -> None:
    model, x, y = _network(5, 3)
    scenario = Quick.of("adversarial", _threat("linf", (0.1,), seed=4))
    tables = [
        drive(scenario, plain(model, 3), x, y, seed=seed).own.records.frame() for seed in (0, 1)
    ]
    assert tables[0].equals(tables[1])


def test_a_curve_agrees_with_single_runs_and_costs_no_more_than_half_again(
    drive: Any, plain: Any
) -> None:
    model, x, y = _network(8, 4)
    grid = (0.01, 0.03, 0.05, 0.08)
    curve = Standard.of("adversarial", _threat("linf", grid))
    whole = read_outcomes(curve.series, drive(curve, plain(model, 4), x, y))
    costs = []
    for at, eps in enumerate(grid):
        single = Standard.of("adversarial", _threat("linf", (eps,)))
        alone = read_outcomes(single.series, drive(single, plain(model, 4), x, y))
        assert whole.robust(at).sum() <= alone.robust(0).sum()
        costs.append(alone.spent["forwards"].sum())
    assert 0 < whole.robust(3).sum() < whole.robust(0).sum()
    assert whole.spent["forwards"].sum() <= 1.5 * max(costs)


def test_points_are_named_as_people_write_them() -> None:
    assert [point_of(eps) for eps in (0.1, 8 / 255, 0.0, 0.5, 3.0)] == [
        "eps=0.1", "eps=8/255", "eps=0", "eps=0.5", "eps=3",
    ]  # fmt: skip


def test_threat_models_are_checked() -> None:
    assert ThreatModel(norm="linf", eps=("8/255", 0.01)).eps == (0.01, 8 / 255)
    for wrong, words in (
        ({"eps": (8.0,)}, "is it 8/255"),
        ({"eps": (-0.1,)}, "not negative"),
        ({"eps": (0.1, 0.1)}, "each number once"),
        ({"eps": ()}, "at least 1"),
        ({"eps": (0.1,), "norm": "l0"}, "linf"),
        ({"eps": (0.1,), "steps": 0}, "greater than or equal to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            ThreatModel(**{"norm": "linf", **wrong})


class _Saturated(nn.Module):
    """Logits times 10,000: a defence that is none; cross-entropy's gradient is 0 in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x) * 1e4
        return logits


def test_a_scale_of_logits_defends_nothing(drive: Any, plain: Any) -> None:
    model, x, y = _network(11, 3)
    scenario = Quick.of("adversarial", _threat("linf", (0.02, 0.05)))
    plainly = read_outcomes(scenario.series, drive(scenario, plain(model, 3), x, y))
    saturated = read_outcomes(scenario.series, drive(scenario, plain(_Saturated(model), 3), x, y))
    assert plainly.robust(0).sum() < plainly.right.sum()
    assert abs(int(saturated.robust(1).sum()) - int(plainly.robust(1).sum())) <= 1


class _Masked(nn.Module):
    """Answers as the model does, with a gradient of zero."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x.detach() + 0 * x)
        return logits


def test_masked_gradients_are_found_out_by_square(drive: Any, plain: Any) -> None:
    model, x, y = _network(3, 3)
    threat = ThreatModel(norm="linf", eps=(0.03, 0.06), steps=8, targets=2, queries=300)
    scenario = Quick.of("adversarial", threat)
    found = scenario.audit(drive(scenario, plain(_Masked(model), 3), x, y))
    assert "black-box-beats-gradients" in [finding.code for finding in found]
    honest = scenario.audit(drive(scenario, plain(model, 3), x, y))
    assert honest == []


class _OtherInHalf(nn.Module):
    """Gives up where it computes in bfloat16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.asked = model, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x)
        if not torch.is_autocast_enabled("cpu"):
            return logits
        assert logits.dtype == torch.bfloat16
        self.asked += len(x)
        return -logits


@pytest.mark.parametrize("norm", ["linf", pytest.param("l2", marks=pytest.mark.thorough)])
def test_what_only_bfloat16_breaks_is_attacked_in_float32(
    drive: Any, plain: Any, norm: Any
) -> None:
    model, x, y = _network(3, 4)
    other = _OtherInHalf(model)
    grid = (0.02, 0.05, 0.3)
    exact = Quick.of("adversarial", _threat(norm, grid), precision="fp32")
    lowered = Quick.of("adversarial", _threat(norm, grid), precision="bf16")
    auto = Quick.of("adversarial", _threat(norm, grid))  # on a CPU, as fp32
    wanted = read_outcomes(exact.series, drive(exact, plain(other, 4), x, y))
    same = read_outcomes(auto.series, drive(auto, plain(other, 4), x, y))
    assert other.asked == 0
    found = read_outcomes(lowered.series, drive(lowered, plain(other, 4), x, y))
    assert other.asked > 0
    assert 0 < wanted.robust(0).sum() < N
    np.testing.assert_array_equal(same.level, wanted.level)
    np.testing.assert_array_equal(found.level, wanted.level)
    assert found.examples[1] == 0


def test_filters_are_what_they_were_after_an_attack(drive: Any, plain: Any) -> None:
    model, x, y = _network(3, 4)
    before = [(one.data_ptr(), one.stride(), one.requires_grad) for one in model.parameters()]
    scenario = Quick.of("adversarial", _threat("linf", (0.05,)))
    drive(scenario, plain(model, 4), x, y)
    assert before == [
        (one.data_ptr(), one.stride(), one.requires_grad) for one in model.parameters()
    ]


class _Moody(nn.Module):
    """Answers the plain question rightly, and gives up while a gradient is asked for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x)
        return -logits if x.requires_grad else logits


def test_examples_that_the_plain_model_does_not_confirm_are_told(drive: Any, plain: Any) -> None:
    model, x, y = _network(3, 3)
    scenario = Quick.of("adversarial", _threat("linf", (1e-4,)))
    evidence = drive(scenario, plain(_Moody(model), 3), x, y)
    assert "unconfirmed-examples" in [one.code for one in scenario.audit(evidence)]
    outcomes = read_outcomes(scenario.series, evidence)
    np.testing.assert_array_equal(outcomes.robust(0), outcomes.right)


def test_outcomes_say_what_the_rows_say(drive: Any, plain: Any) -> None:
    model, x, y = _network(3, 4)
    scenario = Quick.of("adversarial", _threat("l2", (0.1, 0.4)))
    evidence = drive(scenario, plain(model, 4), x, y)
    rows = {(row.metric, row.point): row for row in score(scenario, evidence).rows}
    view = scenario.outcomes(evidence)
    targets = dict(zip(evidence.own.samples.ids, evidence.own.samples.targets, strict=True))
    truth = np.array([targets[identity] for identity in view.ids])
    np.testing.assert_array_equal(view.correct == 1, view.prediction == truth)
    for eps in scenario.threat.eps:
        at = view.point == point_of(eps)
        assert rows["robust-accuracy", point_of(eps)].value == view.correct[at].mean()
    curve = [rows["clean-accuracy", ""].value] + [
        rows["robust-accuracy", point_of(eps)].value for eps in scenario.threat.eps
    ]
    area = np.trapezoid(curve, [0.0, *scenario.threat.eps]) / scenario.threat.eps[-1]
    assert rows["robust-accuracy-area", ""].value == pytest.approx(area)


def test_a_weighted_median_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(0)
    values = np.round(rng.exponential(size=15), 1)
    values[:3] = np.inf
    among = rng.random(15) < 0.8
    weights = rng.integers(0, 4, (50, 15)).astype(np.float64)
    found = weighted_median(values, among)(weights)
    for row, own in zip(found, weights, strict=True):
        expected = np.median(np.repeat(values[among], own[among].astype(int)))
        assert row == expected or (np.isnan(row) and np.isinf(expected))
    assert np.isnan(weighted_median(values, among)(np.zeros((1, 15)))).all()
