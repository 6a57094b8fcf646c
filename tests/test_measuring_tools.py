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
    monkeypatch.syspath_prepend(str(FOLDER))
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


def test_pages_whose_code_has_changed_are_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = _load("release_check", monkeypatch)
    product, pages = "harness/crucibench", "results/reference/evidence"

    def commit(**changed: str) -> None:
        for name, text in changed.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        for words in (["add", "-A"], ["commit", "-q", "-m", "one"]):
            subprocess.run(
                ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *words],
                check=True,
            )

    def stale() -> dict[str, str]:
        code = check.main(tmp_path)
        lines = capsys.readouterr().out.splitlines()
        found = dict(line.split(": ")[1:] for line in lines if line.startswith("stale"))
        assert code == int(bool(found))
        return {Path(page).stem: reason for page, reason in found.items()}

    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    a = "from crucibench.b import LIMIT\ndef z(x):\n    return x + LIMIT\ndef unused():\n    pass\n"
    suites = "class One:\n    pass\n\nclass Two:\n    pass\n"
    commit(
        **{
            "pyproject.toml": "[project.entry-points.'crucibench.suites']\n"
            "one = 'crucibench_suites.s:One'\ntwo = 'crucibench_suites.s:Two'\n",
            f"{product}/__init__.py": "from crucibench.a import z as run\n",
            f"{product}/a.py": a,
            f"{product}/b.py": "LIMIT = 1\n",
            f"{product}/registry.py": "GROUP = 'crucibench.suites'\n",
            f"{product}/cli/go.py": "from crucibench.registry import GROUP\ncommand = GROUP\n",
            f"{product}/cli/halt.py": "command = 1\n",
            "suites/crucibench_suites/s.py": suites,
            "benchmarks/_helper.py": "from crucibench.a import z\nx = z(1)\n",
            "benchmarks/helped.py": "from _helper import x\nprint(x)\n",
            "benchmarks/live.py": "import crucibench as cb\ncb.run(1)\n",
            "benchmarks/runs.py": "words = ['crucibench', 'go', '--suite', 'one']\n",
            "benchmarks/counts.py": "import ast\nprint(ast.parse('1'))\n",
            **{f"{pages}/{name}.md": "1" for name in ("helped", "helped-too", "live", "runs")},
        }
    )
    assert stale() == {}
    cosmetic = a.replace("(x):\n", '(x: int) -> int:\n    """Adds."""\n    # so\n')
    commit(**{f"{product}/a.py": cosmetic, f"{product}/b.py": "# of all\nLIMIT = (1)\n"})
    commit(**{f"{product}/a.py": cosmetic.replace("pass", "return 1")})
    assert stale() == {}, "comments, docstrings, types and what nobody reaches don't count"
    commit(**{f"{product}/b.py": "LIMIT = 2\n"})
    assert set(stale()) == {"helped", "helped-too", "live"}
    assert stale()["live"].startswith("crucibench.b.LIMIT of 3 changed since ")
    commit(**{f"{pages}/helped.md": "2", f"{product}/c.py": "LIMIT = 2\n", f"{product}/a.py":
              cosmetic.replace("crucibench.b", "crucibench.c")})  # fmt: skip
    assert set(stale()) == {"helped-too", "live"}, "a definition that moves is the same"
    commit(**{"suites/crucibench_suites/s.py": suites.replace("Two:\n    pass", "Two:\n    x = 1")})
    commit(**{f"{product}/cli/halt.py": "command = 2\n", f"{pages}/helped.md": "1"})
    assert set(stale()) == {"helped", "helped-too", "live"}, "another suite, another verb"
    commit(**{"suites/crucibench_suites/s.py": suites.replace("One:\n    pass", "One:\n    x = 1")})
    assert "runs" in stale(), "this suite"
    commit(**{f"{pages}/counts.md": "4", f"{pages}/orphan.md": "1"})
    (tmp_path / "suites/crucibench_suites/s.py").write_text(suites)
    found = stale()
    assert {"counts", "orphan"} <= found.keys() and found["orphan"] == "no script makes it"
    assert found["counts"].startswith("crucibench_suites.s.One of ")
    (tmp_path / f"{pages}/counts.md").write_text("measured again")
    assert "counts" not in stale()
