"""The examples of the documentation, executed."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crucibench.api

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
_FILE = re.compile(r"`([\w./]+)`\n\n```(?:toml|python)\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"```console\n(.*?)```", re.DOTALL)


def test_the_package_of_the_plug_ins_page_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "plug-ins.md").read_text()
    files = dict(_FILE.findall(text))
    assert set(files) == {
        "pyproject.toml", "my_package/adapter.py", "my_package/source.py", "my_package/suite.py",
        "my_package/section.py",
    }  # fmt: skip
    package = tmp_path / "package"
    for name, content in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (package / "my_package" / "__init__.py").write_text("")
    target = tmp_path / "site"
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--disable-pip-version-check", "--no-build-isolation", "--target", str(target),
            str(package),
        ],
        check=True,
    )  # fmt: skip
    (command,) = _COMMAND.findall(text)
    program, *words = command.split()
    assert program == "crucibench"
    done = subprocess.run(
        [sys.executable, "-m", "crucibench", *words, "--format", "csv"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(target)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "flip-rate" in done.stdout and "wrong" in done.stdout
    assert len(files["my_package/section.py"].splitlines()) <= 40
    check = (
        "from crucibench.report.sections import section_kinds\n"
        "from crucibench.testing import check_section\n"
        "check_section(section_kinds().get('sparkline'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(target)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_readme_example_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "top-1" in done.stdout and "valid" in done.stdout
    assert len(list((tmp_path / "results").glob("*/report.html"))) == 1


def test_the_example_of_run_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(crucibench.api)
    assert found.attempted >= 8 and found.failed == 0
