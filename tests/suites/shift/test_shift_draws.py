"""A sample is corrupted the same alone, in any batch and at any choice of severities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.contracts.corruption import CorruptionContext
from crucibench.util.draws import Draws
from crucibench_suites.shift.corruptions.images import IMAGES


def tensor_of(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255


def shifted(
    name: str, images: torch.Tensor, ids: tuple[str, ...], severities: tuple[int, ...]
) -> list[torch.Tensor]:
    context = CorruptionContext(ids, Draws(1, f"shift/{name}"))
    return list(IMAGES[name].apply(images, severities, context, "cifar"))


@pytest.mark.parametrize("name", IMAGES)
def test_the_company_changes_nothing(name: str, photos: Callable[..., np.ndarray]) -> None:
    images = tensor_of(photos(5, 24))
    ids = tuple("abcde")
    together = shifted(name, images, ids, (1, 4))
    order = [3, 0]
    apart = shifted(name, images[order], tuple(ids[place] for place in order), (1, 4))
    for whole, part in zip(together, apart, strict=True):
        # A float may differ in its last bit, and then a pixel by one of 256 levels.
        gap = (whole[order] - part).abs()
        assert float(gap.max()) < 1.5 / 255
        assert float((gap > 0).to(torch.float32).mean()) < 0.002


@pytest.mark.parametrize("name", IMAGES)
def test_severities_share_draws_and_do_not_touch_one_another(
    name: str, photos: Callable[..., np.ndarray]
) -> None:
    images = tensor_of(photos(2, 24))
    before = images.clone()
    all_five = shifted(name, images, ("a", "b"), (1, 2, 3, 4, 5))
    (alone,) = shifted(name, images, ("a", "b"), (3,))
    assert torch.equal(images, before)
    assert float((all_five[2] - alone).abs().max()) < 1.5 / 255
    assert len({id(entry) for entry in all_five}) == 5
    assert not torch.equal(all_five[0], all_five[4])


@pytest.mark.parametrize("name", IMAGES)
def test_threads_and_inference_mode_change_nothing(
    name: str, photos: Callable[..., np.ndarray]
) -> None:
    images = tensor_of(photos(3, 24))
    before = torch.get_num_threads()
    plain = shifted(name, images, ("a", "b", "c"), (2, 5))
    try:
        torch.set_num_threads(2)
        with torch.inference_mode():
            made = shifted(name, images, ("a", "b", "c"), (2, 5))
    finally:
        torch.set_num_threads(before)
    for first, second in zip(plain, made, strict=True):
        assert float((first - second).abs().max()) < 1.5 / 255


@pytest.mark.parametrize("name", [name for name, kernel in IMAGES.items() if kernel.random])
def test_another_seed_or_sample_draws_otherwise(
    name: str, photos: Callable[..., np.ndarray]
) -> None:
    images = tensor_of(np.repeat(photos(1, 32), 12, axis=0))
    ids = tuple(f"sample {place}" for place in range(12))
    first = shifted(name, images, ids, (5,))[0]
    # Some draw only which way: among twelve both occur.
    assert any(not torch.equal(first[0], other) for other in first[1:])
    context = CorruptionContext(ids, Draws(2, f"shift/{name}"))
    (other,) = IMAGES[name].apply(images, (5,), context, "cifar")
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", [name for name, kernel in IMAGES.items() if not kernel.random])
def test_what_does_not_draw_ignores_the_sample(
    name: str, photos: Callable[..., np.ndarray]
) -> None:
    images = tensor_of(np.repeat(photos(1, 24), 2, axis=0))
    (made,) = shifted(name, images, ("a", "b"), (3,))
    assert torch.equal(made[0], made[1])


def test_impulses_of_a_low_severity_are_impulses_of_a_high_one() -> None:
    images = torch.full((1, 3, 40, 40), 0.5)
    low, high = shifted("impulse_noise", images, ("a",), (1, 5))
    hit = (low - 0.5).abs() > 0.1
    assert bool(hit.any())
    assert torch.equal(high[hit], low[hit])


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(IMAGES)),
    parameters=st.sampled_from(["imagenet", "cifar"]),
    severity=st.integers(1, 5),
    height=st.integers(4, 40),
    width=st.integers(4, 40),
    channels=st.sampled_from([1, 3]),
    kind=st.sampled_from(["random", "black", "white", "grey", "levels"]),
    seed=st.integers(0, 1000),
)
def test_any_image_stays_an_image(
    name: str,
    parameters: str,
    severity: int,
    height: int,
    width: int,
    channels: int,
    kind: str,
    seed: int,
) -> None:
    kernel = IMAGES[name]
    shape = (2, channels, height, width)
    random = torch.from_numpy(np.random.default_rng(seed).random(shape, dtype=np.float32))
    images = {
        "random": random,
        "black": torch.zeros(shape),
        "white": torch.ones(shape),
        "grey": torch.full(shape, 0.5),
        "levels": (random * 16).round() / 16,
    }[kind]
    context = CorruptionContext(("a", "b"), Draws(seed, f"shift/{name}"))
    if channels == 1 and kernel.needs == "colour":
        with pytest.raises(ValueError, match="expected images of 3 channels, got 1"):
            list(kernel.apply(images, (severity,), context, parameters))
        return
    (made,) = kernel.apply(images, (severity,), context, parameters)
    assert made.shape == images.shape
    assert made.dtype == torch.float32
    assert bool(torch.isfinite(made).all())
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    levels = made * 255
    assert float((levels - levels.round()).abs().max()) < 1e-3
    distance = float((made - images).abs().mean())
    # Draws of few pixels scatter about their mean.
    spread = 4 / np.sqrt(images.numel())
    assert distance <= kernel.most(kernel.level(severity, parameters)) * (1 + spread) + 0.05


@pytest.mark.parametrize("severity", [0, 6])
def test_other_severities_are_refused(severity: int) -> None:
    with pytest.raises(KeyError):
        IMAGES["fog"].level(severity, "cifar")
