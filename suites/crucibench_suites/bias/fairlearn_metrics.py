"""Which metrics of fairlearn can be asked for by name, and what each needs to be defined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from crucibench.contracts.metric import MetricInfo

PREFIX = "fairlearn:"

Needs = Literal["positive", "negative", "selected"]


class FairlearnMetric(NamedTuple):
    """A metric of fairlearn.

    Attributes:
        by_groups: whether fairlearn is given the groups and returns one number for all of them.
        of: what it is of: ``decisions`` of two classes, ``labels`` of any number of classes,
            ``scores`` of the positive class, or ``values`` of a regression.
        needs: of which samples each group must have some, else it is undefined: ``positive`` or
            ``negative`` ones by target, ``selected`` ones by prediction.
        direction: as of `MetricInfo`.
    """

    by_groups: bool
    of: Literal["decisions", "labels", "scores", "values"]
    needs: tuple[Needs, ...] = ()
    direction: str = "lower"


_P: tuple[Needs] = ("positive",)
_N: tuple[Needs] = ("negative",)
_S: tuple[Needs] = ("selected",)
_RATES: Mapping[str, tuple[Needs, ...]] = {
    "true_positive_rate": _P,
    "false_negative_rate": _P,
    "true_negative_rate": _N,
    "false_positive_rate": _N,
    "selection_rate": (),
}
_BETTER = {"difference": "lower", "ratio": "target=1"}
_MEASURED = {"true_positive_rate": "higher", "true_negative_rate": "higher",
             "false_negative_rate": "lower", "false_positive_rate": "lower"}  # fmt: skip

FAIRLEARN: Mapping[str, FairlearnMetric] = {
    **{
        f"{name}_{how}": FairlearnMetric(True, "decisions", needs, direction)
        for name, needs in {
            "demographic_parity": (),
            "equal_opportunity": _P,
            "equalized_odds": (*_P, *_N),
            **_RATES,
        }.items()
        for how, direction in _BETTER.items()
    },
    **{
        name: FairlearnMetric(False, "decisions", needs, _MEASURED.get(name, "none"))
        for name, needs in _RATES.items()
    },
    "mean_prediction": FairlearnMetric(False, "values", (), "none"),
    **{
        f"{name}_{how}": FairlearnMetric(True, "labels", (), _BETTER[how])
        for name in ("accuracy_score", "zero_one_loss")
        for how in _BETTER
    },
    "accuracy_score_group_min": FairlearnMetric(True, "labels", (), "higher"),
    "zero_one_loss_group_max": FairlearnMetric(True, "labels"),
    "balanced_accuracy_score_group_min": FairlearnMetric(True, "decisions", (*_P, *_N), "higher"),
    "precision_score_group_min": FairlearnMetric(True, "decisions", _S, "higher"),
    "recall_score_group_min": FairlearnMetric(True, "decisions", _P, "higher"),
    "f1_score_group_min": FairlearnMetric(True, "decisions", _P, "higher"),
    "roc_auc_score_group_min": FairlearnMetric(True, "scores", (*_P, *_N), "higher"),
    "log_loss_group_max": FairlearnMetric(True, "scores", (*_P, *_N)),
    "mean_absolute_error_group_max": FairlearnMetric(True, "values"),
    "mean_squared_error_group_max": FairlearnMetric(True, "values"),
    "r2_score_group_min": FairlearnMetric(True, "values", (), "higher"),
}
"""Every metric by its name in ``fairlearn.metrics``."""

FAIRLEARN_METRICS: tuple[MetricInfo, ...] = tuple(
    MetricInfo(
        id=PREFIX + name,
        name=f"{name} (fairlearn)",
        direction=asked.direction,
        definition=f"fairlearn.metrics.{name} of the groups of a column that are compared"
        + ("." if asked.by_groups else ", each by itself."),
        source=f"fairlearn.metrics.{name}",
    )
    for name, asked in FAIRLEARN.items()
)
