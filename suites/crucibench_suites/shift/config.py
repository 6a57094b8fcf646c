"""What a user may set under ``suites: {shift: ...}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, Strict, StrictInt, StrictStr, ValidationInfo, field_validator

from crucibench.contracts.corruption import SEVERITIES, Corruption, corruptions
from crucibench.contracts.suite import SuiteConfig, SuiteData
from crucibench.util.suggest import unknown
from crucibench_suites.shift.corruptions import images
from crucibench_suites.shift.corruptions.tables import TABLES
from crucibench_suites.shift.corruptions.texts import TEXTS


def _families(own: Mapping[str, Corruption]) -> dict[str, tuple[str, ...]]:
    families = dict.fromkeys(one.family for one in own.values())
    return {
        family: tuple(name for name, one in own.items() if one.family == family)
        for family in families
    }


FAMILIES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "corruptions": images.FAMILIES, "texts": _families(TEXTS), "tables": _families(TABLES)
}  # fmt: skip
"""By setting: names that stand for several corruptions."""

_MODALITIES = {"corruptions": "image", "texts": "text", "tables": "table"}
_WHAT = {
    "corruptions": "corruption", "texts": "perturbation of texts",
    "tables": "perturbation of tables",
}  # fmt: skip

ROLE = "shift/"
"""What the roles of its own data begin with."""

PUBLISHED = ROLE + "published"
"""What the roles of published corrupted files begin with: then come corruption and severity."""

_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_RESERVED = ("test", "train", "published")

Names = Annotated[tuple[StrictStr, ...], Strict(False)]
Severities = Annotated[tuple[StrictInt, ...], Strict(False)]
Crossings = Annotated[tuple[Names, ...], Strict(False)]


class ShiftConfig(SuiteConfig):
    """Settings of the shift suite."""

    corruptions: Names | None = None
    """Which: names, or ``common`` (the 15 of ImageNet-C), ``extra``, ``geometric``, ``domain``;
    None for what the preset says."""

    severities: Severities | None = None
    """Which of 1 to 5; None for what the preset says."""

    parameters: Literal["auto", "imagenet", "cifar"] = "auto"
    """The published parameter set; ``auto`` takes ``cifar`` up to 64 pixels a side."""

    reference: str | None = None
    """Whose errors the mean corruption error is relative to: a model of the run, or ``alexnet`` for
    the published constants, which are of ImageNet's classes at severities 1 to 5."""

    samples: int | None = None
    """At most so many; None for what the preset says."""

    texts: Names | None = None
    """Which corruptions of texts: names or families; None for all."""

    tables: Names | None = None
    """Which corruptions of tables: names or families; None for what the preset says."""

    columns: Names = ()
    """Numeric columns of a table along which its population is shifted."""

    protect: Names = ()
    """Columns of a table that no perturbation touches."""

    data: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    """Shifted data of your own: a name to its address. Labels are read where it has them."""

    published: StrictStr | None = None
    """Published corrupted files: ``imagenet-c:DIR`` or ``cifar-npy:DIR``. All corruptions that are
    there are read, at the severities asked for."""

    cross: Crossings = ()
    """Group columns whose intersections are groups, too: ``[[sex, age]]``; ``class`` is the true
    class, with which each column is crossed in any case."""

    @field_validator("data")
    @classmethod
    def _places(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _PLACE.fullmatch(name) or name in _RESERVED:
                raise ValueError(
                    "data: expected names of letters, digits, '_', '.' and '-', none of them "
                    f"{' or '.join(_RESERVED)}, got {name!r}"
                )
        return value

    @field_validator("cross")
    @classmethod
    def _crossings(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for columns in value:
            if len(set(columns)) < 2 or len(set(columns)) < len(columns):
                raise ValueError(
                    f"cross: expected two unlike group columns or more, got {list(columns)}"
                )
        return value

    def data_sets(self) -> Mapping[str, SuiteData]:
        """Returns the data sets of `data` by role, and the published files."""
        found = {
            ROLE + name: SuiteData(address=address, setting=f"data.{name}")
            for name, address in self.data.items()
        }
        if self.published is not None:
            parts = tuple(f"*/{severity}" for severity in self.severities or SEVERITIES)
            found[PUBLISHED] = SuiteData(address=self.published, setting="published", parts=parts)
        return found

    @field_validator("corruptions", "texts", "tables")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        setting = str(info.field_name)
        own = {"corruptions": images.IMAGES, "texts": TEXTS, "tables": TABLES}[setting]
        for name in value or ():
            if name in FAMILIES[setting] or name in own:
                continue
            # What another package adds is loaded where it is asked for, and nowhere else.
            if name not in corruptions().names():
                raise ValueError(unknown(_WHAT[setting], name, (*FAMILIES[setting], *own)))
            modality = corruptions().get(name).modality
            if modality != _MODALITIES[setting]:
                raise ValueError(f"{name} is a corruption of the modality {modality}")
        return value

    @field_validator("severities")
    @classmethod
    def _severities(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or set(value) - set(SEVERITIES)):
            raise ValueError("expected some of 1 to 5")
        return None if value is None else tuple(sorted(set(value)))

    @field_validator("samples")
    @classmethod
    def _some(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("expected at least 1")
        return value
