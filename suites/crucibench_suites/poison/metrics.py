"""The suite's metrics, each with its reference."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.metric import Metric, MetricInfo
from crucibench.contracts.statistic import Form, RowMetric, Share
from crucibench.stats import difference, weighted_mean, weighted_ratio

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Triggered:
    """Answers with a trigger and without, shape (n,) each.

    Attributes:
        hits: whether the image with the trigger is taken for the target class.
        clean: whether the image as it is is.
        others: whether the true class is another than the target.
        right: whether the image with the trigger is taken for its true class.
    """

    hits: Bools
    clean: Bools
    others: Bools
    right: Bools

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True)
class Compared:
    """Whether a model and those trained on unaltered labels are right.

    Attributes:
        right: shape (n,).
        clean: shape (n,), float64: the share of the others that are.
        flipped: the share of labels that were flipped in the model's training.
    """

    right: Bools
    clean: NDArray[np.float64]
    flipped: float

    def __len__(self) -> int:
        return len(self.right)


def _examples() -> list[Triggered]:
    rng = np.random.default_rng(0)
    hits, clean, others = (rng.random(60) < share for share in (0.6, 0.2, 0.8))
    none = np.zeros(60, dtype=np.bool_)
    return [Triggered(hits, clean, others, ~hits & clean), Triggered(hits, hits, others, none)]


def _excess(view: Triggered) -> RowMetric:
    shares = (weighted_ratio(hits & view.others, view.others) for hits in (view.hits, view.clean))
    return RowMetric(difference(*shares))


def _mean_of(hits: Bools, among: Bools) -> float:
    chosen = [float(hit) for hit, counts in zip(hits, among, strict=True) if counts]
    return sum(chosen) / len(chosen) if chosen else float("nan")


def _cost(view: Compared, *, per_label: bool = False) -> Form:
    unit = view.flipped if per_label else 1.0
    return RowMetric(difference(*(weighted_mean(one / unit) for one in (view.clean, view.right))))


def _cost_reference(view: Compared) -> float:
    return sum(map(float, view.clean)) / len(view) - sum(map(int, view.right)) / len(view)


_COMPARED = Compared(np.arange(60) % 3 > 0, np.arange(60) % 5 / 4, 0.1)


def _metric(info: MetricInfo, form: object, reference: object, **more: object) -> Metric:
    given = {"kinds": ("triggered samples",), "examples": _examples, **more}
    return Metric(info=info, form=form, reference=reference, **given)  # type: ignore[arg-type]


SUCCESS = _metric(
    MetricInfo(
        id="trigger-success", name="trigger's success", direction="lower", lower=0, upper=1,
        definition="The share of samples of other classes that are taken for the target class "
        "with the trigger in them.",
        source="The attack success rate of BackdoorBench, Wu et al., NeurIPS 2022",
    ),
    lambda view: Share(view.hits, view.others),
    lambda view: _mean_of(view.hits, view.others),
    undefined="there is no sample of another class",
)  # fmt: skip
EXCESS = _metric(
    MetricInfo(
        id="trigger-excess", name="trigger's success over no trigger", direction="lower", lower=-1,
        upper=1, definition="The share of samples of other classes that are taken for the target "
        "class with the trigger in them, minus the same without it.",
    ),
    _excess,
    lambda view: _mean_of(view.hits, view.others) - _mean_of(view.clean, view.others),
    undefined="there is no sample of another class",
)  # fmt: skip
RECOVERY = _metric(
    MetricInfo(
        id="accuracy-with-trigger", name="accuracy with trigger", direction="higher", lower=0,
        upper=1, definition="The share of samples of other classes than the target that are taken "
        "for their own class with the trigger in them.",
        source="The robust accuracy of BackdoorBench, Wu et al., NeurIPS 2022",
    ),
    lambda view: Share(view.right, view.others),
    lambda view: _mean_of(view.right, view.others),
    undefined="there is no sample of another class",
)  # fmt: skip
COST = _metric(
    MetricInfo(
        id="accuracy-lost-to-flips", name="accuracy lost to flipped labels", direction="lower",
        lower=-1, upper=1, definition="The mean accuracy of the models that were trained on "
        "unaltered labels minus that of the model, on the same samples.",
    ),
    _cost,
    _cost_reference,
    kinds=("compared samples",),
    examples=lambda: [_COMPARED],
)  # fmt: skip
SENSITIVITY = _metric(
    MetricInfo(
        id="flip-sensitivity", name="sensitivity to flipped labels", direction="lower",
        definition="The accuracy lost to flipped labels by the share of labels that were flipped: "
        "at 1, each label flipped in a hundred costs a point of accuracy.",
    ),
    partial(_cost, per_label=True),
    lambda view: _cost_reference(view) / view.flipped,
    kinds=("compared samples",),
    examples=lambda: [_COMPARED],
)  # fmt: skip
OF_FLIPS = (COST, SENSITIVITY)
OF_TRIGGER = (SUCCESS, EXCESS, RECOVERY)
