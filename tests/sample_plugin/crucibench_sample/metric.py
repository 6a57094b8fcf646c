"""A metric: the geometric mean of both classes' recalls."""

import numpy as np

from crucibench.contracts.metric import Metric, MetricInfo
from crucibench.contracts.statistic import TableMetric, TableStatistic


def g_mean(tables):
    recalls = np.diagonal(tables, axis1=1, axis2=2) / tables.sum(axis=2)
    return np.prod(recalls, axis=1) ** (1 / tables.shape[1])


def reference(view):
    recalls = [np.mean(view.predictions[view.targets == k] == k) for k in range(len(view.classes))]
    return float(np.prod(recalls) ** (1 / len(recalls)))


G_MEAN = Metric(
    info=MetricInfo(
        id="g-mean", name="G-mean", direction="higher", lower=0.0, upper=1.0,
        definition="The geometric mean of the classes' recalls.",
    ),
    kinds=("classification",),
    form=lambda view: TableMetric(
        view.predictions, view.targets, len(view.classes),
        TableStatistic(compute=g_mean, undefined=lambda table: "a class has no sample"),
    ),
    reference=reference,
)  # fmt: skip
