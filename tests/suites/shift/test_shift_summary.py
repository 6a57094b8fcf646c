"""Numbers over all corruptions: known answers of the corruption errors, and means by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from crucibench.contracts.corruption import SEVERITIES
from crucibench.contracts.statistic import Share
from crucibench.metrics.scoring import score
from crucibench_suites.shift.corrupted import Corrupted, CorruptedImage, ImageSummary
from crucibench_suites.shift.corruptions.images import COMMON, IMAGES
from crucibench_suites.shift.joining import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    corruption_error_statistic,
)

# RobustBench, model_info/imagenet/corruptions/unaggregated_results_2d.csv, Standard_R50 (MIT): the
# accuracies at severities 1 to 5 on ImageNet-C, and their mean as it stands there.
STANDARD_R50 = {
    "shot_noise": (0.5744, 0.4294, 0.2528, 0.0792, 0.029),
    "impulse_noise": (0.4844, 0.358, 0.2546, 0.083, 0.0182),
    "defocus_blur": (0.5956, 0.5152, 0.382, 0.2748, 0.183),
    "contrast": (0.6494, 0.5852, 0.469, 0.2122, 0.0546),
    "brightness": (0.7392, 0.7244, 0.6956, 0.6498, 0.5866),
    "jpeg_compression": (0.6664, 0.6244, 0.5982, 0.4728, 0.3144),
    "pixelate": (0.6402, 0.6426, 0.4598, 0.2898, 0.2068),
    "glass_blur": (0.54, 0.4012, 0.1688, 0.131, 0.1024),
    "motion_blur": (0.6382, 0.537, 0.3758, 0.2154, 0.1482),
    "zoom_blur": (0.529, 0.4324, 0.358, 0.2878, 0.2206),
    "gaussian_noise": (0.5978, 0.4686, 0.2748, 0.1128, 0.0218),
    "fog": (0.6138, 0.5612, 0.4704, 0.4088, 0.241),
    "frost": (0.615, 0.4346, 0.309, 0.2896, 0.2294),
    "snow": (0.5498, 0.3154, 0.3518, 0.2382, 0.1654),
    "elastic_transform": (0.6704, 0.4556, 0.5526, 0.4196, 0.1746),
}
STANDARD_R50_ACCURACY = 0.392304


def mean_corruption_error(errors: ArrayLike, reference: ArrayLike) -> float:
    """The formula of section 4, in per cent."""
    return 100.0 * float(np.mean(np.asarray(errors) / np.asarray(reference)))


def relative_error(
    errors: ArrayLike, clean: float, reference: ArrayLike, reference_clean: float
) -> float:
    return mean_corruption_error(
        np.asarray(errors) - clean, np.asarray(reference) - reference_clean
    )


def published(errors: ArrayLike, clean: float, *, relative: bool) -> float:
    """What the suite's statistic makes of these errors, the same at every sample."""
    own = np.tile(np.concatenate([[clean], errors])[:, None], 4)
    reference = np.array([ALEXNET_CLEAN_ERROR, *ALEXNET_ERRORS.values()])
    statistic = corruption_error_statistic(own, reference, relative=relative)
    return float(statistic(np.ones((1, 4)))[0])


def test_the_published_constants_give_alexnet_a_hundred() -> None:
    errors = list(ALEXNET_ERRORS.values())
    assert tuple(ALEXNET_ERRORS) == COMMON
    assert len(COMMON) == 15
    for relative in (False, True):
        found = published(errors, ALEXNET_CLEAN_ERROR, relative=relative)
        assert found == pytest.approx(100.0)


def test_a_published_row_is_recomputed() -> None:
    accuracy = np.array([STANDARD_R50[name] for name in COMMON])
    assert accuracy.mean() == pytest.approx(STANDARD_R50_ACCURACY, abs=1e-6)
    found = published(1 - accuracy.mean(axis=1), 0.239, relative=False)
    plain = sum(
        100 * sum(1 - value for value in STANDARD_R50[name]) / (5 * ALEXNET_ERRORS[name])
        for name in COMMON
    )
    assert found == pytest.approx(plain / 15)
    # Hendrycks' README has 76.7 for this ResNet-50 on all 50,000 images; these are 5,000.
    assert found == pytest.approx(76.63, abs=0.005)


def test_the_statistic_is_the_formula_under_any_weights() -> None:
    rng = np.random.default_rng(0)
    mine = rng.random((16, 60)) * np.linspace(0.2, 1, 16)[:, None]
    theirs = rng.random((16, 60)) * np.linspace(0.3, 1.2, 16)[:, None]
    weights = rng.integers(0, 4, (5, 60)).astype(np.float64)
    for relative in (False, True):
        found = corruption_error_statistic(mine, theirs, relative=relative)(weights)
        for value, row in zip(found, weights, strict=True):
            own, other = ((errors * row).sum(axis=1) / row.sum() for errors in (mine, theirs))
            expected = (
                relative_error(own[1:], own[0], other[1:], other[0])
                if relative
                else mean_corruption_error(own[1:], other[1:])
            )
            if np.all(other[1:] > (other[0] if relative else 0)):
                assert value == pytest.approx(expected)
            else:
                assert np.isnan(value)


def cells(names: tuple[str, ...], severities: tuple[int, ...] = (1, 5)) -> list[Corrupted]:
    return [
        CorruptedImage.of(
            "shift", IMAGES[name], severities=severities, parameter_set="cifar", limit=None
        )
        for name in names
    ]


def answers(
    bench: Any, names: tuple[str, ...], severities: tuple[int, ...], wrong: float, seed: int
) -> tuple[Any, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    targets = np.arange(200) % 4
    made = bench(targets, 4)
    found = {}
    for name in names:
        points = {
            f"severity={severity}": np.where(
                rng.random(200) < wrong * severity, (targets + 1) % 4, targets
            )
            for severity in severities
        }
        found[name] = made.shifted(points, name=name)
    return made, found


def test_means_and_worst_cases_are_what_a_hand_counts(bench: Any) -> None:
    names = ("frost", "fog", "contrast")
    made, found = answers(bench, names, (1, 5), 0.05, 0)
    scenario = ImageSummary.of("shift", cells(names), None)
    clean = np.where(np.arange(200) < 10, (made.targets + 2) % 4, made.targets)
    evidence = made.evidence(
        made.cell({"id": []}),
        clean=made.clean(clean),
        **{f"own__{name}": cell for name, cell in found.items()},
    )
    rows = {row.metric: row for row in score(scenario, evidence).rows}
    right = {
        name: np.stack(
            [cell.records.at(point).array("prediction") == made.targets for point in
             ("severity=1", "severity=5")]
        )
        for name, cell in found.items()
    }  # fmt: skip
    together = np.concatenate(list(right.values()))
    assert rows["corrupted-top-1"].value == pytest.approx(together.mean())
    assert rows["top-1-drop"].value == pytest.approx(0.95 - together.mean())
    assert rows["worst-case-top-1"].value == together.all(axis=0).mean()
    worst = min(right, key=lambda name: right[name].mean())
    assert rows["worst-corruption-top-1"].value == pytest.approx(right[worst].mean())
    assert f"it is {worst}" in rows["worst-corruption-top-1"].method
    flips = np.mean([
        cell.records.at(point).array("prediction") != clean
        for cell in found.values() for point in ("severity=1", "severity=5")
    ])  # fmt: skip
    assert rows["corrupted-flip-rate"].value == pytest.approx(flips)
    assert rows["mce"].value is None
    assert "all 15 common corruptions, 12 of which" in rows["mce"].reason
    table = score(scenario, evidence).tables["by-corruption"]
    assert table["corruption"].tolist() == list(names)
    assert table["accuracy"].tolist() == pytest.approx([right[name].mean() for name in names])
    forms = {one.metric: one.form for one in scenario.numbers(evidence) if one.make}
    for metric, form in forms.items():
        value = form.hits.mean() if isinstance(form, Share) else form.of_rows(np.ones((1, 200)))[0]
        assert value == pytest.approx(rows[metric].value)


def test_a_model_is_its_own_reference_at_a_hundred(bench: Any) -> None:
    made, found = answers(bench, COMMON, (1, 5), 0.05, 1)
    scenario = ImageSummary.of("shift", cells(COMMON), "other")
    clean = made.clean(made.targets)
    own = {f"own__{name}": cell for name, cell in found.items()}
    same = {f"reference__{name}": cell for name, cell in found.items()}
    evidence = made.evidence(
        made.cell({"id": []}), clean=clean, reference__clean=clean, **own, **same
    )
    rows = {row.metric: row for row in score(scenario, evidence).rows}
    assert rows["mce"].value == pytest.approx(100.0)
    assert rows["relative-mce"].value == pytest.approx(100.0)
    _, twice = answers(bench, COMMON, (1, 5), 0.1, 2)
    other = {f"reference__{name}": cell for name, cell in twice.items()}
    evidence = made.evidence(
        made.cell({"id": []}), clean=clean, reference__clean=clean, **own, **other
    )
    rows = {row.metric: row for row in score(scenario, evidence).rows}
    assert 40 < rows["mce"].value < 60
    assert rows["mce"].lower < rows["mce"].value < rows["mce"].upper
    assert "relative to other" in rows["mce"].method


def test_the_reference_itself_is_at_a_hundred_where_it_loses_something(bench: Any) -> None:
    for wrong, expected in ((0.05, 100.0), (0.0, None)):
        made, found = answers(bench, COMMON, (1, 5), wrong, 1)
        scenario = ImageSummary.of("shift", cells(COMMON), "model")
        clean = made.clean(made.targets)
        own = {f"own__{name}": cell for name, cell in found.items()}
        same = {f"reference__{name}": cell for name, cell in found.items()}
        evidence = made.evidence(
            made.cell({"id": []}), clean=clean, reference__clean=clean, **own, **same
        )
        rows = {row.metric: row for row in score(scenario, evidence).rows}
        for metric in ("mce", "relative-mce"):
            assert rows[metric].value == expected
            why = "100 by definition" if expected else "loses nothing under some corruption"
            assert why in rows[metric].reason


def test_alexnet_wants_imagenet_at_all_five_severities(bench: Any) -> None:
    for classes, severities, reason in (
        (4, SEVERITIES, "AlexNet's published errors are of ImageNet's 1,000 classes"),
        (1000, (1, 5), "AlexNet's published errors are of severities 1 to 5"),
        (1000, SEVERITIES, ""),
    ):
        made, found = answers(bench, COMMON, severities, 0.1, 3)
        made.classes = classes
        scenario = ImageSummary.of("shift", cells(COMMON, severities), "alexnet")
        own = {f"own__{name}": cell for name, cell in found.items()}
        evidence = made.evidence(made.cell({"id": []}), clean=made.clean(made.targets), **own)
        rows = {row.metric: row for row in score(scenario, evidence).rows}
        if reason:
            assert rows["mce"].reason == reason
            continue
        errors = [
            np.mean(found[name].records.array("prediction") != np.tile(made.targets, 5))
            for name in COMMON
        ]
        expected = mean_corruption_error(errors, list(ALEXNET_ERRORS.values()))
        assert rows["mce"].value == pytest.approx(expected)


def test_missing_corruptions_are_said(bench: Any) -> None:
    made, found = answers(bench, ("fog",), (1, 5), 0.1, 4)
    scenario = ImageSummary.of("shift", cells(("fog", "frost")), None)
    evidence = made.evidence(
        made.cell({"id": []}), clean=made.clean(made.targets), own__fog=found["fog"]
    )
    (finding,) = scenario.audit(evidence)
    assert finding.code == "corruptions-missing"
    assert "frost" in finding.message
    none = made.evidence(made.cell({"id": []}), clean=made.clean(made.targets))
    assert scenario.audit(none) == []  # there is no mean that leaves anything out
    both = made.evidence(
        made.cell({"id": []}), clean=made.clean(made.targets), own__fog=found["fog"],
        own__frost=found["fog"],
    )  # fmt: skip
    assert scenario.audit(both) == []
