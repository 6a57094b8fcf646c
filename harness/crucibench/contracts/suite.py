"""A suite: a named family of scenarios, and how leaderboard and report show it, as data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario

Preset = Literal["quick", "standard", "full"]

SectionKind = Literal["metrics", "table", "matrix", "line", "bars", "reliability"]


class SuiteConfig(BaseModel):
    """What a user may set under ``suites: {NAME: ...}``; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report, as data.

    Attributes:
        title: its heading.
        kind: how it is drawn: ``metrics`` lists rows by `metrics`; ``table`` shows a table of
            `Scored.tables`; ``matrix`` draws one with a row a true class; ``line`` plots `x`
            against `y` per model; ``bars`` likewise; ``reliability`` is a reliability diagram.
        scenario: the scenario's name; "" for every one of the suite.
        metrics: the metric ids of a ``metrics`` section; empty for all without a group.
        table: the table's name.
        x: a column.
        y: a column.
        note: what a reader must know, a sentence or two.
    """

    title: str
    kind: SectionKind
    scenario: str = ""
    metrics: tuple[str, ...] = ()
    table: str = ""
    x: str = ""
    y: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SuiteRequest:
    """What a suite expands into scenarios.

    Attributes:
        model: the model, inspected.
        data: the data card.
        config: the validated section of the spec.
        preset: how much to run.
        models: all models that meet this data set, for references and surrogates.
    """

    model: ModelInfo
    data: DataCard
    config: SuiteConfig
    preset: Preset
    models: Sequence[str] = field(default_factory=tuple)


class Suite(ABC):
    """A named family of scenarios. Modules that hold suites are cheap to import.

    Attributes:
        name: as users type it.
        axis: what it measures, in a word or two: the leaderboard's column group.
        description: one sentence.
        headline: metric ids for the leaderboard, as ``SCENARIO[POINT]/METRIC``; those that have no
            row are left out.
        sections: the report's parts.
        config: the pydantic model of its section in the spec.
    """

    name: ClassVar[str]
    axis: ClassVar[str]
    description: ClassVar[str]
    headline: ClassVar[tuple[str, ...]] = ()
    sections: ClassVar[tuple[Section, ...]] = ()
    config: ClassVar[type[SuiteConfig]] = SuiteConfig
    metrics: ClassVar[tuple[MetricInfo, ...]] = ()

    @abstractmethod
    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios for one model on one data set, or why none applies."""
