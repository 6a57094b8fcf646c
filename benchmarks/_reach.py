"""A pytest plug-in: records which tests reach which lines of some source files, as JSON.

    CRUCIBENCH_REACH=reach.json CRUCIBENCH_REACH_FILES=files.txt pytest -p _reach TESTS

What a fixture reaches while it is set up counts for every test that uses it, and what is reached
outside of tests (while modules are imported) is kept apart. Worker processes are not seen.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

_IMPORTING = ""


class Reach:
    """Records lines by what was under way: a test, the setup of a fixture, or neither."""

    def __init__(self, files: set[str], target: Path) -> None:
        self._files = files
        self._target = target
        self._lines: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._fixtures: dict[str, list[str]] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._failed: set[str] = set()
        self._now = self._lines[_IMPORTING]
        sys.settrace(self._call)
        threading.settrace(self._call)

    def _call(self, frame: FrameType, event: str, _argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self._now.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._now = self._lines[item.nodeid]
        sys.settrace(self._call)  # a test may have taken it away
        info = getattr(item, "_fixtureinfo", None)
        definitions = {} if info is None else info.name2fixturedefs
        self._fixtures[item.nodeid] = [_key(known[-1]) for known in definitions.values() if known]
        try:
            return (yield)
        finally:
            self._now = self._lines[_IMPORTING]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        before, self._now = self._now, self._lines[_key(fixturedef)]
        try:
            return (yield)
        finally:
            self._now = before

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._seconds[report.nodeid] += report.duration
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        tests = [name for name in self._fixtures if name not in self._failed]
        found: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for position, name in enumerate(tests):
            reached = set(self._lines[name])
            for key in self._fixtures[name]:
                reached |= self._lines[key]
            for file, line in reached:
                found[file][line].append(position)
        for file, line in self._lines[_IMPORTING]:
            found[file].setdefault(line, [])
        document = {
            "tests": [[name, round(self._seconds[name], 3)] for name in tests],
            "files": {file: dict(sorted(lines.items())) for file, lines in sorted(found.items())},
        }
        self._target.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def _key(definition: Any) -> str:
    return f"fixture {definition.baseid} {definition.argname}"


def pytest_configure(config: pytest.Config) -> None:
    """Starts recording."""
    files = Path(os.environ["CRUCIBENCH_REACH_FILES"]).read_text(encoding="utf-8").splitlines()
    config.pluginmanager.register(Reach(set(files), Path(os.environ["CRUCIBENCH_REACH"])))
