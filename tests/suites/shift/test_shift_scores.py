"""Numbers and outcomes of shifted samples against figures worked out by hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from crucibench.contracts.corruption import CorruptionContext
from crucibench.contracts.evidence import Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import RowMetric, Share
from crucibench.contracts.task import Decision
from crucibench.metrics.scoring import score
from crucibench.stats import newcombe_paired, share_interval
from crucibench.util.draws import Draws
from crucibench_suites.shift.corrupted import CorruptedGrid, CorruptedImage
from crucibench_suites.shift.corruptions.images import IMAGES, geometric_worst

TARGETS = [0, 1, 2, 0, 1, 2, 0, 1]
CLEAN = [0, 1, 2, 0, 1, 2, 0, 0]
MILD = [0, 1, 2, 0, 1, 0, 0, 1]
STRONG = [1, 1, 0, 1, 1, 0, 0, 0]
POINTS = {"severity=1": MILD, "severity=5": STRONG}


def scenario(name: str = "fog") -> CorruptedImage:
    return CorruptedImage.of(
        "shift", IMAGES[name], severities=(1, 5), parameter_set="cifar", limit=None
    )


def by_place(scored: Scored) -> dict[tuple[str, str], Row]:
    found = {(row.metric, row.point): row for row in scored.rows}
    assert len(found) == len(scored.rows)
    return found


def test_rows_are_what_a_hand_counts(bench: Any) -> None:
    made = bench(TARGETS, 3)
    evidence = made.evidence(made.shifted(POINTS), clean=made.clean(CLEAN))
    rows = by_place(score(scenario(), evidence))
    assert {row.metric for row in rows.values()} == {info.id for info in CorruptedImage.metrics}
    assert {row.point for row in rows.values()} == set(scenario().points)

    mild = rows["top-1", "severity=1"]
    assert (mild.value, mild.n) == (7 / 8, 8)
    assert (mild.lower, mild.upper) == share_interval(7, 8)[:2]
    assert rows["top-1", "severity=5"].value == 3 / 8
    assert rows["mean-top-1", ""].value == pytest.approx((7 / 8 + 3 / 8) / 2)
    assert rows["top-1-drop", "severity=1"].value == 0.0
    lost = rows["top-1-drop", "severity=5"]
    assert lost.value == 4 / 8
    # Right both times: 1, 4 and 6; right only clean: 0, 2, 3 and 5; never right: 7.
    assert (lost.lower, lost.upper) == newcombe_paired(3, 4, 0, 1)[:2]
    assert rows["flip-rate", "severity=1"].value == 2 / 8
    assert rows["flip-rate", "severity=5"].value == 4 / 8
    assert rows["mean-confidence", "severity=5"].value == pytest.approx(0.8)
    # All in one bin of confidence 0.8.
    assert rows["ece-15-equal-width-top-label", "severity=5"].value == pytest.approx(0.8 - 3 / 8)
    expected = (3 * -np.log(0.8) + 5 * -np.log(0.1)) / 8
    assert rows["log-loss", "severity=5"].value == pytest.approx(expected)


def test_the_curve_begins_with_the_clean_samples(bench: Any) -> None:
    made = bench(TARGETS, 3)
    evidence = made.evidence(made.shifted(POINTS), clean=made.clean(CLEAN))
    curve = score(scenario(), evidence).tables["curve"]
    assert curve["severity"].tolist() == [0, 1, 5]
    assert curve["accuracy"].tolist() == [7 / 8, 7 / 8, 3 / 8]
    assert (curve["lower"] <= curve["accuracy"]).all()
    assert (curve["accuracy"] <= curve["upper"]).all()
    assert curve["distance"].tolist() == pytest.approx([0.0, 0.1, 0.2])


def test_a_threshold_decides_shifted_samples_too(bench: Any) -> None:
    targets = [1, 1, 0, 0]
    made = bench(targets, 2, decision=Decision(positive=0, threshold=0.15))
    # The probability of class 0 is 0.2 where 1 is predicted: at 0.15 that says 0.
    evidence = made.evidence(
        made.shifted({"severity=1": [1, 1, 1, 0], "severity=5": [1, 1, 1, 1]}),
        clean=made.clean([1, 1, 0, 0]),
    )
    rows = by_place(score(scenario(), evidence))
    assert rows["top-1", "severity=1"].value == 2 / 4
    # Clean, it is 0.1 sure of class 0 where it predicts 1: below the threshold.
    assert rows["flip-rate", "severity=5"].value == 2 / 4
    assert rows["mean-confidence", "severity=5"].value == pytest.approx(0.2)
    view = scenario().outcomes(evidence)
    assert view.score[:4].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.8])


def test_a_model_that_gives_labels_has_no_calibration(bench: Any) -> None:
    made = bench(TARGETS, 3)
    cell = made.shifted(POINTS, confidence=float("nan"))
    rows = by_place(score(scenario(), made.evidence(cell, clean=made.clean(CLEAN))))
    row = rows["ece-15-equal-width-top-label", "severity=5"]
    assert row.value is None
    assert "labels only" in row.reason
    assert rows["top-1", "severity=5"].value == 3 / 8


def test_clusters_get_no_closed_form(bench: Any) -> None:
    clusters = [f"patient {place // 2}" for place in range(40)]
    targets = [0, 1] * 20
    made = bench(targets, 3, clusters=clusters)
    points = {"severity=1": [0] * 40, "severity=5": [1] * 39 + [0]}
    evidence = made.evidence(made.shifted(points), clean=made.clean(targets))
    for row in score(scenario(), evidence).rows:
        assert row.method.startswith("cluster-") or row.reason


def test_comparables_are_the_rows_again(bench: Any) -> None:
    made = bench(TARGETS * 5, 3)
    points = {point: said * 5 for point, said in POINTS.items()}
    evidence = made.evidence(made.shifted(points), clean=made.clean(CLEAN * 5))
    rows = by_place(score(scenario(), evidence))
    found = scenario().numbers(evidence)
    assert {(one.metric, one.point) for one in found} == set(rows)
    n = len(made.ids)
    for one in found:
        if isinstance(one.form, Share):
            value = one.form.hits.mean()
        else:
            assert isinstance(one.form, RowMetric)
            value = one.form.of_rows(np.ones((1, n)))[0]
        assert value == pytest.approx(rows[one.metric, one.point].value), one.metric


def test_outcomes_name_every_sample_at_every_severity(bench: Any) -> None:
    made = bench(TARGETS, 3)
    view = scenario().outcomes(made.evidence(made.shifted(POINTS), clean=made.clean(CLEAN)))
    assert view.point.tolist() == ["severity=1"] * 8 + ["severity=5"] * 8
    assert view.ids.tolist() == made.ids.tolist() * 2
    assert view.prediction.tolist() == MILD + STRONG
    assert view.correct.tolist() == [
        float(a == b) for a, b in zip(MILD + STRONG, TARGETS * 2, strict=True)
    ]


def test_the_worst_of_a_grid_is_no_better_than_any_place(bench: Any) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 200)
    made = bench(targets, 3)
    scenario = CorruptedGrid.of(
        "shift", geometric_worst, severities=geometric_worst.severities, limit=None
    )
    points = {
        point: np.where(rng.random(200) < 0.95, targets, (targets + 1) % 3)
        for point in scenario.points
        if point
    }
    evidence = made.evidence(made.shifted(points), clean=made.clean(targets))
    rows = by_place(score(scenario, evidence))
    worst = rows["worst-case-top-1", ""].value
    everywhere = np.all([said == targets for said in points.values()], axis=0)
    assert worst == everywhere.mean()
    assert rows["top-1-drop", ""].value == pytest.approx(1 - everywhere.mean())
    for point, said in points.items():
        assert rows["top-1", point].value == (said == targets).mean()
        assert bool((everywhere <= (said == targets)).all())
    forms = {(one.metric, one.point): one.form for one in scenario.numbers(evidence)}
    assert forms["worst-case-top-1", ""].hits.tolist() == everywhere.tolist()


COUNT, SIDE = 24, 48


def _published() -> Any:
    spec = importlib.util.spec_from_file_location(
        "published_definitions", Path(__file__).with_name("published.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


published = _published()


def _independent(
    name: str, x: np.ndarray, level: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """Makes one image with NumPy's own generator."""
    plane, pixels = x.shape[:2], x.shape
    if name in {"gaussian_noise", "speckle_noise"}:
        found = getattr(published, name)(x, level[0], rng.normal(size=pixels))
    elif name in {"shot_noise", "impulse_noise"}:
        found = getattr(published, name)(x, level[0], rng)
    elif name == "glass_blur":
        reach = int(level[1])
        found = published.glass_blur(
            x, level[0], reach, int(level[2]), lambda *_: rng.integers(-reach, reach, 2)
        )
    elif name == "motion_blur":
        found = published.motion_blur(x, level[0], level[1], rng.uniform(-45, 45))
    elif name == "snow":
        found = published.snow(x, level, rng.normal(size=plane), rng.uniform(-135, -45))
    elif name == "fog":
        heights = published.plasma(64, level[1], lambda count: rng.uniform(-1, 1, count))
        found = published.fog(x, level[0], heights)
    elif name == "elastic_transform":
        lengths = tuple(share * SIDE for share in level)
        moves, fields = rng.uniform(-1, 1, (3, 2)), rng.uniform(-1, 1, (2, *plane))
        found = published.elastic_transform(x, lengths, moves, fields)
    else:
        found = published.spatter(x, level, rng.normal(size=plane))
    return np.asarray(np.floor(found + 2.0**-10), dtype=np.float64)


def _psnr(made: np.ndarray, clean: np.ndarray) -> np.ndarray:
    error = ((made - clean) ** 2).reshape(len(made), -1).mean(axis=1)
    return np.asarray(10 * np.log10(255.0**2 / error))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, kernel in IMAGES.items()
        if kernel.random and kernel.family not in {"geometric", "domain"} and name != "frost"
    ],
)
def test_the_distribution_is_the_published_one(
    name: str, photos: Callable[..., np.ndarray]
) -> None:
    kernel = IMAGES[name]
    pixels = photos(COUNT, SIDE)
    level = kernel.level(3, "imagenet")
    rng = np.random.default_rng(0)
    expected = np.stack([_independent(name, x, level, rng) for x in pixels])
    ids = tuple(f"sample {place}" for place in range(COUNT))
    context = CorruptionContext(ids, Draws(0, f"shift/{name}"))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32) / 255
    (made,) = kernel.apply(images, (3,), context, "imagenet")
    found = made.permute(0, 2, 3, 1).numpy().astype(np.float64) * 255
    clean = pixels.astype(np.float64)
    for what in (
        lambda of: of.reshape(COUNT, -1).mean(axis=1),
        lambda of: of.reshape(COUNT, -1).std(axis=1),
        lambda of: _psnr(of, clean),
    ):
        # Paired by image: what is left differs by draws alone.
        gap = what(found) - what(expected)
        error = gap.std(ddof=1) / np.sqrt(COUNT)
        assert abs(gap.mean()) <= 4 * error + 0.05


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_shot_noise_is_poisson(severity: int) -> None:
    (rate,) = IMAGES["shot_noise"].level(severity, "cifar")
    for pixel in (0, 40, 255):
        images = torch.full((1, 1, 200, 200), pixel / 255)
        context = CorruptionContext((f"p{pixel}",), Draws(5, "shift/shot_noise"))
        (made,) = IMAGES["shot_noise"].apply(images, (severity,), context, "cifar")
        values = made.numpy().astype(np.float64).ravel()
        mean = rate * pixel / 255
        counts = np.arange(0, int(mean + 12 * np.sqrt(mean + 1)) + 2)
        shown = np.floor(np.clip(counts / rate, 0, 1) * 255 + 2.0**-10) / 255
        probability = stats.poisson.pmf(counts, mean)
        exact_mean = float((shown * probability).sum())
        exact_std = float(np.sqrt(((shown - exact_mean) ** 2 * probability).sum()))
        assert abs(values.mean() - exact_mean) <= 4 * exact_std / 200 + 1e-6
        assert abs(values.std() - exact_std) <= 0.03 * exact_std + 1e-6


def test_impulse_noise_hits_its_share_both_ways() -> None:
    images = torch.full((1, 1, 300, 300), 0.5)
    context = CorruptionContext(("a",), Draws(0, "shift/impulse_noise"))
    for severity, made in zip(
        (1, 5), IMAGES["impulse_noise"].apply(images, (1, 5), context, "imagenet"), strict=True
    ):
        (amount,) = IMAGES["impulse_noise"].level(severity, "imagenet")
        n = made.numel()
        for value in (0.0, 1.0):
            hits = int((made == value).sum())
            assert abs(hits - n * amount / 2) < 5 * np.sqrt(n * amount / 2)
