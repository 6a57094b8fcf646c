"""Which corruptions a run has: by what was asked for, the preset, and what the data hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crucibench.contracts.corruption import SEVERITIES, Corruption, corruptions
from crucibench.contracts.scenario import Need, Scenario
from crucibench.contracts.suite import Preset, SuiteRequest
from crucibench.passes.inputs import RecordedInputs
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.shift.config import FAMILIES, ShiftConfig
from crucibench_suites.shift.corrupted import (
    Corrupted,
    CorruptedGrid,
    CorruptedImage,
    CorruptedTable,
    CorruptionSummary,
    ImageSummary,
)
from crucibench_suites.shift.corruptions.images import COMMON, parameter_set
from crucibench_suites.shift.corruptions.tables import TABLES
from crucibench_suites.shift.corruptions.texts import TEXTS
from crucibench_suites.shift.own_data import Population
from crucibench_suites.shift.published import published_scenarios

_SEVERITIES: Mapping[Preset, tuple[int, ...]] = {
    "quick": (1, 3, 5), "standard": SEVERITIES, "full": SEVERITIES
}  # fmt: skip
_LIMITS: Mapping[Preset, int | None] = {"quick": 1000, "standard": 5000, "full": None}
"""At most so many samples."""

_NUMBER = re.compile(r"u?int|float|double|half|decimal", re.IGNORECASE)
_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)")
_SPREAD_SAMPLES = 20_000
"""At most so many samples of the training set are looked at."""


def image_scenarios(request: SuiteRequest) -> Sequence[Scenario] | str:
    """Returns the scenarios for images, or why there are none."""
    config, severities, limit = _amount(request)
    families = ("common",) if request.preset != "full" else tuple(FAMILIES["corruptions"])
    shape = _canonical(request)
    parameters = config.parameters
    if parameters == "auto":
        parameters = parameter_set(shape.height, shape.width)
    chosen = _chosen(
        "corruptions",
        families if config.corruptions is None else config.corruptions,
        _held(colour=shape.channels == 3),
    )
    if any(one.pixels for one in request.data.task.definition.fields):
        named = config.corruptions or ()
        grids = [one.name for one in chosen if one.axes]
        if grids and grids[0] in named:
            raise InputError(
                f"shift.corruptions: {grids[0]} takes each sample's worst point, and "
                f"{request.data.task.kind} is neither right nor wrong of an image"
            )
        chosen = [one for one in chosen if not one.axes]
    corrupted = [
        CorruptedImage.of(
            "shift", one, severities=_among(severities, one), limit=limit, parameter_set=parameters
        )
        for one in chosen
        if not one.axes
    ]
    scenarios: list[Scenario] = [*corrupted]
    scenarios += [
        CorruptedGrid.of("shift", one, severities=one.severities, limit=limit)
        for one in chosen
        if one.axes
    ]
    # The published means are of the common corruptions alone; others are joined where only they
    # were asked for.
    joined = [cell for cell in corrupted if cell.name in COMMON] or corrupted
    if joined:
        scenarios.append(ImageSummary.of("shift", joined, config.reference))
    scenarios += published_scenarios(request, severities)
    if not scenarios:
        return f"none of the corruptions asked for is defined for {shape.channels} channels"
    return scenarios


def text_scenarios(request: SuiteRequest) -> Sequence[Scenario]:
    """Returns the scenarios for texts."""
    config, severities, limit = _amount(request)
    cells = [
        Corrupted.of("shift", one, severities=_among(severities, one), limit=limit)
        for one in _chosen("texts", _asked(config.texts, TEXTS, request.preset), _held())
    ]
    return [*cells, CorruptionSummary.of("shift", cells)] if cells else []


def table_scenarios(request: SuiteRequest) -> Sequence[Scenario]:
    """Returns the scenarios for tables."""
    config, severities, limit = _amount(request)
    _check_columns(config, request)
    spread = "train" if "train" in request.data.counts else "test"
    types = [held for name, held in request.data.features.items() if name not in config.protect]
    numbers = sum(bool(_NUMBER.match(held)) for held in types)
    held = _held(numbers=numbers > 0, categories=numbers < len(types)) if types else frozenset()
    cells = []
    for one in _chosen("tables", _asked(config.tables, TABLES, request.preset), held):
        needs = [Need(alias="spread", cell=f"shift/inputs/{spread}")]
        if one.needs == "categories" and spread != "test":
            needs.append(Need(alias="inputs", cell="shift/inputs/test"))
        cells.append(
            CorruptedTable.of(
                "shift", one, severities=_among(severities, one), limit=limit, needs=needs,
                spread=f"of the role {spread}", protect=sorted(config.protect),
            )
        )  # fmt: skip
    populations = [
        Population.of("shift", shape, column, severities)
        for column in config.columns
        for shape in ("tail", "tilt")
    ]
    found: list[Scenario] = []
    if cells and spread == "train":
        found.append(RecordedInputs.of("shift", "train", _SPREAD_SAMPLES))
    if cells or populations:
        found.append(RecordedInputs.of("shift", "test"))
    # Not every model can meet gaps: means over the others are of the same for all.
    joined = [cell for cell in cells if not cell.corruption.requires] or cells
    summary = [CorruptionSummary.of("shift", joined)] if joined else []
    return [*found, *cells, *summary, *populations]


def _amount(request: SuiteRequest) -> tuple[ShiftConfig, tuple[int, ...], int | None]:
    """Returns the settings, which severities, and of how many samples at most."""
    config = request.settings(ShiftConfig)
    severities = config.severities or _SEVERITIES[request.preset]
    return config, severities, config.samples or _LIMITS[request.preset]


def _asked(
    names: tuple[str, ...] | None, own: Mapping[str, Corruption], preset: Preset
) -> tuple[str, ...]:
    if names is not None:
        return names
    return tuple(name for name, one in own.items() if one.default or preset == "full")


def _held(**there: bool) -> frozenset[str]:
    """Returns what `Corruption.needs` may say of data that have samples."""
    return frozenset({"", *(name for name, held in there.items() if held)})


def _chosen(setting: str, names: Sequence[str], held: frozenset[str]) -> list[Corruption]:
    """Returns corruptions by name or family, each once, of which the data hold what they need."""
    families = FAMILIES[setting]
    wanted = dict.fromkeys(one for name in names for one in families.get(name, (name,)))
    return [one for one in map(corruptions().get, wanted) if one.needs in held]


def _among(severities: Sequence[int], corruption: Corruption) -> list[int]:
    """Returns those severities that a corruption has; its highest where it has none of them."""
    own = corruption.severities
    return [severity for severity in severities if severity in own] or [own[-1]]


class _Shape(NamedTuple):
    """The canonical shape of an image."""

    channels: int
    height: int
    width: int


def _canonical(request: SuiteRequest) -> _Shape:
    """Returns the shape in which the model wants an image; the data's where it takes any."""
    geometry = request.model.geometry
    shapes = _SHAPE.findall(request.data.features.get("image", ""))
    channels, height, width = (int(part) for part in shapes[-1]) if shapes else (3, 224, 224)
    if geometry.get("channels"):
        channels = geometry["channels"]
    if geometry.get("size"):
        height, width = geometry["size"]
    return _Shape(channels, height, width)


def _check_columns(config: ShiftConfig, request: SuiteRequest) -> None:
    held, data = request.data.features, request.data.name
    for setting, names in (("columns", config.columns), ("protect", config.protect)):
        for name in names:
            if name not in held:
                raise InputError(f"shift.{setting}: {unknown(f'column of {data}', name, held)}")
    for name in config.columns:
        if not _NUMBER.match(held[name]):
            raise InputError(
                f"shift.columns: expected numeric columns, {name!r} of {data} holds {held[name]}"
            )
