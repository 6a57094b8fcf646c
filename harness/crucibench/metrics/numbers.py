"""Numbers of registered metrics: what a view of answers says under each."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from crucibench.contracts.metric import Metric
from crucibench.contracts.statistic import Number, Units


def numbers_of(
    metrics: Iterable[Metric], view: Any, *, point: str = "", units: Units | None = None
) -> list[Number]:
    """Returns the numbers of some metrics, in their order; by class in the order of the classes.

    Args:
        metrics: which; those that have no row for such answers are left out.
        view: the answers, as the task's kind reads them.
        point: the scenario's point that they are of.
        units: what the view's samples are, where they are not the evidence's.
    """
    found: list[Number] = []
    for metric in metrics:
        reason = metric.applies(view)
        if reason is None:
            continue
        positive = getattr(view, "positive", None)
        class_name = "" if positive is None else view.classes[positive]
        whole = reason or not metric.by_class
        groups = ("",) if whole else (*([""] if class_name else []), *view.classes)
        for group in groups:
            given = (group,) if metric.by_class else ()
            found.append(
                Number(
                    metric=metric.info.id,
                    point=point,
                    group=group,
                    units=units,
                    make=None if reason else partial(metric.form, view, *given),
                    undefined=reason or metric.undefined.format(group or class_name),
                )
            )
    return found
