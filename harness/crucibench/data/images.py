"""Images in canonical form: float32, (C, H, W), in [0, 1].

Decoding, by Pillow, of the formats in `untrusted.images.FORMATS` alone and of the first frame:

- the orientation that EXIF gives is applied, as `datasets` does and torchvision does not;
- transparency is laid over white;
- palettes, CMYK and the like become RGB; black and white, and grey, stay one channel;
- 8 bits are divided by 255 and 16 bits of grey by 65,535; floats must lie in [0, 1] already.

One channel becomes three by repetition, three become one by the luma of ITU-R BT.601, as in
Pillow. Resizing keeps the proportions, unless the model stretches (``fit``): the image is made just
large enough to cover ``size / crop`` (the other side rounded down), or exactly as large, by
`torch.nn.functional.interpolate` on the floats, with antialiasing, clamped to [0, 1]; then ``size``
is cut from its middle.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import InputSpec
from crucibench.data.bad_samples import BadSampleError
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import RefusedError, read_content
from crucibench.util.untrusted.images import BYTES_AT_MOST, ImageTooLargeError, open_image

if TYPE_CHECKING:
    import torch
    from PIL import Image

T = TypeVar("T")
R = TypeVar("R")

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
"""Of the files that are images."""

_STRIP = 1 << 22
"""Pixels that are laid over white at a time."""

_SEVERAL = 4
"""Samples, from which on threads are worth their start."""

_LUMA = (19595, 38470, 7471)
_ORIENTATION = 0x0112
_ORIENTED = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
"""Where Pillow finds an orientation."""


@dataclass(frozen=True)
class ImageFacts:
    """What decoding an image showed.

    Attributes:
        height: in pixels, once upright.
        width: in pixels, once upright.
        channels: 1 or 3.
        turned: whether EXIF gave it another orientation.
        transparent: whether a pixel let white through.
    """

    height: int
    width: int
    channels: int
    turned: bool
    transparent: bool


def decode(content: bytes, what: str) -> tuple[NDArray[Any], ImageFacts]:
    """Decodes an image.

    Args:
        content: its stored bytes.
        what: names it in an error.

    Returns:
        Shape (H, W, C), uint8 or float32 in [0, 1], and what there is to know of it.

    Raises:
        BadSampleError: if it is no image, damaged, or has more than `PIXELS_AT_MOST` pixels.
    """
    from PIL import ImageOps

    try:
        image = open_image(content, what)
        turned = _may_be_turned(image) and image.getexif().get(_ORIENTATION, 1) in range(2, 9)
        upright = ImageOps.exif_transpose(image) if turned else image
        array, transparent = _pixels(upright, what)
    except ImageTooLargeError as error:
        raise BadSampleError("image too large", str(error)) from None
    except RefusedError as error:
        raise BadSampleError("no image", str(error)) from None
    except InputError:
        raise
    except Exception as error:  # whatever a decoder trips over
        raise BadSampleError(
            "damaged image", f"{what} is damaged: {type(error).__name__}: {error}"
        ) from error
    height, width, channels = array.shape
    return array, ImageFacts(height, width, channels, turned, transparent)


def to_pnm(image: Image.Image, what: str) -> bytes:
    """Returns an image in memory as a file of its canonical pixels, the same bytes everywhere.

    Raises:
        InputError: if it has more than 8 bits a channel.
    """
    pixels, _ = _pixels(image, what)
    if pixels.dtype != np.uint8:
        raise InputError(f"{what}: expected images of 8 bits a channel, got mode {image.mode}")
    height, width, channels = pixels.shape
    kind = "P6" if channels == 3 else "P5"
    return f"{kind} {width} {height} 255\n".encode() + np.ascontiguousarray(pixels).tobytes()


def to_tensor(pixels: NDArray[Any], channels: int) -> torch.Tensor:
    """Returns (..., H, W, C) pixels, uint8 or float32, as float32 (..., `channels`, H, W)."""
    import torch

    stored = pixels.shape[-1]
    if stored == 3 and channels == 1:
        pixels = _luma(pixels)
    planes = np.moveaxis(pixels, -1, -3)
    if stored == 1 and channels == 3:
        planes = np.repeat(planes, 3, axis=-3)
    if planes.dtype == np.uint8:
        made = np.divide(planes, np.float32(255.0), dtype=np.float32, order="C")
    else:
        made = np.array(planes, dtype=np.float32, order="C")
    return torch.from_numpy(made)


def decode_all(stored: Sequence[StoredImage], shape: tuple[int, int, int]) -> torch.Tensor:
    """Puts the pixels of images of one size into one tensor, in threads.

    Args:
        stored: the images.
        shape: (C, H, W) that each is to have.

    Raises:
        BadSampleError: if one can't be decoded.
    """
    import torch

    channels, height, width = shape
    pixels = np.empty((len(stored), height, width, channels), dtype=np.uint8)
    floats: dict[int, NDArray[Any]] = {}

    def fill(place: int) -> None:
        array = stored[place].pixels()
        if channels == 1 and array.shape[-1] == 3:
            array = _luma(array)
        if array.dtype == np.uint8:
            pixels[place] = array  # one channel goes into three by broadcasting
        else:
            floats[place] = array

    in_threads(fill, range(len(stored)))
    # All images at once: torch's own threads need no interpreter.
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    images = planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    for place, array in floats.items():
        images[place] = to_tensor(array, channels)
    return images


def fit(image: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """Resizes and crops a (C, H, W) image as `spec` asks."""
    import torch

    if spec.size is None:
        return image
    height, width = spec.size
    rows, columns = image.shape[-2:]
    inner = (round(height / spec.crop), round(width / spec.crop))
    if spec.fit == "stretch":
        pass
    elif inner[0] * columns >= inner[1] * rows:
        inner = (inner[0], inner[0] * columns // rows)
    else:
        inner = (inner[1] * rows // columns, inner[1])
    if (rows, columns) != inner:
        exact = spec.resize == "nearest"
        image = torch.nn.functional.interpolate(
            image[None],
            size=inner,
            mode="nearest-exact" if exact else spec.resize,
            antialias=not exact,
            align_corners=None if exact else False,
        )[0].clamp_(0.0, 1.0)
    # The sides' halves are rounded to even, as torchvision does.
    top, left = round((inner[0] - height) / 2.0), round((inner[1] - width) / 2.0)
    return image[:, top : top + height, left : left + width]


@dataclass(frozen=True)
class StoredImage:
    """An encoded image where it stands.

    Attributes:
        stored: its bytes; None where only its file has them.
        path: "" where it has no name.
        column: that it stands in.
        row: of the role's data.
        kept: its pixels, (H, W, C), where they were kept.
    """

    stored: bytes | None
    path: str
    column: str
    row: int
    kept: NDArray[np.uint8] | None = None

    @property
    def name(self) -> str:
        """Names it in a sentence."""
        return (
            f"image {self.path!r}"
            if self.path
            else f"the image {self.column!r} of row {self.row:,}"
        )

    def content(self) -> bytes:
        """Returns its stored bytes.

        Raises:
            BadSampleError: if it has none, or its file can't be read.
        """
        if self.stored is not None:
            return self.stored
        if not self.path:
            raise BadSampleError("no image", f"{self.name} is missing")
        try:
            return read_content(Path(self.path), self.name, BYTES_AT_MOST)
        except RefusedError as error:
            raise BadSampleError("unreadable image", str(error)) from None

    def pixels(self) -> NDArray[Any]:
        """Returns its pixels, shape (H, W, C), uint8 or float32 in [0, 1].

        Raises:
            BadSampleError: if they were not kept and it can't be decoded.
        """
        return decode(self.content(), self.name)[0] if self.kept is None else self.kept


def stored_images(
    table: Any, column: str, rows: Iterable[int], kept: Iterable[NDArray[np.uint8] | None]
) -> Iterator[StoredImage]:
    """Yields the encoded images of an Arrow table, which holds `rows` of a role's data.

    The bytes of those whose pixels were `kept` are left where they are.
    """
    for image, row, pixels in zip(table.column(column), rows, kept, strict=True):
        known = (image.as_py() if pixels is None else None) or {"bytes": None, "path": None}
        yield StoredImage(known["bytes"], known["path"] or "", column, int(row), pixels)


def array_values(table: Any, column: str, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Returns array images of an Arrow table, shape (n, C, H, W), as they are stored."""
    flat = table.column(column).combine_chunks()
    if flat.null_count:
        raise InputError(f"column {column!r}: {flat.null_count} images are missing")
    values = flat.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(len(flat), *shape)


def require_unit_range(values: NDArray[Any], what: str) -> None:
    """Raises InputError if pixels that are no uint8 leave [0, 1] or are not finite."""
    if values.dtype != np.uint8 and not ((values >= 0.0) & (values <= 1.0)).all():
        low, high = values.min(), values.max()
        raise InputError(
            f"{what}: expected images of uint8, or of floats from 0 to 1, got {low:g} to {high:g}"
        )


def _may_be_turned(image: Image.Image) -> bool:
    """Whether it is worth asking for the orientation, which takes a tenth of decoding."""
    return image.format != "JPEG" or not image.info.keys().isdisjoint(_ORIENTED)


def _pixels(image: Image.Image, what: str) -> tuple[NDArray[Any], bool]:
    """Returns (H, W, C) pixels, and whether any was transparent."""
    from PIL import Image

    if image.mode in {"RGB", "L"} and "transparency" not in image.info:
        array = np.asarray(image)
        return array.reshape(*array.shape[:2], -1), False
    if image.mode.startswith("I"):
        return _floats(np.asarray(image), 65535.0, what), False
    if image.mode == "F":
        return _floats(np.asarray(image), 1.0, what), False
    grey = image.mode in {"1", "L", "LA", "La"}
    transparent = False
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        array = np.empty((image.height, image.width, 1 if grey else 3), dtype=np.uint8)
        step = max(1, _STRIP // image.width)
        for top in range(0, image.height, step):  # so that there are no copies of all of it
            strip = image.crop((0, top, image.width, min(top + step, image.height)))
            layer = strip.convert("RGBA")
            low, _ = layer.getchannel("A").getextrema()
            transparent = transparent or float(low) < 255.0  # type: ignore[arg-type]
            paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            laid = Image.alpha_composite(paper, layer).convert("L" if grey else "RGB")
            array[top : top + step] = np.asarray(laid).reshape(*reversed(laid.size), -1)
        return array, transparent
    array = np.asarray(image.convert("L" if grey else "RGB"))
    return array.reshape(image.height, image.width, -1), transparent


def _floats(values: NDArray[Any], full: float, what: str) -> NDArray[np.float32]:
    scaled = values.astype(np.float32)
    scaled /= np.float32(full)  # rounded as the quotient of doubles is
    if not ((scaled >= 0.0) & (scaled <= 1.0)).all():
        raise BadSampleError(
            "pixels out of range",
            f"{what}: expected pixels from 0 to {full:g}, got {values.min()} to {values.max()}",
        )
    return scaled[:, :, None]


def _luma(pixels: NDArray[Any]) -> NDArray[Any]:
    red, green, blue = (pixels[..., channel, None] for channel in range(3))
    if pixels.dtype == np.uint8:
        parts = [part.astype(np.uint32) for part in (red, green, blue)]
        weighted = parts[0] * _LUMA[0] + parts[1] * _LUMA[1] + parts[2] * _LUMA[2]
        return ((weighted + 0x8000) >> 16).astype(np.uint8)
    share = [np.float32(weight / 65536) for weight in _LUMA]
    grey = red * share[0] + green * share[1] + blue * share[2]
    return np.asarray(np.clip(grey, 0.0, 1.0), dtype=np.float32)


def _threads() -> int:
    """Returns how many threads to use: torch's setting where torch is loaded, else all cores."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(work: Callable[[T], R], values: Sequence[T]) -> list[R]:
    """Returns what `work` makes of each value, in their order.

    Each thread gets one stretch of them: handing over single samples costs as much as decoding a
    small one.
    """
    count = min(_threads(), len(values) // _SEVERAL)
    if count < 2:
        return [work(value) for value in values]
    # A few stretches a thread, so that one of large images does not hold up the rest.
    step = -(-len(values) // (4 * count))
    stretches = [values[start : start + step] for start in range(0, len(values), step)]
    with ThreadPoolExecutor(count) as pool:
        done = pool.map(lambda some: [work(value) for value in some], stretches)
        return [result for some in done for result in some]
