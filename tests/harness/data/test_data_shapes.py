"""Drawn shapes: the same on every machine, factors apart from the class, a shortcut by the dial."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.neighbors import KNeighborsClassifier

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.uri import parse_uri
from crucibench.data.sources.synthetic.shapes import (
    CLASSES,
    FACTORS,
    Factors,
    ShapeSettings,
    factors,
    images,
)
from crucibench.util.errors import InputError

DIGEST = "a1bf8f37281afd96"


def made(address: str, role: str) -> tuple[np.ndarray, Factors]:
    settings = ShapeSettings.of(parse_uri(address))
    drawn = factors(settings, role, settings.counts[role])
    return np.concatenate(list(images(settings, drawn))), drawn


def test_the_shapes_are_these_on_every_machine() -> None:
    pixels, drawn = made("synthetic:shapes?n=300&spurious=colour&seed=3", "test")
    assert pixels.shape == (300, 32, 32, 3) and pixels.dtype == np.uint8
    told = pixels.tobytes() + drawn.classes.tobytes()
    assert hashlib.sha256(told).hexdigest()[:16] == DIGEST
    fewer, _ = made("synthetic:shapes?n=40&spurious=colour&seed=3", "test")
    assert np.array_equal(fewer, pixels[:40])
    other, _ = made("synthetic:shapes?n=40&spurious=colour&seed=4", "test")
    assert not np.array_equal(other, fewer)


def test_no_image_is_in_both_roles() -> None:
    address = "synthetic:shapes?n=500&train=500&size=16"
    found = {image.tobytes() for role in ("test", "train") for image in made(address, role)[0]}
    assert len(found) == 1000


def independent(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the p-value of no association."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    return float(chi2_contingency(table).pvalue)


def test_factors_are_independent_of_the_class_and_of_each_other() -> None:
    settings = ShapeSettings.of(parse_uri("synthetic:shapes?spurious=background&n=6000"))
    drawn = factors(settings, "test", 6000)
    columns = [drawn.classes, *drawn.values.values()]
    pairs = [(a, b) for at, a in enumerate(columns) for b in columns[at + 1 :]]
    p_values = [independent(one, other) for one, other in pairs]
    assert min(p_values) * len(p_values) > 0.01
    for name, codes in drawn.values.items():
        assert set(codes) == set(range(len(FACTORS[name])))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_a_factor_is_the_class_s_own_as_often_as_the_dial_says(
    factor: str, strength: float
) -> None:
    address = f"synthetic:shapes?spurious={factor}&strength={strength}&train=3000"
    drawn = factors(ShapeSettings.of(parse_uri(address)), "train", 3000)
    values = len(FACTORS[factor])
    own = drawn.values[factor] == drawn.classes % values
    expected = strength + (1 - strength) / values
    error = np.sqrt(expected * (1 - expected) / 3000)
    assert abs(own.mean() - expected) <= 4 * error
    assert np.array_equal(drawn.columns()["shortcut"] == "holds", own)
    others = [codes for name, codes in drawn.values.items() if name != factor]
    assert min(independent(drawn.classes, codes) for codes in others) * len(others) > 0.01


def moments(pixels: np.ndarray) -> np.ndarray:
    """Returns what tells shapes apart whatever their place, size and colour.

    A pixel belongs to the shape if it is far from the median colour of the image's rim. Then: how
    much of its box it fills, in the whole, at the middle, in the corners, and row by row.
    """
    found = []
    for image in pixels.astype(np.int32):
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        mask = np.abs(image - np.median(rim, axis=0)).max(axis=2) > 45
        rows, columns = (np.flatnonzero(mask.sum(axis=axis) > 1) for axis in (1, 0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float64)
        down, right = (np.linspace(0, size - 1, 7).round().astype(int) for size in box.shape)
        found.append([box.mean(), *box[np.ix_(down, right)].ravel()])
    return np.array(found)


def test_a_shape_can_be_seen_whatever_else_is_drawn() -> None:
    pixels, drawn = made("synthetic:shapes?n=1500&size=48&seed=1", "test")
    seen = moments(pixels)
    nearest = KNeighborsClassifier(5).fit(seen[:1000], drawn.classes[:1000])
    right = nearest.predict(seen[1000:]) == drawn.classes[1000:]
    assert right.mean() > 0.9
    # Colour alone tells nothing of the shape.
    colours = pixels.mean(axis=(1, 2))
    blind = KNeighborsClassifier(5).fit(colours[:1000], drawn.classes[:1000])
    assert (blind.predict(colours[1000:]) == drawn.classes[1000:]).mean() < 0.35


def test_shapes_as_a_data_set(open_uri: Any) -> None:
    evalset = open_uri("synthetic:shapes?n=60&train=90&size=20&spurious=texture&strength=1")
    assert evalset.card.task.classes == CLASSES
    assert evalset.card.counts == {"test": 60, "train": 90}
    assert evalset.card.groups == (*FACTORS, "shortcut")
    assert evalset.batch("test", range(3), InputSpec()).inputs.shape == (3, 3, 20, 20)
    assert set(evalset.samples("train").groups["shortcut"]) == {"holds"}
    assert "texture is set by the class in 100 % of train and 0 % of test" in evalset.card.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("size=8", "option size: expected a whole number from 16 to 512, got '8'"),
        ("spurious=color", "unknown factor of synthetic:shapes 'color'; did you mean 'colour'?"),
        ("strength=0.9", "option strength: it needs spurious"),
        ("spurious=colour&strength=95", "option strength: expected a share from 0 to 1, got '95'"),
        ("groups=shortcut", "unknown group of synthetic:shapes 'shortcut'"),
        ("target=shape", "target"),
    ],
)
def test_options_of_shapes_that_are_refused(
    open_uri: Any, options: str, message: str, refusal: Any
) -> None:
    assert message in refusal(InputError, lambda: open_uri(f"synthetic:shapes?{options}"))
