"""A few of the cases of `benchmarks/faults.py`: one fault, then the same command again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks and asks /proc"),
]

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "faults.py"


@pytest.mark.parametrize(
    ("only", "cases"),
    [
        pytest.param("", 8, marks=pytest.mark.thorough),
        # While cells are scored: the process that scores is killed.
        (r"\w+ \w+ \S+/tables/\S+ 1: a kill", 3),
    ],
)
def test_one_fault_and_the_same_command_again(only: str, cases: int) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--cases", str(cases), "--only", only, "--no-page"],
        capture_output=True, text=True, check=False, cwd=SCRIPT.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == cases and [one["wrong"] for one in found if one["wrong"]] == []
    assert sum(one["reached"] for one in found) > cases / 2
