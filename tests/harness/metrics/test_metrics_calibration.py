"""References: the known answers of ../shared/reference, torchmetrics, a plain loop over bins."""

from collections.abc import Callable
from math import ceil, floor, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import classification as tm
from torchmetrics.functional.classification.calibration_error import _ce_compute

from crucibench.metrics import calibration as c
from crucibench.metrics._bins import bin_sums, equal_width_index
from crucibench.metrics.probabilistic import softmax
from crucibench.metrics.ranking import auroc_statistic, average_precision_statistic
from crucibench.metrics.selective import aurc_statistic

SEVEN = ([0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 0.9], [0, 1, 1, 1, 1, 0, 1])
TORCHMETRICS = ([0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1])


def _error(confidence: object, correct: object, **options: object) -> float:
    value = c.calibration_error_statistic(confidence, correct, **options).value().value
    assert value is not None
    return value


def _multiclass(classes: int, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    return softmax(rng.normal(size=(n, classes)) * 2), rng.integers(0, classes, n)


def _by_loop(
    bins: list[list[tuple[float, int]]], norm: str = "l1", *, debias: bool = False
) -> float:
    n = sum(len(rows) for rows in bins)
    total, worst = 0.0, 0.0
    for rows in bins:
        if not rows:
            continue
        share = sum(y for _, y in rows) / len(rows)
        gap = abs(sum(p for p, _ in rows) / len(rows) - share)
        worst = max(worst, gap)
        part = gap if norm == "l1" else gap**2
        if debias and len(rows) > 1:
            part -= share * (1 - share) / (len(rows) - 1)
        total += part * len(rows) / n
    return worst if norm == "max" else sqrt(max(total, 0)) if norm == "l2" else total


def _width_bins(
    confidence: np.ndarray, correct: np.ndarray, bins: int
) -> list[list[tuple[float, int]]]:
    cut: list[list[tuple[float, int]]] = [[] for _ in range(bins)]
    for p, y in zip(confidence, correct, strict=True):
        for j in range(bins):
            lo, hi = j / bins, (j + 1) / bins
            if lo < p <= hi or p == j == 0:
                cut[j].append((float(p), int(y)))
                break
    assert sum(map(len, cut)) == len(confidence)
    return cut


def test_the_seven_points() -> None:
    assert _error(*SEVEN, bins=2) == pytest.approx(0.2000, abs=1e-12)


def test_the_example_of_torchmetrics() -> None:
    for norm, expected in (("l1", 0.2900), ("l2", 0.2918), ("max", 0.3167)):
        assert round(_error(*TORCHMETRICS, bins=2, norm=norm), 4) == expected


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("classes", [2, 10])
def test_agrees_with_torchmetrics(classes: int, norm: str) -> None:
    """Its public functions round to float32, so to 1e-9 its inner one is asked."""
    probabilities, targets = _multiclass(classes)
    confidence, correct = c.top_label(probabilities, targets)
    ours = _error(confidence, correct, norm=norm)
    columns = torch.tensor(confidence), torch.tensor(correct, dtype=torch.float64)
    edges = torch.linspace(0, 1, 16, dtype=torch.float64)
    exact = _ce_compute(*columns, edges, norm=norm)
    assert ours == pytest.approx(float(exact), abs=1e-9)
    tensors = torch.tensor(probabilities), torch.tensor(targets)
    theirs = tm.multiclass_calibration_error(*tensors, classes, n_bins=15, norm=norm)
    assert ours == pytest.approx(float(theirs), abs=1e-6)
    if classes == 2:
        positive = _error(probabilities[:, 1], targets, norm=norm)
        theirs = tm.binary_calibration_error(
            tensors[0][:, 1].contiguous(), tensors[1], n_bins=15, norm=norm
        )
        assert positive == pytest.approx(float(theirs), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 10, 15]),
    st.sampled_from([("l1", False), ("l2", False), ("l2", True), ("max", False)]),
)
def test_equal_width_agrees_with_a_loop(
    rows: list[tuple[int, bool]], bins: int, form: tuple[str, bool]
) -> None:
    """Confidences on a grid of 30, so that they fall on the edges of 2, 10 and 15 bins."""
    confidence, correct = np.array([r[0] / 30 for r in rows]), np.array([r[1] for r in rows])
    norm, debias = form
    expected = _by_loop(_width_bins(confidence, correct, bins), norm, debias=debias)
    ours = _error(confidence, correct, bins=bins, norm=norm, debias=debias)
    # A root turns a rounding of 1e-16 near 0 into 1e-8.
    assert ours == pytest.approx(expected, abs=1e-7 if norm == "l2" else 1e-12)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 7, 15]),
)
def test_equal_mass_agrees_with_a_loop(rows: list[tuple[int, bool]], bins: int) -> None:
    confidence, correct = np.array([r[0] / 12 for r in rows]), np.array([r[1] for r in rows])
    cut: list[list[tuple[float, int]]] = [[] for _ in range(bins)]
    for p, y in zip(confidence, correct, strict=True):
        below, tied = (confidence < p).sum(), (confidence == p).sum()
        cut[floor(bins * (2 * below + tied) / (2 * len(rows)))].append((float(p), int(y)))
    ours = _error(confidence, correct, bins=bins, binning="equal-mass")
    assert ours == pytest.approx(_by_loop(cut), abs=1e-12)


def test_equal_mass_without_ties_is_an_even_split() -> None:
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(150), rng.random(150) < 0.5
    order = np.argsort(confidence)
    parts = np.array_split(order, 15)
    cut = [list(zip(confidence[i], correct[i], strict=True)) for i in parts]
    for form in ({}, {"norm": "l2"}, {"norm": "l2", "debias": True}, {"norm": "max"}):
        ours = _error(confidence, correct, binning="equal-mass", **form)
        assert ours == pytest.approx(_by_loop(cut, **form), abs=1e-12)
    for n in (150, 100):
        sums = bin_sums(confidence[:n], correct[:n], bins=15, binning="equal-mass")
        assert set(sums(np.ones((1, n))).mass[0]) == {floor(n / 15), ceil(n / 15)}


def test_edges_are_the_floats_that_one_writes() -> None:
    """3 * (1 / 10) is not 0.3: bins cut at a running sum would put 0.3 elsewhere."""
    for bins in (2, 5, 10, 15, 100):
        edges = np.array([j / bins for j in range(1, bins + 1)])
        right = c.reliability_diagram(edges, np.ones(bins), bins=bins)
        assert (right.count == 1).all()


@given(st.floats(0, 1), st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_constant_confidence(confidence: float, correct: list[bool]) -> None:
    expected = abs(np.mean(correct) - confidence)
    for binning in ("equal-width", "equal-mass"):
        for norm in ("l1", "l2", "max"):
            constant = np.full(len(correct), confidence)
            ours = _error(constant, correct, binning=binning, norm=norm)
            assert ours == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40),
    st.sampled_from(["equal-width", "equal-mass"]),
)
def test_ece_rmsce_and_mce_are_ordered(rows: list[tuple[float, bool]], binning: str) -> None:
    columns = [r[0] for r in rows], [r[1] for r in rows]
    ece, rms, mce = (_error(*columns, binning=binning, norm=norm) for norm in ("l1", "l2", "max"))
    debiased = _error(*columns, binning=binning, norm="l2", debias=True)
    assert ece <= rms + 1e-12
    assert rms <= mce + 1e-12
    assert debiased <= rms + 1e-12


@pytest.mark.parametrize(
    ("n", "ece", "debiased"),
    [(100, 0.089, 0.031), (300, 0.052, 0.017), (1000, 0.029, 0.011), (10_000, 0.0089, 0.003)],
)
def test_the_bias_of_a_calibrated_model(n: int, ece: float, debiased: float) -> None:
    """Confidences U(0.5, 1), true by as much: ECE > 0 all the same, the debiased form less so.

    The known means are themselves simulated, so both sides may be off by 3.5 standard errors of
    100 runs, and by the rounding.
    """
    rng, runs = np.random.default_rng(n), 100
    found = np.empty((runs, 2))
    for run in range(runs):
        confidence = rng.uniform(0.5, 1, n)
        correct = rng.random(n) < confidence
        found[run] = (
            _error(confidence, correct),
            _error(confidence, correct, norm="l2", debias=True),
        )
    tolerance = 3.5 * sqrt(2) * found.std(axis=0) / sqrt(runs) + 5e-4
    assert (abs(found.mean(axis=0) - (ece, debiased)) < tolerance).all()
    assert found[:, 1].mean() < found[:, 0].mean() / 1.9


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_classwise_is_the_mean_of_the_classes(classes: int) -> None:
    probabilities, targets = _multiclass(classes)
    targets[targets == classes - 1] = 0  # the last class has no samples and counts all the same
    expected = np.mean([_error(probabilities[:, k], targets == k) for k in range(classes)])
    ours = c.classwise_calibration_error_statistic(probabilities, targets).value().value
    assert ours == pytest.approx(expected, abs=1e-12)


def test_top_label() -> None:
    probabilities = [[0.4, 0.6], [0.5, 0.5], [0.9, 0.1]]
    confidence, correct = c.top_label(probabilities, [1, 1, 1])
    assert confidence.tolist() == [0.6, 0.5, 0.9]
    assert correct.tolist() == [True, False, False]
    confidence, correct = c.top_label(probabilities, [1, 1, 1], predictions=[1, 1, 1])
    assert confidence.tolist() == [0.6, 0.5, 0.1]
    assert correct.all()


def test_the_reliability_diagram() -> None:
    diagram = c.reliability_diagram(*SEVEN, bins=3)
    assert diagram.lower.tolist() == [0.0, 1 / 3, 2 / 3]
    assert diagram.upper.tolist() == [1 / 3, 2 / 3, 1.0]
    assert diagram.count.tolist() == [0, 3, 4]
    assert diagram.hits.tolist() == [0, 2, 3]
    np.testing.assert_allclose(diagram.confidence, [np.nan, 0.5, 3.9 / 4])
    np.testing.assert_allclose(diagram.accuracy, [np.nan, 2 / 3, 0.75])
    empty = c.reliability_diagram([], [], bins=2)
    assert empty.count.tolist() == [0, 0]


def test_ids_are_complete() -> None:
    assert c.calibration_error_id("top-label") == "ece-15-equal-width-top-label"
    assert c.calibration_error_id("positive-class", norm="max") == (
        "mce-15-equal-width-positive-class"
    )
    debiased = c.calibration_error_id("top-label", norm="l2", binning="equal-mass", debias=True)
    assert debiased == "ece-l2-15-equal-mass-debiased-top-label"


def test_without_samples() -> None:
    for options in ({}, {"binning": "equal-mass"}, {"norm": "max"}):
        value = c.calibration_error_statistic([], [], **options).value()
        assert value.reason == "no samples"
    statistic = c.calibration_error_statistic([0.5], [1], norm="max", binning="equal-mass")
    assert np.isnan(statistic([[0.0]])).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 0}, "bins: expected at least 1, got 0"),
        ({"bins": 0, "binning": "equal-mass"}, "bins: expected at least 1, got 0"),
        ({"binning": "quantile"}, "binning: expected equal-width or equal-mass, got 'quantile'"),
        ({"norm": "l3"}, "norm: expected one of l1, l2, max, got 'l3'"),
        ({"debias": True}, "debias: expected norm 'l2' with it, got 'l1'"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        c.calibration_error_statistic([0.5], [1], **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: c.calibration_error_statistic([1.1], [1]), r"confidence: .*\[0, 1\], got 1.1"),
        (lambda: c.calibration_error_statistic([0.5], [1, 0]), "expected equally many rows"),
        (lambda: c.reliability_diagram([0.5], [3]), r"correct: expected bool or 0 and 1, got \[3"),
        (lambda: c.top_label([[0.5, 0.5]], [0], [2]), r"predictions: .* 0\.\.1, got 2\.\.2"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("binning", ["equal-width", "equal-mass"])
@pytest.mark.parametrize(("n", "decimals"), [(400, 12), (400, 1), (9, 1), (3, 0)])
def test_errors_of_sums_are_those_of_weights(binning: Any, n: int, decimals: int) -> None:
    rng = np.random.default_rng(n + decimals)
    confidence = np.round(rng.random(n), decimals)
    correct = rng.random(n) < confidence
    for groups in (2, 3, 7):
        codes = rng.integers(0, groups, n)
        drawn = np.append(rng.integers(0, 3, (8, groups)), np.ones((1, groups), int), axis=0)
        for norm, debias in (("l1", False), ("l2", True), ("max", False)):
            statistic = c.calibration_error_statistic(
                confidence, correct, bins=5, binning=binning, norm=norm, debias=debias
            )  # fmt: skip
            assert statistic.sums is not None
            sums = statistic.sums()
            assert sums is not None
            with np.errstate(divide="ignore", invalid="ignore"):
                found = sums.value(drawn @ sums.by_group(codes, groups))
            # Of equal mass, bins stay where they are for all samples.
            same = slice(None) if binning == "equal-width" else slice(-1, None)
            weights = drawn[:, codes].astype(float)
            np.testing.assert_allclose(found[same], statistic(weights)[same], atol=1e-12)


@pytest.mark.parametrize("bins", [1, 2, 7, 15, 32, 33, 100, 300])
def test_bins_are_counted_as_they_are_searched(bins: int) -> None:
    edges = np.arange(1, bins) / bins
    near = [np.nextafter(edges, 0), edges, np.nextafter(edges, 1)]
    confidence = np.concatenate([[0.0, 1.0], *near, np.random.default_rng(bins).random(500)])
    found = equal_width_index(confidence, bins=bins)
    assert (found == np.searchsorted(edges, confidence, side="left")).all()


@pytest.mark.parametrize("binning", ["equal-width", "equal-mass"])
@pytest.mark.parametrize("decimals", [1, 3, 15])
def test_plain_weights_add_to_the_same_bits_as_any(binning: Any, decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    level, came_true = rng.random(300).round(decimals), rng.random(300) < 0.6
    other = np.stack([np.ones(300), rng.integers(0, 3, 300).astype(float)])
    chances, targets = np.stack([1 - level, level], axis=1), came_true.astype(int)
    for one in (
        c.calibration_error_statistic(level, came_true, binning=binning),
        c.classwise_calibration_error_statistic(chances, targets),
        average_precision_statistic(level, came_true),
        auroc_statistic(level, came_true),
        aurc_statistic(level, came_true),
    ):
        assert one(np.ones((1, 300)))[0] == one(other)[0]
