"""``compare`` and ``pack`` on the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from crucibench.store.cells import read_cell, write_cell
from crucibench.store.layout import Layout
from crucibench.store.manifest import write_manifest

Call = Callable[..., Result]


@pytest.fixture
def asked(finished: Path) -> tuple[str, ...]:
    return ("compare", str(finished), "--models", "logistic,talkative")


def _json(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_table_says_what_changed(
    call: Call, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown = call(*asked)
    assert shown.exit_code == 0, shown.stderr
    for words in ("talkative against logistic", "accuracy/clean/top-1", "worse", "lost / gained"):
        assert words in shown.stdout
    assert "@" not in shown.stdout and "clean/brier" not in shown.stdout
    assert "--all compares all" in shown.stderr
    everything = call(*asked, "--all", "-q").stdout
    assert "precision@" in everything and "clean/brier" in everything
    monkeypatch.setenv("COLUMNS", "80")
    narrow = call(*asked).stdout.splitlines()
    assert max(map(len, narrow)) <= 80
    (top,) = [line for line in narrow if "/top-1" in line]
    assert "worse" in top and top.count("]") == 1, "a difference stands on one line"
    assert call(*asked, "--format", "md").stdout.startswith("## talkative against logistic")


def test_data_formats_hold_everything(call: Call, asked: tuple[str, ...]) -> None:
    (document,) = _json(call(*asked, "--format", "json"))
    (top,) = [d for d in document["differences"] if d["address"].endswith("/top-1")]
    assert top["delta"] == pytest.approx(top["candidate"] - top["baseline"])
    assert top["lower"] < top["delta"] < top["upper"] and top["p"] <= top["p_adjusted"] < 0.05
    assert top["lost"] == len(top["flips"]["lost"]) > top["gained"]
    assert document["refused"] == [] and top["change"] == "worse"
    rows = list(csv.DictReader(io.StringIO(call(*asked, "--format", "csv").stdout)))
    assert len(rows) == len(document["differences"])
    assert {row["address"] for row in rows} == {d["address"] for d in document["differences"]}


def test_numbers_are_picked(call: Call, asked: tuple[str, ...]) -> None:
    (document,) = _json(call(*asked, "--metric", "*/top-1", "--format", "json"))
    assert [one["address"].rpartition("/")[2] for one in document["differences"]] == ["top-1"]
    nothing = call(*asked, "--metric", "nothing")
    assert nothing.exit_code == 4 and "no number fits --metric" in nothing.stderr


def test_runs_packs_and_models_are_named_in_many_ways(
    call: Call, finished: Path, folder: Path
) -> None:
    packed = call("pack", str(finished), "-o", "baseline.cbz")
    assert packed.exit_code == 0, packed.stderr
    assert packed.stdout == "baseline.cbz\n" and "KiB" in packed.stderr
    out = ("--out", str(finished.parent), "--format", "json", "--metric", "*/top-1")
    both = _json(call("compare", "baseline.cbz", "latest", *out))[0]["differences"]
    assert [one["delta"] for one in both] == [0.0, 0.0]
    assert {one["change"] for one in both} == {"same"}
    two = _json(call("compare", "baseline.cbz:logistic", f"{finished.name[:5]}:talkative", *out))
    (document,) = _json(call("compare", str(finished), "--models", "logistic,talkative", *out[2:]))
    assert two[0]["differences"] == document["differences"]
    several = _json(call("compare", "baseline.cbz", "latest", "baseline.cbz", *out))
    assert [entry["comparison"] for entry in several] == [
        "latest against baseline.cbz", "baseline.cbz against baseline.cbz"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("latest",), "two runs or more"),
        (("latest", "--models", "logistic"), "two models or more"),
        (("latest", "latest"), "needs two models"),
        (("latest:logistik", "latest"), "did you mean 'logistic'"),
        (("nowhere", "latest"), "no such folder"),
        (("latest", "--models", "logistic,other"), "'other'"),
        ((), "BASELINE"),
    ],
)
def test_mistakes_are_usage(
    arguments: tuple[str, ...], sentence: str, call: Call, finished: Path
) -> None:
    result = call("compare", *arguments, "--out", str(finished.parent))
    assert result.exit_code == 2
    assert sentence in result.stderr and len(result.stderr.splitlines()) <= 2


def test_what_is_not_comparable_is_refused(call: Call, finished: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(finished, other)
    (path,) = other.glob("cells/logistic*clean*/cell.json")
    file = read_cell(path)
    scenario = {**file.comparison["scenario"], "version": 7}
    write_cell(
        path, file.model_copy(update={"comparison": {**file.comparison, "scenario": scenario}})
    )
    write_manifest(Layout(other), "0.1.0")
    result = call("compare", str(finished), str(other), "-q")
    assert result.exit_code == 4
    assert "scenario.version is 1 and 7" in result.stderr
    assert "talkative:accuracy/clean/top-1" in result.stdout, "the rest is compared"


def test_a_damaged_pack_is_unreadable(call: Call, finished: Path, folder: Path) -> None:
    assert call("pack", str(finished), "-o", "base.cbz").exit_code == 0
    content = bytearray((folder / "base.cbz").read_bytes())
    content[1000] ^= 1
    (folder / "base.cbz").write_bytes(content)
    result = call("compare", "base.cbz", str(finished))
    assert result.exit_code == 4 and "damaged" in result.stderr
    wrong = call("pack", str(finished), "-o", "base.zip")
    assert wrong.exit_code == 2 and "ends in .cbz" in wrong.stderr


def test_a_report_of_a_pack_goes_where_it_is_told(call: Call, finished: Path, folder: Path) -> None:
    assert call("pack", str(finished), "-o", str(folder / "base.cbz")).exit_code == 0
    pack = str(folder / "base.cbz")
    refused = call("report", pack)
    assert refused.exit_code == 2 and "is a pack and has no folder of its own" in refused.stderr
    written = call("report", pack, "-o", str(folder / "report.html"))
    assert written.exit_code == 0 and (folder / "report.html").is_file()
