"""In a terminal: bars with the time left, colours unless NO_COLOR forbids them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

SLOW = """
import time
from sklearn.datasets import load_wine
from sklearn.tree import DecisionTreeClassifier

TREE = DecisionTreeClassifier(random_state=0).fit(*load_wine(return_X_y=True))

def slow(batch):  # and right, so that no explanation is looked for
    print("from the model")
    time.sleep(0.02)
    return TREE.predict_proba(batch.to_numpy())
"""
_COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")


def _in_terminal(folder: Path, *arguments: str, **settings: str) -> tuple[str, str]:
    """Returns what a run writes to stdout, a pipe, and to stderr, a terminal."""
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    terminal, end = pty.openpty()
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "crucibench", "run", "--batch-size", "4"),
            *("--suite", "accuracy"),
            *("--model", "python:slow.py:slow", "--data", "sklearn:wine", *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "140", **settings},
    )
    os.close(end)
    shown = b""
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # the other end has been closed
            break
        if not read:
            break
        shown += read
    os.close(terminal)
    assert running.stdout is not None
    out = running.stdout.read().decode()
    running.stdout.close()
    assert running.wait() == 0, shown.decode()
    return out, shown.decode()


def test_bars(folder: Path) -> None:
    out, shown = _in_terminal(folder, "--format", "csv")
    assert out.startswith("data,model,run,")
    assert "from the model" not in out
    assert "from the model" in shown
    assert "Plan of run" in shown
    assert "slow on wine, pass/test" in shown
    assert re.search(r"\d+/178", shown)
    assert re.search(r"\d+:\d\d", shown)
    assert "ok: slow on wine, pass/test, 178 samples in" in shown
    assert _COLOUR.search(shown)


@pytest.mark.thorough
def test_no_color(folder: Path) -> None:
    _, shown = _in_terminal(folder, "--limit", "60", NO_COLOR="1")
    assert "Plan of run" in shown
    assert not _COLOUR.search(shown)
