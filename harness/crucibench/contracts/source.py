"""The data-source contract: it turns an address or a live object into a table of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crucibench.contracts.adapter import Sources
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True, kw_only=True)
class DataOpening:
    """All that a source gets.

    Attributes:
        name: the data set's name in the run.
        uri: its address.
        base: the folder that relative paths are relative to.
        scratch: a folder of the cache for what this source converts; keyed by content.
        progress: called with the number of samples done and their total (0 if unknown).
        live: a live object instead of an address.
        allow_pickle: whether pickled files may be read.
    """

    name: str
    uri: URI
    base: Path
    scratch: Path
    progress: Callable[[int, int], None] = lambda done, total: None
    live: Any = None
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True)
class RawData:
    """What a source returns; ids, roles and the card are made by the core.

    Attributes:
        roles: a `datasets.Dataset` per role, all of the same columns.
        modality: of one sample.
        inputs: the columns that the model is asked about, in order. An image is one column:
            a `datasets.Image` (encoded), or a fixed-length list of uint8 or float32 in [0, 1]
            with `image_shape`.
        target: the target column: class names or indices, or numbers.
        kind: None lets the core decide by the target's type.
        classes: class names in index order, where the source knows them.
        groups: group columns.
        cluster: cluster column or "".
        id: a column that the user names samples by, or "" (ids stay content hashes; the column is
            hashed in their place only if the user says so).
        image_shape: (C, H, W) of array images.
        split: how the roles came about.
        revision: of the source.
        licence: of the data.
        citation: how its authors want it cited.
        notes: what a reader must know.
        test_share: the share of the samples that the core's content-hash split is to make
            ``test``; None leaves the roles as they are.
        key: a digest of all that gives the data its content, so that the index of its samples
            can be kept; "" where only reading it can tell.
    """

    roles: Mapping[str, datasets.Dataset]
    modality: Modality
    inputs: tuple[str, ...]
    target: str
    kind: Literal["classification", "regression"] | None = None
    classes: tuple[str, ...] | None = None
    groups: tuple[str, ...] = ()
    cluster: str = ""
    id: str = ""
    image_shape: tuple[int, int, int] | None = None
    split: str = "all test"
    revision: str = ""
    licence: str = ""
    citation: str = ""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    test_share: float | None = None
    key: str = ""


class DataSource(ABC):
    """One kind of address for data. Modules that hold sources are cheap to import."""

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files that `uri` names and the facts that tell versions apart.

        Raises:
            InputError: if a file is missing or an option is unknown.
        """
        return Sources()

    @classmethod
    def accepts(cls, data: object) -> bool:
        """Whether `read` takes this live object."""
        return False

    @abstractmethod
    def read(self, opening: DataOpening) -> RawData:
        """Reads the data.

        Raises:
            InputError: one clear sentence.
        """
