"""What is measured by group where targets are neither classes nor numbers."""

from __future__ import annotations

from dataclasses import replace

from crucibench.contracts.metric import MetricInfo, metrics_named
from crucibench.contracts.task import TaskKind
from crucibench.metrics.catalogue import CATALOGUE
from crucibench.metrics.catalogue_groups import Gap


def measured(kind: TaskKind) -> tuple[MetricInfo, ...]:
    """Returns the metrics whose means are compared between groups."""
    return tuple(metric.info for metric in metrics_named(kind.group_metrics or (kind.headline,)))


def gaps_of_kind(kind: TaskKind) -> list[Gap]:
    """Returns the differences between groups that are made of a kind."""
    return [Gap(f"{info.id}-difference", (info.id,), "difference") for info in measured(kind)]


def of_kind(kind: TaskKind) -> tuple[MetricInfo, ...]:
    """Returns all that is reported of a kind: by group, differences, and the worst group."""
    infos = measured(kind)
    found = {info.id: info for info in infos}
    (headline,) = metrics_named([kind.headline])
    found[headline.info.id] = headline.info
    for info in infos:
        found[f"{info.id}-difference"] = replace(
            info, id=f"{info.id}-difference", name=f"{info.name}, difference", direction="lower",
            lower=0.0, definition=f"The highest less the lowest {info.id} of all groups.",
        )  # fmt: skip
    first = infos[0]
    worst = "highest" if first.direction == "lower" else "lowest"
    found[f"worst-group-{first.id}"] = replace(
        first, id=f"worst-group-{first.id}", name=f"{first.name}, worst group",
        definition=f"The {worst} {first.id} of all groups of all group columns.",
    )  # fmt: skip
    for name in ("demographic-parity", "equal-opportunity"):
        id_ = f"{name}-difference-ovr-worst"
        found[id_] = CATALOGUE[id_]
    return tuple(found.values())
