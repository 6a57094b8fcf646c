"""A model depends on each file that its code reads and each module that it imports, however."""

from __future__ import annotations

import json
import py_compile
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.report.facts import dependencies
from crucibench.store.run import Run
from crucibench.util.content import content_of
from crucibench.util.hashing import file_digest
from crucibench.util.reads import Reads
from crucibench.util.source_files import portable_names

FRAME = """
import importlib, importlib.util, json, sys
from pathlib import Path
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
HERE = Path(__file__).parent


class Signed(ClassifierMixin, BaseEstimator):
    def __init__(self, sign):
        self.sign = sign
        self.is_fitted_, self.classes_ = True, np.array(["a", "b"])
        self.n_features_in_ = 1

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_proba(self, X):
        first = np.asarray(X)[:, 0] * self.sign < 0
        return np.stack([first, ~first], axis=1).astype(float)
"""
MODELS = {
    "helped": "import helper\ndef model(): return Signed(helper.sign())",
    "package": "from pkg.inner import sign\ndef model(): return Signed(sign())",
    "shared": "def model():\n    import pkg.inner as one\n    return Signed(one.sign())",
    "by_name": """
sys.path.insert(0, str(HERE / "more"))
def model(): return Signed(importlib.import_module("named_module").SIGN)""",
    "by_place": """
def model():
    spec = importlib.util.spec_from_file_location("placed", HERE / "more" / "placed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Signed(module.SIGN)""",
    "estimator": 'SIGN = json.loads((HERE / "global.json").read_text())["sign"]\n'
    "def model(): return Signed(SIGN)",
}
FILES = {
    "helper.py": "import json\nfrom pathlib import Path\ndef sign():\n"
    '    return json.loads((Path(__file__).parent / "config.json").read_text())["sign"]',
    "config.json": '{"sign": 1}',
    "src/pkg/__init__.py": "",
    "src/pkg/inner.py": "def sign(): return 1",
    "more/named_module.py": "SIGN = 1",
    "more/placed.py": "SIGN = 1",
    "global.json": '{"sign": 1}',
}
CHANGES = [  # what neither fingerprint nor answers show; each with the models that it concerns
    {"config.json": {"helped"}, "src/pkg/inner.py": {"package", "shared"}},
    {"more/named_module.py": {"by_name"}, "more/placed.py": {"by_place"}},
    {"global.json": {"estimator"}, "src/pkg/__init__.py": {"package", "shared"}},
]


def project(folder: Path) -> Path:
    for name, text in MODELS.items():
        (folder / f"{name}.py").write_text(f"{FRAME}\n{text}\n")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for file in [*(folder / "src").rglob("*.py"), *(folder / "more").glob("*.py")]:
        py_compile.compile(str(file))
    rows = [f"{(-1) ** row * (1 + row)},{'ba'[row % 2]}\n" for row in range(40)]
    (folder / "points.csv").write_text("x,label\n" + "".join(rows))
    return folder


def evaluate(folder: Path, scratch: Path) -> Run:
    document = {
        "models": [{"name": name, "uri": f"sklearn:{name}.py:model"} for name in MODELS],
        "data": [{"name": "points", "uri": "csv:points.csv?target=label"}],
    }
    overrides = Overrides(
        defaults={"threads": 1, "batch_size": 40, "replicates": 100}, suites=("accuracy",)
    )
    run = execute(
        resolve(document, folder, "spec", overrides),
        RunOptions(out=folder / "out", scratch=scratch, workers=1), Listener(),
    )  # fmt: skip
    assert run is not None
    assert {file.status for file in run.cells.values()} == {Status.OK}
    return run


def collected(run: Run) -> set[str]:
    """Returns the models that were asked: those whose cells are not all from the cache."""
    found = {
        path.parent.name: json.loads(path.read_text()) for path in run.root.rglob("timing.json")
    }
    return {run.cells[cell].model for cell, cost in found.items() if not cost["cached"]}


def test_a_changed_file_concerns_the_models_that_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    folder = tmp_path / "one"
    folder.mkdir()
    project(folder)
    monkeypatch.setattr(sys, "path", [str(folder / "src"), *sys.path])  # as PYTHONPATH does
    first = evaluate(folder, scratch)
    assert collected(first) == set(MODELS)

    assert dependencies(first, "shared") == {
        "files": {
            name: file_digest(folder / name)
            for name in ("points.csv", "shared.py", "src/pkg/__init__.py", "src/pkg/inner.py")
        },
        "code": dict.fromkeys(("crucibench_adapters", "crucibench_suites.accuracy"), ANY),
        "environment": [],
        "not_cached": None,
    }

    shutil.copytree(folder, tmp_path / "deep" / "two", ignore=shutil.ignore_patterns("out"))
    monkeypatch.setattr(sys, "path", [*sys.path[1:], str(tmp_path / "deep" / "two" / "src")])
    assert collected(evaluate(tmp_path / "deep" / "two", scratch)) == set()

    monkeypatch.setattr(sys, "path", [str(folder / "src"), *sys.path[:-1]])
    runs = {first.root}
    for change in CHANGES:
        for name in change:
            more = "# a comment" if name.endswith(".py") else " "
            (folder / name).write_text(f"{FILES[name]}\n{more}")
        run = evaluate(folder, scratch)
        assert collected(run) == set().union(*change.values())
        runs.add(run.root)
        for name in change:
            (folder / name).write_text(FILES[name])
    assert len(runs) == len(CHANGES) + 1
    assert evaluate(folder, scratch).root == first.root


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "read_inside.py").write_text(
        "from pathlib import Path\nPath(__file__[:-3] + '.txt').read_text()"
    )
    (tmp_path / "read_inside.txt").write_text("")
    (tmp_path / "read_outside.py").write_text("import read_inside")
    monkeypatch.syspath_prepend(tmp_path)
    yield "read_outside"
    for name in ("read_inside", "read_outside"):
        sys.modules.pop(name, None)


def test_what_a_module_read_counts_for_each_who_imports_it(tmp_path: Path, module: str) -> None:
    for _ in range(2):
        with Reads(tmp_path) as reads:
            exec(compile(f"import {module}", str(tmp_path / "user.py"), "exec"), {})
        assert [Path(file).name for file in reads.digests()] == [
            "read_inside.py", "read_inside.txt", "read_outside.py",
        ]  # fmt: skip


def test_names_are_the_same_elsewhere(tmp_path: Path) -> None:
    names = ["src/pkg/__init__.py", "src/pkg/sub/a.json", "x/settings.json", "y/settings.json", "c"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = portable_names(str(tmp_path / name) for name in names)
    assert list(found.values()) == [
        "pkg/__init__.py", "a.json", "x/settings.json", "y/settings.json", "c",
    ]  # fmt: skip


USER = """
import importlib
from importlib import import_module
from pyarrow.parquet import read_table
def f(): return importlib.import_module("json"), import_module("json"), read_table
"""


def test_watching_changes_no_fingerprint(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    def loaded() -> Any:
        exec(compile(USER, str(tmp_path / "user.py"), "exec"), found := {"__name__": "user"})
        return found["f"]

    plain = content_of(loaded()).digest
    with Reads(tmp_path):
        watched = loaded()
        assert content_of(watched).digest == plain
    assert watched.__globals__["read_table"] is not parquet.read_table
    assert content_of(watched).digest == plain
