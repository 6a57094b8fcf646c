"""What a metric is called, which way is better, and what it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any

from crucibench.contracts.statistic import Form
from crucibench.util.registry import Catalogue

_DIRECTION = re.compile(r"higher|lower|none|target=-?\d+(\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """One metric's identity, complete: binning, averaging and edge are part of `id`.

    Raises:
        ValueError: if `direction` is none of ``higher``, ``lower``, ``none``, ``target=X``.
    """

    id: str
    name: str
    direction: str
    """``higher`` or ``lower`` is better, ``none``, or ``target=X``."""
    definition: str
    """One or two sentences that a reader can recompute the number from."""
    source: str = ""
    unit: str = ""
    lower: float = -inf
    upper: float = inf
    version: int = 1
    """Raised whenever the same records would give another number."""

    def __post_init__(self) -> None:
        if not _DIRECTION.fullmatch(self.direction):
            raise ValueError(
                f"direction of metric {self.id!r}: expected higher, lower, none or target=X, "
                f"got {self.direction!r}"
            )


def share_info(
    id_: str, name: str, direction: str, definition: str, source: str = ""
) -> MetricInfo:
    """Returns the identity of a metric from 0 to 1."""
    return MetricInfo(
        id=id_, name=name, direction=direction, definition=definition, source=source,
        lower=0.0, upper=1.0,
    )  # fmt: skip


def applies_to_all(_view: Any) -> str | None:
    """Says that a metric applies, whatever the answers."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of answers, registered in the entry-point group ``crucibench.metrics``.

    From `form` follow its value, its interval, the difference of two models, its gate and its rank.

    Attributes:
        info: its identity; `MetricInfo.id` is the name under which it is registered.
        kinds: names of the task kinds whose view it takes.
        form: from a view, and a group's name where `by_class`, to the number as a statistic of its
            samples. It may raise nothing: `applies` and ``nan`` say what is undefined.
        reference: the same value computed independently, by another library or by the definition,
            for the conformance kit (`crucibench.testing.check_metric`); nan where undefined.
        applies: says of a view ``""`` where the metric is defined; a reason, where its row has no
            value; None where it has no row at all.
        by_class: whether there is a number for each class, the group naming it, and in a binary
            task one of the positive class, without a group.
        undefined: the reason where the form has no value; ``{}`` stands for the class's name.
        tolerance: how far value and reference may lie apart, for float reasons alone.
        examples: makes the views that the conformance kit tries it on, where it is none of the
            bundled kinds of task: frozen dataclasses whose arrays have a row a sample.
    """

    info: MetricInfo
    kinds: tuple[str, ...]
    form: Callable[..., Form]
    reference: Callable[..., float]
    applies: Callable[[Any], str | None] = applies_to_all
    by_class: bool = False
    undefined: str = ""
    tolerance: float = 1e-9
    examples: Callable[[], Sequence[Any]] = tuple

    @property
    def name(self) -> str:
        """The metric's id."""
        return self.info.id


@cache
def metrics() -> Catalogue[Metric]:
    """Returns the registry of metrics, by id."""
    return Catalogue("crucibench.metrics", "metric", Metric)


def metrics_named(names: Sequence[str]) -> tuple[Metric, ...]:
    """Returns registered metrics by their ids.

    Raises:
        InputError: if one is not registered; the sentence names the nearest.
    """
    return tuple(metrics().get(name) for name in names)
