"""What a page shows of samples: plain views that the template of a gallery renders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a text.

    Attributes:
        text: of it.
        kind: whether it was left as it was, put in, or taken out, or stands for what is not shown.
    """

    text: str
    kind: Literal["same", "put-in", "taken-out", "gap"] = "same"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image within the page.

    Attributes:
        source: a data URI.
        alt: what it shows, in words.
        width: CSS pixels.
        note: what stands beneath, or "".
    """

    source: str
    alt: str
    width: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A sample as the model was asked about it.

    Attributes:
        title: the point, or that nothing was changed.
        said: what the model answered, with its confidence.
        right: whether that is the target; None where it is not known, or there is no right.
        pictures: of an image: it, and perhaps what was changed.
        parts: of a text: pieces of each of its columns.
    """

    title: str
    said: str
    right: bool | None = None
    pictures: Sequence[Picture] = ()
    parts: Sequence[Sequence[Piece]] = ()


@dataclass(frozen=True, kw_only=True)
class ShownSample:
    """A sample, as it is and changed.

    Attributes:
        scenario: what changed it.
        target: what would have been right.
        versions: as it is, then changed.
        cells: of a table's row: each column that some version changed, with a piece a version.
        alike: what of the sample is the same in all versions, in words, or "".
    """

    scenario: str
    target: str
    versions: Sequence[Version]
    cells: Sequence[tuple[str, Sequence[Piece]]] = ()
    alike: str = ""
