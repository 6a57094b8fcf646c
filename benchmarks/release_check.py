"""Lists pages of evidence whose code has changed since; a release needs that there is none.

    python benchmarks/release_check.py            # exit code 1 if a page is stale

A page was measured by the code of the first commit that holds it as it is, moved or not; each page
names a commit, so that one that was measured again is another. It is stale if what its script
reaches has changed: functions, classes and constants of the product, of the script and of the
helpers in its folder, followed from name to name through imports; a method with its class, where
reached code has its name behind a dot. Comments, docstrings, the types of arguments, imports and
the place of a definition don't count, nor does what can't be reached. Of what is registered, what
the script names is reached; where whole runs are, all suites if it names none, attacks and the like
with the package of their suite, and everything else. Where the script runs commands, the verbs that
it names are reached; a script that parses sources speaks of all of them. Models, data and versions
of other packages are not seen, nor modules that are imported by a computed name. CI does not run
this: a change of code may well come before its measurement.
"""

from __future__ import annotations

import ast
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("harness", "suites", "adapters")
PAGES = (
    ("results/reference/evidence/*.md", "benchmarks"),
    ("results/reference/boards/*/about.json", "examples/boards"),
)
"""Patterns of pages, and the folder of the scripts that make them."""
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


class Part(NamedTuple):
    """A function, a method, a class, or what a module's name is bound to otherwise.

    Attributes:
        digest: of its code.
        uses: names, with what stands behind their dots.
        attributes: whatever stands behind a dot.
        texts: its strings.
    """

    digest: str
    uses: frozenset[str]
    attributes: frozenset[str]
    texts: frozenset[str]


class Module(NamedTuple):
    """A file: what its imports bind, and its parts by name; "" is what else it runs."""

    imports: dict[str, str]
    parts: dict[str, Part]


def judged(root: Path) -> Iterator[tuple[str, str]]:
    """Yields every page of a checkout by name, and why it is stale; "" where it is not."""
    now = {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for place in (*PRODUCT, *(folder for _, folder in PAGES))
        for path in (root / place).rglob("*.py")
    } | {"pyproject.toml": (root / "pyproject.toml").read_text(encoding="utf-8")}
    for pattern, folder in PAGES:
        for page in sorted(root.glob(pattern)):
            name = page.parent.name if page.suffix == ".json" else page.stem
            reached = Reach(now, folder, name).found
            commit = _measured(root, page)
            before = Reach(_files(root, commit), folder, name).found if commit else reached
            known = {(name, part.digest) for (_, name), part in before.items()}
            changed = [
                f"{module}.{name}".strip(".")
                for (module, name), part in sorted(reached.items())
                if (name, part.digest) not in known
            ]
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            reason = f"{', '.join(changed[:3])}{more} of {len(reached)} changed since {commit[:8]}"
            if not reached:
                reason = "no script makes it"
            yield str(page.relative_to(root)), reason if changed or not reached else ""


class Reach:
    """What the script of a page reaches in one state of the code.

    Args:
        files: texts of all files of Python, and of pyproject.toml, by path.
        folder: of the script and its helpers.
        name: the page's; the script is of its name, or of the longest beginning of it.

    Attributes:
        found: the parts by module and name; none without a script.
    """

    def __init__(self, files: dict[str, str], folder: str, name: str) -> None:
        self._paths = {
            path[len(place) + 1 : -3].removesuffix("/__init__").replace("/", "."): path
            for place in (*PRODUCT, folder)
            for path in files
            if path.startswith(f"{place}/") and path != f"{folder}/_report.py"
        }
        self._files = files
        self.found: dict[tuple[str, str], Part] = {}
        self._waiting: list[tuple[str, Part]] = []
        self._methods: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._attributes: set[str] = set()
        self._texts: set[str] = set()
        self._own: set[str] = set()
        words = name.split("-")
        names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
        script = next((one for one in names if one in self._paths), None)
        if script is None:
            return
        self._add(script, *self._read(script).parts)
        if "ast" in self._read(script).imports:
            for module in [one for one in self._paths if one.startswith("crucibench")]:
                self._add(module, *self._read(module).parts)
        groups = tomllib.loads(files["pyproject.toml"])["project"].get("entry-points", {})
        known = -1
        while len(self.found) > known:
            known = len(self.found)
            self._follow()
            self._plug_in(groups)

    def _read(self, module: str) -> Module:
        path = self._paths[module]
        package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
        return _module(self._files[path], package)

    def _add(self, module: str, *names: str) -> None:
        parts = self._read(module).parts
        for name in names:
            if name not in parts or (module, name) in self.found:
                continue
            self.found[module, name] = parts[name]
            self._waiting.append((module, parts[name]))
            self._add(module, "")
            for method in [one for one in parts if one.startswith(f"{name}.")]:
                self._methods[method.partition(".")[2]].append((module, method))

    def _name(self, dotted: str) -> None:
        """Adds what a dotted name stands for, by the longest module that it begins with."""
        words = dotted.split(".")
        ends = (end for end in range(len(words), 0, -1) if ".".join(words[:end]) in self._paths)
        if (end := next(ends, 0)) == 0:
            return
        module = ".".join(words[:end])
        self._add(module, "", *words[end : end + 1])
        target = self._read(module).imports.get("".join(words[end : end + 1]), module)
        if target not in {dotted, module}:
            self._name(".".join([target, *words[end + 1 :]]))

    def _follow(self) -> None:
        while self._waiting:
            module, part = self._waiting.pop()
            imports, parts = self._read(module)
            self._attributes |= part.attributes
            self._texts |= part.texts
            if not module.startswith("crucibench"):
                self._own |= part.texts
            for use in part.uses:
                head, _, rest = use.partition(".")
                self._add(module, head)
                if head in imports and head not in parts:
                    self._name(f"{imports[head]}.{rest}".strip("."))
            for text in part.texts:  # `import_module("MODULE").NAME`, "MODULE:NAME"
                if text.startswith("crucibench."):
                    names = part.attributes if text in self._paths else ()
                    for dotted in (text.replace(":", "."), *(f"{text}.{one}" for one in names)):
                        self._name(dotted)
            for name in list(self._methods):
                if name in self._attributes or name.startswith("__"):
                    for owner, method in self._methods.pop(name):
                        self._add(owner, method)

    def _plug_in(self, groups: dict[str, dict[str, str]]) -> None:
        """Adds what is registered by entry points, and the verbs of a script that runs commands."""
        words = {word for text in self._own for word in re.findall(r"[\w-]+", text)}
        modules = {module for module, _ in self.found}
        runs = "crucibench.registry" in modules
        packages = ("crucibench.", "crucibench_adapters.",
                    *{".".join(module.split(".")[:2]) for module in modules})  # fmt: skip
        for group in groups.keys() & self._texts:
            entries = groups[group]
            taken = [entries[name] for name in entries.keys() & words]
            if group == "crucibench.suites":
                taken = taken or list(entries.values())
            elif runs:
                taken = [target for target in entries.values() if target.startswith(packages)]
            for target in taken:
                self._name(target.replace(":", "."))
        if any(text == "crucibench" or text.endswith("/crucibench") for text in self._own):
            for text in self._own:
                self._name(f"crucibench.cli.{text}.command")


@cache
def _module(text: str, package: str) -> Module:
    tree = ast.parse(text)
    imports: dict[str, str] = {}
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.Import):
            for one in node.names:
                first = one.name.partition(".")[0]
                imports[one.asname or first] = one.name if one.asname else first
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            imports |= {one.asname or one.name: f"{base}.{one.name}" for one in node.names}
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, _FUNCTION):
            node.returns = None
        for block in ("body", "orelse", "finalbody"):
            if isinstance(lines := getattr(node, block, None), list):
                setattr(node, block, [line for line in lines if not _says_nothing(line)])
    nodes: dict[str, list[ast.AST]] = defaultdict(list)
    for line in tree.body:
        if isinstance(line, ast.ClassDef) and all(_ours(base, imports) for base in line.bases):
            for one in [one for one in line.body if isinstance(one, _FUNCTION)]:
                # A decorator with arguments, as a validator's, may well have it called unnamed.
                if not any(isinstance(mark, ast.Call) for mark in one.decorator_list):
                    nodes[f"{line.name}.{one.name}"].append(one)
                    line.body.remove(one)
        for name in _bound(line):
            nodes[name].append(line)
    return Module(imports, {name: _part(found) for name, found in nodes.items()})


def _ours(base: ast.expr, imports: dict[str, str]) -> bool:
    """Says whether a base is no class of another package, which would call methods by itself."""
    name = _dotted(base.value if isinstance(base, ast.Subscript) else base)
    return imports.get(name.partition(".")[0], "crucibench").startswith("crucibench")


def _says_nothing(line: ast.stmt) -> bool:
    return isinstance(line, ast.Import | ast.ImportFrom) or (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


def _bound(line: ast.stmt) -> list[str]:
    if isinstance(line, ast.Assign | ast.AnnAssign):
        targets = line.targets if isinstance(line, ast.Assign) else [line.target]
        named = [one for target in targets for one in ast.walk(target)]
        return [one.id for one in named if isinstance(one, ast.Name)] or [""]
    return [getattr(line, "name", "")]


def _part(nodes: list[ast.AST]) -> Part:
    digest = hashlib.sha256()
    uses, attributes, texts = set(), set(), set()
    for top in nodes:
        digest.update(ast.dump(top).encode())
        for node in ast.walk(top):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.Attribute):
                attributes.add(node.attr)
            if isinstance(node, ast.Name | ast.Attribute):
                uses.add(_dotted(node))
    return Part(digest.hexdigest(), *map(frozenset, (uses, attributes, texts)))


def _dotted(node: ast.expr) -> str:
    """Returns e.g. "a.b.c"; what it begins with is "" where that is no name."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _measured(root: Path, page: Path) -> str:
    """Returns the first commit that holds a page as it is; "" where none does."""
    content = _git(root, "hash-object", str(page)).decode().strip()
    commits = _git(root, "log", "--reverse", "--format=%H", f"--find-object={content}").decode()
    return commits.partition("\n")[0]


@cache
def _files(root: Path, commit: str) -> dict[str, str]:
    """Returns the files of Python of a commit, and its pyproject.toml."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", commit))) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream and (member.name.endswith(".py") or member.name == "pyproject.toml"):
                found[member.name] = stream.read().decode()
    return found


def _git(root: Path, *words: str) -> bytes:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True)
    return done.stdout


def main(root: Path = ROOT) -> int:
    """Prints the stale pages; returns 1 if there are any."""
    pages = list(judged(root))
    stale = [(page, reason) for page, reason in pages if reason]
    for page, reason in stale:
        print(f"stale: {page}: {reason}")
    print(f"{len(stale)} of {len(pages)} pages speak of code that has changed since")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
