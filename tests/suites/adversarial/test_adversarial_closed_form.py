"""Linear models: robust accuracy and minimal distances are those of the closed form."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, linprog, minimize
from scipy.stats import norm as gaussian

from crucibench.metrics.scoring import score
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks import square as square_module
from crucibench_suites.adversarial.attacks.apgd import _Ascent, apgd, apgd_targeted, checkpoints
from crucibench_suites.adversarial.attacks.fab import BETA, ETA, fab_targeted, onto_hyperplane
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    frozen,
    length,
    onto_l1_ball,
)
from crucibench_suites.adversarial.attacks.square import square
from crucibench_suites.adversarial.scenario import Standard
from crucibench_suites.adversarial.scoring import read_outcomes
from crucibench_suites.adversarial.threat import ThreatModel

_spec = importlib.util.spec_from_file_location("exact", Path(__file__).parent / "exact.py")
assert _spec is not None and _spec.loader is not None
exact = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(exact)

NORMS = ("linf", "l2", "l1")


def _points(model: Any, x: Any, y: Any, eps: Any, norm: Any) -> Any:
    right = model(x).argmax(1).numpy() == y
    rows = np.flatnonzero(right)
    return ImagePoints(
        x=x[torch.from_numpy(rows)],
        y=torch.from_numpy(y[rows]),
        eps=torch.full((len(rows),), eps),
        ids=tuple(f"id{row}" for row in rows),
        norm=norm,
    )


def _truth(model: Any, points: Any, *, boxed: bool) -> Any:
    weight, bias = (part.detach().numpy().astype(np.float64) for part in (model.weight, model.bias))
    flat = points.x.flatten(1).numpy()
    return exact.distances(weight, bias, flat, points.y.numpy(), points.norm, boxed=boxed)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("boxed", [False, True])
def test_series_equals_closed_form_at_every_eps(
    drive: Any, plain: Any, linear: Any, norm: Any, classes: int, boxed: bool
) -> None:
    model, x, y = linear(classes, boxed=boxed, n=24)
    grid = {"linf": (0.01, 0.03, 0.06), "l2": (0.03, 0.1, 0.2), "l1": (0.05, 0.2, 0.4)}[norm]
    grid = tuple(3 * eps for eps in grid) if boxed else grid
    threat = ThreatModel(norm=norm, eps=grid, steps=40, queries=10)
    scenario = Standard.of("adversarial", threat)
    outcomes = read_outcomes(scenario.series, drive(scenario, plain(model, classes), x, y))
    weight, bias = (part.detach().numpy().astype(np.float64) for part in (model.weight, model.bias))
    truth = exact.distances(weight, bias, x.flatten(1).numpy(), y, norm, boxed=True)
    if not boxed:  # the box is out of reach, and the formula without it holds as well
        open_ = exact.distances(weight, bias, x.flatten(1).numpy(), y, norm, boxed=False)
        np.testing.assert_allclose(truth[truth < 0.2], open_[truth < 0.2], rtol=1e-9)
    for at, eps in enumerate(grid):
        # The published L2 steps clip to the box after the ball: some tenths of a per cent are lost.
        slack = 5e-3 if boxed and norm == "l2" else 2e-3
        clear = np.abs(truth - eps) > slack * eps
        assert clear.mean() > 0.8
        expected = outcomes.right & (truth > eps)
        np.testing.assert_array_equal(outcomes.robust(at)[clear], expected[clear])
    assert outcomes.robust(0).sum() > outcomes.robust(2).sum()
    found = np.isfinite(outcomes.distance) & outcomes.right
    assert (outcomes.distance[found] >= truth[found] * (1 - 1e-4)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("boxed", [False, True])
def test_fab_finds_the_nearest_example(linear: Any, norm: Any, classes: int, boxed: bool) -> None:
    model, x, y = linear(classes, boxed=boxed, n=12)
    points = _points(model, x, y, 0.0, norm)
    with frozen(model):
        found = fab_targeted(ModuleOracle(model, Draws(0, "t")), points, steps=30, targets=9)
    truth = _truth(model, points, boxed=True)
    distance = length((found.adversarial - points.x).double(), norm).numpy()
    assert found.broken.all()
    ratio = distance / truth
    assert ratio.min() > 1 - 1e-4
    assert np.median(ratio) < 1.01
    assert ratio.max() < 1.1


@pytest.mark.parametrize("norm", NORMS)
def test_apgd_needs_a_margin_loss(linear: Any, norm: Any) -> None:
    """The targeted series reaches the closed form, where cross-entropy alone may not."""
    model, x, y = linear(10, boxed=False, n=60)
    eps = {"linf": 0.015, "l2": 0.05, "l1": 0.12}[norm]
    points = _points(model, x, y, eps, norm)
    oracle = ModuleOracle(model, Draws(0, "t"))
    truth = _truth(model, points, boxed=False)
    # Sparse steps of one size come less near; FAB-T takes the rest.
    clear = np.abs(truth - eps) > (5e-2 if norm == "l1" else 2e-3) * eps
    ce = apgd(oracle, points, losses.log_odds, steps=40)
    targeted = apgd_targeted(oracle, points, steps=100 if norm == "l1" else 40, targets=9)
    np.testing.assert_array_equal(targeted.broken.numpy()[clear], (truth < eps)[clear])
    assert not (ce.broken.numpy() & clear & (truth > eps)).any()
    assert 0 < ce.broken.sum() <= targeted.broken.sum()


@pytest.mark.parametrize("norm", NORMS)
def test_square_breaks_much_and_never_what_cannot_break(linear: Any, norm: Any) -> None:
    model, x, y = linear(3, boxed=False)
    eps = {"linf": 0.05, "l2": 0.2, "l1": 0.6}[norm]
    points = _points(model, x, y, eps, norm)
    truth = _truth(model, points, boxed=False)
    found = square(ModuleOracle(model, Draws(0, "t")), points, queries=400)
    broken = found.broken.numpy()
    assert not broken[truth > eps].any()
    easy = truth < eps * {"linf": 0.8, "l2": 0.5, "l1": 0.3}[norm]
    assert easy.sum() > 5
    assert broken[easy].mean() > 0.9
    left = found.open.numpy()
    # In L2 and L1 all windows differ; in Linf, what has been asked is not asked again.
    assert (found.queries[left] == 401).all() if norm != "linf" else (found.queries <= 401).all()
    assert (found.queries <= found.forwards).all()
    assert (found.backwards == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_square_finds_the_same_one_step_at_a_time(
    linear: Any, norm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying steps at once, and not repeating what was asked, spare time and change nothing."""
    model, x, y = linear(10, boxed=True, n=18)
    model = model.double()
    exact_model = torch.nn.Sequential(_Double(), model)  # sums of any batch are the same
    eps = {"linf": 0.06, "l2": 0.2, "l1": 0.5}[norm]
    points = _points(torch.nn.Sequential(_Double(), model), x, y, eps, norm)
    wide = square(ModuleOracle(exact_model, Draws(0, "t"), 512), points, queries=150)
    monkeypatch.setattr(square_module, "_LARGEST_TABLE", 0)
    narrow = square(ModuleOracle(exact_model, Draws(0, "t"), 1), points, queries=150)
    assert 0 < wide.broken.sum() < len(points)
    torch.testing.assert_close(wide.adversarial, narrow.adversarial, rtol=0, atol=0)
    left = narrow.open.numpy()
    if norm != "linf":
        assert (narrow.forwards[left] == 151).all()
        assert (narrow.queries == wide.queries).all()
    assert (wide.queries <= narrow.queries).all()
    assert wide.queries[left].sum() < narrow.queries[left].sum() or norm != "linf"


class _Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


@pytest.mark.parametrize("norm", NORMS)
def test_runs_towards_several_targets_at_once_are_those_one_by_one(linear: Any, norm: Any) -> None:
    model, x, y = linear(10, boxed=True, n=12)
    width = 4  # fewer than targets
    points = _points(model, x, y, {"linf": 0.03, "l2": 0.1, "l1": 0.3}[norm], norm)
    apart = [
        apgd_targeted(ModuleOracle(model, Draws(0, "t"), width), points, steps=12, targets=9),
        fab_targeted(ModuleOracle(model, Draws(0, "t"), width), points, steps=12, targets=9),
    ]
    together = [
        apgd_targeted(ModuleOracle(model, Draws(0, "t")), points, steps=12, targets=9),
        fab_targeted(ModuleOracle(model, Draws(0, "t")), points, steps=12, targets=9),
    ]
    for one, other in zip(apart, together, strict=True):
        assert one.broken.sum() > 0
        assert one.broken.equal(other.broken)
        left = one.open.numpy()
        assert (one.forwards[left] == other.forwards[left]).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_search_in_bfloat16_stays_an_upper_bound(
    drive: Any, plain: Any, linear: Any, norm: Any
) -> None:
    model, x, y = linear(10, boxed=False, n=24)
    eps = {"linf": 0.03, "l2": 0.1, "l1": 0.1}[norm]
    threat = ThreatModel(norm=norm, eps=(eps,), steps=40, queries=10)
    scenario = Standard.of("adversarial", threat, precision="bf16")
    outcomes = read_outcomes(scenario.series, drive(scenario, plain(model, 10), x, y))
    weight, bias = (part.detach().numpy().astype(np.float64) for part in (model.weight, model.bias))
    truth = exact.distances(weight, bias, x.flatten(1).numpy(), y, norm, boxed=False)
    robust = outcomes.right & (truth > eps * (1 + 1e-4))
    assert robust.any()
    assert outcomes.robust(0)[robust].all()
    assert not outcomes.robust(0)[truth < 0.9 * eps].any()


@pytest.mark.parametrize("norm", NORMS)
def test_gaussian_classes_have_phi_of_the_margin(drive: Any, plain: Any, norm: Any) -> None:
    rng = np.random.default_rng(0)
    d, n, sigma, eps = 16, 600, 0.08, {"linf": 0.02, "l2": 0.07, "l1": 0.2}[norm]
    mean = rng.choice([-1, 1], d) * 0.03
    w = mean / np.linalg.norm(mean)
    y = rng.integers(0, 2, n)
    x = 0.5 + np.where(y == 1, 1, -1)[:, None] * mean + sigma * rng.normal(size=(n, d))
    weight = np.stack([-w, w]) / 2
    model = _linear(weight, -weight @ np.full(d, 0.5))
    threat = ThreatModel(norm=norm, eps=(eps,), steps=20, queries=0)
    scenario = Standard.of("adversarial", threat)
    images = torch.tensor(x.clip(0, 1), dtype=torch.float32).view(n, 1, 4, 4)
    rows = score(scenario, drive(scenario, plain(model, 2), images, y, batch_size=n)).rows
    found = next(row for row in rows if row.metric == "robust-accuracy")
    dual = np.linalg.norm(w, ord={"linf": 1, "l2": 2, "l1": np.inf}[norm])
    expected = gaussian.cdf((w @ mean - eps * dual) / sigma)
    assert found.lower < expected < found.upper


def _linear(weight: Any, bias: Any) -> Any:
    layer = torch.nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return torch.nn.Sequential(torch.nn.Flatten(), layer)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_the_optimum_in_the_box(norm: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(size=(40, 6))
    x[rng.random(x.shape) < 0.3] = 0.0
    w = rng.normal(size=(40, 6))
    w[rng.random(w.shape) < 0.2] = 0.0
    gap = rng.normal(size=40) * 0.7
    step = onto_hyperplane(*(torch.tensor(one) for one in (x, w, gap)), norm).numpy()
    assert ((x + step >= -1e-12) & (x + step <= 1 + 1e-12)).all()
    met = 0
    for row in range(40):
        one, normal, sign = x[row], w[row], np.sign(gap[row])
        truth = exact._to(sign * normal, -sign * (normal @ one + gap[row]), one, norm, True)
        if np.isinf(truth):
            assert abs(normal @ step[row]) <= abs(gap[row])
            continue
        met += 1
        assert normal @ step[row] == pytest.approx(gap[row], abs=1e-9)
        size = np.linalg.norm(step[row], ord={"linf": np.inf, "l2": 2, "l1": 1}[norm])
        assert size == pytest.approx(truth, abs=1e-9)
        if norm == "linf":  # and once more by a linear programme
            solved = linprog(
                np.r_[np.zeros(6), 1],
                A_eq=[np.r_[normal, 0]],
                b_eq=[gap[row]],
                A_ub=np.block([[np.eye(6), -np.ones((6, 1))], [-np.eye(6), -np.ones((6, 1))]]),
                b_ub=np.zeros(12),
                bounds=[*zip(-one, 1 - one, strict=True), (0, None)],
            )
            assert solved.fun == pytest.approx(size, abs=1e-8)
    assert met > 20


def test_checkpoints_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    # Croce and Hein 2020: p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06).
    assert [*checkpoints(100)] == [22, 41, 57, 70, 80, 87, 93, 99]
    model = _linear(np.eye(2, 16), np.array([9.0, 0.0]))
    points = _points(model, torch.rand(3, 1, 4, 4), np.zeros(3, dtype=np.int64), 1e-3, "linf")
    taken: list[int] = []
    monkeypatch.setattr(_Ascent, "_check", lambda self, steps: taken.append(steps))
    apgd(ModuleOracle(model, Draws(0, "test")), points, losses.dlr, steps=100)
    assert taken == [22, 19, 16, 13, 10, 7, 6, 6]


def test_log_odds_moves_as_cross_entropy_and_beyond_float32() -> None:
    rng = np.random.default_rng(0)
    z = torch.tensor(rng.normal(size=(20, 5)) * 3, requires_grad=True)
    y = torch.tensor(rng.integers(0, 5, 20))
    odds, entropy = losses.log_odds(z, y), losses.ce(z, y)
    torch.testing.assert_close(torch.nn.functional.softplus(odds), entropy)
    (a,), (b,) = (torch.autograd.grad(one.sum(), z) for one in (odds, entropy))
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(a), unit(b))
    sure = torch.tensor([[200.0, 0.0, 1.0]], requires_grad=True)
    right = torch.tensor([0])
    (dead,) = torch.autograd.grad(losses.ce(sure, right).sum(), sure)
    (alive,) = torch.autograd.grad(losses.log_odds(sure, right).sum(), sure)
    assert dead.abs().max() == 0
    assert alive.abs().max() > 0.5


def test_dlr_is_the_published_ratio_and_its_stand_ins() -> None:
    z = torch.tensor([[4.0, 1.0, 3.0, 0.0], [1.0, 5.0, 2.0, 0.5]])
    y, t = torch.tensor([0, 2]), torch.tensor([1, 1])
    torch.testing.assert_close(losses.dlr(z, y), torch.tensor([-1 / 3, 3 / 4]))
    # -(z_y - z_t) / (z1 - (z3 + z4) / 2)
    torch.testing.assert_close(losses.dlr(z, y, t), torch.tensor([-3 / 3.5, 3 / 4.25]))
    three = z[:, :3]
    torch.testing.assert_close(losses.dlr(three, y, t), torch.tensor([-3 / 3.0, 3 / 4.0]))
    two = torch.tensor([[4.0, 1.0]])
    torch.testing.assert_close(losses.dlr(two, torch.tensor([0])), torch.tensor([-3.0]))


def test_found_keeps_account() -> None:
    points = _points(_linear(np.eye(2, 16), np.zeros(2)), torch.rand(3, 1, 4, 4), np.zeros(3), 0.1,
                     "linf")  # fmt: skip
    found = Found(points)
    assert not found.broken.any()
    torch.testing.assert_close(found.adversarial, points.x)


def test_the_l1_ball_within_the_box_is_met_at_its_nearest_point() -> None:
    """Beside a general solver, on moves of which half end in a corner of the box."""
    rng = np.random.default_rng(2)
    x, y = rng.choice([0.0, 0.1, 0.5, 1.0], (30, 5)), rng.normal(size=(30, 5))
    eps = rng.uniform(0.05, 2, 30)
    made = onto_l1_ball(*(torch.tensor(one) for one in (x, y, eps))).numpy()
    assert ((x + made >= 0) & (x + made <= 1)).all()
    assert (np.abs(made).sum(1) <= eps * (1 + 1e-5)).all()
    for row in range(30):
        asked = minimize(  # what goes up, and what goes down
            lambda v, to: float(np.square(v[:5] - v[5:] - to).sum()), np.zeros(10), args=(y[row],),
            bounds=[(0, 1 - one) for one in x[row]] + [(0, one) for one in x[row]],
            constraints=LinearConstraint(np.ones((1, 10)), -np.inf, eps[row]), method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(made[row], asked.x[:5] - asked.x[5:], atol=2e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_second_step_of_fab_is_the_published_one(norm: Any) -> None:
    """Towards a plane, in units of the distance to it, within which the box plays no part."""
    model = _linear(np.stack([np.zeros(4), np.ones(4)]), np.array([0.0, -2.2]))
    x = torch.full((1, 1, 2, 2), 0.5)
    points = _points(model, x, np.zeros(1, dtype=np.int64), 1e-6, norm)
    found = fab_targeted(ModuleOracle(model, Draws(0, "test")), points, steps=2, targets=1)
    stands = ETA * BETA  # the first step, taken from the image itself, and drawn back
    left = 1 - stands
    share = left / (left + 1)
    expected = (1 - share) * (stands + ETA * left) + share * ETA
    distance = 0.05 * (2 if norm == "l2" else 1)
    torch.testing.assert_close(
        (found.adversarial - x).flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2),
        torch.tensor([expected * distance]), rtol=1e-5, atol=0,
    )  # fmt: skip
    assert (found.forwards, found.backwards) == (5, 2)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_square_begins_with_tiles_of_one_size(norm: Any) -> None:
    """Of 11 x 13 pixels 5 x 6 tiles of 2 x 2, each of which adds up to nothing."""
    x = torch.full((3, 2, 11, 13), 0.5)
    points = ImagePoints(
        x=x, y=torch.zeros(3).long(), eps=torch.full((3,), 0.4), ids=("a", "b", "c"), norm=norm
    )
    oracle = ModuleOracle(torch.nn.Identity(), Draws(0, "test"))
    moves = square_module._Search(oracle, points, "square/0")._start() - x
    assert (moves[:, :, 10:] == 0).all() and (moves[..., 12:] == 0).all()
    tiles = moves[:, :, :10, :12].unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    torch.testing.assert_close(tiles.sum(4), torch.zeros(3, 2, 5, 6), atol=1e-6, rtol=0)
    each = 0.4 / (60 if norm == "l1" else 60**0.5)
    sizes = tiles.norm(dim=4, p=2 if norm == "l2" else 1)
    torch.testing.assert_close(sizes, torch.full((3, 2, 5, 6), each), rtol=1e-4, atol=0)
    assert len({tuple(one.flatten().sign().tolist()) for one in moves}) == 3


def test_square_asks_on_where_classes_tie() -> None:
    model = _linear(np.zeros((3, 36)), np.zeros(3))
    points = ImagePoints(
        x=torch.full((2, 1, 6, 6), 0.5), y=torch.zeros(2).long(), eps=torch.full((2,), 0.4),
        ids=("a", "b"), norm="l2",
    )  # fmt: skip
    found = square(ModuleOracle(model, Draws(0, "test")), points, queries=70)
    assert found.queries.tolist() == [71, 71]
