"""The data-source contract: it turns an address or a live object into a table of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from crucibench.contracts.adapter import Sources
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import datasets


Labels = Literal["optional", "ignored"]
"""How the labels of a suite's own data are treated; see `crucibench.contracts.suite.SuiteData`."""


@dataclass(frozen=True, kw_only=True)
class MainData:
    """The main data set that a suite's own goes with; it fills in what the address leaves open.

    Attributes:
        name: of the main data set.
        modality: of one sample.
        inputs: the columns that models are asked about.
        types: of a table, the Arrow type of each.
        target: the target column, which the other may lack.
        groups: columns that it may lack.
        cluster: a column that it may lack, or "".
        id: a column that it may lack, or "".
        classes: of its task, in index order; empty where it has none.
        kind: of its task.
        labels: ``optional`` or ``ignored``; see `crucibench.contracts.suite.SuiteData`.
    """

    name: str
    modality: Modality
    inputs: tuple[str, ...]
    types: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""
    groups: tuple[str, ...] = ()
    cluster: str = ""
    id: str = ""
    classes: tuple[str, ...] = ()
    kind: str = ""
    labels: Labels = "optional"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, for the key of what is converted."""
        types = [[name, str(kind)] for name, kind in self.types.items()]
        return {**self.__dict__, "modality": str(self.modality), "types": types, "name": ""}


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
        main: the main data set, where this is a suite's own.
    """

    name: str
    uri: URI
    base: Path
    scratch: Path
    progress: Callable[[int, int], None] = lambda done, total: None
    live: Any = None
    allow_pickle: bool = False
    main: MainData | None = None


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Samples that can't be used: unreadable, or without a target.

    Attributes:
        kinds: how many by what is wrong with them, e.g. ``{"damaged image": 3}``.
        first: a sentence for each of the first few, which names it.
    """

    kinds: Mapping[str, int] = field(default_factory=dict)
    first: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.kinds.values())


@dataclass(frozen=True, kw_only=True)
class RawData:
    """What a source returns; ids, roles and the card are made by the core.

    Attributes:
        roles: a `datasets.Dataset` per role, all of the same columns; of files that were converted
            to Arrow, a `crucibench.data.columnar.MappedTable`, which answers alike.
        modality: of one sample.
        inputs: the columns that the model is asked about, in order. An image is one column:
            a `datasets.Image` (encoded), or a fixed-length list of uint8 or float32 in [0, 1]
            with `image_shape`.
        target: the target column: class names or indices, or numbers; "" where there is none, which
            `DataOpening.main` allows.
        labels: the columns of 0 and 1 that make up a multi-label `target`, which is their names
            then, with commas between; else none.
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
        on_bad_sample: what becomes of samples that can't be used: ``error`` refuses the data,
            ``skip`` leaves them out and says so in the card.
        left_out: by role, the samples that the source could not even store; those that stand in
            `roles` and turn out to be unusable are found by the core.
    """

    roles: Mapping[str, datasets.Dataset]
    modality: Modality
    inputs: tuple[str, ...]
    target: str
    labels: tuple[str, ...] = ()
    kind: str | None = None
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
    on_bad_sample: Literal["error", "skip"] = "error"
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that hold the target; none where there is none."""
        return self.labels or ((self.target,) if self.target else ())


class DataSource(ABC):
    """One kind of address for data. Modules that hold sources are cheap to import.

    Attributes:
        options: those that its addresses know: a suite's own data set takes ``classes`` and
            ``on_bad_sample`` from the main one where they are among them.
        runs_code: whether reading calls code of the user's: it is then read in a process apart
            from the models.
    """

    options: ClassVar[tuple[str, ...]] = ()
    runs_code: ClassVar[bool] = False

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files that `uri` names and the facts that tell versions apart.

        Raises:
            InputError: if a file is missing or an option is unknown.
        """
        return Sources()

    @classmethod
    def suite_data_sources(cls, uri: URI, base: Path, labels: Labels) -> Sources:
        """Returns the same for data of a suite, whose labels are ``optional`` or ``ignored``.

        Raises:
            InputError: if a file is missing or an option is unknown.
        """
        return cls.sources(uri, base)

    @classmethod
    def parts(cls, uri: URI, base: Path) -> Mapping[str, URI]:
        """Returns the data sets that `uri` stands for, by name; a name may hold slashes.

        Raises:
            InputError: if it stands for one only, or for none.
        """
        raise InputError(f"{uri.scheme}: its addresses stand for one data set each, not several")

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
