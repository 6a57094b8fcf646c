"""What an image processor of `transformers` does, split into geometry and normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crucibench.contracts.adapter import Opening
from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line
from crucibench_adapters._quiet import quiet
from crucibench_adapters._torch_zoo import stretching

_RESIZES = ("nearest", "bilinear", "bicubic")
_WARPED_FROM = 384
_SLACK = 2.0


class ImageClassifier(nn.Module):
    """An image classifier of `transformers`, asked with pixels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Returns the model's logits, (N, K)."""
        logits: torch.Tensor = self.model(pixel_values=pixels).logits
        return logits


def image_inputs(
    processor: Any, channels: int, opening: Opening, what: str
) -> tuple[dict[str, Any], list[str]]:
    """Returns what a processor does to an image, as a module declares it, and notes.

    What its settings say is tried out: the processor itself is given made-up images of two
    proportions, whose answer follows from the settings without resizing.

    Raises:
        InputError: if the harness can't do what it does.
    """
    declared = _normalisation(processor) | {"channels": channels}
    inner, size, whole = _geometry(processor, what)
    notes: list[str] = []
    if size is not None and inner is not None:
        declared |= {
            "size": list(size),
            "crop": size[0] / inner[0],
            "resize": _resize(processor, what),
        }
        if whole:
            fit, notes = stretching(opening, inner)
            declared |= fit
            if fit and round(size[1] / declared["crop"]) != inner[1]:
                raise _other(what, f"crops {inner[0]} x {inner[1]} to {size[0]} x {size[1]}")
    _try_out(processor, declared, inner, what, whole=whole)
    return declared, notes


def _geometry(
    processor: Any, what: str
) -> tuple[tuple[int, int] | None, tuple[int, int] | None, bool]:
    """Returns the size before cropping and after it, and whether images are stretched to it."""
    cropped = _sides(processor, "crop_size") if _does(processor, "do_center_crop") else None
    if _does(processor, "do_pad"):
        raise _other(what, "pads images")
    if not _does(processor, "do_resize"):
        if cropped is not None:
            raise _other(what, "crops images without resizing them")
        return None, None, False
    exact, shortest = _sides(processor, "size"), _side(processor, "size", "shortest_edge")
    share = getattr(processor, "crop_pct", None)
    if exact is not None:
        return exact, cropped or exact, True
    if shortest is None or _side(processor, "size", "longest_edge") is not None:
        raise _other(what, f"resizes to {getattr(processor, 'size', None)}")
    square = (shortest, shortest)
    if share is not None:  # ConvNeXt's: small images are cropped, larger ones are stretched
        if shortest >= _WARPED_FROM:
            return square, square, True
        return (int(shortest / share),) * 2, square, False
    if cropped is None:
        raise _other(what, "keeps the proportions of images and crops none")
    if cropped[0] != cropped[1]:
        raise _other(what, f"crops to {cropped[0]} x {cropped[1]} after resizing the shorter side")
    return square, cropped, False


def _normalisation(processor: Any) -> dict[str, Any]:
    """Returns range, mean and std: (x * 255 * rescale_factor - mean) / std."""
    full = 255.0 * float(processor.rescale_factor) if _does(processor, "do_rescale") else 255.0
    declared: dict[str, Any] = {"range": [0.0, full], "mean": [0.0], "std": [1.0]}
    if abs(full - 1.0) < 1e-6:
        declared["range"] = [0.0, 1.0]
    if _does(processor, "do_normalize"):
        for key in ("mean", "std"):
            stated = getattr(processor, f"image_{key}")
            declared[key] = [float(part) for part in np.atleast_1d(stated)]
    return declared


def _resize(processor: Any, what: str) -> str:
    from PIL import Image

    resample = getattr(processor, "resample", None)
    kind = Image.Resampling.BILINEAR if resample is None else Image.Resampling(int(resample))
    if kind.name.lower() not in _RESIZES:
        raise _other(what, f"resizes by {kind.name}")
    return kind.name.lower()


def _try_out(
    processor: Any, declared: Mapping[str, Any], inner: Any, what: str, *, whole: bool
) -> None:
    """Raises InputError if the processor does not do to images what `declared` says.

    Images are given whose answer follows without resizing: of the size before cropping, and twice
    as wide and twice as high, which are slopes as even as they were where they are stretched.
    """
    height, width = inner or (32, 32)
    shapes = [(height, width)]
    if inner is not None:
        shapes += [(height, 2 * width), (2 * height, width)]
    for given in shapes:
        rows, columns = (height, width) if whole else given
        channels = int(declared["channels"])
        expected = torch.from_numpy(_ramps(rows, columns, channels).astype(np.float32) / 255.0)
        if inner is not None:
            size = declared["size"]
            top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
            expected = expected[top : top + size[0], left : left + size[1]]
        found = _processed(processor, _ramps(*given, channels), what)
        scale = declared["range"][1] - declared["range"][0]
        mean, std = (torch.tensor(declared[key]) for key in ("mean", "std"))
        # A crop may lie one pixel aside, where halves are rounded in another way.
        slack = (_SLACK * 255 / min(rows, columns) + 1) / 255
        back = (found.permute(1, 2, 0) * std + mean) / scale
        if back.shape != expected.shape or float((back - expected).abs().max()) > slack:
            raise _other(what, "does more than resizing, cropping, rescaling and normalising")


def _processed(processor: Any, pixels: NDArray[np.uint8], what: str) -> torch.Tensor:
    from PIL import Image

    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    try:
        with quiet():
            found = processor(images=image, return_tensors="pt")["pixel_values"][0]
    except Exception as error:
        raise InputError(
            f"{what}: its image processor raised {one_line(error)} on an image of "
            f"{pixels.shape[0]} x {pixels.shape[1]} and {pixels.shape[2]} channels"
        ) from error
    tensor: torch.Tensor = torch.as_tensor(found).float()
    return tensor


def _ramps(rows: int, columns: int, channels: int) -> NDArray[np.uint8]:
    """Returns an image whose channels differ, and whose every place shows where it was."""
    down = np.linspace(0, 255, rows)[:, None] * np.ones(columns)
    across = np.ones(rows)[:, None] * np.linspace(0, 255, columns)
    planes = [(down + across) / 2] if channels == 1 else [down, across, 255 - across]
    return np.stack(planes, axis=2).round().astype(np.uint8)


def _does(processor: Any, name: str) -> bool:
    return bool(getattr(processor, name, False))


def _sides(processor: Any, name: str) -> tuple[int, int] | None:
    height, width = _side(processor, name, "height"), _side(processor, name, "width")
    return None if height is None or width is None else (height, width)


def _side(processor: Any, name: str, key: str) -> int | None:
    size = getattr(processor, name, None)
    found = size.get(key) if isinstance(size, Mapping) else getattr(size, key, None)
    return None if found is None else int(found)


def _other(what: str, does: str) -> InputError:
    return InputError(
        f"{what}: its image processor {does}: expected resizing with an optional central crop, "
        "rescaling and normalising"
    )
