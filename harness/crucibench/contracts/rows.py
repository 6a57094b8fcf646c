"""Metric rows: one number each, with its interval, or the reason why there is none."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from crucibench.contracts.verdict import Verdict

COLUMNS = (
    "model", "data", "suite", "scenario", "point", "group", "metric", "value", "lower", "upper",
    "level", "method", "n", "direction", "unit", "estimand", "mark", "reason",
    "verdict", "cell", "comparison_key",
)  # fmt: skip

RECIPE = "@recipe"
"""What follows the name of a recipe where its numbers stand beside those of its trainings."""

_ADDRESS = re.compile(
    r"(?P<model>[^:]+):(?P<suite>[^/\[\]]+)/(?P<scenario>[^\[\]]+?)(?:\[(?P<point>[^\]]*)\])?"
    r"/(?P<metric>[^/@]+)(?:@(?P<group>.+))?"
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number that a scenario computed; the engine adds model, data, cell and keys.

    Attributes:
        metric: the id of a MetricInfo that the scenario declares.
        value: None where it is undefined; then `reason` says why.
        lower: the interval's lower end; None where there is none; then `reason` says why.
        upper: likewise.
        level: the interval's level, e.g. 0.95.
        method: how the interval was made and what it covers.
        n: the number of samples (or queries) behind the value: its denominator.
        estimand: what the interval speaks of: ``model/population``, this model on the population
            that the samples were drawn from; ``model/ids``, this model on these samples;
            ``model/rounds``, this model on this machine as it was timed; ``recipe/population`` and
            ``recipe/ids``, the next training of its recipe on either. Empty where not known.
        mark: ``biased`` where the value is shifted by its n, ``imprecise`` where the interval is
            too wide to rest a claim on, or rests on too little; made from the data seen. Both, with
            a comma between, where both hold.
        reason: why value or interval is missing.
        point: the scenario's point, e.g. ``eps=0.1``; empty where there is but one.
        group: the class or group of samples; empty for all.

    Raises:
        ValueError: if a value or an interval is missing without a reason.
    """

    metric: str
    value: float | None
    n: int
    lower: float | None = None
    upper: float | None = None
    level: float | None = None
    method: str = ""
    estimand: str = ""
    mark: str = ""
    reason: str = ""
    point: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if (self.value is None or self.lower is None or self.upper is None) and not self.reason:
            raise ValueError(f"row {self.metric!r}: a missing value or interval needs its reason")
        for name in ("value", "lower", "upper"):
            number = getattr(self, name)
            if number is not None and math.isnan(number):
                raise ValueError(f"row {self.metric!r}: {name} is NaN; expected None and a reason")


class Address(NamedTuple):
    """Where a number is found: ``MODEL:SUITE/SCENARIO[POINT]/METRIC[@GROUP]``."""

    model: str
    suite: str
    scenario: str
    point: str
    metric: str
    group: str

    def __str__(self) -> str:
        point = f"[{self.point}]" if self.point else ""
        group = f"@{self.group}" if self.group else ""
        return f"{self.model}:{self.suite}/{self.scenario}{point}/{self.metric}{group}"

    @property
    def place(self) -> str:
        """The address without its model: ``SUITE/SCENARIO[POINT]/METRIC[@GROUP]``."""
        return str(self).partition(":")[2]


def parse_address(text: str) -> Address:
    """Parses an address.

    Raises:
        ValueError: if `text` is none.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"address {text!r}: expected MODEL:SUITE/SCENARIO[POINT]/METRIC[@GROUP]")
    return Address(
        match["model"], match["suite"], match["scenario"], match["point"] or "",
        match["metric"], match["group"] or "",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One stored metric row of a run.

    Attributes:
        data: the data set.
        address: ``MODEL:SUITE/SCENARIO[POINT]/METRIC[@GROUP]``.
        value: None where it is undefined; then `reason` says why.
        lower: None where there is no interval; then `reason` says why.
        upper: likewise.
        level: of the interval.
        method: of the interval.
        n: the denominator.
        direction: which way is better.
        unit: of the value.
        estimand: what the interval speaks of: ``model/population``, this model on the population
            that the samples were drawn from; ``model/ids``, this model on these samples;
            ``model/rounds``, this model on this machine in this session. Empty where not known.
        mark: ``biased`` where the value is shifted by its n, ``imprecise`` where the interval is
            too wide to rest a claim on, or rests on too little; made from the data seen. Both, with
            a comma between, where both hold.
        reason: why value or interval is missing.
        verdict: how far it can be trusted.
        cell: where it was measured.
        key: only numbers of one key may be set side by side.
        run: the run's id.
    """

    data: str
    address: Address
    value: float | None
    lower: float | None
    upper: float | None
    level: float | None
    method: str
    n: int
    direction: str
    unit: str
    reason: str
    verdict: Verdict
    cell: str
    key: str
    run: str
    estimand: str = ""
    mark: str = ""

    @property
    def model(self) -> str:
        """The model's name."""
        return self.address.model

    @property
    def place(self) -> str:
        """The address without its model."""
        return self.address.place

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None."""
        return None if self.lower is None or self.upper is None else (self.lower, self.upper)
