"""The identities of metrics by group and of gaps between groups, as data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from crucibench.contracts.metric import MetricInfo, share_info

Kind = Literal["difference", "ratio"]


class Gap(NamedTuple):
    """A gap between groups in one or more rates.

    Attributes:
        id: the metric's id.
        rates: the ids of the rates that it looks at.
        kind: ``difference`` is the largest difference between groups, ``ratio`` the smallest
            ratio.
        combine: of several rates' gaps the worst, or their mean.
    """

    id: str
    rates: tuple[str, ...]
    kind: Kind
    combine: Literal["worst", "mean"] = "worst"


GAPS: Mapping[str, Gap] = MappingProxyType(
    {
        gap.id: gap
        for gap in (
            Gap("top-1-difference", ("top-1",), "difference"),
            Gap("demographic-parity-difference", ("selection-rate",), "difference"),
            Gap("demographic-parity-ratio", ("selection-rate",), "ratio"),
            Gap("equal-opportunity-difference", ("tpr",), "difference"),
            Gap("equal-opportunity-ratio", ("tpr",), "ratio"),
            Gap("equalized-odds-difference", ("tpr", "fpr"), "difference"),
            Gap("equalized-odds-difference-mean", ("tpr", "fpr"), "difference", "mean"),
            Gap("equalized-odds-ratio", ("tpr", "fpr"), "ratio"),
            Gap("predictive-parity-difference", ("ppv",), "difference"),
            Gap("base-rate-difference", ("base-rate",), "difference"),
        )
    }
)
"""Gaps of two-class decisions by id; fairlearn's names and definitions where it has them."""

_FAIRLEARN = "fairlearn.metrics.{}; Weerts et al., JMLR 24, 2023"
_POLICY = (
    "groups of fewer than the run's min_group_size samples, of unknown ones and those for which a "
    "rate is undefined are left out"
)
_AIF = "Speicher et al., KDD 2018; AIF360, {}"


_RATES = (
    share_info("base-rate", "Base rate", "none", "Of the group's samples, the share of positives."),
    share_info(
        "selection-rate", "Selection rate", "none",
        "Of the group's samples, the share that are predicted as positive.",
        _FAIRLEARN.format("selection_rate"),
    ),
    share_info(
        "tpr", "True positive rate", "higher",
        "Of the group's positives, the share that are predicted as positive.",
    ),
    share_info(
        "fnr", "False negative rate", "lower",
        "Of the group's positives, the share that are predicted as negative.",
    ),
    share_info(
        "tnr", "True negative rate", "higher",
        "Of the group's negatives, the share that are predicted as negative.",
    ),
    share_info(
        "ppv", "Positive predictive value", "higher",
        "Of the group's samples that are predicted as positive, the share that are.",
    ),
    share_info(
        "npv", "Negative predictive value", "higher",
        "Of the group's samples that are predicted as negative, the share that are.",
    ),
)  # fmt: skip

_NAMES = {
    "top-1": "Accuracy",
    "selection-rate": "Selection rate",
    "tpr": "True positive rate",
    "fpr": "False positive rate",
    "ppv": "Positive predictive value",
    "mae": "Mean absolute error",
    "mean-error": "Mean error",
    "mean-prediction": "Mean prediction",
}


def _difference(id_: str, name: str, what: str, source: str = "") -> MetricInfo:
    return share_info(
        id_, name, "lower", f"The highest less the lowest {what} of all groups; {_POLICY}.", source
    )


def _ratio(id_: str, name: str, what: str, source: str = "") -> MetricInfo:
    return share_info(
        id_, name, "target=1", f"The lowest over the highest {what} of all groups; {_POLICY}.",
        source,
    )  # fmt: skip


_GAPS = (
    _difference("top-1-difference", "Accuracy difference", "accuracy"),
    _difference(
        "demographic-parity-difference", "Demographic parity difference", "selection rate",
        _FAIRLEARN.format("demographic_parity_difference"),
    ),
    _ratio(
        "demographic-parity-ratio", "Demographic parity ratio", "selection rate",
        _FAIRLEARN.format("demographic_parity_ratio"),
    ),
    _difference(
        "equal-opportunity-difference", "Equal opportunity difference", "true positive rate",
        _FAIRLEARN.format("equal_opportunity_difference"),
    ),
    _ratio(
        "equal-opportunity-ratio", "Equal opportunity ratio", "true positive rate",
        _FAIRLEARN.format("equal_opportunity_ratio"),
    ),
    share_info(
        "equalized-odds-difference", "Equalized odds difference", "lower",
        "The larger of the differences between groups in true and in false positive rate, each the "
        f"highest less the lowest; {_POLICY}.",
        _FAIRLEARN.format("equalized_odds_difference"),
    ),
    share_info(
        "equalized-odds-difference-mean", "Equalized odds difference, mean", "lower",
        "The mean of the differences between groups in true and in false positive rate; of two "
        f"groups the average absolute odds difference; {_POLICY}.",
        _FAIRLEARN.format("equalized_odds_difference(agg='mean')"),
    ),
    share_info(
        "equalized-odds-ratio", "Equalized odds ratio", "target=1",
        "The smaller of the ratios between groups in true and in false positive rate, each the "
        f"lowest over the highest; {_POLICY}.",
        _FAIRLEARN.format("equalized_odds_ratio"),
    ),
    _difference(
        "predictive-parity-difference", "Predictive parity difference", "positive predictive value"
    ),
    share_info(
        "base-rate-difference", "Base rate difference", "none",
        "The highest less the lowest share of positives of all groups: of the data, not of the "
        f"model; {_POLICY}.",
    ),
    share_info(
        "demographic-parity-difference-ovr-worst",
        "Demographic parity difference, worst class", "lower",
        "The largest over classes of the highest less the lowest share predicted as the class of "
        f"all groups; {_POLICY}.",
    ),
    share_info(
        "equal-opportunity-difference-ovr-worst",
        "Equal opportunity difference, worst class", "lower",
        f"The largest over classes of the highest less the lowest recall of all groups; {_POLICY}.",
    ),
    share_info(
        "worst-group-top-1", "Worst-group accuracy", "higher",
        f"The lowest accuracy of all groups of all group columns; {_POLICY}.",
        "Sagawa et al., ICLR 2020",
    ),
)  # fmt: skip

_CONTRASTS = tuple(
    MetricInfo(
        id=f"{rate}-minus-{other}",
        name=f"{_NAMES[rate]}, group minus {other}",
        direction="target=0",
        definition=f"{rate} of the group less that of {what}: negative where the group's is lower.",
        lower=-1.0,
        upper=1.0,
    )
    for rate in ("top-1", "selection-rate", "tpr", "fpr", "ppv")
    for other, what in (
        ("rest", "all other samples whose group is known"),
        ("reference", "the reference group that the suite's settings name"),
    )
)

_INEQUALITY = (
    MetricInfo(
        id="generalized-entropy-2",
        name="Generalized entropy",
        direction="lower",
        definition="Half the squared coefficient of variation of the benefits prediction - target "
        "+ 1 of all samples, groups left aside.",
        source=_AIF.format("generalized_entropy_index"),
        lower=0.0,
    ),
    MetricInfo(
        id="theil-index",
        name="Theil index",
        direction="lower",
        definition="The mean of (b / m) ln(b / m) over the benefits b = prediction - target + 1 of "
        "all samples, m being their mean; groups left aside.",
        source=_AIF.format("theil_index"),
        unit="nats",
        lower=0.0,
    ),
)

_UNIT = "target units"

_REGRESSION = (
    MetricInfo(
        id="mean-error", name="Mean error", direction="target=0", unit=_UNIT,
        definition="The mean of prediction - target: positive where predictions are too high.",
    ),
    MetricInfo(
        id="mean-prediction", name="Mean prediction", direction="none", unit=_UNIT,
        definition="The mean of the predictions.",
    ),
    *(
        MetricInfo(
            id=f"{metric}-difference", name=f"{_NAMES[metric]} difference", direction="lower",
            definition=f"The highest less the lowest {metric} of all groups; {_POLICY}.",
            unit=_UNIT, lower=0.0,
        )
        for metric in ("mae", "mean-error", "mean-prediction")
    ),
    *(
        MetricInfo(
            id=f"{metric}-minus-{other}", name=f"{_NAMES[metric]}, group minus {other}",
            direction="target=0",
            definition=f"{metric} of the group less that of {what}.",
            unit=_UNIT,
        )
        for metric in ("mae", "mean-error")
        for other, what in (
            ("rest", "all other samples whose group is known"),
            ("reference", "the reference group that the suite's settings name"),
        )
    ),
    MetricInfo(
        id="worst-group-mae", name="Worst-group mean absolute error", direction="lower",
        definition=f"The highest mae of all groups of all group columns; {_POLICY}.",
        unit=_UNIT, lower=0.0,
    ),
)  # fmt: skip


def _changed(prefix: str, name: str, how: str) -> tuple[MetricInfo, ...]:
    """Returns what is measured where only a group is changed."""
    return (
        share_info(
            f"{prefix}-flip-rate", f"Flips {name}", "lower",
            f"The share of samples whose predicted label changes {how}; of several other groups "
            "one is drawn.",
        ),
        share_info(
            f"{prefix}-score-change", f"Score change {name}", "lower",
            f"The mean over samples of the probability that moves between classes {how}: for two "
            "classes the absolute change of either's.",
        ),
        share_info(
            f"{prefix}-largest-score-change", f"Largest score change {name}", "lower",
            f"The largest of the samples' {prefix}-score-change.",
        ),
        MetricInfo(
            id=f"{prefix}-value-change", name=f"Value change {name}", direction="lower",
            definition=f"The mean absolute change of the predicted value {how}.",
            unit=_UNIT, lower=0.0,
        ),
    )  # fmt: skip


_COUNTERFACTUAL = (
    *_changed(
        "swapped",
        "under another group",
        "where a table's group column is changed to another group and nothing else",
    ),
    *_changed(
        "reworded",
        "in another group's words",
        "where the words of a text that name a group are exchanged for another group's, of the "
        "texts that have such words",
    ),
)

GROUP_METRICS: tuple[MetricInfo, ...] = (
    *_RATES, *_GAPS, *_CONTRASTS, *_INEQUALITY, *_REGRESSION, *_COUNTERFACTUAL
)  # fmt: skip
"""What is added to the catalogue."""
