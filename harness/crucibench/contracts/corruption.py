"""Corruptions: what is done to a sample before a model is asked about it, whatever its modality.

One `Corruption` is one entry of the group ``crucibench.corruptions``: plain data and a function,
which is imported when it is used, so that plans are made without torch. Corruptions of images and
the members of a grid of rotations, edits of texts and changes of tables are all of this type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.columns import KnownColumns
from crucibench.util.draws import Draws
from crucibench.util.registry import Catalogue, loaded

if TYPE_CHECKING:
    import torch

    from crucibench.util.tensor_draws import TensorDraws

GROUP = "crucibench.corruptions"
"""The entry points: ``NAME = "MODULE:ATTRIBUTE"``, the attribute being a `Corruption`."""

SEVERITIES = (1, 2, 3, 4, 5)

Level = tuple[float, ...]
"""The numbers that a severity means; what they are stands with each corruption."""


class Changed(NamedTuple):
    """Samples as a corruption leaves them at one level.

    Attributes:
        inputs: as `Batch.inputs`.
        columns: what records say of the change, each shape (n,). ``distance`` from the clean
            sample is among them, and grows with the severity; of texts and tables ``touched``:
            whether the sample differs at all; ``edits`` of ``units`` are changed; ``spoilt``:
            whether it is no longer a sample of its kind; perhaps ``chance``: with what probability
            the level intends to touch it, by default 1 where there are units.
    """

    inputs: Any
    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, before: Any, made: Any) -> Changed:
        """Returns what a function yielded, measured unless the function did that itself."""
        return made if isinstance(made, Changed) else cls(made, measured(before, made))


@dataclass(frozen=True)
class CorruptionContext:
    """What a corruption works with beside samples and levels.

    Attributes:
        ids: of the samples: all draws are keyed by them.
        draws: keyed draws of the corruption's stream.
        columns: of a table, what is known of its columns; None for other modalities.
        load: from rows of the role to their inputs, for what is made of more than one sample.
    """

    ids: tuple[str, ...]
    draws: Draws
    columns: KnownColumns | None = None
    load: Callable[[Sequence[int]], Any] | None = None

    def tensors(self, device: torch.device) -> TensorDraws:
        """Returns the same draws as tensors on a device."""
        from crucibench.util.tensor_draws import TensorDraws

        return TensorDraws(self.draws, self.ids, device)


Function = Callable[[Any, Sequence[Level], CorruptionContext], Iterator[Any]]
"""From canonical inputs, levels and context to the inputs at each level, one after the other.

New inputs of the same form each time, the given ones untouched; levels share their draws. It yields
inputs, or `Changed` where it measures the change itself.
"""


Maps = Callable[
    [tuple[int, int], Sequence[Level], CorruptionContext], Iterator[NDArray[np.float64]]
]
"""From an image's height and width, levels and context to affine maps, (n, 2, 3), at each level.

From old to new (x, y), in pixels, the middle of the first being (0, 0).
"""


@dataclass(frozen=True, kw_only=True)
class KnownAnswer:
    """What a corruption makes of samples so simple that it can be said beforehand.

    Attributes:
        inputs: makes the samples, as `Batch.inputs`; their ids are ``0``, ``1``, ..., the seed 0.
        measure: from the samples before and after to numbers, or to anything that can be equal.
        expected: what that must be.
        tolerance: how far numbers may be from it.
        severity: at which it is so.
        parameters: in which set of levels; "" for the first.
    """

    inputs: Callable[[], Any]
    measure: Callable[[Any, Any], Any]
    expected: Any
    tolerance: float = 0.0
    severity: int = 5
    parameters: str = ""


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One way to change a sample, at several severities.

    Attributes:
        name: as users and published files write it.
        family: what kind it is; users may ask for families by name.
        modality: of the samples, e.g. ``image``, ``text``, ``table``.
        function: what a cell runs, or its ``MODULE:FUNCTION``.
        levels: what severities 1, 2, ... mean, perhaps by parameter set.
        known_answer: what it makes of something simple, or ``MODULE:NAME`` of it (or of a mapping
            that holds it by the corruption's name). Without one the conformance kit refuses it.
        maps: where it moves what is in an image, or its ``MODULE:FUNCTION``; None where it leaves
            it in its place.
        axes: of a grid, what the numbers of a level are: points are named by these. A sample
            counts by its worst point.
        unit: what a level is a share or a number of.
        scope: what it can be done to; anything else stays as it is.
        needs: what the data must hold: ``colour``, ``numbers``, ``categories``; "" for nothing.
        requires: capabilities that a model must have beside taking any input.
        version: raised whenever the same sample, level and draws would give another one.
        random: whether it draws.
        ordered: whether a higher severity is meant to lie further from the clean sample.
        per_sample: whether the level bounds the share of each sample's units that is changed.
        default: whether the presets ``quick`` and ``standard`` run it where they run its modality.
        most: from a level to a mean distance that it can't exceed.
    """

    name: str
    family: str
    modality: str
    function: Function | str
    levels: Sequence[Level] | Mapping[str, Sequence[Level]] = field(repr=False)
    known_answer: KnownAnswer | str | None = None
    maps: Maps | str | None = None
    axes: tuple[str, ...] = ()
    unit: str = ""
    scope: str = ""
    needs: str = ""
    requires: frozenset[Capability] = frozenset()
    version: int = 1
    random: bool = False
    ordered: bool = True
    per_sample: bool = False
    default: bool = True
    most: Callable[[Level], float] = lambda level: 1.0

    @property
    def stream(self) -> str:
        """The name of its random stream: it leaves out model and severity."""
        return f"shift/{self.name}"

    @property
    def severities(self) -> tuple[int, ...]:
        """Every severity that it has, from 1."""
        levels = self.levels
        first = next(iter(levels.values())) if isinstance(levels, Mapping) else levels
        return tuple(range(1, len(first) + 1))

    def level(self, severity: int, parameters: str = "") -> Level:
        """Returns what a severity means in a parameter set, "" being the first.

        Raises:
            KeyError: if there is no such severity, or no such set.
        """
        if severity not in self.severities:
            raise KeyError(severity)
        levels = self.levels
        if isinstance(levels, Mapping):
            levels = levels[parameters or next(iter(levels))]
        return levels[severity - 1]

    def point(self, severity: int) -> str:
        """Returns the point that a severity is read at."""
        if not self.axes:
            return f"severity={severity}"
        numbers = zip(self.axes, self.level(severity), strict=True)
        return ",".join(f"{axis}={number:g}" for axis, number in numbers)

    def apply(
        self, inputs: Any, severities: Sequence[int], context: CorruptionContext,
        parameters: str = "",
    ) -> Iterator[Any]:  # fmt: skip
        """Yields canonical inputs at each severity: what every cell runs.

        Args:
            inputs: as `Batch.inputs`.
            severities: from 1 up, in any order; they share draws.
            context: of the batch's samples.
            parameters: which set of levels.
        """
        function: Function = loaded(self.function)
        if hasattr(inputs, "contiguous"):
            # Stored channels first, whatever order of memory images came in: several times as fast.
            inputs = inputs.contiguous()
        levels = [self.level(severity, parameters) for severity in severities]
        yield from function(inputs, levels, context)

    def moves(
        self, sides: tuple[int, int], severity: int, context: CorruptionContext, parameters: str
    ) -> NDArray[np.float64] | None:
        """Returns where places in images go at one severity, (n, 2, 3); None where they stay."""
        if self.maps is None:
            return None
        maps: Maps = loaded(self.maps)
        return next(maps(sides, [self.level(severity, parameters)], context))

    def answer(self) -> KnownAnswer | None:
        """Returns its known answer; None where it has none."""
        found: Any = loaded(self.known_answer)
        return found.get(self.name) if isinstance(found, Mapping) else found


def each(*values: float) -> tuple[Level, ...]:
    """Returns levels of one number each."""
    return tuple((value,) for value in values)


@cache
def corruptions() -> Catalogue[Corruption]:
    """Returns the registered corruptions; none of them is imported until it is asked for."""
    return Catalogue(GROUP, "corruption", Corruption)


def measured(before: Any, after: Any) -> dict[str, NDArray[Any]]:
    """Returns how far samples lie from the clean ones, each shape (n,).

    Of images ``distance`` is the mean absolute difference of values in [0, 1], ``distance_l2`` the
    Euclidean one. Of texts it is the share of their words, of tables that of their values, which
    are others; ``touched``, ``edits``, ``units`` and ``spoilt`` are as `Changed` says.
    """
    if hasattr(before, "flatten"):
        import torch

        gap = (after - before).flatten(1)
        mean = gap.abs().mean(dim=1, dtype=torch.float32)
        euclidean = torch.linalg.vector_norm(gap, dim=1)
        return {
            "distance": mean.cpu().numpy().astype(np.float32),
            "distance_l2": euclidean.cpu().numpy().astype(np.float32),
        }
    if hasattr(before, "iloc"):
        first, second = before.astype(object), after.astype(object)
        same = (first == second) | (first.isna() & second.isna())
        edits, units = (~same).sum(axis=1).to_numpy(), np.full(len(before), before.shape[1])
    else:
        pairs = [(_words(old), _words(new)) for old, new in zip(before, after, strict=True)]
        units = np.array([max(len(old), len(new)) for old, new in pairs])
        kept = [sum(a == b for a, b in zip(old, new, strict=False)) for old, new in pairs]
        edits = units - np.array(kept)
        # White space apart, too, a text may be another one.
        differ = np.array([old != new for old, new in zip(before, after, strict=True)])
        edits = np.where(differ, np.maximum(edits, 1), 0)
    return {
        "distance": (edits / np.maximum(units, 1)).astype(np.float32),
        "touched": edits > 0,
        "edits": edits.astype(np.int32),
        "units": units.astype(np.int32),
        "spoilt": np.zeros(len(edits), dtype=np.bool_),
    }


def _words(sample: Any) -> list[str]:
    parts = sample if isinstance(sample, tuple) else (sample,)
    return [word for part in parts for word in str(part).split()]
