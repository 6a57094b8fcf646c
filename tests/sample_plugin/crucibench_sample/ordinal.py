"""A task kind: classes in an order, where a near miss is better than a far one."""

import numpy as np

from crucibench.contracts.metric import Metric, MetricInfo
from crucibench.contracts.section import Section
from crucibench.contracts.statistic import RowMetric
from crucibench.metrics.statistic import mean_statistic
from crucibench.tasks.classification.kind import Classification
from crucibench.util.errors import InputError


def distances(view):
    return np.abs(view.predictions - view.targets).astype(np.float64)


CLASS_DISTANCE = Metric(
    info=MetricInfo(id="class-distance", name="Class distance", direction="lower", lower=0.0,
        definition="The mean number of classes between prediction and target."),
    kinds=("ordinal", "classification"),
    form=lambda view: RowMetric(mean_statistic(distances(view))),
    reference=lambda view: sum(
        abs(int(p) - int(t)) for p, t in zip(view.predictions, view.targets, strict=True)
    ) / len(view),
)  # fmt: skip


class Ordinal(Classification):
    name = "ordinal"
    metrics = (*Classification.metrics, "class-distance")
    headline = "class-distance"
    sections = (Section(title="Far and near misses", kind="matrix", table="confusion"),)

    def read_targets(self, target, columns):
        if target.classes is None:
            raise InputError("an ordinal target needs its classes in order: classes=low,mid,high")
        return super().read_targets(target, columns)

    def quality(self, view):
        return distances(view)
