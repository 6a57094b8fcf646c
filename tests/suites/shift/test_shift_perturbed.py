"""Numbers and audits of perturbed texts and tables, from answers made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.scoring import score
from crucibench_suites.shift.corrupted import Corrupted, CorruptedTable, CorruptionSummary
from crucibench_suites.shift.corruptions.tables import feature_noise
from crucibench_suites.shift.corruptions.texts import TEXTS, keyboard_typo
from crucibench_suites.shift.own_data import Population
from crucibench_suites.shift.population_scoring import (
    effective_size,
    population_weights,
)

N = 200
SCENARIO = Corrupted.of("shift", keyboard_typo, severities=(1, 5), limit=None)
TARGETS = np.arange(N) % 2


def with_columns(cell: CellEvidence, **columns: Any) -> CellEvidence:
    """Returns a cell whose records say this beside."""
    table = cell.records.table
    held = {name: table.column(name).to_numpy() for name in table.column_names}
    rows = len(cell.records)
    clean: dict[str, Any] = {
        "touched": True, "edits": np.int32(1), "units": np.int32(100), "spoilt": False
    }  # fmt: skip
    more = {
        name: np.broadcast_to(np.asarray(value), rows).copy()
        for name, value in (clean | columns).items()
    }
    return replace(cell, records=Records(to_table(held | more)))


def evidence_of(
    bench: Any, wrong: Mapping[int, Any], *, clean_wrong: Any = (), **columns: Any
) -> Evidence:
    """Returns evidence of samples that are wrong, by severity."""
    made = bench(TARGETS, 2)

    def said(places: Any) -> Any:
        return np.where(np.isin(np.arange(N), list(places)), 1 - TARGETS, TARGETS)

    points = {f"severity={severity}": said(places) for severity, places in wrong.items()}
    cell = with_columns(made.shifted(points), **columns)
    found: Evidence = made.evidence(cell, clean=made.clean(said(clean_wrong)))
    return found


def values(evidence: Evidence, scenario: Any) -> dict[tuple[str, str], float | None]:
    return {(row.metric, row.point): row.value for row in score(scenario, evidence).rows}


def test_worst_case_and_invariance_are_over_severities(bench: Any) -> None:
    found = values(
        evidence_of(bench, {1: range(10), 5: range(5, 40)}, clean_wrong=range(4)), SCENARIO
    )
    assert found["top-1", "severity=5"] == pytest.approx(1 - 35 / N)
    assert found["top-1-drop", "severity=5"] == pytest.approx(35 / N - 4 / N)
    assert found["worst-case-top-1", ""] == pytest.approx(1 - 40 / N)
    # 0 to 3 are wrong clean and at severity 1, and right at 5; 4 to 39 are wrong somewhere.
    assert found["invariance-pass-rate", ""] == pytest.approx(1 - 40 / N)
    assert found["flip-rate", "severity=1"] == pytest.approx(6 / N)
    assert found["perturbed-share", "severity=1"] == 1
    assert {row.metric for row in score(SCENARIO, evidence_of(bench, {1: (), 5: ()})).rows} <= {
        info.id for info in SCENARIO.metrics
    }


def test_every_number_is_comparable(bench: Any) -> None:
    evidence = evidence_of(bench, {1: range(10), 5: range(5, 40)})
    rows = values(evidence, SCENARIO)
    numbers = {(one.metric, one.point) for one in SCENARIO.numbers(evidence)}
    assert numbers == {key for key in rows if key[0] != "perturbed-share"}


def findings(evidence: Evidence, scenario: Any = SCENARIO) -> dict[str, Finding]:
    return {finding.code: finding for finding in scenario.audit(evidence)}


def test_a_clean_case_has_no_findings(bench: Any) -> None:
    assert findings(evidence_of(bench, {1: range(5), 5: range(30)})) == {}


def test_a_perturbation_that_does_nothing_is_found(bench: Any) -> None:
    rows = np.repeat([1, 5], N)
    idle = evidence_of(bench, {1: (), 5: ()}, touched=np.tile(np.arange(N) % 3 == 0, 2))
    assert findings(idle)["perturbation-did-nothing"].severity is Severity.SUSPECT
    at_first = evidence_of(bench, {1: (), 5: range(9)}, touched=rows == 5)
    assert findings(at_first)["perturbation-did-nothing"].severity is Severity.INFO
    some = evidence_of(bench, {1: (), 5: ()}, touched=(rows == 5) | (np.arange(2 * N) < 20))
    assert findings(some) == {}


def test_more_than_stated_is_found_in_any_sample(bench: Any) -> None:
    edits = np.repeat([2, 20], N).astype(np.int32)
    assert findings(evidence_of(bench, {1: (), 5: ()}, edits=edits)) == {}
    edits[7] = 3
    found = findings(evidence_of(bench, {1: (), 5: ()}, edits=edits))["larger-than-stated"]
    assert found.severity is Severity.INVALID and found.evidence == {"samples": {"severity=1": 1}}


def test_more_than_stated_on_average_is_found(bench: Any) -> None:
    scenario = CorruptedTable.of("shift", feature_noise, severities=(1, 5), limit=None, protect=())
    far = np.random.default_rng(0).exponential(0.08, 2 * N).astype(np.float32)
    assert findings(evidence_of(bench, {1: (), 5: ()}, distance=far), scenario) == {}
    found = findings(evidence_of(bench, {1: (), 5: ()}, distance=3 * far), scenario)
    assert found["larger-than-stated"].evidence == {"samples": {"severity=1": N}}


def test_spoilt_samples_are_found(bench: Any) -> None:
    spoilt = np.arange(2 * N) == N + 3
    found = findings(evidence_of(bench, {1: (), 5: ()}, spoilt=spoilt))["perturbation-spoils"]
    assert found.severity is Severity.INVALID and found.evidence["points"] == ["severity=5"]


def test_better_when_perturbed_is_found(bench: Any) -> None:
    found = findings(evidence_of(bench, {1: (), 5: ()}, clean_wrong=range(60)))
    assert found["better-when-shifted"].severity is Severity.SUSPECT


def test_the_summary_joins_perturbations(bench: Any) -> None:
    cells = [
        Corrupted.of("shift", one, severities=(1, 5), limit=None)
        for one in list(TEXTS.values())[:2]
    ]
    summary = CorruptionSummary.of("shift", cells)
    parts = [
        evidence_of(bench, {1: range(10), 5: range(20)}),
        evidence_of(bench, {1: (), 5: range(100, 160)}),
    ]
    needs = {"clean": parts[0].needs["clean"]} | {
        f"own/{cell.name}": part.own for cell, part in zip(cells, parts, strict=True)
    }
    evidence = replace(parts[0], needs=needs)
    found = values(evidence, summary)
    assert found["corrupted-top-1", ""] == pytest.approx(1 - (15 + 30) / 2 / N)
    assert found["worst-corruption-top-1", ""] == pytest.approx(1 - 30 / N)
    assert found["worst-case-top-1", ""] == pytest.approx(1 - 80 / N)
    assert found["invariance-pass-rate", ""] == pytest.approx(1 - 80 / N)
    assert summary.audit(evidence) == []
    table = score(summary, evidence).tables["by-corruption"]
    assert table["family"].tolist() == ["typing", "typing"]
    assert {one.metric for one in summary.numbers(evidence)} >= {
        "corrupted-top-1", "invariance-pass-rate"
    }  # fmt: skip
    del needs["own/letter_swap"]
    (missing,) = summary.audit(replace(evidence, needs=needs))
    assert missing.code == "corruptions-missing"


def regression(shifted: Mapping[str, Any], clean: Any, bench: Any) -> Evidence:
    made = bench(np.zeros(N, dtype=np.int64), 2)
    made.samples = made.samples.replaced(targets=np.zeros(N))
    parts = {
        "id": list(made.ids) * len(shifted),
        "point": [point for point in shifted for _ in range(N)],
        "prediction": np.concatenate(
            [np.asarray(one, dtype=np.float64) for one in shifted.values()]
        ),
        "distance": np.zeros(N * len(shifted), dtype=np.float32),
    }
    cell = with_columns(made.cell(parts))
    plain = made.cell({"id": list(made.ids), "prediction": np.asarray(clean, dtype=np.float64)})
    evidence: Evidence = made.evidence(cell, clean=plain)
    task = Task(kind="regression", modality=Modality.TABLE)
    return replace(evidence, data=replace(evidence.data, task=task))


def test_regression_has_errors(bench: Any) -> None:
    clean = np.where(np.arange(N) % 2, 1.0, -1.0)
    points = {"severity=1": 2 * clean, "severity=5": np.where(np.arange(N) < 50, 9.0, 0.0)}
    evidence = regression(points, clean, bench)
    scenario = CorruptedTable.of("shift", feature_noise, severities=(1, 5), limit=None, protect=())
    found = values(evidence, scenario)
    assert found["mae", "severity=1"] == pytest.approx(2)
    assert found["mae-rise", "severity=1"] == pytest.approx(1)
    assert found["mean-absolute-change", "severity=1"] == pytest.approx(1)
    assert found["mae", "severity=5"] == pytest.approx(9 / 4)
    assert found["mean-mae", ""] == pytest.approx(17 / 8)
    assert found["worst-case-mae", ""] == pytest.approx((9 * 50 + 2 * 150) / N)
    assert scenario.audit(evidence) == []
    curve = score(scenario, evidence).tables["error-curve"]
    assert curve["mae"].tolist() == pytest.approx([1, 2, 9 / 4])
    assert np.isnan(scenario.outcomes(evidence).correct).all()
    summary = CorruptionSummary.of("shift", [scenario])
    joined = replace(evidence, needs={**evidence.needs, "own/feature_noise": evidence.own})
    means = values(joined, summary)
    assert means["corrupted-mae", ""] == pytest.approx(17 / 8)
    assert means["mae-rise", ""] == pytest.approx(9 / 8)
    assert means["worst-corruption-mae", ""] == pytest.approx(17 / 8)
    assert len(summary.numbers(joined)) == len(means) == 4


def test_weights_of_a_tilt_have_their_closed_form() -> None:
    """Uniform ranks tilted by exp(a u) keep (sinh h / h)**2 / (sinh 2h / 2h), h = a sqrt 3."""
    values = np.random.default_rng(0).normal(size=20_000)
    for level in (0.25, 1.0, 2.0):
        half = level * np.sqrt(3)
        expected = (np.sinh(half) / half) ** 2 / (np.sinh(2 * half) / (2 * half))
        weights = population_weights(values, "tilt", level, "high")
        assert effective_size(weights) / len(values) == pytest.approx(expected, rel=1e-3)
        assert weights.mean() == pytest.approx(1)
        low = population_weights(-values, "tilt", level, "low")
        assert np.allclose(weights, low)
        # The mean of a uniform variable of variance 1 under the tilt: coth.
        ranks = np.sqrt(12) * ((values.argsort().argsort() + 0.5) / len(values) - 0.5)
        mean = np.average(ranks, weights=weights)
        assert mean == pytest.approx(np.sqrt(3) / np.tanh(half) - 1 / level, rel=1e-3)


def test_a_tail_keeps_its_share_and_leaves_out_what_is_missing() -> None:
    values = np.arange(100.0)
    values[:20] = np.nan
    high = population_weights(values, "tail", 0.25, "high")
    assert np.flatnonzero(high).tolist() == list(range(80, 100))
    low = population_weights(values, "tail", 0.25, "low")
    assert np.flatnonzero(low).tolist() == list(range(20, 40))
    assert not population_weights(np.full(5, np.nan), "tilt", 1.0, "low").any()
    assert effective_size(np.zeros(3)) == 0


def population(bench: Any, shape: Any) -> tuple[Population, Evidence]:
    made = bench(TARGETS, 2)
    said = np.where(np.arange(N) < 50, 1 - TARGETS, TARGETS)
    inputs = made.cell({"id": list(made.ids), "input:age": np.arange(N, dtype=np.float64)})
    scenario = Population.of("shift", shape, "age", (1, 5))
    return scenario, made.evidence(made.cell({"id": []}), clean=made.clean(said), inputs=inputs)


def test_another_population_has_its_own_accuracy(bench: Any) -> None:
    scenario, evidence = population(bench, "tail")
    found = values(evidence, scenario)
    assert found["weighted-top-1", "severity=5,towards=high"] == 1
    assert found["weighted-top-1", "severity=5,towards=low"] == 0
    assert found["top-1-less-weighted", "severity=5,towards=low"] == pytest.approx(0.75)
    assert found["effective-sample-size", "severity=5,towards=low"] == 40
    assert found["weighted-top-1", "severity=1,towards=low"] == pytest.approx(110 / 160)
    assert scenario.audit(evidence) == []
    few = replace(evidence, options=replace(evidence.options, min_group_size=41))
    assert [finding.code for finding in scenario.audit(few)] == ["few-effective-samples"]
    keys = {(one.metric, one.point) for one in scenario.numbers(evidence)}
    assert keys == {key for key in found if key[0] != "effective-sample-size"}
    scenario, evidence = population(bench, "tilt")
    tilted = values(evidence, scenario)
    assert tilted["weighted-top-1", "severity=5,towards=low"] < 0.3  # type: ignore[operator]
    assert tilted["weighted-top-1", "severity=5,towards=high"] > 0.95  # type: ignore[operator]


def test_groups_stay_as_they_are_recorded(tmp_path: Any) -> None:
    import crucibench as cb

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"sex": rng.choice(["f", "m"], 60), "x": rng.normal(size=60)})
    frame["y"] = np.where(frame["x"] + (frame["sex"] == "f") > 0.5, "yes", "no")
    frame.to_csv(tmp_path / "d.csv", index=False)
    (tmp_path / "models.py").write_text(
        "import numpy as np\n"
        "def rule(frame):\n"
        "    score = 1 / (1 + np.exp(-(frame['x'] + (frame['sex'] == 'f') - 0.5)))\n"
        "    return np.stack([1 - score, score], axis=1)\n"
    )
    run = cb.run(
        models={"rule": f"python:{tmp_path}/models.py:rule"},
        data=f"csv:{tmp_path}/d.csv?target=y&groups=sex&features=sex,x",
        suites=["shift"],
        settings={"shift.tables": ["category_swap", "feature_noise"], "shift.severities": [5]},
        out=tmp_path / "out", workers=0, cache=False,
    )  # fmt: skip
    cells = {cell.scenario: cell for cell in run.cells.values()}
    assert {str(cell.status) for cell in cells.values()} == {"ok"}
    rows = run.metrics()
    swap = rows[(rows.scenario == "category_swap") & (rows.point == "severity=5")]
    found = swap.set_index("metric")["value"]
    assert found["top-1"] < 1
    assert 0.2 < found["perturbed-share"] < 0.8
    groups = rows[(rows.scenario == "subpopulations") & (rows.metric == "top-1")]
    counts = frame["sex"].value_counts()
    told = dict(zip(groups["group"], groups["n"], strict=True))
    assert told["sex=f"] == counts["f"] and told["sex=m"] == counts["m"]
    assert cb.verify(run.root) == []
