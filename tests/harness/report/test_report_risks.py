"""Clauses and the rows that answer them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import crucibench as cb
from crucibench.registry import suites
from crucibench.report.bundle import make_bundle
from crucibench.report.risks import CLAUSES, risk_rows, risk_table
from crucibench.store.redaction import Disclosure


def test_every_risk_has_a_clause_and_a_suite() -> None:
    asked = {risk for clause in CLAUSES for risk in clause.risks}
    answered = {risk for name in suites().names() for risk in suites().get(name).risks}
    assert asked == answered
    assert all(bool(clause.risks) != bool(clause.beyond) for clause in CLAUSES)
    assert len(CLAUSES) == len({(one.source, one.place, one.asks) for one in CLAUSES})


def test_rows_are_those_that_have_a_number(kept_run: Path) -> None:
    run = cb.load(kept_run)
    measured = run.metrics().dropna(subset=["value"])
    places = set(measured["suite"] + "/" + measured["scenario"] + "/" + measured["metric"])
    rows = {(one["place"], one["asks"]): one for one in risk_rows(run)}
    accuracy = rows["(1)", "an appropriate level of accuracy"]
    assert ("accuracy/clean/top-1", 2) in accuracy["rows"]
    assert accuracy["rows"][0][0] in {
        "accuracy/clean/auroc", "accuracy/clean/average-precision",
        "accuracy/clean/balanced-accuracy",
    }  # fmt: skip
    bias = dict(rows["2(g)", "potentially discriminatory impacts"]["rows"])
    assert "bias/groups/fnr" in bias
    assert all(place in places for one in rows.values() for place, _ in one["rows"])
    for one in rows.values():
        assert bool(one["rows"]) != bool(one["not_measured"])
    deceived = rows[
        "(5)", "inputs designed to cause a mistake (adversarial examples or model evasion)"
    ]
    assert deceived["not_measured"] == "no number of this run speaks of evasion"
    table = risk_table(rows.values())
    assert table.count("**not measured**") == sum(not one["rows"] for one in rows.values())
    assert len(table.splitlines()) == 2 + len(CLAUSES)


def test_a_bundle_has_the_table_and_a_run_of_before_says_so(kept_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    make_bundle(cb.load(kept_run), path, Disclosure())
    with zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("bundle/risks.json"))
        assert len(told) == len(CLAUSES)
        assert archive.read("bundle/risks.md").decode() == risk_table(told)
    run = cb.load(kept_run)
    for info in run.suites.values():
        del info["risks"]
    assert "did not say" in risk_rows(run)[0]["not_measured"]
