"""A number of a cell in a form of its own: what scenarios that list no `Number` are compared by."""

from __future__ import annotations

from dataclasses import dataclass

from crucibench.contracts.data import Samples
from crucibench.contracts.statistic import Form, Number, Units


@dataclass(frozen=True, kw_only=True)
class Comparable:
    """One number of a cell, in a form that can be computed again for any weighting of samples.

    Attributes:
        metric: the id of a metric that the scenario declares.
        point: the scenario's point.
        group: the class or group.
        form: how it is made of samples, in the order of the evidence's samples.
        samples: of what it is made where these are not the evidence's, as where it is of two roles:
            ids that tell each from all others, and clusters; one object for all that share them.
    """

    metric: str
    point: str = ""
    group: str = ""
    form: Form
    samples: Samples | None = None

    def as_number(self) -> Number:
        """Returns the same as a number."""
        units = None if self.samples is None else Units(self.samples, "")
        return Number(
            metric=self.metric, point=self.point, group=self.group, make=lambda: self.form,
            units=units,
        )  # fmt: skip
