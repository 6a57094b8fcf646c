"""What `init` makes of a data file."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crucibench.cli._guess_names import name_of, near, shown_from
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 5_000
_FEW = 20
_TARGETS = ("target", "label", "labels", "class", "y", "outcome")
_GROUPS = frozenset(
    {"sex", "gender", "age", "race", "ethnicity", "ethnic", "nationality", "religion", "disability"}
)
_CLUSTERS = frozenset(
    {"patient", "customer", "user", "subject", "household", "client", "person", "speaker", "site"}
)
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
_KNOWN = ".csv, .tsv, .parquet, .npz, or a folder of images"


@dataclass(frozen=True, kw_only=True)
class DataGuess:
    """A data set as it can be addressed.

    Attributes:
        name: for the spec.
        uri: its address.
        target: the target column, "" where the address knows it.
        target_why: what it was guessed from.
        classes: its values in order, where it has few.
        groups: group columns.
        id: a column that names samples, or "".
        columns: all columns.
        naming: columns of which no two rows have the same value: each could be the id.
        advice: settings that a person has to decide: key to value and reason.
    """

    name: str
    uri: str
    target: str = ""
    target_why: str = ""
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    id: str = ""
    columns: tuple[str, ...] = ()
    naming: tuple[str, ...] = ()
    advice: dict[str, tuple[str, str]] = field(default_factory=dict)


def guess_data(path: Path, base: Path, target: str | None) -> DataGuess:
    """Returns how a data file can be addressed.

    Raises:
        InputError: if it is no data file, or no column looks like a target.
    """
    if not path.exists():
        raise InputError(f"data file {str(path)!r} does not exist" + near(path))
    name, shown = name_of(path), shown_from(path, base)
    if path.is_dir():
        if any(entry.suffix == ".parquet" for entry in path.iterdir()):
            return _columns(name, f"parquet:{shown}", _parquet(path), target)
        if not _is_image_folder(path):
            raise InputError(f"data folder {path.name!r}: expected images in a folder a class")
        return DataGuess(name=name, uri=f"imagefolder:{shown}")
    if path.suffix in {".csv", ".tsv"}:
        frame, delimiter = _csv(path)
        option = f"?delimiter={quote(delimiter)}" if delimiter not in {",", "\t"} else ""
        return _columns(name, f"csv:{shown}{option}", frame, target)
    if path.suffix == ".parquet":
        return _columns(name, f"parquet:{shown}", _parquet(path), target)
    if path.suffix == ".npz":
        return DataGuess(name=name, uri=f"npz:{shown}", columns=_arrays(path))
    raise InputError(f"data file {path.name!r}: expected {_KNOWN}")


def _columns(name: str, uri: str, frame: pd.DataFrame, target: str | None) -> DataGuess:
    columns = [str(column) for column in frame.columns]
    frame.columns = columns
    if frame.empty or not columns:
        raise InputError(f"{uri}: there are no rows")
    chosen, why = _target(frame, target)
    rest = [column for column in columns if column != chosen]
    identity = next((column for column in rest if _is_id(frame, column)), "")
    groups, advice = [], {}
    for column in rest:
        distinct = frame[column].nunique()
        if _words(column) & _GROUPS and distinct > 1:
            if distinct <= _FEW:
                groups.append(column)
            else:
                advice["groups"] = (column, f"{distinct} values: put them in bands first")
        elif _words(column) & _CLUSTERS and column != identity and distinct < len(frame):
            advice["cluster"] = (column, "if samples of one belong together, say so")
        elif _is_text(frame[column]):
            advice["input"] = (column, "if the model reads this text alone")
    return DataGuess(
        name=name, uri=uri, target=chosen, target_why=why, classes=_few(frame[chosen]),
        groups=tuple(groups), id=identity, columns=tuple(columns), advice=advice,
        naming=tuple(column for column in rest if _names_rows(frame[column])),
    )  # fmt: skip


def _target(frame: pd.DataFrame, given: str | None) -> tuple[str, str]:
    columns = list(frame.columns)
    if given is not None:
        if given not in columns:
            raise InputError(f"--target: {unknown('column', given, columns)}")
        return given, "as given"
    lowered = {column.lower(): column for column in reversed(columns)}
    for name in _TARGETS:
        if name in lowered:
            return lowered[name], "by its name"
    last = columns[-1]
    distinct = frame[last].nunique()
    if 2 <= distinct <= _FEW:
        return last, f"the last column, with {distinct} different values"
    if frame[last].dtype.kind in "if" and distinct > _FEW:
        return last, "the last column, numbers: a regression"
    raise InputError(
        f"no column looks like a target (columns: {', '.join(columns)}); say which with --target"
    )


def _few(column: pd.Series[Any]) -> tuple[str, ...]:
    values = column.dropna().unique()
    return tuple(str(value) for value in sorted(values)) if len(values) <= _FEW else ()


def _is_id(frame: pd.DataFrame, column: str) -> bool:
    if not _words(column) & {"id", "uuid", "guid"}:
        return False
    return _names_rows(frame[column])


def _names_rows(column: pd.Series[Any]) -> bool:
    # Amounts may all differ, too; but they name nothing.
    return bool(column.dtype.kind != "f" and column.notna().all() and column.is_unique)


def _is_text(column: pd.Series[Any]) -> bool:
    from crucibench.data.texts import reads_like_text

    values = column.dropna()
    return all(isinstance(value, str) for value in values[:10]) and reads_like_text(list(values))


def _csv(path: Path) -> tuple[pd.DataFrame, str]:
    import csv

    import pandas as pd

    try:
        with path.open(encoding="utf-8", newline="") as stream:
            head = stream.readline()
        delimiter = "\t" if path.suffix == ".tsv" else ","
        if delimiter not in head:
            with contextlib.suppress(csv.Error):
                delimiter = csv.Sniffer().sniff(head, ";\t|").delimiter
        return pd.read_csv(path, nrows=_ROWS, sep=delimiter), delimiter
    except (OSError, ValueError) as error:
        raise InputError(f"data file {path.name!r} can't be read as CSV: {error}") from error


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = sorted(path.rglob("*.parquet"))[0] if path.is_dir() else path
    try:
        with pq.ParquetFile(file) as stream:
            batch = next(stream.iter_batches(_ROWS), None)
            empty = stream.schema_arrow.empty_table()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"data file {file.name!r} can't be read as Parquet: {error}") from error
    frame: pd.DataFrame = (batch if batch is not None else empty).to_pandas()
    return frame


def _arrays(path: Path) -> tuple[str, ...]:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"data file {path.name!r} can't be read as npz: {error}") from error


def is_data(path: Path) -> bool:
    """Whether a file holds data."""
    if path.is_dir():
        return _is_image_folder(path)
    return path.suffix in {".csv", ".tsv", ".parquet", ".npz"}


def _is_image_folder(folder: Path) -> bool:
    for pattern in ("*/*", "*/*/*"):
        for count, entry in enumerate(folder.glob(pattern)):
            if entry.suffix.lower() in _IMAGES:
                return True
            if count > 1000:
                break
    return False


def _words(column: str) -> set[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column)
    return {part for part in re.split(r"[^a-z]+", parted.lower()) if part}
