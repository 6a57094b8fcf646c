"""A suite: a named family of scenarios, and how leaderboard and report show it, as data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.section import Section
from crucibench.contracts.source import Labels

__all__ = [
    "NamedFile",
    "Preset",
    "Section",
    "Suite",
    "SuiteConfig",
    "SuiteData",
    "SuiteRequest",
]  # fmt: skip

C = TypeVar("C", bound="SuiteConfig")

Preset = Literal["quick", "standard", "full"]


@dataclass(frozen=True, kw_only=True)
class SuiteData:
    """A data set of a suite's own that it asks models about, beside the main one.

    Its role ``test`` becomes a role of every data set that the suite meets. It has that data set's
    modality and, for tables and texts, its input columns; what its address leaves open (target,
    features, input, groups, classes, ...) is as the main data set's declaration says.

    Attributes:
        address: where it is, ``SCHEME:REST[?option=value&...]``.
        labels: ``optional``: read as the main task's classes (by name) or numbers where the source
            has the target, and the role is unlabelled where it has none; ``ignored``: never read,
            the role is unlabelled. See `DataCard.unlabelled`.
        setting: the key of the suite's settings that names it, e.g. ``data.v2``: mistakes are told
            there, as ``suites.NAME.data.v2``.
        parts: patterns of names, as ``*/3``: the address stands for several data sets, which its
            source names (`DataSource.parts`), and each whose name is like one of the patterns
            becomes the role ROLE/NAME. Empty for an address of one data set.
    """

    address: str
    labels: Labels = "optional"
    setting: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedFile:
    """A file that a suite's settings name.

    Attributes:
        path: where it is; a run that is read elsewhere may not have it.
        digest: of its content, as it was when the run was made.
    """

    path: Path
    digest: str


class SuiteConfig(BaseModel):
    """What a user may set under ``suites: {NAME: ...}``; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def data_sets(self) -> Mapping[str, SuiteData]:
        """Returns the suite's own data sets by role, e.g. ``shift/v2`` or ``ood/near/fashion``.

        A role's name begins with the suite's name; its parts, between slashes, are not empty. The
        engine resolves, digests and opens the addresses, and `SuiteRequest.data` has the roles in
        its counts.
        """
        return {}

    def files(self) -> Mapping[str, str]:
        """Returns files that settings name, by setting, e.g. ``supplied``.

        Paths are relative to the spec. The engine digests them into the run's identity, and
        `SuiteRequest.files` has them.
        """
        return {}

    def check_installed(self) -> None:
        """Looks, before a run and not when one is read, for what the settings ask of this machine.

        Raises:
            InputError: told in a sentence.
        """


@dataclass(frozen=True, kw_only=True)
class SuiteRequest:
    """What a suite expands into scenarios.

    Attributes:
        model: the model, inspected.
        data: the data card.
        config: the validated section of the spec.
        preset: how much to run.
        models: all models that meet this data set, for references and surrogates.
        min_group_size: groups of fewer samples are shown and marked, and left out of worst-group
            figures (``defaults.min_group_size``). Scoring finds it in `ScoringOptions`.
        files: what `SuiteConfig.files` names, by setting.
    """

    model: ModelInfo
    data: DataCard
    config: SuiteConfig
    preset: Preset
    models: Sequence[str] = field(default_factory=tuple)
    min_group_size: int = 30
    files: Mapping[str, NamedFile] = field(default_factory=dict)

    def settings(self, kind: type[C]) -> C:
        """Returns `config` as what it is.

        Raises:
            TypeError: if it is of another suite.
        """
        if not isinstance(self.config, kind):
            raise TypeError(f"expected {kind.__name__}, got {type(self.config).__name__}")
        return self.config


class Suite(ABC):
    """A named family of scenarios. Modules that hold suites are cheap to import.

    Attributes:
        name: as users type it.
        axis: what it measures, in a word or two: the leaderboard's column group.
        description: one sentence.
        headline: metric ids for the leaderboard, as ``SCENARIO[POINT]/METRIC``; those that have no
            row are left out.
        risks: of which risks its numbers speak, by name (`crucibench.report.risks` has those that
            clauses of laws and standards ask about), as patterns of ``SCENARIO/METRIC``.
        sections: the report's parts.
        sections_by_task: whether `TaskKind.sections`, where a kind has any, take their place.
        config: the pydantic model of its section in the spec.
        libraries: modules that its scenarios import where the models are (see `Adapter`).
        scoring: modules and packages beside the suite's own that only score: who edits one of them
            asks no model again. All others count as code that collects.
    """

    name: ClassVar[str]
    axis: ClassVar[str]
    description: ClassVar[str]
    headline: ClassVar[tuple[str, ...]] = ()
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    sections: ClassVar[tuple[Section, ...]] = ()
    sections_by_task: ClassVar[bool] = False
    config: ClassVar[type[SuiteConfig]] = SuiteConfig
    metrics: ClassVar[tuple[MetricInfo, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()
    scoring: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios for one model on one data set, or why none applies."""

    def across(self, request: SuiteRequest, planned: Sequence[Scenario]) -> Sequence[Scenario]:
        """Returns scenarios over what other suites of the run ask of the same model and data.

        Args:
            request: as of `scenarios`.
            planned: other suites' scenarios that have an outcome view, in the order of the plan.
                `crucibench.contracts.outcomes` reads them.
        """
        return ()
