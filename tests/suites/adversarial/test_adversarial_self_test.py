"""Self-tests of attacks: the closed form, what passes it, and what must not."""

from __future__ import annotations

import importlib.util
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crucibench_suites.adversarial import self_test as subject
from crucibench_suites.adversarial.attacked import self_tested
from crucibench_suites.adversarial.self_test import case, self_test

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy, at what foolbox imports
    import foolbox

_spec = importlib.util.spec_from_file_location("exact", Path(__file__).parent / "exact.py")
assert _spec is not None and _spec.loader is not None
exact = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(exact)

NORMS = ("linf", "l2", "l1")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 10])
def test_every_sample_lies_at_the_distance_of_the_closed_form(classes: int, norm: Any) -> None:
    one = case(classes, norm)
    weight, bias = (part.detach().double().numpy() for part in (one.model.weight, one.model.bias))
    flat = one.x.flatten(1).numpy()
    truth = exact.distances(weight, bias, flat, one.y.numpy(), norm, boxed=True)
    expected = {"linf": 0.02, "l2": 0.1, "l1": 0.25}[norm]
    np.testing.assert_allclose(truth, expected, rtol=1e-4)
    assert (one.model(one.x).argmax(1) == one.y).all()
    assert one.x.min() > 0.2
    assert one.x.max() < 0.8


@pytest.mark.parametrize("norm", NORMS)
def test_our_own_attacks_pass(norm: Any) -> None:
    for result in self_tested(("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"), norm):
        assert result.passed, result.reason
        assert result.ratio < (4.5 if result.attack == "square" else 1.15)
        assert result.versions["torch"] == torch.__version__


def _foolbox(attack: Any) -> Any:
    def call(model: Any, x: Any, y: Any, radius: float) -> Any:
        asked = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        return attack(asked, x, y, epsilons=None if math.isinf(radius) else radius)[1]

    return call


def test_an_attack_that_never_projects_is_found_out() -> None:
    """foolbox's L2FMNAttack divides norms by themselves where it should project."""
    result = self_test(
        _foolbox(foolbox.attacks.L2FMNAttack(steps=200)),
        "l2",
        name="foolbox:L2FMNAttack",
        kind="nearest",
    )
    assert not result.passed
    assert result.ratio > 3
    assert "foolbox:L2FMNAttack" in result.reason
    assert f"{result.ratio:.3g} times as far away" in result.reason
    good = self_test(_foolbox(foolbox.attacks.LInfFMNAttack(steps=200)), "linf", kind="nearest")
    assert good.passed
    assert good.ratio < 1.1


def _along(share: float) -> Any:
    """Goes so far, as a share of the radius, where the boundary is nearest in L2."""

    def call(model: Any, x: Any, y: Any, radius: float) -> Any:
        apart = (model.weight[1] - model.weight[0]).detach()
        sign = torch.where(y == 1, -1.0, 1.0)[:, None]
        return x + (sign * apart / apart.norm() * radius * share).view_as(x)

    return call


def test_the_ratio_is_what_an_attack_lacks() -> None:
    for share, ratio in ((1.0, 1.05), (1 / 1.25, 1.3), (1 / 2.5, 3.0)):
        result = self_test(_along(share), "l2")
        assert result.ratio == ratio
        assert result.passed == (ratio <= 1.5)
        assert result.found == 1.0
    # Outside its ball an example is none, and neither is what is not finite.
    outside = self_test(_along(1.01), "l2")
    assert not outside.passed
    assert outside.found == 0
    assert math.isinf(outside.ratio)
    assert not self_test(lambda model, x, y, radius: x * torch.nan, "l2").passed


def test_what_is_nearer_than_can_be_passes_nothing(monkeypatch: Any) -> None:
    nearest = _foolbox(foolbox.attacks.LinfDeepFoolAttack())
    assert self_test(nearest, "linf", kind="nearest").passed
    monkeypatch.setitem(subject._OPTIMUM, "linf", 0.021)
    good = case(2, "linf")
    monkeypatch.setitem(subject._OPTIMUM, "linf", 0.03)
    monkeypatch.setattr(subject, "case", lambda classes, norm: good)
    result = self_test(nearest, "linf", kind="nearest")
    assert not result.passed
    assert "nearer than any can be" in result.reason


def test_global_draws_are_seeded_and_put_back() -> None:
    def noise(model: Any, x: Any, y: Any, radius: float) -> Any:
        return (x + (torch.rand_like(x) * 2 - 1).sign() * radius).clamp(0, 1)

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (self_test(noise, "linf") for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    np.testing.assert_array_equal(first.distances, second.distances)
    assert not first.passed  # corners at random are no attack


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected images of shape \(16, 1, 8, 8\)"):
        self_test(lambda model, x, y, radius: x.flatten(1), "linf")
