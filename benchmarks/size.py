"""How large the code is: statements, files, modules with one importer, the share of imports.

    python benchmarks/size.py            # a table
    python benchmarks/size.py --trace    # also the files that an accuracy run enters

A statement is an ``ast.stmt`` node; docstrings are left out. A module has one importer if exactly
one other file of the product imports it, by any form of import. Code lines hold neither a comment
alone nor a docstring.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import sys
import tempfile
import threading
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("harness", "suites", "adapters")
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER, tokenize.ENCODING,
}  # fmt: skip


class Size(NamedTuple):
    """The size of one or several files.

    Attributes:
        files: how many.
        statements: without docstrings.
        code: lines of code.
        imports: those of them that belong to an import statement.
    """

    files: int
    statements: int
    code: int
    imports: int

    def __add__(self, other: object) -> Size:
        if not isinstance(other, Size):
            return NotImplemented
        return Size(*(a + b for a, b in zip(self, other, strict=True)))


def docstrings(tree: ast.AST) -> Iterator[ast.Expr]:
    """Yields the docstrings of a module and of all its classes and functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first


def size_of(text: str) -> Size:
    """Measures the text of one file."""
    tree = ast.parse(text)
    spared = list(docstrings(tree))
    statements = sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - len(spared)
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    code -= _lines(spared)
    imports = _lines([n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)])
    return Size(1, statements, len(code), len(code & imports))


def _lines(nodes: Sequence[ast.stmt]) -> set[int]:
    return {line for node in nodes for line in range(node.lineno, (node.end_lineno or 0) + 1)}


def modules(folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the files of source roots by module name; a package is its ``__init__.py``."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path, known: Mapping[str, Path]) -> set[str]:
    """Returns the known modules that a file imports, wherever in it the import stands."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            # `from package import module` imports the module; other names come from the package.
            found |= {
                inner if (inner := f"{base}.{alias.name}") in known else base
                for alias in node.names
            }
    return found & set(known) - {name}


def single_importers(known: Mapping[str, Path]) -> dict[str, str]:
    """Returns the modules that exactly one other imports, with that one; packages are left out."""
    importers: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for other in imported(name, path, known):
            importers[other].add(name)
    return {
        name: next(iter(found))
        for name, found in importers.items()
        if len(found) == 1 and known[name].name != "__init__.py"
    }


def entered(work: Callable[[], Any], folders: Sequence[Path]) -> tuple[set[Path], set[Path]]:
    """Returns the files below `folders` of which `work` runs any code, and any function."""
    touched: set[Path] = set()
    called: set[Path] = set()
    seen: set[Any] = set()

    def watch(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event != "call" or code in seen:
            return
        seen.add(code)
        path = Path(code.co_filename)
        if any(folder in path.parents for folder in folders):
            touched.add(path)
            if code.co_name != "<module>":
                called.add(path)

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return touched, called


def accuracy_run(folder: Path) -> None:
    """Runs the accuracy suite on a small classifier of scikit-learn's digits, in this process."""
    from crucibench.cli._app import application

    model = folder / "model.py"
    model.write_text(
        "from sklearn.datasets import load_digits\n"
        "from sklearn.naive_bayes import GaussianNB\n\n\n"
        "def digits():\n    return GaussianNB().fit(*load_digits(return_X_y=True))\n"
    )
    words = ["run", "--model", f"sklearn:{model}:digits", "--data", "sklearn:digits", "--limit",
             "100", "--suite", "accuracy", "--workers", "0", "--no-cache", "--out",
             str(folder / "results"), "--quiet", "--format", "csv"]  # fmt: skip
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            application(words)
    except SystemExit as ending:
        if ending.code:
            raise RuntimeError(f"the traced run ended with exit code {ending.code}") from None


def measure(root: Path, *, trace: bool) -> list[tuple[str, str]]:
    """Returns the lines of the table: what was counted, and the count."""
    lines = []
    for title, folders in (("product", PRODUCT), ("tests", ("tests",))):
        total = Size(0, 0, 0, 0)
        for folder in folders:
            size = Size(0, 0, 0, 0)
            for path in sorted((root / folder).rglob("*.py")):
                size += size_of(path.read_text(encoding="utf-8"))
            if len(folders) > 1:
                lines.append((f"statements in {folder}", f"{size.statements:,}"))
            total += size
        lines += [
            (f"statements in {title}", f"{total.statements:,}"),
            (f"files of {title}", f"{total.files:,}"),
            (f"imports in code lines of {title}", f"{total.imports / max(total.code, 1):.1%}"),
        ]
    known = modules([root / folder for folder in PRODUCT])
    single = single_importers(known)
    same = sum(
        name.rpartition(".")[0] == other.rpartition(".")[0] for name, other in single.items()
    )
    lines.append(("modules with one importer", f"{len(single):,} ({same:,} in the same folder)"))
    if trace:
        with tempfile.TemporaryDirectory() as folder:
            product = [root / name for name in PRODUCT]
            touched, called = entered(lambda: accuracy_run(Path(folder)), product)
        lines += [
            ("files that an accuracy run imports or enters", f"{len(touched):,}"),
            ("files whose functions it calls", f"{len(called):,}"),
        ]
    return lines


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trace", action="store_true", help="count files of an accuracy run too")
    for what, count in measure(ROOT, trace=parser.parse_args().trace):
        print(f"{what:<46} {count:>24}")


if __name__ == "__main__":
    main()
