"""Images of others: opened by formats that run nothing, and measured before a pixel is decoded."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from crucibench.util.text import first_line
from crucibench.util.untrusted.archive import require_ratio
from crucibench.util.untrusted.content import RefusedError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow's names of what is read; others run programs or are no pictures."""

BYTES_AT_MOST = 256 << 20
"""Of an image file: a photograph has a few MiB."""

PIXELS_AT_MOST = 89_478_485
"""Of one image: Pillow's own limit, a quarter of a GiB of RGB."""

_FREE = 128 << 20
"""Bytes that the pixels of an image may take whatever its size; beyond, see `archive`."""


class ImageTooLargeError(RefusedError):
    """An image has too many bytes or pixels."""


def open_image(content: bytes, name: str) -> Image.Image:
    """Returns an image whose pixels are still encoded.

    Args:
        content: of its file.
        name: names it in an error.

    Raises:
        ImageTooLargeError: if it has more than `BYTES_AT_MOST` bytes or `PIXELS_AT_MOST` pixels.
        RefusedError: if it is none, or of another format.
    """
    from PIL import Image, UnidentifiedImageError

    if len(content) > BYTES_AT_MOST:
        raise ImageTooLargeError(name, f"at most {BYTES_AT_MOST:,} bytes", f"{len(content):,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are looked at here
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            pixels = image.width * image.height
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(name, f"at most {PIXELS_AT_MOST:,} pixels", "more") from error
    except UnidentifiedImageError as error:
        raise _no_image(name, "another file") from error
    except Exception as error:  # whatever a header trips over
        raise _no_image(name, f"a damaged one: {first_line(error)}") from error
    if pixels > PIXELS_AT_MOST:
        expected = f"at most {PIXELS_AT_MOST:,} pixels"
        raise ImageTooLargeError(name, expected, f"{pixels:,}")
    # Pillow has four bytes for a pixel of several channels, and WebP makes all at once.
    require_ratio(name, "", len(content), pixels * (1 if len(image.getbands()) == 1 else 4), _FREE)
    return image


def _no_image(name: str, got: str) -> RefusedError:
    return RefusedError(name, f"an image in a known format ({', '.join(FORMATS)})", got)
