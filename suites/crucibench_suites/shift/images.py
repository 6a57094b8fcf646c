"""The image half of the suite: which corruptions, how severe, on how many samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Preset, SuiteRequest
from crucibench_suites.shift.config import GRID, ShiftConfig
from crucibench_suites.shift.corrupted import Corrupted
from crucibench_suites.shift.corruptions.catalogue import (
    COMMON,
    KERNELS,
    SEVERITIES,
    parameter_set,
)
from crucibench_suites.shift.grid import GridWorst
from crucibench_suites.shift.published import published_scenarios
from crucibench_suites.shift.summary import Summary


class _Amount(NamedTuple):
    """What a preset runs."""

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    limit: int | None


_PRESETS: Mapping[Preset, _Amount] = {
    "quick": _Amount(("common",), (1, 3, 5), 1000),
    "standard": _Amount(("common",), SEVERITIES, 5000),
    "full": _Amount(("common", "extra", "geometric", "domain"), SEVERITIES, None),
}

_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)")


class _Shape(NamedTuple):
    """The canonical shape of an image."""

    channels: int
    height: int
    width: int


def image_scenarios(request: SuiteRequest) -> Sequence[Scenario] | str:
    """Returns the scenarios for images, or why there are none."""
    config = request.config if isinstance(request.config, ShiftConfig) else ShiftConfig()
    preset = _PRESETS[request.preset]
    severities = config.severities or preset.severities
    limit = config.samples or preset.limit
    shape = _canonical(request)
    chosen = config.parameters
    parameters = parameter_set(shape.height, shape.width) if chosen == "auto" else chosen
    corrupted = [
        Corrupted.of(
            "shift", KERNELS[name], severities=severities, parameter_set=parameters, limit=limit
        )
        for name in config.names(preset.corruptions)
        if name in KERNELS and shape.channels in KERNELS[name].channels
    ]
    scenarios: list[Scenario] = [*corrupted]
    if GRID in config.names(preset.corruptions):
        scenarios.append(GridWorst.of("shift", limit))
    # The published means are of the common corruptions alone; others are joined where only they
    # were asked for.
    joined = [cell for cell in corrupted if cell.name in COMMON] or corrupted
    if joined:
        scenarios.append(Summary.of("shift", joined, config.reference))
    scenarios += published_scenarios(request, severities)
    if not scenarios:
        return f"none of the corruptions asked for is defined for {shape.channels} channels"
    return scenarios


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
