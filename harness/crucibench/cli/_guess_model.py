"""What `init` makes of a model file: read, never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from crucibench.cli._guess_names import name_of, near, shown_from
from crucibench.util.errors import InputError

_WEIGHTS = (".safetensors", ".pt", ".pth")
_PICKLES = (".pkl", ".pickle", ".joblib")
_ESTIMATORS = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
_NO_MODEL = re.compile(r"(^|_)(data|dataset|datasets|load|main|train|test|split|plot)(_|$)")
_PREDICTIONS = ("y_pred", "pred", "predicted", "predictions", "predicted_label")
_SCORES = ("score", "y_score", "prob", "proba", "probability", "y_prob")
_KNOWN = ".py, .skops, .pkl, .joblib, or logged predictions in .csv or .parquet"


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
    raise InputError(f"model file {file.name!r}: expected {_KNOWN}")


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
    import csv

    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return next(csv.reader(stream), [])
    except (OSError, ValueError) as error:
        raise InputError(f"model file {file.name!r} can't be read: {error}") from error


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
    """Whether a file holds a model, as far as can be told without running it."""
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
