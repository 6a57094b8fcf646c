"""How a model wants its pixels, as the model or the spec says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Normalisation, Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest
from crucibench.util.suggest import unknown

_DECLARATION = "crucibench_input"
_KEYS = ("range", "mean", "std", "size", "channels", "resize", "crop", "fit", "sizes")


def preprocessing(
    module: Any, opening: Opening, what: str
) -> tuple[InputSpec, Normalisation | None]:
    """Joins what the module and the spec say about the model's inputs.

    Raises:
        InputError: if they differ, or the module's declaration can't be read.
    """
    task = opening.data.task
    declared = _declaration(module, what)
    normalisation: Normalisation | None = _one(
        "normalisation", opening.normalisation, _declared_normalisation(declared, what), what
    )
    size = _one("size", opening.size, _pair(declared, "size", what), what)
    if task.modality is not Modality.IMAGE:
        if normalisation is not None or size is not None:
            raise InputError(
                f"{what}: normalisation and size are for images; a model for "
                f"{task.modality}s declares encode"
            )
        return stored_form(opening.data), None
    channels = declared.get("channels")
    if channels is None and normalisation is not None:
        channels = 3 if 3 in {len(normalisation.mean), len(normalisation.std)} else None
    if channels not in (None, 1, 3):
        raise InputError(f"{what}: channels: expected 1 or 3, got {channels!r}")
    _check_lengths(normalisation, channels or 3, what)
    own_sizes = takes_own_sizes(declared.get("sizes", "one"), f"{what}: sizes")
    if own_sizes and {"crop", "fit"} & set(declared):
        raise InputError(f"{what}: crop and fit are for images of one size, not for sizes: own")
    spec = InputSpec(
        modality=task.modality,
        channels=channels,
        size=None if own_sizes else size,
        resize=_resize(declared, what),
        crop=_crop(declared, what),
        fit=_fit(declared, what),
        own_sizes=own_sizes,
    )
    return spec, normalisation


def takes_own_sizes(sizes: object, what: str) -> bool:
    """Whether a model takes images in the sizes that they have, by what it says of ``sizes``.

    Raises:
        InputError: if that is neither ``own`` nor ``one``.
    """
    if sizes not in ("own", "one"):
        raise InputError(f"{what}: " + unknown("value", str(sizes), ("own", "one")))
    return sizes == "own"


def own_resize(module: Any, opening: Opening, what: str) -> tuple[int, int] | None:
    """Returns the size that an adapter stretches images of their own sizes to, or None."""
    return opening.size or _pair(_declaration(module, what), "size", what)


def _check_lengths(normalisation: Normalisation | None, channels: int, what: str) -> None:
    lengths = [len(normalisation.mean), len(normalisation.std)] if normalisation else []
    if set(lengths) - {1, channels}:
        raise InputError(
            f"{what}: mean and std: expected one number, or one for each of {channels} channels, "
            f"got {lengths[0]} and {lengths[1]}"
        )


def _declaration(module: Any, what: str) -> dict[str, Any]:
    declared = getattr(module, _DECLARATION, {})
    if not isinstance(declared, Mapping):
        raise InputError(f"{what}: {_DECLARATION}: expected a dict, got {type(declared).__name__}")
    for key in declared:
        if key not in _KEYS:
            raise InputError(f"{what}: " + unknown(f"key of {_DECLARATION}", str(key), _KEYS))
    return dict(declared)


def _declared_normalisation(declared: Mapping[str, Any], what: str) -> Normalisation | None:
    if not {"range", "mean", "std"} & set(declared):
        return None
    try:
        low, high = (float(end) for end in declared.get("range", (0.0, 1.0)))
        mean = tuple(float(value) - low for value in declared.get("mean", (0.0,)))
        std = tuple(float(value) for value in declared.get("std", (1.0,)))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what}: {_DECLARATION}: expected range: [low, high] and lists of numbers as mean "
            "and std"
        ) from error
    if min(std, default=0.0) <= 0 or not mean or high <= low:
        raise InputError(f"{what}: {_DECLARATION}: expected std above 0 and range from low to high")
    return Normalisation(scale=high - low, mean=mean, std=std)


def _pair(declared: Mapping[str, Any], key: str, what: str) -> tuple[int, int] | None:
    if declared.get(key) is None:
        return None
    try:
        height, width = (int(side) for side in declared[key])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what}: {_DECLARATION}: {key}: expected [height, width], got {declared[key]!r}"
        ) from error
    if min(height, width) < 1:
        raise InputError(
            f"{what}: {_DECLARATION}: {key}: expected sides of at least 1, got {declared[key]!r}"
        )
    return height, width


def _resize(declared: Mapping[str, Any], what: str) -> Literal["bilinear", "bicubic", "nearest"]:
    known = ("bilinear", "bicubic", "nearest")
    resize = declared.get("resize", "bilinear")
    if resize not in known:
        raise InputError(f"{what}: " + unknown("resize", str(resize), known))
    return cast("Literal['bilinear', 'bicubic', 'nearest']", resize)


def _crop(declared: Mapping[str, Any], what: str) -> float:
    crop = declared.get("crop", 1.0)
    if isinstance(crop, bool) or not isinstance(crop, int | float) or not 0 < crop <= 1:
        raise InputError(
            f"{what}: {_DECLARATION}: crop: expected a number above 0, up to 1, got {crop!r}"
        )
    return float(crop)


def _fit(declared: Mapping[str, Any], what: str) -> Literal["crop", "stretch"]:
    fit = declared.get("fit", "crop")
    if fit not in ("crop", "stretch"):
        raise InputError(f"{what}: " + unknown("fit", str(fit), ("crop", "stretch")))
    return cast("Literal['crop', 'stretch']", fit)


def _one(name: str, of_spec: Any, of_module: Any, what: str) -> Any:
    if of_spec is None or of_module is None:
        return of_module if of_spec is None else of_spec
    if not _same(of_spec, of_module):
        raise InputError(
            f"{name}: the spec says {of_spec}, {what} declares {of_module}; keep one of them"
        )
    return of_spec


def _same(a: Any, b: Any) -> bool:
    if not isinstance(a, Normalisation):
        return bool(a == b)
    parts = list(zip(_affine(a), _affine(b), strict=True))
    if any(len(x) != len(y) and 1 not in {len(x), len(y)} for x, y in parts):
        return False
    return all(np.allclose(x, y, rtol=1e-9, atol=0) for x, y in parts)


def _affine(normalisation: Normalisation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns factor and offset by channel: all that a normalisation does."""
    mean, std = np.broadcast_arrays(
        np.asarray(normalisation.mean, dtype=np.float64),
        np.asarray(normalisation.std, dtype=np.float64),
    )
    return normalisation.scale / std, mean / std


def described_preprocessing(
    spec: InputSpec, normalisation: Normalisation | None, dtype: str, layout: str = "NCHW"
) -> dict[str, str]:
    """Returns what happens to an image on its way to the model, for people."""
    size = f"{spec.size[0]} x {spec.size[1]}" if spec.size else ""
    how = "stretched to" if spec.fit == "stretch" else "to"
    steps = {
        "resize": f"{spec.resize} {how} {size}, antialiased" if size else "none: the stored size",
        "crop": "none" if spec.crop == 1.0 else f"central {spec.crop:g}",
        "colour": {1: "one channel", 3: "RGB"}.get(spec.channels or 0, "as stored, RGB if three"),
        "normalisation": "none: [0, 1]",
        "layout": layout,
        "dtype": dtype,
    }
    if normalisation is not None:
        mean, std = (_brief(part) for part in (normalisation.mean, normalisation.std))
        steps["normalisation"] = f"(x * {normalisation.scale:g} - {mean}) / {std}"
    return steps


def normalised(pixels: NDArray[Any], normalisation: Normalisation) -> NDArray[Any]:
    """Returns images (N, C, H, W) in [0, 1] as a model wants them, in float32."""
    mean, std = (
        np.asarray(part, dtype=np.float32).reshape(1, -1, 1, 1)
        for part in (normalisation.mean, normalisation.std)
    )
    return (pixels * np.float32(normalisation.scale) - mean) / std


def _brief(numbers: tuple[float, ...]) -> str:
    shown = ", ".join(f"{number:g}" for number in numbers)
    return shown if len(numbers) == 1 else f"[{shown}]"


def preprocessing_digest(
    spec: InputSpec, normalisation: Normalisation | None, more: Any = None
) -> str:
    """Returns a digest of the geometry, of what is done to pixels, and of plain data besides."""
    facts = spec.as_dict() | {"normalisation": None} | ({"more": more} if more else {})
    if normalisation is not None:
        facts["normalisation"] = [part.tolist() for part in _affine(normalisation)]
    return data_digest(facts)


# The form of a data set's samples, and a few made-up ones, to see what a model can answer.

_ROWS = 4
_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)")
_NUMBERS = re.compile(r"bool|boolean|[uU]?[iI]nt\d+|[fF]loat\d+")
_TEXTS = ["some words", "other words, and more of them", "1", "?"]


def stored_form(card: DataCard) -> InputSpec:
    """Returns the form in which the data set holds its samples."""
    texts = len(card.features) if card.task.modality is Modality.TEXT else 1
    return InputSpec(modality=card.task.modality, columns=max(1, texts))


def made_up(card: DataCard, spec: InputSpec) -> Batch | None:
    """Returns a batch in the form of `card` and `spec`, or None where the form is not known."""
    match card.task.modality:
        case Modality.IMAGE:
            inputs = _images(card, spec)
        case Modality.TABLE:
            inputs = _table(card)
        case Modality.TEXT:
            inputs = _TEXTS if spec.columns == 1 else [(text,) * spec.columns for text in _TEXTS]
        case _:
            inputs = None
    if inputs is None:
        return None
    return Batch(tuple(f"made-up-{row}" for row in range(_ROWS)), inputs)


def _images(card: DataCard, spec: InputSpec) -> Any:
    import torch

    # Images of several sizes are written "1x8x8 to 1x16x16": the model must say which it takes.
    shapes = [tuple(map(int, found)) for found in _SHAPE.findall(card.features.get("image", ""))]
    channels = spec.channels or (shapes[0][0] if shapes else None)
    size = spec.size or (shapes[0][1:] if len(shapes) == 1 else None)
    if channels is None or size is None:
        return None
    generator = torch.Generator().manual_seed(0)
    return torch.rand((_ROWS, channels, *size), generator=generator)


def _table(card: DataCard) -> Any:
    import pandas as pd

    draws = np.random.default_rng(0)
    kinds = {name: kind.partition(",")[0] for name, kind in card.features.items()}
    if not all(_NUMBERS.fullmatch(kind) for kind in kinds.values()):
        return None  # which words or dates a model knows can't be guessed
    # Whole numbers fit every kind of number; "float64, some missing" loses what follows.
    columns = {name: draws.integers(0, 2, _ROWS) for name in kinds}
    return pd.DataFrame(columns).astype(kinds) if kinds else None
