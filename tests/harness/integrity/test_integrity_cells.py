"""Cell files that were edited, with a manifest to match, and cells that are not there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from crucibench.store.manifest import write_manifest

from .conftest import Planted

SEARCH = ("b", "sample/search")
PASS = ("b", "pass/test")


def setting(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(values)


def no_findings(document: dict[str, Any]) -> None:
    document.update(findings=[], verdict="valid")


def milder(document: dict[str, Any]) -> None:
    for finding in document["findings"]:
        finding["severity"] = "info"
    document["verdict"] = "valid"


def within(key: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document[key].update(values)


@pytest.mark.parametrize(
    ("cell", "change", "said"),
    [
        (PASS, setting(verdict="valid"), "the verdict is valid, its findings make it invalid"),
        (PASS, setting(verdict=None), "the verdict is missing, its findings make it invalid"),
        (PASS, no_findings, r"the finding .* is missing; the records give: "),
        (PASS, milder, r"finding mapping-error: severity is 'info', the records"),
        (SEARCH, no_findings, r"the finding mapping-error \(invalid\) is miss"),
        (PASS, setting(facts={"reduced_batch": 4}), r"the finding batch-reduced \(info\) is miss"),
        (PASS, lambda d: d["identity"]["fields"].update(seed=1), "the digest of identity is not"),
        (PASS, lambda d: d["numerics"].update(digest="0"), "the digest of numerics is not that"),
        (PASS, setting(status="skipped"), "it is skipped, so expected no verdict, got invalid"),
        (PASS, setting(status="skipped", verdict=None), "it is skipped and gives no reason"),
        (PASS, setting(status="failed", verdict=None, reason="x"), r"row \d+ is of|which it needs"),
        (PASS, setting(cell="other"), "it is of cell 'other'"),
        (PASS, setting(n=7), "n is 7, the sample table gives 200"),
        (PASS, setting(ids_digest="0"), "ids_digest is not that of the ids in the sample table"),
        (PASS, setting(kind="derived"), "kind is 'derived', the scenario is another|no stage"),
        (PASS, setting(stages=[]), "it is ok and has no stage"),
        (SEARCH, setting(limit=None), r"n is 150, the sample table gives 200"),
        (SEARCH, setting(parameters={"x": 1}), r"parameters is \{'x': 1\}, the installed sample/s"),
        (SEARCH, setting(points=["", "x"]), r"points is \['', 'x'\], the installed sample/search"),
        (SEARCH, setting(draws="none"), "draws is 'none', the installed sample/search of the same"),
        (SEARCH, setting(version=9), "sample/search is version 9 in the run, version 1 is install"),
        (SEARCH, setting(scenario="hunt"), "no installed suite asks sample/hunt of 'b'"),
        (SEARCH, within("comparison", data="0"), "comparison data is '0', the run gives '"),
        (SEARCH, within("comparison", geometry=None), "comparison geometry is None, the run gives"),
        (SEARCH, within("needs", clean="nothing"), "it needs 'nothing' .as 'clean'., which the"),
        (SEARCH, setting(needs={}), r"it does not say which cell 'clean' \(pass/test\) is"),
    ],
)  # fmt: skip
def test_an_edited_cell_is_found(
    planted: Planted, cell: tuple[str, str], change: Callable[[dict[str, Any]], None], said: str
) -> None:
    planted.edit_cell(planted.cell(*cell), change)
    planted.seal()
    found = planted.found()
    assert any(re.search(said, sentence) for sentence in found), found


def test_a_need_that_is_another_cell_is_found(planted: Planted) -> None:
    other = planted.cell("a", "pass/test").cell
    planted.edit_cell(planted.cell(*SEARCH), lambda d: d["needs"].update(clean=other))
    planted.seal()
    assert any(f"'clean' is {other!r}, expected pass/test of 'b'" in s for s in planted.found())


def test_a_finding_removed_everywhere_is_found_where_it_was_made(planted: Planted) -> None:
    cells = [file for file in planted.run.cells.values() if file.verdict == "invalid"]
    assert len(cells) > 3
    for file in cells:
        planted.edit_cell(file, no_findings)
    planted.seal()
    found = planted.found()
    assert len(found) == len(cells)
    assert all(re.search(r"cell\.json: the finding .* is missing", entry) for entry in found)


@pytest.mark.parametrize("cell", [("a", "sample/noise"), ("a", "accuracy/clean")])
def test_a_removed_cell_is_found(planted: Planted, cell: tuple[str, str]) -> None:
    model, address = cell
    name = planted.cell(*cell).cell
    shutil.rmtree(planted.layout.cell(name))
    planted.seal()
    found = planted.found()
    assert len(found) == 2
    assert found[0] == f"cells: {address} of {model!r} on 'stripes' is planned, and has no cell"
    assert f"is of {name!r}, which the run does not have" in found[1]


def test_a_removed_pass_is_found_by_those_who_need_it(planted: Planted) -> None:
    name = planted.cell(*PASS).cell
    shutil.rmtree(planted.layout.cell(name))
    planted.seal()
    found = planted.found()
    for cell in (SEARCH, ("b", "sample/agreement"), ("a", "sample/agreement")):
        assert any(entry.startswith(f"{planted.cell(*cell).cell}: cell.json: it needs {name!r}")
                   for entry in found)  # fmt: skip


def test_a_scenario_that_another_version_did_not_have_is_no_difference(planted: Planted) -> None:
    name = planted.cell("a", "sample/noise").cell
    shutil.rmtree(planted.layout.cell(name))
    planted.edit_table(
        planted.layout.metrics,
        lambda table: table.filter([cell != name for cell in table["cell"].to_pylist()]),
    )
    planted.seal()
    assert len(planted.found()) == 1
    write_manifest(planted.layout, "0.0.1")
    assert planted.found() == []


def test_a_model_that_is_in_no_result_is_found(planted: Planted) -> None:
    models = planted.layout.models
    import json

    kept = [entry for entry in json.loads(models.read_text()) if entry["model"]["name"] != "b"]
    models.write_text(json.dumps(kept))
    planted.seal()
    due = "models.json: 'b' meets 'stripes', and nothing says what became of it"
    assert due in planted.found()
