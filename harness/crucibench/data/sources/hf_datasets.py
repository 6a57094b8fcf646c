"""`hf:REPO_OR_DIR[/CONFIG]`: data on the Hugging Face hub, or in a folder of its layout."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, MainData, RawData
from crucibench.contracts.uri import URI
from crucibench.data.bad_samples import BadSampleError, BadSampleTally
from crucibench.data.columnar import Conversion, column_kinds, convert, storable
from crucibench.data.columns import Columns, choose_columns
from crucibench.data.hub import (
    COMMIT,
    HubImages,
    HubPlace,
    card_of,
    commit_of,
    configs_of,
    import_datasets,
    online,
    open_splits,
)
from crucibench.data.options import TABULAR, TEST, DataOptions
from crucibench.util.errors import InputError
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line

_REPOSITORY = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*){0,2}")
_TARGETS = ("label", "labels", "target", "y", "class")
_ROWS = 1000


class HubSource(DataSource):
    """Reads data in the layout of the hub: Parquet, CSV, JSON or image folders, with a README.

    The address is a folder, or, where there is none of that name, a repository ``OWNER/NAME``; a
    configuration may follow. What ``save_to_disk`` wrote is such a folder, too. The only class
    label is the target unless ``target`` says else; columns are chosen as for tables, and an image
    column makes the samples images.

    Options beside those of `DataOptions`: ``split`` (a split's name, ``test`` or what stands in for
    it by default; a number is a share, as elsewhere), ``train`` (the split that is the role train),
    ``config``, ``revision`` (of a repository), and ``streaming=true`` with ``limit=N``, which takes
    the first N samples of each split and reads no more.

    Scripts are refused: they would run code.
    """

    options: ClassVar[tuple[str, ...]] = (
        *TABULAR,
        "config",
        "train",
        "revision",
        "streaming",
        "limit",
    )

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files of the folder, or the commit of the repository."""
        _Asked.of(uri)
        place = _place(uri, base)
        if place.folder is None:
            return Sources((), {f"hf:{place.repository}": place.commit})
        return Sources(_files(place.folder))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the splits that are asked for, once."""
        asked = _Asked.of(opening.uri, opening.main)
        place = _place(opening.uri, opening.base)
        files = _files(place.folder) if place.folder else ()

        def fill(conversion: Conversion) -> None:
            with online(place.repository) if place.folder is None else contextlib.nullcontext():
                _Reading(place, asked, conversion, opening).fill()

        settings = {
            "source": "hf",
            "place": [place.repository, place.commit, place.config],
            "asked": [asked.split, asked.train, asked.limit],
            "columns": asked.options.choice(),
        }
        done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
        more: dict[str, Any] = {
            "split": done.facts["split"],
            "notes": (*done.facts["notes"], *_revision_notes(opening.uri, place)),
            "left_out": done.left_out,
            "revision": place.commit,
            "key": done.key,
        }
        if not asked.options.licence and place.folder is not None:
            licence = card_of(place.folder).get("license") or ""
            more["licence"] = licence if isinstance(licence, str) else ", ".join(map(str, licence))
        return Columns.from_dict(done.facts["columns"]).raw(done.roles, asked.options, **more)


@dataclass(frozen=True)
class _Asked:
    """What an address asks for.

    Attributes:
        options: of its columns.
        split: the split that is the role test, or "".
        train: the split that is the role train, or "".
        limit: how many samples of each split; 0 for all.
    """

    options: DataOptions
    split: str
    train: str
    limit: int

    @classmethod
    def of(cls, uri: URI, main: MainData | None = None) -> _Asked:
        split = uri.query.get("split", "")
        share = isinstance(parse_number(split), float) if split else False
        query = {key: value for key, value in uri.query.items() if key != "split" or share}
        options = DataOptions.parse(replace(uri, query=query), *HubSource.options, main=main)
        limit = uri.query.get("limit", "")
        if uri.flag("streaming") != bool(limit):
            raise InputError("hf: options streaming=true and limit=N belong together")
        if limit and (not limit.isdecimal() or int(limit) < 1):
            raise InputError(f"hf: option limit: expected a whole number from 1 up, got {limit!r}")
        train = uri.query.get("train", "")
        if train and train == split:
            raise InputError(f"hf: options split and train both name {train!r}")
        return cls(options, "" if share else split, train, int(limit or 0))


class _Reading:
    """Converts the splits that are asked for."""

    def __init__(
        self, place: HubPlace, asked: _Asked, conversion: Conversion, opening: DataOpening
    ) -> None:
        self._place = place
        self._asked = asked
        self._conversion = conversion
        self._progress = opening.progress
        self._images = HubImages(place)
        self._done = 0

    def fill(self) -> None:
        splits = open_splits(self._place)
        chosen, notes = _choose(splits, self._asked, self._place)
        test = splits[chosen["test"]]
        first = self._head(test)
        schema = test.features.arrow_schema if test.features else first.schema
        options = self._asked.options.beside(schema.names)
        if not options.target and not (options.main and options.main.labels == "ignored"):
            options = replace(options, target=_target(schema))
        kinds = column_kinds(schema)
        columns = choose_columns(kinds, options, lambda name: first.column(name).to_pylist())
        kept = storable(
            pa.schema([schema.field(name) for name in columns.used], _noted(schema, columns.used))
        )
        if self._asked.limit:
            whole = ", ".join(chosen.values())
            notes.append(f"streamed: at most the first {self._asked.limit:,} samples of {whole}")
        for role, split in chosen.items():
            bad = BadSampleTally()
            self._conversion.write(
                role, kept, self._batches(splits[split], columns, kept, bad), bad
            )
        self._conversion.facts.update(
            columns=columns.as_dict(),
            notes=notes,
            split=f"as given: {', '.join(chosen)}" if len(chosen) > 1 else f"all {chosen['test']}",
        )

    def _head(self, data: Any) -> Any:
        for table in self._tables(data):
            return table
        raise InputError("the data has no rows")

    def _tables(self, data: Any) -> Iterator[Any]:
        """Yields the rows of a split."""
        if self._asked.limit:
            data = data.take(self._asked.limit)
        rows = min(_ROWS, self._asked.limit or _ROWS)
        batches = data.with_format("arrow").iter(rows)
        try:
            yield from batches
        except InputError:
            raise
        except Exception as error:  # whatever a format's reader raises
            raise InputError(f"hf:{self._place.name} can't be read: {one_line(error)}") from None
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def _batches(
        self, data: Any, columns: Columns, schema: Any, bad: BadSampleTally
    ) -> Iterator[Any]:
        library = import_datasets()
        noted = library.Features.from_arrow_schema(schema)
        images = [name for name, kind in noted.items() if isinstance(kind, library.Image)]
        for table in self._tables(data):
            if lacking := [name for name in schema.names if name not in table.column_names]:
                raise InputError(f"some rows of hf:{self._place.name} have no {lacking[0]!r}")
            rows = table.select(schema.names)
            for name in images:
                rows = self._with_bytes(rows, name, schema.field(name).type, bad)
            try:
                rows = rows.cast(schema)
            except (pa.ArrowException, ValueError) as error:
                raise InputError(
                    f"hf:{self._place.name}: later rows hold other types than the first: "
                    f"{one_line(error)}"
                ) from None
            yield from rows.combine_chunks().to_batches()
            self._done += table.num_rows
            self._progress(self._done, 0)

    def _with_bytes(self, rows: Any, name: str, kind: Any, bad: BadSampleTally) -> Any:
        values: list[Any] = []
        good: list[bool] = []
        for image in rows.column(name).to_pylist():
            try:
                values.append(self._images.read(image))
                good.append(True)
            except BadSampleError as error:
                bad.add(error.kind, str(error))
                values.append(None)
                good.append(False)
        position = rows.column_names.index(name)
        rows = rows.set_column(position, pa.field(name, kind), pa.array(values, kind))
        return rows if all(good) else rows.filter(pa.array(good))


def _place(uri: URI, base: Path) -> HubPlace:
    """Returns the folder that an address names, else the repository.

    Raises:
        InputError: if it can be neither.
    """
    rest, config, revision = (
        uri.rest, uri.query.get("config", ""), uri.query.get("revision", ""),
    )  # fmt: skip
    folder = (base / Path(rest).expanduser()).resolve()
    inner = ""
    # A configuration's files often lie in a folder of its name.
    above = "/" in rest and (folder.parent / "README.md").is_file()
    if above and (not folder.is_dir() or folder.name in configs_of(folder.parent)):
        inner, folder = folder.name, folder.parent
    if inner and config:
        raise InputError(f"hf: the configuration is given twice: {inner!r} and {config!r}")
    if rest and folder.is_dir():
        if revision:
            raise InputError("hf: option revision: a folder has none")
        return HubPlace(folder, "", "", inner or config)
    if not _REPOSITORY.fullmatch(rest) or ".." in rest:
        raise InputError(f"hf: there is no folder {rest!r}, and no repository is called that")
    parts = rest.split("/")
    if len(parts) == 3:
        if config:
            raise InputError(f"hf: the configuration is given twice: {parts[2]!r} and {config!r}")
        config = parts.pop()
    repository = "/".join(parts)
    return HubPlace(None, repository, commit_of(repository, revision), config)


def _revision_notes(uri: URI, place: HubPlace) -> Iterator[str]:
    if place.folder is None and not COMMIT.fullmatch(uri.query.get("revision", "")):
        yield (
            f"warning: the revision is not pinned, so that the hub may give other data another "
            f"time; revision={place.commit} pins what was read"
        )


def _choose(
    splits: Mapping[str, Any], asked: _Asked, place: HubPlace
) -> tuple[dict[str, str], list[str]]:
    """Returns the split of each role, and what a reader should know of it."""
    if not splits:
        raise InputError(f"hf:{place.name} has no data files")
    for option, name in (("split", asked.split), ("train", asked.train)):
        if name and name not in splits:
            raise InputError(f"hf: option {option}: {unknown('split', name, splits)}")
    test = asked.split or next((name for name in TEST if name in splits), "")
    rest = [name for name in splits if name != asked.train]
    if not test and len(rest) == 1:
        (test,) = rest
    if not test:
        raise InputError(f"hf:{place.name}: say split=, one of {', '.join(sorted(splits))}")
    chosen = {"test": test} | ({"train": asked.train} if asked.train else {})
    notes = [f"{name} is left out" for name in splits if name not in chosen.values()]
    if test != "test":
        notes.append(f"test is what the data calls {test}")
    return chosen, notes


def _target(schema: Any) -> str:
    """Returns the column that is the target where the user names none; "" if it is ambiguous."""
    library = import_datasets()
    features = library.Features.from_arrow_schema(schema)
    labels = [name for name, kind in features.items() if isinstance(kind, library.ClassLabel)]
    if len(labels) == 1:
        return str(labels[0])
    return next((name for name in _TARGETS if name in features), "")


def _noted(schema: Any, names: Sequence[str]) -> dict[bytes, bytes]:
    """Returns what `datasets` notes of some columns of a schema."""
    library = import_datasets()
    features = library.Features.from_arrow_schema(schema)
    kept = library.Features({name: features[name] for name in names})
    return dict(kept.arrow_schema.metadata)


def _files(folder: Path) -> tuple[Path, ...]:
    """Returns the files of a folder but the hidden ones."""
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return tuple(itertools.chain(found, filter(Path.is_file, [folder / ".huggingface.yaml"])))
