"""The scenario ``fairlearn``: metrics of fairlearn that the settings name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.bias.fairlearn_names import FAIRLEARN, PREFIX

METRICS: tuple[MetricInfo, ...] = tuple(
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


@dataclass(frozen=True, kw_only=True)
class Named(Derived):
    """Asks fairlearn for its own numbers of each group column, and puts intervals to them."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS

    @classmethod
    def of(cls, suite: str, names: Sequence[str], parameters: Mapping[str, Any]) -> Named:
        """Returns the scenario for some names of `FAIRLEARN`."""
        return cls(
            suite=suite,
            name="fairlearn",
            parameters={**parameters, "depth": 1, "metrics": list(names)},
            needs=(Need(alias="test", cell="pass/test"),),
        )

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows."""
        from crucibench_suites.bias.named_scoring import score_named

        return score_named(evidence, self.parameters, self.stream)
