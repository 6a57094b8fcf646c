"""The examples of docs/adapters, executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs" / "adapters"
_FILE = re.compile(r"`([\w./]+)`\n\n```python\n(.*?)```", re.DOTALL)
_COMMANDS = re.compile(r"```console\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize(
    ("page", "told"),
    [
        pytest.param(
            "onnx",
            ["preprocessing.layout", "NCHW", "diagnostics.producer", "matched by name"],
            marks=pytest.mark.thorough,
        ),
        pytest.param("torch", ["Accuracy"], marks=pytest.mark.thorough),
        pytest.param("sklearn", ["Accuracy", "matched by name"], marks=pytest.mark.thorough),
        ("timm", ["Accuracy"]),
        ("torchvision", ["Accuracy"]),
        ("python", ["Accuracy", "rule"]),
        ("predictions", ["Accuracy", "logged"]),
    ],
)
def test_the_example_runs(page: str, told: list[str], tmp_path: Path) -> None:
    if page in {"timm", "torchvision"}:
        pytest.importorskip(page, reason=f"{page} is not installed")
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for name, content in _FILE.findall(text):
        (tmp_path / name).write_text(content, encoding="utf-8")
    (commands,) = _COMMANDS.findall(text)
    shown = ""
    for line in commands.splitlines():
        program, *words = line.split()
        module = ["-m", "crucibench"] if program == "crucibench" else []
        done = subprocess.run(
            [sys.executable, *module, *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "CRUCIBENCH_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"},
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stderr)
        shown += done.stdout
    for text in told:
        assert text in shown
