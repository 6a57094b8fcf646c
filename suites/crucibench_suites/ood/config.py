"""What a user may set of the suite."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, field_validator, model_validator

from crucibench.contracts.suite import Further, SuiteConfig
from crucibench.util.numbers import Number
from crucibench.util.suggest import unknown
from crucibench_suites.ood.generator import Kind

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
KINDS: tuple[Kind, ...] = ("near", "far", "validation")


class OODConfig(SuiteConfig):
    """Settings of the ood suite."""

    near: dict[str, str] = Field(default_factory=dict)
    """Name to address of data sets near to the known data."""

    far: dict[str, str] = Field(default_factory=dict)
    """Name to address of data sets far from it."""

    validation: dict[str, str] = Field(default_factory=dict)
    """Name to address of data sets that hyper-parameters are chosen by: they are never scored."""

    generators: list[str] | None = None
    """Generated sets; null for those of the data's modality, [] for none."""

    detectors: list[str] | None = None
    """Detectors; null for all."""

    headline: str = "msp"
    """The detector of the leaderboard's numbers."""

    kept_apart: Number = Field(default=0.2, ge=0.0, le=0.5)
    """The share of the test role that hyper-parameters are chosen by: it is never scored."""

    def further(self) -> Mapping[str, Further]:
        """Returns the data sets of the settings, by role; their labels are no matter."""
        return {
            f"ood/{kind}/{name}": Further(
                address=address, labels="ignored", setting=f"{kind}.{name}"
            )
            for kind in KINDS
            for name, address in getattr(self, kind).items()
        }

    @field_validator("near", "far", "validation")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        from crucibench_suites.ood.generators import every_name

        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"name {name!r}: expected letters, digits, '.', '_' and '-'")
            if name in every_name():
                raise ValueError(f"name {name!r} is that of a generator; choose another")
        return value

    @field_validator("generators")
    @classmethod
    def _known_generators(cls, value: list[str] | None) -> list[str] | None:
        from crucibench_suites.ood.generators import every_name

        for name in value or ():
            if name not in every_name():
                raise ValueError(unknown("generator", name, every_name()))
        return value

    @model_validator(mode="after")
    def _known_detectors(self) -> OODConfig:
        from crucibench_suites.ood.detectors import detector, names

        for name in (*(self.detectors or ()), self.headline):
            if name not in names():
                raise ValueError(unknown("detector", name, names()))
            detector(name)
        if self.detectors is not None and self.headline not in self.detectors:
            raise ValueError(f"headline: {self.headline!r} is none of the detectors")
        return self
