from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from crucibench.comparing.results import MetricDifference
from crucibench.gating.outputs import (
    COMMENT_LIMIT,
    FILES,
    MARKER,
    badge,
    comment,
    deltas_svg,
    junit,
    summary,
    tell_github,
    verdict_json,
    workflow_commands,
    write_outputs,
)
from crucibench.gating.result import GateVerdict, verdict_schema
from crucibench.gating.text import (
    between,
    change,
    decimals,
    exact,
    findings,
    headline,
    number,
    plain_text,
    rows,
)
from crucibench.util.text import markdown_text, visible

Make = Callable[..., MetricDifference]
Judge = Callable[..., GateVerdict]

HOSTILE = 'x"><script>alert(1)</script>|`[a](http://e.vil)`\u202e::error::%0A@all ]]>&<!--\x1b[31m'


@pytest.fixture
def mixed(difference: Make, judge: Judge) -> GateVerdict:
    return judge(
        {
            "required": [{"address": "m:s/c/*", "margin": 0.02, "floor": 0.1}],
            "supporting": [{"address": "w:*", "margin": 0.02}],
            "advisory": [{"address": "a:*", "margin": 0.02}],
            "waivers": [
                {"rule": "m:s/c/waived", "until": date(2026, 12, 31), "reason": "agreed | yes"},
                {"rule": "w:*", "until": date(2026, 1, 1), "reason": "over"},
            ],
        },
        [
            difference("m:s/c/bad", gain=-0.1, p=1e-9, flips=(110, 10)),
            difference("m:s/c/good"),
            difference("m:s/c/unsure", half=0.05),
            difference("m:s/c/gone"),
            difference("m:s/c/waived", gain=-0.1, p=1e-9),
            difference("w:s/c/bad", gain=-0.1, p=1e-9),
            difference("a:s/c/bad", gain=-0.1, p=1e-9),
            difference("n:s/c/none"),
        ],
        lost=("m:s/c/gone",),
    )


@pytest.fixture
def hostile(difference: Make, judge: Judge) -> GateVerdict:
    name = HOSTILE.replace(":", "").replace("/", "").replace("[", "").replace("]", "")
    return judge(
        {"required": [{"address": "*", "margin": 0.02, "name": HOSTILE}],
         "waivers": [{"rule": HOSTILE, "until": date(2026, 12, 31), "reason": HOSTILE}]},
        [difference(f"{name}:s/c/m@{HOSTILE.replace(chr(27), '')}", gain=-0.1, p=1e-9)],
    )  # fmt: skip


def test_the_verdict_file_reads_back_and_follows_its_schema(mixed: GateVerdict) -> None:
    document = json.loads(verdict_json(mixed))
    assert (document["outcome"], document["exit_code"]) == ("invalid", 4)
    assert document["blocking"] == ["invalid", "regression", "inconclusive"]
    assert document["counts"] == {
        "pass": 5, "regression": 4, "inconclusive": 1, "invalid": 1,
    }  # fmt: skip
    schema = verdict_schema()
    assert set(document) == set(schema["properties"])
    checks = schema["$defs"]["Check"]["properties"]
    assert all(set(check) == set(checks) for check in document["checks"])
    for name in ("exit_code", "counts"):
        document.pop(name)
    assert GateVerdict.model_validate(document) == mixed


def test_junit_has_a_case_for_each_check(mixed: GateVerdict) -> None:
    root = ET.fromstring(junit(mixed))
    suite = root.find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert len(cases) == len(mixed.checks) + len(mixed.errors) == int(suite.get("tests", 0))
    failures = suite.findall("testcase/failure")
    errors = suite.findall("testcase/error")
    assert (len(failures), len(errors)) == (2, 2)
    assert (suite.get("failures"), suite.get("errors")) == ("2", "2")
    bad = failures[0]
    assert (bad.get("message") or "").startswith("regression: worse by 10.0 points")
    assert "gain: -0.1" in (bad.text or "") and "lost samples: l0 l1" in (bad.text or "")
    names = [(case.get("classname"), case.get("name")) for case in cases]
    assert len(set(names)) == len(names)
    assert ("gate.required", "m:s/c/bad (floor) [m:s/c/*]") in names


def test_markdown_says_what_stops_the_gate(mixed: GateVerdict) -> None:
    text = summary(mixed)
    assert text.startswith("## ⚠️ gate stops: 1 invalid check, 1 regression, 1 inconclusive check")
    assert "❌ **regression** m:s/c/bad: worse by 10.0 points" in text
    assert "Waived: agreed \\| yes." in text
    assert "waived until 2026-12-31: agreed \\| yes" in text
    assert "waiver ran out on 2026-01-01: over" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == len(mixed.checks) + 2
    assert comment(mixed).startswith(f"{MARKER}\n## ")


def test_markdown_keeps_to_the_limits(difference: Make, judge: Judge) -> None:
    many = [difference(f"m:s/c/x{k:05}", gain=-0.1, p=1e-12) for k in range(3000)]
    verdict = judge({"required": [{"address": "*", "margin": 0.02}]}, many)
    text = comment(verdict)
    assert COMMENT_LIMIT // 2 < len(text.encode()) <= COMMENT_LIMIT
    assert "more in verdict.json" in text and "gate stops: 3,000 regressions" in text
    assert len(summary(verdict).encode()) > 500_000
    for limit in (100, 1000, 5000):
        cut = summary(verdict, limit)
        assert cut.startswith("## ❌")
        assert len(cut.encode()) <= max(limit, 300)


def test_annotations_keep_to_the_limits(mixed: GateVerdict, difference: Make, judge: Judge) -> None:
    lines = workflow_commands(mixed)
    kinds = [line.partition(" ")[0] for line in lines]
    assert kinds == ["::error"] * 4 + ["::warning"] * 2 + ["::notice"]
    assert "::error title=m%3As/c/bad::regression: worse by 10.0 points" in "\n".join(lines)
    many = [difference(f"m:s/c/x{k}", gain=-0.1, p=1e-9) for k in range(40)]
    lines = workflow_commands(judge({"required": [{"address": "*", "margin": 0.02}]}, many))
    assert len(lines) == 10
    assert lines[-1].endswith("::31 more: see the job summary")


def test_badges(mixed: GateVerdict, difference: Make, judge: Judge) -> None:
    assert json.loads(badge(mixed)) == {
        "schemaVersion": 1, "label": "crucibench gate", "message": "invalid",
        "color": "lightgrey",
    }  # fmt: skip
    good = judge({"required": [{"address": "*", "margin": 0.02}]}, [difference()])
    assert json.loads(badge(good))["color"] == "brightgreen"


def test_the_plot_shows_every_difference(mixed: GateVerdict) -> None:
    root = ET.fromstring(deltas_svg(mixed))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}circle")) == sum(c.gain is not None for c in mixed.checks) == 6
    words = "".join(root.itertext())
    assert "m:s/c/bad" in words and "\u221210.0 points [\u221211.0, \u22129.0]" in words


def test_the_table(mixed: GateVerdict, difference: Make, judge: Judge) -> None:
    first = rows(mixed)[0]
    assert first[:3] == ("regression", "required", "m:s/c/bad")
    assert first[3:] == (
        "90.0 %", "80.0 %", "\u221210.0 points", "[\u221211.0, \u22129.0]", "1,000",
    )  # fmt: skip
    assert {outcome for outcome, *_ in findings(mixed)} == {
        "regression", "regression (waived)", "inconclusive", "invalid",
    }  # fmt: skip
    assert "m:s/c/unsure" in plain_text(mixed) and "waiver ran out" in plain_text(mixed)
    two = [difference(data="d"), difference("m:s/c/x", data="e")]
    many = judge({"required": [{"address": "*", "margin": 0.02}]}, two)
    assert [row[2] for row in rows(many)] == ["m:s/c/top-1 on d", "m:s/c/x on e"]
    assert headline(many).startswith("gate passes: 2 checks passed")


def test_names_of_others_do_no_harm(hostile: GateVerdict) -> None:
    assert hostile.checks[0].waived
    root = ET.fromstring(junit(hostile))
    assert root.find(".//script") is None
    assert "\x1b" not in junit(hostile) and "\u202e" not in junit(hostile)
    svg = deltas_svg(hostile)
    assert ET.fromstring(svg).find(".//{*}script") is None
    text = comment(hostile)
    assert text.count("<!--") == 1
    for raw in ("<script", "](http", "\u202e", "\x1b", "://e.vil", "@all"):
        assert raw not in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") == 9 for line in table)
    for line in workflow_commands(hostile):
        assert line.count("::error") + line.count("::warning") >= 1
        assert "\n" not in line and "\u202e" not in line
        assert "%0A" not in line
    json.loads(verdict_json(hostile))


def test_files_and_what_github_is_told(mixed: GateVerdict, tmp_path: Path) -> None:
    write_outputs(mixed, tmp_path / "gate")
    assert {path.name for path in (tmp_path / "gate").iterdir()} == set(FILES)
    target = tmp_path / "summary"
    target.write_text("before\n")
    lines = tell_github(mixed, {"GITHUB_STEP_SUMMARY": str(target), "GITHUB_ACTIONS": "true"})
    assert lines == workflow_commands(mixed)
    text = target.read_text(encoding="utf-8")
    assert text.startswith("before\n## ") and text.count("\n## ") == 1
    tell_github(mixed, {"GITHUB_STEP_SUMMARY": str(target)})
    assert target.read_text(encoding="utf-8").count("\n## ") == 2
    assert tell_github(mixed, {}) == []
    target.write_text("x" * (1024 * 1024 - 50))
    tell_github(mixed, {"GITHUB_STEP_SUMMARY": str(target)})
    assert target.stat().st_size == 1024 * 1024 - 50


def test_numbers_as_text() -> None:
    assert number(0.9, half=0.03, percent=True) == "90.0 %"
    assert number(0.123456, half=0.001) == "0.1235"
    assert change(-0.105, half=0.042, percent=True, sign=True) == "\u221210.5 points"
    assert change(0.002, half=0.001, percent=True, sign=True) == "+0.20 points"
    assert change(-1e-9, half=0.01, percent=True) == "\u22121e-07 points".replace("e-", "e\u2212")
    assert between(-0.041, -0.023, percent=True) == "[\u22124.10, \u22122.30]"
    assert exact(0.01, percent=True, points=True) == "1 point"
    assert exact(0.85, percent=True) == "85 %"
    assert decimals(None, 0.0) == 1
    assert number(float("inf")) == "∞" and number(float("nan")) == "?"
    assert number(-0.0001, half=0.5) == "\u22120.0001"
    assert visible("a\u202eb\x00") == "a\\u202eb\\u0000"
    assert markdown_text("a|b<c>@d www.x.y") == "a\\|b&lt;c&gt;&#64;d www&#46;x.y"
