"""Lists pages of evidence that are older than the code they speak of; a release needs that none is.

    python benchmarks/release_check.py            # exit code 1 if a page is stale

A page speaks of the modules of the product that its script imports, itself or through its helpers
in the same folder; of all of the product where it runs commands or imports ``crucibench`` whole.
It is stale if one of these, or the script, has a later commit than the page, or is changed and not
committed. CI does not run this: a change of code may well come before its measurement.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("harness/crucibench", "suites/crucibench_suites", "adapters/crucibench_adapters")
PAGES = (
    ("results/reference/evidence/*.md", "benchmarks"),
    ("results/reference/boards/*/numbers.csv", "examples/boards"),
)
"""Patterns of pages, and the folder of the scripts that make them."""


class Judged(NamedTuple):
    """A page and what is known of it.

    Attributes:
        page: relative to the checkout.
        reason: why it is stale; "" where it is not.
    """

    page: str
    reason: str


def judged(root: Path) -> Iterator[Judged]:
    """Yields every page of a checkout, by name."""
    for pattern, folder in PAGES:
        for page in sorted(root.glob(pattern)):
            name = page.parent.name if page.suffix == ".csv" else page.stem
            script = script_of(root / folder, name)
            shown = str(page.relative_to(root))
            if script is None:
                yield Judged(shown, "no script makes it")
                continue
            measured = _committed(root, [page])
            sources = [script, *modules_of(root, script)]
            changed = [path for path in sources if _committed(root, [path]) > measured]
            newest = f"{changed[0].relative_to(root)} is newer" if changed else ""
            more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
            yield Judged(shown, newest + more)


def script_of(folder: Path, name: str) -> Path | None:
    """Returns the script that makes a page: of its name, or of the longest beginning of it."""
    parts = name.split("-")
    for count in range(len(parts), 0, -1):
        path = folder / f"{'_'.join(parts[:count])}.py"
        if path.is_file():
            return path
    return None


def modules_of(root: Path, script: Path) -> list[Path]:
    """Returns the files of the product that a script speaks of, and its helpers."""
    found: dict[Path, None] = {}
    waiting = [script]
    seen = {script}
    while waiting:
        path = waiting.pop()
        text = path.read_text(encoding="utf-8")
        for module in _imported(ast.parse(text)):
            helper = script.parent / f"{module}.py"
            if helper.is_file() and helper not in seen:
                seen.add(helper)
                found[helper] = None
                waiting.append(helper)
            found |= dict.fromkeys(_files(root, module))
        if '"crucibench"' in text or "bin/crucibench" in text:
            found |= dict.fromkeys(_whole(root))
    return list(found)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(root: Path, module: str) -> list[Path]:
    """Returns the file of a module of the product; all folders for the package as a whole."""
    package, _, rest = module.partition(".")
    bases = [root / part for part in PRODUCT if part.endswith(f"/{package}")]
    if bases and not rest:
        return _whole(root)
    found = []
    for base in bases:
        path = base.joinpath(*rest.split("."))
        found += [
            each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()
        ]
    return found


def _whole(root: Path) -> list[Path]:
    return [root / part for part in PRODUCT if (root / part).is_dir()]


_times: dict[tuple[Path, tuple[Path, ...]], float] = {}


def _committed(root: Path, paths: list[Path]) -> float:
    """Returns when paths were last committed; infinity where they are changed since."""
    key = (root, tuple(paths))
    if key not in _times:
        names = [str(path) for path in paths]
        dirty = _git(root, "status", "--porcelain", "--", *names)
        last = _git(root, "log", "-1", "--format=%ct", "--", *names)
        _times[key] = float("inf") if dirty or not last else float(last)
    return _times[key]


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def main(root: Path = ROOT) -> int:
    """Prints the stale pages; returns 1 if there are any."""
    pages = list(judged(root))
    stale = [one for one in pages if one.reason]
    for one in stale:
        print(f"stale: {one.page}: {one.reason}")
    print(f"{len(stale)} of {len(pages)} pages are older than the code they speak of")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
