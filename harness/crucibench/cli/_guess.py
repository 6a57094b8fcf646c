"""What `init` concludes from files of models and data, which it reads and never runs."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crucibench.util.errors import InputError
from crucibench.util.suggest import hint, unknown

if TYPE_CHECKING:
    import pandas as pd


def name_of(path: Path) -> str:
    """Returns a name for what a file holds."""
    return re.sub(r"[^\w.-]+", "-", path.name.partition(".")[0]).strip("-") or "data"


def shown_from(path: Path, base: Path) -> str:
    """Returns a path relative to the folder of the spec."""
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()


def near(path: Path) -> str:
    """Returns the end of a sentence: which file of the folder was meant, if any."""
    if not path.parent.is_dir():
        return ""
    return hint(path.name, [entry.name for entry in path.parent.iterdir()])


_ROWS = 5_000
_BYTES = 16 << 20
_SNIFFED = 10_000
_FEW = 20
_TARGETS = ("target", "label", "labels", "class", "y", "outcome")
_SHOWN = 8
_IDS = frozenset({"id", "uuid", "guid"})
_GROUPS = frozenset(
    {"sex", "gender", "age", "race", "ethnicity", "ethnic", "nationality", "religion", "disability"}
)
_CLUSTERS = frozenset(
    {"patient", "customer", "user", "subject", "household", "client", "person", "speaker", "site"}
)
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
_DATA_FILES = ".csv, .tsv, .parquet, .npz, or a folder of images"


@dataclass(frozen=True, kw_only=True)
class DataGuess:
    """A data set as it can be addressed.

    Attributes:
        name: for the spec.
        uri: its address.
        target: the target column, "" where the address knows it.
        target_why: what it was guessed from, "" where it was given.
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
        InputError: if it is no data file, or it isn't evident which column is the target.
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
    raise InputError(f"data file {path.name!r}: expected {_DATA_FILES}")


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
    """Returns the target and what it was concluded from, "" where it was given."""
    columns = list(frame.columns)
    if given is not None:
        if given not in columns:
            raise InputError(f"--target: {unknown('column', given, columns)}")
        return given, ""
    lowered = {column.lower(): column for column in reversed(columns)}
    for name in _TARGETS:
        if name in lowered:
            return lowered[name], "by its name"
    possible = [column for column in columns if _may_be_target(frame, column)]
    few = [column for column in possible if frame[column].nunique() <= _FEW]
    if len(few) == 1:
        count = frame[few[0]].nunique()
        return few[0], f"with {count} different values the only column that could be classes"
    if not possible:
        raise InputError(
            f"no column looks like a target (columns: {', '.join(columns)}); say which with "
            "--target"
        )
    shown = [f"{column} ({frame[column].nunique()} values)" for column in few]
    shown += [column for column in possible if column not in few]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    raise InputError(
        f"several columns could be the target: {', '.join(shown[:_SHOWN])}{more}; say which with "
        "--target"
    )


def _may_be_target(frame: pd.DataFrame, column: str) -> bool:
    """Whether a column is no id, date, text, constant, nor one that names groups or clusters."""
    values = frame[column]
    if _words(column) & (_IDS | _GROUPS | _CLUSTERS) or values.nunique() < 2 or _is_text(values):
        return False
    if values.dtype.kind in "iufb":
        return not (values.dtype.kind in "iu" and (values.diff()[1:] == 1).all())
    return values.nunique() <= _FEW and not _are_dates(values)


def _are_dates(values: pd.Series[Any]) -> bool:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas says that it guesses the form
        return bool(pd.to_datetime(values.dropna()[:100], errors="coerce").notna().all())


def _few(column: pd.Series[Any]) -> tuple[str, ...]:
    values = column.dropna().unique()
    return tuple(str(value) for value in sorted(values)) if len(values) <= _FEW else ()


def _is_id(frame: pd.DataFrame, column: str) -> bool:
    return bool(_words(column) & _IDS) and _names_rows(frame[column])


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

    from crucibench.util.untrusted.csv_text import beginning, require_columns

    lines = beginning(path, f"data file {path.name!r}", _BYTES)
    head = lines.partition(b"\n")[0].decode(errors="replace")
    delimiter = "\t" if path.suffix == ".tsv" else ","
    if delimiter not in head:
        with contextlib.suppress(csv.Error):
            delimiter = csv.Sniffer().sniff(head[:_SNIFFED], ";\t|").delimiter
    require_columns(head.count(delimiter) + 1, path.name)
    try:
        return pd.read_csv(io.BytesIO(lines), nrows=_ROWS, sep=delimiter), delimiter
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
    from crucibench.util.untrusted.arrays import NpzFile

    return NpzFile(path).names


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


_WEIGHTS = (".safetensors", ".pt", ".pth")
_PICKLES = (".pkl", ".pickle", ".joblib")
_ESTIMATORS = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
_NO_MODEL = re.compile(r"(^|_)(data|dataset|datasets|load|main|train|test|split|plot)(_|$)")
_PREDICTIONS = ("y_pred", "pred", "predicted", "predictions", "predicted_label")
_SCORES = ("score", "y_score", "prob", "proba", "probability", "y_prob")
_MODEL_FILES = ".py, .skops, .pkl, .joblib, or logged predictions in .csv or .parquet"


@dataclass(frozen=True, kw_only=True)
class ModelGuess:
    """A model as it can be addressed.

    Attributes:
        name: for the spec.
        uri: its address.
        why: what the address was guessed from.
        pickled: whether reading it needs ``--allow-pickle``.
    """

    name: str
    uri: str
    why: str
    pickled: bool = False


def guess_models(
    file: Path, base: Path, identity: str = "", classes: Sequence[str] = ()
) -> list[ModelGuess]:
    """Returns the models of a file, the likeliest first.

    Args:
        file: the file.
        base: the folder of the spec.
        identity: the column by which the data names samples, or "".
        classes: the data's, where they are known.

    Raises:
        InputError: if it holds none.
    """
    if not file.is_file():
        raise InputError(f"model file {str(file)!r} does not exist" + near(file))
    name, shown = name_of(file), shown_from(file, base)
    if file.suffix == ".py":
        return _factories(file, base)
    if file.suffix == ".skops":
        return [ModelGuess(name=name, uri=f"sklearn:{shown}", why="a skops file")]
    if file.suffix in _PICKLES:
        why = "a pickle: reading it can run any code"
        return [ModelGuess(name=name, uri=f"sklearn:{shown}", why=why, pickled=True)]
    if file.suffix in {".csv", ".parquet"}:
        return [_logged(file, name, f"predictions:{shown}", identity, classes)]
    if file.suffix in _WEIGHTS:
        raise InputError(
            f"model file {file.name!r} holds weights alone: give the .py file with the function "
            "that builds the module, and the weights beside it"
        )
    raise InputError(f"model file {file.name!r}: expected {_MODEL_FILES}")


def _factories(file: Path, base: Path) -> list[ModelGuess]:
    shown = shown_from(file, base)
    functions = list(_public_functions(file))
    built = [
        (scheme, function)
        for function in functions
        if function.required == 0
        and (scheme := function.scheme)
        and not _NO_MODEL.search(function.name)
    ]
    if built:
        weights = sorted(path for path in file.parent.iterdir() if path.suffix in _WEIGHTS)
        return [_factory(scheme, function, shown, weights, base) for scheme, function in built]
    asked = [function for function in functions if function.required == 1]
    if not asked:
        known = ", ".join(function.name for function in functions) or "none"
        raise InputError(
            f"model file {file.name!r}: expected a function without arguments that builds a torch "
            f"module or an estimator, or one from a batch to scores (functions: {known})"
        )
    return [
        ModelGuess(
            name=function.name,
            uri=f"python:{shown}:{function.name}",
            why=f"{function.name}() takes one argument: a batch",
        )
        for function in asked
    ]


def _factory(
    scheme: str, function: _Function, shown: str, weights: Sequence[Path], base: Path
) -> ModelGuess:
    uri = f"{scheme}:{shown}:{function.name}"
    why = f"{function.name}() takes no arguments and uses {function.library}"
    named = [path for path in weights if path.stem.lower() == function.name.lower()]
    fitting = named or (weights if len(weights) == 1 else [])
    if scheme == "torch" and fitting:
        uri += f"?weights={quote(shown_from(fitting[0], base), safe='/')}"
        why += f"; {fitting[0].name} stands beside it"
    return ModelGuess(name=function.name, uri=uri, why=why)


def shared_id(file: Path, naming: Sequence[str]) -> str:
    """Returns the column by which logged predictions name samples as the data does, or "".

    Args:
        file: the model's file.
        naming: the data's columns that could name its samples.
    """
    if file.suffix not in {".csv", ".parquet"} or not file.is_file():
        return ""
    columns = _header(file)
    return next((column for column in naming if column in columns), "")


def _logged(file: Path, name: str, uri: str, identity: str, classes: Sequence[str]) -> ModelGuess:
    columns = _header(file)
    lowered = {column.lower(): column for column in columns}
    options: dict[str, str] = {}
    if identity in columns:
        options["id"] = identity
    if "prediction" not in columns:
        options |= _first("prediction", _PREDICTIONS, lowered)
    if not any(column.startswith("proba_") for column in columns):
        options |= _first("score", _SCORES, lowered)
        if len(classes) > 1 and set(classes) <= set(columns):
            options["scores"] = ",".join(classes)
        rest = [column for column in columns if column != identity]
        if len(rest) == 1 and "prediction" not in columns and options.keys() <= {"id"}:
            options["prediction"] = rest[0]
    query = "&".join(f"{key}={quote(column, safe=',')}" for key, column in options.items())
    joined = "joined by id" if "id" in options else "joined by the order of rows"
    return ModelGuess(
        name=name, uri=f"{uri}?{query}" if query else uri, why=f"logged predictions, {joined}"
    )


def _first(key: str, names: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    return next(({key: columns[name]} for name in names if name in columns), {})


def _header(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return [str(name) for name in pq.read_schema(file).names]
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"model file {file.name!r} can't be read: {error}") from error
    from crucibench.util.untrusted.csv_text import read_header

    return read_header(file, f"model file {file.name!r}")


@dataclass(frozen=True)
class _Function:
    """A public function of a file.

    Attributes:
        name: of the function.
        required: how many arguments it can't do without.
        libraries: the packages that it uses, directly or through the file's own code.
    """

    name: str
    required: int
    libraries: frozenset[str]

    @property
    def library(self) -> str:
        """The one that tells what it builds, or ""."""
        if "torch" in self.libraries:
            return "torch"
        return next(iter(sorted(self.libraries & _ESTIMATORS)), "")

    @property
    def scheme(self) -> str:
        """The scheme of what it builds, or ""."""
        return "sklearn" if self.library in _ESTIMATORS else self.library


def _public_functions(file: Path) -> Iterator[_Function]:
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError, OSError) as error:
        raise InputError(f"model file {file.name!r} can't be read as Python: {error}") from error
    defined = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    imported = _imports(tree)
    for name, node in defined.items():
        if isinstance(node, ast.FunctionDef) and not name.startswith("_"):
            arguments = node.args
            optional = len(arguments.defaults)
            required = len(arguments.posonlyargs) + len(arguments.args) - optional
            required += sum(default is None for default in arguments.kw_defaults)
            yield _Function(name, required, _used(node, defined, imported))


def _imports(tree: ast.AST) -> dict[str, str]:
    """Returns the package behind each name that an import binds, wherever it stands."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            top = node.module.partition(".")[0]
            found |= {alias.asname or alias.name: top for alias in node.names}
    return found


def _used(
    node: ast.AST, defined: dict[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef],
    imported: dict[str, str],
) -> frozenset[str]:  # fmt: skip
    packages: set[str] = set()
    queue, seen = [node], {node}
    while queue:
        for part in ast.walk(queue.pop()):
            if isinstance(part, ast.Name):
                if part.id in imported:
                    packages.add(imported[part.id])
                other = defined.get(part.id)
                if other is not None and other not in seen:
                    seen.add(other)
                    queue.append(other)
    return frozenset(packages)


def holds_models(path: Path) -> bool:
    """Whether a file holds a model, as far as can be seen without running it."""
    if path.suffix == ".skops":
        return True
    if path.suffix != ".py" or not path.is_file():
        return False
    try:
        return any(
            function.required == 0 and function.scheme and not _NO_MODEL.search(function.name)
            for function in _public_functions(path)
        )
    except InputError:
        return False
