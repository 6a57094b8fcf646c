"""The scripts that count the code and that try mutants, on a small package made up here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


def _load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


MATH = '''"""Sums."""

import math
from toy import constants


def clipped(x, most):
    """Returns x, at most `most`."""
    if x > most:
        return most
    return x + 0


def untested(x):
    return x - 1
'''

TESTS = """from toy.sums import clipped


def test_clipped():
    assert clipped(3, 2) == 2
    assert clipped(1, 2) == 1
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    files = {
        "harness/toy/__init__.py": "",
        "harness/toy/constants.py": "ONE = 1\n",
        "harness/toy/sums.py": MATH,
        "harness/toy/inner/__init__.py": "from .. import constants\n",
        "harness/toy/inner/deep.py": "import toy.sums\nfrom ..sums import clipped\n",
        "tests/test_sums.py": TESTS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_size_of_a_package(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = _load("size", monkeypatch)
    # Two imports, two functions, if, three returns; no docstring counts.
    assert tool.size_of(MATH) == (1, 8, 8, 2)
    known = tool.modules([toy / "harness"])
    assert set(known) == {"toy", "toy.constants", "toy.sums", "toy.inner", "toy.inner.deep"}
    assert tool.imported("toy.inner", known["toy.inner"], known) == {"toy.constants"}
    assert tool.single_importers(known) == {"toy.sums": "toy.inner.deep"}
    lines = dict(tool.measure(toy, trace=False))
    assert lines["statements in harness"] == lines["statements in product"] == "12"
    assert lines["files of product"] == "5"
    assert lines["statements in tests"] == "4"
    assert lines["modules with one importer"] == "1 (0 in the same folder)"


def test_files_that_a_call_enters(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = _load("size", monkeypatch)
    monkeypatch.syspath_prepend(str(toy / "harness"))

    def work() -> None:
        from toy.sums import clipped  # type: ignore[import-not-found]

        clipped(1, 2)

    touched, called = tool.entered(work, [toy / "harness"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        del sys.modules[name]
    assert {path.stem for path in touched} == {"constants", "sums", "__init__"}
    assert {path.stem for path in called} == {"sums"}


def test_mutants_are_made_and_found_again(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = _load("mutation", monkeypatch)
    monkeypatch.setattr(tool, "AREAS", {"sums": ("harness/toy/*.py",)})
    every = [place.mutant for place in tool.population(toy)["sums"]]
    assert [(m.function, m.operator, m.ordinal) for m in every] == [
        ("clipped", "branches", 0),
        ("clipped", "compare", 0),
        ("clipped", "arithmetic", 0),
        ("clipped", "constant", 0),
        ("untested", "arithmetic", 0),
        ("untested", "constant", 0),
    ]
    made = [tool.mutated(MATH, mutant) for mutant in every]
    for text, part in zip(
        made,
        ("if not x > most:", "x >= most", "x - 0", "x + 1", "x + 1", "x - 2"),
        strict=True,
    ):
        assert part in text
    assert tool.select(tool.population(toy), 2, 0) == tool.select(tool.population(toy), 2, 0)
    tool.write_chosen(toy / "chosen.json", every)
    assert tool.read_chosen(toy / "chosen.json") == every
    # The function moves to another file, and another is gone.
    moved, _, rest = MATH.partition("def untested")
    (toy / "harness/toy/sums.py").write_text("", encoding="utf-8")
    (toy / "harness/toy/other.py").write_text(f"\n\n{moved}", encoding="utf-8")
    located = tool.locate(every, toy)
    assert set(located.moved.values()) == {"harness/toy/other.py"} and len(located.moved) == 4
    assert located.gone == every[4:] and rest


def test_mutants_are_run_against_the_tests_that_reach_them(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = _load("mutation", monkeypatch)
    monkeypatch.setattr(tool, "AREAS", {"sums": ("harness/toy/*.py",)})
    monkeypatch.setenv("PYTHONPATH", "")
    (toy / "conftest.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        "sys.path.append(str(Path(__file__).parent / 'harness'))\n"
    )
    work = toy / "work"
    assert tool.record(work, toy, ["tests"]) == 0
    chosen = [place.mutant for place in tool.population(toy)["sums"]]
    options = Namespace(work=work, module="*", limit=4, jobs=1, seconds=120.0)
    tool.run(chosen, options, toy)
    tool.run(chosen, Namespace(**{**vars(options), "limit": None}), toy)
    results = tool.read_results(work / "results.jsonl")
    # At x == most both sides of the comparison give the same, so that mutant can't be noticed.
    assert [one["outcome"] for one in results] == [
        "killed", "survived", "survived", "killed", "not reached", "not reached",
    ]  # fmt: skip
    assert (toy / "harness/toy/sums.py").read_text(encoding="utf-8") == MATH
    page = tool.page(results, tool.locate(chosen, toy))
    assert "2 of 6 mutants (33.3%) are noticed" in page
    assert "| harness/toy/sums.py | 2 | 2 | 0 | 2 | 0 |" in page
    assert "sums.py::untested::constant[0]`, line 15" in page
    assert json.loads((work / "reach.json").read_text())["tests"][0][0].endswith("test_clipped")


def _gpu_tables(page: str) -> dict[str, list[list[str]]]:
    """Returns the rows of each part's table, without its head."""
    found = {}
    for part in page.split("## ")[1:]:
        rows = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("|")]
        assert len({len(row) for row in rows}) == 1
        found[part.splitlines()[0]] = rows[2:]
    return found


def test_gpu_page_in_part_on_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    gpu = _load("gpu", monkeypatch)
    quick = [part for part in gpu.PARTS if part[0] in {"Attacks", "Corruptions"}]
    monkeypatch.setattr(gpu, "PARTS", quick)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--rehearse"])
    gpu.main()
    tables = _gpu_tables(capsys.readouterr().out)
    assert [len(tables["Attacks"]), len(tables["Corruptions"])] == [1, 15]
    assert all(float(row[1].replace(",", "")) > 0 for row in tables["Corruptions"])


@pytest.mark.thorough
def test_gpu_page_rehearsed_on_cpu() -> None:
    command = [sys.executable, str(FOLDER / "gpu.py"), "--rehearse"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    tables = _gpu_tables(done.stdout)
    assert [row[0].strip() for row in tables["Variants"]] == ["net", "net@bf16"]
    assert all(float(row[4]) > 0 for row in tables["Variants"])
    assert len(tables["Whole commands"]) == 2
    assert all(float(row[4]) > 0 for row in tables["Whole commands"])


def test_pages_older_than_their_code_are_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = _load("release_check", monkeypatch)
    files = {
        "harness/crucibench/__init__.py": "",
        "harness/crucibench/a.py": "",
        "harness/crucibench/b.py": "",
        "benchmarks/_helper.py": "from crucibench.a import z\n",
        "benchmarks/helped.py": "from _helper import x\n",
        "benchmarks/direct.py": "from crucibench.b import y\n",
        "benchmarks/whole.py": "import crucibench as cb\n",
        "results/reference/evidence/helped.md": "1",
        "results/reference/evidence/helped-twice.md": "1",
        "results/reference/evidence/direct.md": "1",
        "results/reference/evidence/whole.md": "1",
    }
    clock = iter(range(1_000_000_000, 1_100_000_000, 1000))

    def commit(**changed: str) -> None:
        for name, text in changed.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        when = f"{next(clock)} +0000"
        for words in (["add", "-A"], ["commit", "-q", "-m", "one"]):
            subprocess.run(
                ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *words],
                check=True, env={"GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": when},
            )  # fmt: skip

    def stale() -> set[str]:
        check._times.clear()
        code = check.main(tmp_path)
        lines = capsys.readouterr().out.splitlines()
        found = {
            line.split(": ")[1].rpartition("/")[2] for line in lines if line.startswith("stale")
        }
        assert code == int(bool(found))
        return found

    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    commit(**files)
    assert stale() == set()
    commit(**{"harness/crucibench/a.py": "changed = 1\n"})
    assert stale() == {"helped.md", "helped-twice.md", "whole.md"}
    commit(
        **{
            "results/reference/evidence/helped.md": "2",
            "results/reference/evidence/whole.md": "2",
        }
    )
    assert stale() == {"helped-twice.md"}
    (tmp_path / "harness/crucibench/b.py").write_text("not_committed = 1\n")
    assert stale() == {"helped-twice.md", "direct.md", "whole.md"}
    commit(**{"results/reference/evidence/orphan.md": "1"})
    assert "orphan.md" in stale()
