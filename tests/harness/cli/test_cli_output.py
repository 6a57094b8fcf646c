"""Tables and data as they are printed."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest

from crucibench.cli._options import Format
from crucibench.cli._output import Table, emit, plain, visible

TABLE = Table(
    title="Numbers, and a title that is longer than the table below it",
    columns=("name", "n", "value"),
    rows=[["a|b", 1234, 0.5], ["=cmd()", None, float("nan")], [["x", "y"], 3, {"test": 4}]],
)


@pytest.mark.parametrize("form", get_args(Format))
def test_formats(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    emit(form, [{"n": np.int64(3), "value": float("nan")}], [TABLE])
    printed = capsys.readouterr()
    assert printed.err == ""
    expected = {
        "json": '[\n  {\n    "n": 3,\n    "value": null\n  }\n]\n',
        "csv": 'name,n,value\na|b,1234,0.5\n\'=cmd(),,\nx y,3,"{""test"": 4}"\n',
        "md": (
            "## Numbers, and a title that is longer than the table below it\n\n"
            "| name | n | value |\n| --- | --- | --- |\n"
            "| a\\|b | 1,234 | 0.5 |\n| =cmd\\(\\) |  | nan |\n| x, y | 3 | test 4 |\n"
        ),
    }
    if form in expected:
        assert printed.out == expected[form]
        return
    title, head, rule, *rows = printed.out.splitlines()
    assert title == TABLE.title
    assert head.split() == ["name", "n", "value"]
    assert set(rule) == {"─"}
    assert [row.split() for row in rows] == [
        ["a|b", "1,234", "0.5"], ["=cmd()", "nan"], ["x,", "y", "3", "test", "4"]
    ]  # fmt: skip
    assert all(line == line.rstrip() for line in printed.out.splitlines())


def test_plain_is_json() -> None:
    found = plain({"a": (1, np.float64("inf")), "b": {2}, "c": None, "d": True, "e": 0.5})
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "a": [1, "inf"], "b": [2], "c": None, "d": True, "e": 0.5
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ± ✗ 漢字\n\t", "plain ± ✗ 漢字\n\t"),
        ("\x1b[31m", "\\u001b[31m"),
        ("a\u202eb\r", "a\\u202eb\\u000d"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
