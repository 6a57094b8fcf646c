"""Every metric's identity: id, direction, bounds, unit, definition and source, as data.

The id holds everything that changes the number: binning, averaging, norm, thresholds. Which value
of a binary task counts as positive, and the decision threshold, belong to the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from types import MappingProxyType

from crucibench.contracts.metric import MetricInfo, share_info
from crucibench.metrics.catalogue_across import ACROSS_METRICS
from crucibench.metrics.catalogue_groups import GROUP_METRICS
from crucibench.metrics.catalogue_labels import LABEL_METRICS
from crucibench.metrics.probabilistic import SMALLEST
from crucibench.util.suggest import unknown

_CLASS = "the class that the group names, in a binary task the positive class"
_OVR = "the mean over all classes, undefined where one has no sample"
_TOP_LABEL = "the predicted class's probability against being right"
_POSITIVE = "the positive class's probability against being positive"
_WIDTH = "15 equal-width bins (lo, hi], 0 in the first"
_MASS = "15 equal-mass bins: mid-rank r of n goes in bin floor(15 r / n), ties together"
_MEAN_GAP = "The mean over bins, weighted by count, of |mean confidence - share correct|"
_GUO = "Guo et al., On Calibration of Modern Neural Networks, ICML 2017"
_NAEINI = "Pakdaman Naeini et al., AAAI 2015"
_DEBIASED = (
    "Bröcker, Climate Dynamics 39, 2012; Ferro and Fricker, Q. J. R. Meteorol. Soc. 138, 2012; "
    "Kumar, Liang and Ma, Verified Uncertainty Calibration, NeurIPS 2019"
)
_GEIFMAN = "Geifman, Uziel and El-Yaniv, ICLR 2019"
_TARGET_UNIT = "target units"


_LABELS = (
    share_info(
        "top-1", "Accuracy", "higher", "The share of samples whose predicted class is right."
    ),
    share_info(
        "top-5",
        "Top-5 accuracy",
        "higher",
        "The share of samples whose target is among the five highest scores, tied classes counting "
        "in the order of their index.",
    ),
    share_info(
        "balanced-accuracy",
        "Balanced accuracy",
        "higher",
        "The mean recall of the classes that have samples.",
        "scikit-learn, balanced_accuracy_score",
    ),
    share_info(
        "f1-macro",
        "Macro F1",
        "higher",
        "The plain mean of 2 TP / (2 TP + FP + FN) over the classes that occur in targets or "
        "predictions.",
    ),
    share_info(
        "f1-weighted",
        "Weighted F1",
        "higher",
        "The mean of 2 TP / (2 TP + FP + FN) over the classes, weighted by numbers of samples.",
    ),
    MetricInfo(
        id="mcc",
        name="Matthews correlation",
        direction="higher",
        definition="The correlation of targets and predictions as class indicators (R_K for K "
        "classes); undefined where all targets or all predictions are of one class.",
        source="Gorodkin, Comput. Biol. Chem. 28, 2004",
        lower=-1.0,
        upper=1.0,
    ),
    share_info(
        "precision",
        "Precision",
        "higher",
        f"Of the samples predicted as a class, the share that are of it: {_CLASS}.",
    ),
    share_info(
        "recall",
        "Recall",
        "higher",
        f"Of the samples of a class, the share predicted as it: {_CLASS}.",
    ),
    share_info("f1", "F1", "higher", f"2 TP / (2 TP + FP + FN) of {_CLASS}."),
    share_info(
        "fpr",
        "False-positive rate",
        "lower",
        f"Of the samples of other classes, the share predicted as {_CLASS}.",
    ),
)

_RANKING = (
    share_info(
        "auroc",
        "AUROC",
        "higher",
        "The probability that a positive sample scores above a negative one, ties counting half.",
        "Hanley and McNeil, Radiology 143, 1982",
    ),
    share_info(
        "auroc-ovr-macro",
        "AUROC, one vs rest",
        "higher",
        f"The AUROC of each class's probability against the rest; {_OVR}.",
    ),
    share_info(
        "average-precision",
        "Average precision",
        "higher",
        "The sum over distinct scores, from the highest, of the recall gained times the precision "
        "there; not interpolated. A random score has the share of positives.",
        "scikit-learn, average_precision_score",
    ),
    share_info(
        "average-precision-ovr-macro",
        "Average precision, one vs rest",
        "higher",
        f"The average precision of each class's probability against the rest; {_OVR}.",
    ),
    *(
        share_info(
            f"recall-at-precision-{percent}",
            f"Recall at {percent} % precision",
            "higher",
            f"The highest recall of all thresholds with precision >= {percent / 100}; 0 where "
            "there is none.",
        )
        for percent in (90, 99)
    ),
)

_PROBABILISTIC = (
    MetricInfo(
        id="log-loss",
        name="Log loss",
        direction="lower",
        definition="The mean of -ln p, p being the target's probability in float64, raised to at "
        "least 2.2e-16.",
        unit="nats",
        lower=0.0,
        upper=-log(SMALLEST),
    ),
    share_info(
        "brier",
        "Brier score",
        "lower",
        "The mean of (p - y)^2, p being the positive class's probability and y 1 or 0; half of "
        "brier-sum.",
        "Brier, Mon. Weather Rev. 78, 1950",
    ),
    MetricInfo(
        id="brier-sum",
        name="Brier score, summed over classes",
        direction="lower",
        definition="The mean over samples of the sum over classes of (p_k - y_k)^2, from 0 to 2.",
        source="Brier, Mon. Weather Rev. 78, 1950",
        lower=0.0,
        upper=2.0,
    ),
)


def _calibration(id_: str, name: str, definition: str, source: str) -> MetricInfo:
    return share_info(id_, name, "lower", definition, source)


def _binned(view: str, what: str, named: str) -> tuple[MetricInfo, ...]:
    return (
        _calibration(
            f"ece-15-equal-width-{view}",
            f"ECE, {named}",
            f"{_MEAN_GAP}, of {what}; {_WIDTH}.",
            _GUO,
        ),
        _calibration(
            f"ece-15-equal-mass-{view}",
            f"ECE, equal mass, {named}",
            f"{_MEAN_GAP}, of {what}; {_MASS}.",
            _NAEINI,
        ),
        _calibration(
            f"ece-l2-15-equal-mass-debiased-{view}",
            f"Debiased calibration error, {named}",
            f"The root (of at least 0) of the mean over bins, weighted by count, of the squared "
            f"gap less acc (1 - acc) / (count - 1), of {what}; {_MASS}. Unlike the ECE it hardly "
            "grows as samples get fewer.",
            _DEBIASED,
        ),
        _calibration(
            f"mce-15-equal-width-{view}",
            f"Largest calibration gap, {named}",
            f"The largest |mean confidence - share correct| of all bins with samples, of {what}; "
            f"{_WIDTH}.",
            _NAEINI,
        ),
    )


_CALIBRATION = (
    *_binned("top-label", _TOP_LABEL, "top label"),
    *_binned("positive-class", _POSITIVE, "positive class"),
    _calibration(
        "ece-15-equal-width-classwise",
        "ECE, classwise",
        f"The plain mean over all classes of the ECE of each class's probability against being "
        f"the target; {_WIDTH}.",
        "Nixon et al. 2019 (static calibration error); Kull et al., NeurIPS 2019",
    ),
    MetricInfo(
        id="temperature",
        name="Temperature",
        direction="target=1",
        definition="The T between 0.001 and 1000 at which softmax(logits / T) has the lowest log "
        "loss on the fitting half; above 1 the model is overconfident, below 1 underconfident.",
        source=_GUO,
        lower=1e-3,
        upper=1e3,
    ),
    _calibration(
        "ece-15-equal-width-top-label-before-temperature",
        "ECE before temperature scaling",
        "ece-15-equal-width-top-label on the half that the temperature isn't fitted on.",
        _GUO,
    ),
    _calibration(
        "ece-15-equal-width-top-label-after-temperature",
        "ECE after temperature scaling",
        "The same, on the same half, of softmax(logits / T).",
        _GUO,
    ),
)

_SELECTIVE = (
    share_info(
        "aurc",
        "AURC",
        "lower",
        "The mean over k = 1..n of the share of errors among the k most confident samples, tied "
        "ones in expectation over their orders.",
        _GEIFMAN,
    ),
    share_info(
        "e-aurc",
        "Excess AURC",
        "lower",
        "aurc less that of the same number of errors ranked last, (E - (n - E) (H_n - H_{n-E})) / "
        "n, H being harmonic numbers.",
        _GEIFMAN,
    ),
    *(
        share_info(
            f"accuracy-at-coverage-{percent}",
            f"Accuracy at {percent} % coverage",
            "higher",
            f"The accuracy of the ceil({percent} n / 100) most confident samples, tied ones in "
            "expectation over their orders.",
        )
        for percent in (80, 90, 95)
    ),
)

_REGRESSION = (
    MetricInfo(
        id="mae",
        name="Mean absolute error",
        direction="lower",
        definition="The mean of |prediction - target|.",
        unit=_TARGET_UNIT,
        lower=0.0,
    ),
    MetricInfo(
        id="rmse",
        name="Root mean squared error",
        direction="lower",
        definition="The root of the mean of (prediction - target)^2.",
        unit=_TARGET_UNIT,
        lower=0.0,
    ),
    MetricInfo(
        id="median-absolute-error",
        name="Median absolute error",
        direction="lower",
        definition="The median of |prediction - target|, the mean of the two middle ones where n "
        "is even.",
        unit=_TARGET_UNIT,
        lower=0.0,
    ),
    MetricInfo(
        id="r2",
        name="R²",
        direction="higher",
        definition="1 - the sum of (prediction - target)^2 / the sum of (target - mean target)^2; "
        "undefined where all targets are equal.",
        upper=1.0,
    ),
    MetricInfo(
        id="spearman",
        name="Spearman correlation",
        direction="higher",
        definition="The correlation of the ranks of predictions and targets, ties sharing their "
        "mean rank; undefined where either are all equal.",
        source="Spearman, Am. J. Psychol. 15, 1904",
        lower=-1.0,
        upper=1.0,
    ),
)

_GAPS = (
    MetricInfo(
        id="top-1-train-minus-test",
        name="Accuracy, train minus test",
        direction="target=0",
        definition="top-1 on the train role less top-1 on the test role.",
        lower=-1.0,
        upper=1.0,
    ),
    MetricInfo(
        id="mae-train-minus-test",
        name="Mean absolute error, train minus test",
        direction="target=0",
        definition="mae on the train role less mae on the test role.",
        unit=_TARGET_UNIT,
    ),
)

_REPEATS = (
    share_info(
        "repeat-flip-rate",
        "Flip rate",
        "none",
        "Samples are asked about several times: the share of pairs of answers to one sample that "
        "differ in their label, its mean over samples.",
    ),
    MetricInfo(
        id="repeat-score-noise",
        name="Score noise",
        direction="none",
        definition="Samples are asked about several times: the square root of the variance of an "
        "answer about its own mean, averaged over scores (or values) and samples; as the model "
        "gives them, before any softmax.",
        lower=0.0,
    ),
)

CATALOGUE: Mapping[str, MetricInfo] = MappingProxyType(
    {
        info.id: info
        for info in (
            *_LABELS,
            *_RANKING,
            *_PROBABILISTIC,
            *_CALIBRATION,
            *_SELECTIVE,
            *_REGRESSION,
            *_GAPS,
            *_REPEATS,
            *LABEL_METRICS,
            *GROUP_METRICS,
            *ACROSS_METRICS,
        )
    }
)
"""Every metric of this package by id."""


def metric_info(metric: str) -> MetricInfo:
    """Returns a metric's identity by its id.

    Raises:
        ValueError: if there is no such metric; the message names the nearest.
    """
    if metric not in CATALOGUE:
        raise ValueError(unknown("metric", metric, CATALOGUE))
    return CATALOGUE[metric]
