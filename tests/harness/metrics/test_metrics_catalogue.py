import re

import pytest

from crucibench.metrics.calibration import calibration_error_id
from crucibench.metrics.catalogue import CATALOGUE, metric_info

REQUIRED = (
    "top-1",
    "top-5",
    "balanced-accuracy",
    "f1-macro",
    "f1-weighted",
    "mcc",
    "precision",
    "recall",
    "f1",
    "fpr",
    "recall-at-precision-90",
    "recall-at-precision-99",
    "auroc",
    "auroc-ovr-macro",
    "average-precision",
    "average-precision-ovr-macro",
    "log-loss",
    "brier",
    "brier-sum",
    "ece-15-equal-width-top-label",
    "ece-15-equal-mass-top-label",
    "ece-15-equal-width-classwise",
    "ece-l2-15-equal-mass-debiased-top-label",
    "mce-15-equal-width-top-label",
    "ece-15-equal-width-positive-class",
    "temperature",
    "aurc",
    "e-aurc",
    "accuracy-at-coverage-80",
    "accuracy-at-coverage-90",
    "accuracy-at-coverage-95",
    "mae",
    "rmse",
    "median-absolute-error",
    "r2",
    "spearman",
)


@pytest.mark.parametrize("metric", CATALOGUE)
def test_every_entry_is_complete(metric: str) -> None:
    info = metric_info(metric)
    assert info.id == metric
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", metric)
    assert info.name
    assert info.definition.endswith(".")
    assert info.lower < info.upper
    assert info.version >= 1


def test_every_metric_of_the_accuracy_suite_is_there() -> None:
    assert set(REQUIRED) <= set(CATALOGUE)


def test_names_are_distinct() -> None:
    names = [info.name for info in CATALOGUE.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("view", ["top-label", "positive-class"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"binning": "equal-mass"},
        {"norm": "l2", "binning": "equal-mass", "debias": True},
        {"norm": "max"},
    ],
)
def test_calibration_ids_are_those_of_their_options(view: str, options: dict[str, object]) -> None:
    assert calibration_error_id(view, **options) in CATALOGUE


def test_directions() -> None:
    lower = {metric for metric, info in CATALOGUE.items() if info.direction == "lower"}
    assert {"fpr", "log-loss", "brier", "aurc", "e-aurc", "mae", "rmse"} <= lower
    assert all(metric in lower for metric in CATALOGUE if metric.startswith(("ece", "mce")))
    assert metric_info("temperature").direction == "target=1"
    assert metric_info("top-1-train-minus-test").direction == "target=0"


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown metric 'auroc-macro'; did you mean 'auroc"):
        metric_info("auroc-macro")
