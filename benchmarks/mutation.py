"""Mutation tests: which small mistakes in the code that makes numbers do the tests notice?

    python benchmarks/mutation.py select            # choose 300 mutants: benchmarks/mutants.json
    python benchmarks/mutation.py record            # which tests reach which lines (slow, once)
    python benchmarks/mutation.py run [--jobs 2]    # each mutant against those tests; resumes
    python benchmarks/mutation.py page              # the page, by module

A mutant is one changed node of a function: a comparison, a sign, a constant, a condition, a
`not`, two swapped branches, or a statement left out. It is known by its file, the function's
qualified name, the operator and the ordinal among that operator's places in the function, so that
the same 300 are found again when code around them changes, also in another file; `run` and `page`
say which exist no longer. The 300 are drawn in equal parts from metrics, statistics, attacks,
corruptions and audits.

Each mutant is run in a process of its own, on a copy of the packages that comes first on the
path, against the tests that reach its line, the fastest first, up to the first failure. Lines
that only worker processes run are not seen, and their mutants count as not reached.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from _report import measured

ROOT = Path(__file__).resolve().parent.parent
ROOTS = ("harness", "suites", "adapters")
CHOSEN = ROOT / "benchmarks" / "mutants.json"
PAGE = ROOT / "results" / "reference" / "evidence" / "mutation.md"
WORK = ROOT / "results" / "mutation"
COUNT, SEED = 300, 0
TESTS = (
    "tests/harness/metrics", "tests/harness/stats", "tests/harness/passes",
    "tests/harness/testing", "tests/harness/comparing", "tests/suites",
)  # fmt: skip

_ADVERSARIAL = "suites/crucibench_suites/adversarial"
AREAS = {
    "audits": ("*/audits/*.py", "*/audits.py"),
    "metrics": ("harness/crucibench/metrics/*.py",),
    "statistics": ("harness/crucibench/stats/*.py",),
    "attacks": tuple(f"{_ADVERSARIAL}/{part}/*.py" for part in
                     ("attacks", "blackbox", "probing", "tables", "text")),
    "corruptions": ("suites/crucibench_suites/shift/corruptions/*.py",
                    "suites/crucibench_suites/shift/text/*.py",
                    "suites/crucibench_suites/shift/tables/*.py"),
}  # fmt: skip
"""Each area and its files; a file belongs to the first that it fits."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}  # fmt: skip
_DROPPED = (ast.Expr, ast.AugAssign, ast.Raise, ast.Continue, ast.Break)


class Mutant(NamedTuple):
    """What a mutant is known by, and where it was when it was chosen.

    Attributes:
        file: relative to the repository.
        function: its qualified name.
        operator: e.g. ``compare``.
        ordinal: among the operator's places in the function, from 0.
        text: the node before the change, to tell moved code from other code of that name.
    """

    file: str
    function: str
    operator: str
    ordinal: int
    text: str

    @property
    def name(self) -> str:
        """The address, for people and for the file of results."""
        return f"{self.file}::{self.function}::{self.operator}[{self.ordinal}]"


class Place(NamedTuple):
    """A node that can be changed: who it is, on which line, and how it is changed in place."""

    mutant: Mutant
    line: int
    change: Callable[[], None]


# -- places ---------------------------------------------------------------------------------------


def places(tree: ast.Module, file: str) -> Iterator[Place]:
    """Yields the places of a module in a fixed order; `change` alters `tree` itself."""
    yield from _within(tree, "", file)


def _within(scope: ast.AST, prefix: str, file: str) -> Iterator[Place]:
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield from _of_function(node, name, file)
            yield from _within(node, f"{name}.", file)
        else:
            yield from _within(node, prefix, file)


def _of_function(
    function: ast.FunctionDef | ast.AsyncFunctionDef, name: str, file: str
) -> Iterator[Place]:
    ordinals: Counter[str] = Counter()
    for position, statement in enumerate(function.body):
        if position == 0 and _is_text(statement):
            continue
        for node, owner, field, index in _nodes(statement, function, "body", position):
            for operator, change in _changes(node, owner, field, index):
                mutant = Mutant(file, name, operator, ordinals[operator], ast.unparse(node)[:120])
                ordinals[operator] += 1
                yield Place(mutant, node.lineno, change)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _nodes(node: Any, owner: Any, field: str, index: int | None) -> Iterator[tuple[Any, ...]]:
    """Yields the nodes of a statement; not of nested functions, annotations and f-strings."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.JoinedStr):
        return
    if isinstance(node, ast.stmt | ast.expr):
        yield node, owner, field, index
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "format_spec"}:
            continue
        for position, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                at = position if isinstance(value, list) else None
                yield from _nodes(child, node, name, at)


def _changes(
    node: Any, owner: Any, field: str, index: int | None
) -> Iterator[tuple[str, Callable[[], None]]]:
    def put(other: ast.AST) -> Callable[[], None]:
        def change() -> None:
            ast.copy_location(other, node)
            if index is None:
                setattr(owner, field, other)
            else:
                getattr(owner, field)[index] = other

        return change

    def swap(first: str, second: str) -> Callable[[], None]:
        def change() -> None:
            a, b = getattr(node, first), getattr(node, second)
            setattr(node, first, b)
            setattr(node, second, a)

        return change

    if isinstance(node, ast.Compare):
        for position, operation in enumerate(node.ops):
            flipped = [*node.ops]
            flipped[position] = _COMPARISONS[type(operation)]()
            yield "compare", put(ast.Compare(node.left, flipped, node.comparators))
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        if not any(isinstance(side, ast.JoinedStr) for side in (node.left, node.right)):
            yield "arithmetic", put(ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right))
    elif isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        yield "constant", put(ast.Constant(node.value + 1))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", put(ast.BoolOp(other, node.values))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "boolean", put(ast.Constant(not node.value))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", put(node.operand)
    elif isinstance(node, ast.IfExp):
        yield "branches", swap("body", "orelse")
    elif isinstance(node, ast.If):
        if node.orelse:
            yield "branches", swap("body", "orelse")
        else:
            negated = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            yield "branches", put(ast.If(negated, node.body, []))
    elif isinstance(node, _DROPPED) and not _is_text(node):
        yield "statement", put(ast.Pass())


# -- selection ------------------------------------------------------------------------------------


def area_of(file: str) -> str | None:
    """Returns the area of a file, or None."""
    fitting = (area for area, globs in AREAS.items() if any(fnmatch(file, g) for g in globs))
    return next(fitting, None)


def population(root: Path) -> dict[str, list[Place]]:
    """Returns all places by area."""
    found: dict[str, list[Place]] = {area: [] for area in AREAS}
    for folder in ROOTS:
        for path in sorted((root / folder).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            area = area_of(file)
            if area is not None:
                found[area] += places(ast.parse(path.read_text(encoding="utf-8")), file)
    return found


def select(found: dict[str, list[Place]], count: int, seed: int) -> list[Mutant]:
    """Returns `count` mutants, as many of each area, by the smallest hash of seed and name."""

    def rank(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed}:{mutant.name}".encode()).digest()

    share = count // max(len(found), 1)
    return [
        mutant
        for known in found.values()
        for mutant in sorted((place.mutant for place in known), key=rank)[:share]
    ]


class Located(NamedTuple):
    """The chosen mutants in the code as it is.

    Attributes:
        places: the place of each that still exists.
        moved: those that are found in another file.
        gone: those that are not.
    """

    places: dict[Mutant, Place]
    moved: dict[Mutant, str]
    gone: list[Mutant]


def locate(chosen: Sequence[Mutant], root: Path) -> Located:
    """Finds mutants again: by their address, else by function and text in any file of the roots."""
    here: dict[tuple[str, str, str, int], Place] = {}
    anywhere: dict[tuple[str, str, int, str], list[Place]] = defaultdict(list)
    for folder in ROOTS:
        for path in sorted((root / folder).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            for place in places(ast.parse(path.read_text(encoding="utf-8")), file):
                here[place.mutant[:4]] = place
                short = place.mutant.function.rpartition(".")[2]
                key = (short, place.mutant.operator, place.mutant.ordinal, place.mutant.text)
                anywhere[key].append(place)
    found = Located({}, {}, [])
    for mutant in chosen:
        place = here.get(mutant[:4])
        if place is None or place.mutant.text != mutant.text:
            short = mutant.function.rpartition(".")[2]
            elsewhere = anywhere[short, mutant.operator, mutant.ordinal, mutant.text]
            if len(elsewhere) == 1:
                place = elsewhere[0]
        if place is None:
            found.gone.append(mutant)
            continue
        found.places[mutant] = place
        if place.mutant.file != mutant.file:
            found.moved[mutant] = place.mutant.file
    return found


def mutated(text: str, mutant: Mutant) -> str:
    """Returns the source of a module with one mutant in it."""
    tree = ast.parse(text)
    for place in places(tree, mutant.file):
        if place.mutant[:4] == mutant[:4]:
            place.change()
            return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    raise ValueError(f"{mutant.name}: there is no such place")


# -- running --------------------------------------------------------------------------------------


def record(work: Path, root: Path, tests: Sequence[str]) -> int:
    """Runs tests once, saves which lines they reach, and returns pytest's exit code."""
    work.mkdir(parents=True, exist_ok=True)
    files = sorted({str(root / p.mutant.file) for ps in population(root).values() for p in ps})
    (work / "files.txt").write_text("\n".join(files), encoding="utf-8")
    environment = {
        **os.environ, "CRUCIBENCH_REACH": str(work / "reach.json"),
        "CRUCIBENCH_REACH_FILES": str(work / "files.txt"),
        "PYTHONPATH": str(Path(__file__).resolve().parent),
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "_reach", "--timeout=0", *tests]
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def tests_of(place: Place, reach: dict[str, Any], root: Path) -> list[tuple[str, float]]:
    """Returns the tests that reach a place with their seconds, the fastest first.

    For a line that runs while modules are imported: those that reach any line of its file.
    """
    lines = reach["files"].get(str(root / place.mutant.file), {})
    reached = lines.get(str(place.line))
    if reached == []:
        reached = sorted({test for tests in lines.values() for test in tests})
    tests = [(name, float(seconds)) for name, seconds in reach["tests"]]
    return sorted((tests[position] for position in reached or ()), key=lambda test: test[1])


class Shadows:
    """Copies of the packages, one a thread, in which mutants are written."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder
        self._local = threading.local()

    def get(self) -> Path:
        """Returns this thread's copy."""
        if not hasattr(self._local, "path"):
            self._local.path = Path(tempfile.mkdtemp(dir=self._folder))
            for name in ROOTS:
                if (self._root / name).is_dir():
                    shutil.copytree(self._root / name, self._local.path / name)
        return Path(self._local.path)


def run_one(place: Place, tests: Sequence[str], shadow: Path, root: Path, limit: float) -> str:
    """Returns ``killed``, ``survived``, ``timeout`` or ``error`` (pytest could not run)."""
    file = shadow / place.mutant.file
    before = file.read_text(encoding="utf-8")
    path = os.pathsep.join(str(shadow / name) for name in ROOTS)
    listed = shadow / "tests.txt"
    listed.write_text("\n".join(tests), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"@{listed}"]
    # Tests and packages are compiled once, which takes longer than most mutants' tests.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**kept, "PYTHONPATH": path}
    try:
        file.write_text(mutated(before, place.mutant), encoding="utf-8")
        done = subprocess.run(
            command, cwd=root, env=environment, timeout=limit, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        file.write_text(before, encoding="utf-8")
        # A second mutant of the same length, within a second, would pass for the first.
        for stale in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            stale.unlink()
    # 1: a test failed; 2 or 4: they could not be imported, which the mutant did. 4 is also what
    # ends a run of tests that are not there.
    broken = b"conftest" in done.stderr or b"found no collectors" in done.stderr
    if done.returncode in {1, 2} or (done.returncode == 4 and broken):
        return "killed"
    return "error" if done.returncode else "survived"


def run(chosen: Sequence[Mutant], options: argparse.Namespace, root: Path) -> None:
    """Runs the mutants that have no result yet, and appends a line of JSON for each."""
    reach = json.loads((options.work / "reach.json").read_text(encoding="utf-8"))
    located, results = locate(chosen, root), options.work / "results.jsonl"
    done = {line["name"] for line in read_results(results)}
    waiting = [
        (mutant, place)
        for mutant, place in located.places.items()
        if mutant.name not in done and fnmatch(mutant.file, options.module)
    ][: options.limit]
    lock = threading.Lock()
    with tempfile.TemporaryDirectory() as folder:
        shadows = Shadows(root, Path(folder))

        def work(entry: tuple[Mutant, Place]) -> None:
            mutant, place = entry
            tests, spent = [], 0.0
            every = tests_of(place, reach, root)
            for name, seconds in every:
                # The tests ran once within half of the limit, so that a slow machine is no timeout.
                if tests and spent + seconds > options.seconds / 2:
                    break
                tests.append(name)
                spent += seconds
            outcome = "not reached"
            if tests:
                outcome = run_one(place, tests, shadows.get(), root, options.seconds)
            line = {
                "name": mutant.name, "file": place.mutant.file, "line": place.line,
                "text": mutant.text, "outcome": outcome, "tests": len(tests),
                "left_out": len(every) - len(tests),
            }  # fmt: skip
            with lock:
                with results.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
                print(f"{outcome:<12} {mutant.name} ({len(tests)} tests)", flush=True)

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(work, waiting))
    for mutant in located.gone:
        print(f"gone         {mutant.name}")


def read_results(path: Path) -> list[dict[str, Any]]:
    """Returns the results so far; a line that was cut off is left out, and run again."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


# -- the page -------------------------------------------------------------------------------------

_OUTCOMES = ("killed", "survived", "timeout", "not reached", "error")


def page(results: Sequence[dict[str, Any]], located: Located) -> str:
    """Returns the results by module as Markdown, and the mutants that nothing noticed."""
    by_module: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        by_module[result["file"]][result["outcome"]] += 1
    total = sum(by_module.values(), Counter[str]())
    caught = total["killed"] + total["timeout"]
    lines = [
        "# Mutation tests", "",
        f"{caught} of {total.total()} mutants ({caught / max(1, total.total()):.1%}) are noticed: "
        "a test fails, or does not end.", "",
        f"| module | {' | '.join(_OUTCOMES)} |", f"|{' --- |' * (1 + len(_OUTCOMES))}",
    ]  # fmt: skip
    for module, counts in [*sorted(by_module.items()), ("all", total)]:
        lines.append(f"| {module} | {' | '.join(str(counts[name]) for name in _OUTCOMES)} |")
    missed = [result for result in results if result["outcome"] in {"survived", "not reached"}]
    if missed:
        lines += ["", "## Not noticed", ""]
        lines += [f"- `{one['name']}`, line {one['line']}: `{one['text']}`" for one in missed]
    lines += ["", f"{len(located.moved)} of the chosen mutants stand in another file now, and "
              f"{len(located.gone)} exist no longer.", ""]  # fmt: skip
    lines += [f"- gone: `{mutant.name}`" for mutant in located.gone]
    return "\n".join([*lines, "", measured(), ""])


def read_chosen(path: Path) -> list[Mutant]:
    """Reads the file of chosen mutants."""
    return [Mutant(*entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def write_chosen(path: Path, chosen: Sequence[Mutant]) -> None:
    """Writes the file of chosen mutants, one a line."""
    path.write_text(
        "[\n" + ",\n".join(json.dumps(mutant) for mutant in chosen) + "\n]\n", encoding="utf-8"
    )


def main() -> None:
    """Does what the first word says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=["select", "record", "run", "page"])
    parser.add_argument("--tests", nargs="+", default=TESTS, help="record: what pytest runs")
    parser.add_argument("--jobs", type=int, default=1, help="run: processes at a time")
    parser.add_argument("--limit", type=int, help="run: at most so many mutants")
    parser.add_argument("--module", default="*", help="run: only files that this pattern fits")
    parser.add_argument("--seconds", type=float, default=300.0, help="run: of one mutant")
    parser.add_argument("--work", type=Path, default=WORK, help="where results are kept")
    options = parser.parse_args()
    if options.step == "select":
        write_chosen(CHOSEN, select(population(ROOT), COUNT, SEED))
    elif options.step == "record":
        sys.exit(record(options.work, ROOT, options.tests))
    elif options.step == "run":
        run(read_chosen(CHOSEN), options, ROOT)
    else:
        results = read_results(options.work / "results.jsonl")
        PAGE.write_text(page(results, locate(read_chosen(CHOSEN), ROOT)), encoding="utf-8")


if __name__ == "__main__":
    main()
