"""Gaps under what other suites do to the samples: by hand, and in runs with planted costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import crucibench as cb
from crucibench.contracts.audit import audits
from crucibench.contracts.evidence import CellEvidence, Evidence, OutcomeView
from crucibench.contracts.outcomes import read_outcomes
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Row, parse_address
from crucibench.contracts.scenario import Derived, Need, Scenario
from crucibench.metrics.forms import evaluate
from crucibench.metrics.scoring import score
from crucibench_suites.bias.across import Across, readable


@dataclass(frozen=True, kw_only=True)
class Attack(Derived):
    """Another suite's scenario, whose records only it can read."""

    perturbs: ClassVar[bool] = True

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns the view: labels are stored as one more than they are."""
        records, samples = evidence.own.records, evidence.needs["plain"].samples
        said = records.array("secret") - 1
        if evidence.task.kind == "regression":
            correct = np.full(len(said), np.nan)
        else:
            targets = pd.Series(samples.targets, index=samples.ids)
            correct = (said == targets[records.ids].to_numpy()).astype(float)
        return OutcomeView(
            ids=records.ids, point=records.array("point"), prediction=said,
            score=np.full(len(said), np.nan), correct=correct,
        )  # fmt: skip


SOURCE = Attack(
    suite="other", name="attack", points=("", "eps=0.1", "eps=0.2"),
    needs=(Need(alias="plain", cell="pass/test"),),
)  # fmt: skip


def with_answers(evidence: Evidence, *answers: Any) -> Evidence:
    """Returns evidence of `SOURCE`: answers at each eps, samples in another order than the pass."""
    clean = evidence.needs["test"]
    ids = clean.samples.ids
    back = np.arange(len(ids))[::-1]
    parts = [np.asarray(one)[back] + 1 for one in answers]
    table = to_table(
        {
            "id": list(ids[back]) * len(parts),
            "point": [point for point in SOURCE.points[1:] for _ in ids],
            "secret": np.concatenate(parts),
        }
    )
    source = replace(clean, cell="other", records=Records(table))
    needs: dict[str, CellEvidence] = {"clean": clean, "source": source, "source/plain": clean}
    empty = replace(clean, cell="own", records=Records(to_table({"id": []})))
    return replace(evidence, own=empty, needs=needs)


def across(evidence: Evidence, source: Scenario = SOURCE) -> Across:
    groups = list(evidence.data.groups)
    parameters = {"columns": groups, "depth": 2, "edges": {}, "reference": {}}
    return Across.of("bias", source, parameters)


def scored(evidence: Evidence) -> dict[tuple[str, str, str], Row]:
    scenario = across(evidence)
    rows = score(scenario, evidence).rows
    found = {(row.metric, row.point, row.group): row for row in rows}
    assert len(found) == len(rows)
    assert {row.metric for row in rows} <= {info.id for info in scenario.metrics}
    assert {row.point for row in rows} <= set(scenario.points)
    return found


@pytest.fixture
def planted(build: Any) -> Evidence:
    """Groups alike on clean samples; at eps 0.2 group b alone loses a third of its accuracy."""
    rng = np.random.default_rng(0)
    n = 1200
    truth, said = rng.integers(0, 2, n), None
    groups = np.array(["a", "b"], dtype=object)[np.arange(n) % 2]
    said = np.where(rng.random(n) < 0.9, truth, 1 - truth)
    broken = (groups == "b") & (rng.random(n) < 0.33)
    return with_answers(
        build(truth, {"g": groups}, predictions=said), said, np.where(broken, 1 - truth, said)
    )


def test_the_address_parses() -> None:
    address = "cnn:bias/across/shift/fog[severity=3]/top-1-difference@sex, age"
    found = parse_address(address)
    assert (found.scenario, found.point) == ("across/shift/fog", "severity=3")
    assert found.metric == "top-1-difference" and str(found) == address


def test_a_planted_cost_to_one_group_is_caught(planted: Evidence) -> None:
    rows = scored(planted)
    assert rows["top-1-difference", "clean", "g"].value == pytest.approx(0, abs=0.05)
    assert rows["top-1-difference-rise", "eps=0.1", "g"].value == 0.0
    rise = rows["top-1-difference-rise", "eps=0.2", "g"]
    assert rise.lower is not None and rise.lower > 0.15
    assert rows["top-1-difference-rise", "eps=0.2", ""].value == rise.value
    assert rows["group-top-1-drop", "eps=0.2", "g=b"].lower > 0.2  # type: ignore[operator]
    assert rows["group-top-1-drop", "eps=0.2", "g=a"].value == 0.0
    drop = rows["worst-group-top-1-drop", "eps=0.2", ""]
    assert drop.value is not None and drop.lower is not None and drop.lower > 0.15
    findings = across(planted).audit(planted)
    assert [finding.code for finding in findings] == ["gap-grows"]
    assert findings[0].evidence["loses_most"] == "g=b"
    assert findings[0].evidence["point"] == "eps=0.2"
    assert "eps=0.2: the groups of g lie" in findings[0].message


def test_who_loses_most_is_said_of_the_point_at_which_groups_lie_furthest_apart() -> None:
    known = audits().get("groups-across").answer()
    assert known is not None
    evidence, scenario = known.planted["gap-grows"]()
    (finding,) = scenario.audit(evidence)  # at x=1 group a loses half, and b no more
    assert finding.evidence["point"] == "x=2"
    assert (finding.evidence["loses_most"], finding.evidence["loses_least"]) == ("g=b", "g=a")
    assert finding.message.endswith("'g=a' 0")


def test_a_cost_that_all_groups_share_is_not_flagged(build: Any) -> None:
    rng = np.random.default_rng(1)
    n = 1200
    truth = rng.integers(0, 2, n)
    groups = np.array(["a", "b"], dtype=object)[np.arange(n) % 2]
    said = np.where(rng.random(n) < 0.9, truth, 1 - truth)
    worse = np.where(rng.random(n) < 0.3, 1 - truth, said)
    evidence = with_answers(build(truth, {"g": groups}, predictions=said), said, worse)
    assert across(evidence).audit(evidence) == []
    rise = scored(evidence)["top-1-difference-rise", "eps=0.2", "g"]
    assert rise.lower is not None and rise.upper is not None and rise.lower < 0 < rise.upper
    table = score(across(evidence), evidence).tables["across"]
    assert (table["p_holm"] > 0.05).all()


def test_rows_are_those_of_the_answers_by_hand(planted: Evidence) -> None:
    rows = scored(planted)
    samples = planted.needs["clean"].samples
    view = read_outcomes(SOURCE, planted)
    here = view.point == "eps=0.2"
    frame = pd.DataFrame({"said": view.prediction[here]}, index=view.ids[here]).loc[samples.ids]
    truth, groups = samples.targets, samples.groups["g"].to_numpy()
    said = frame["said"].to_numpy()
    rates = {}
    for name in "ab":
        inside = groups == name
        rates[name] = said[inside & (truth == 1)].mean(), said[inside & (truth == 0)].mean()
        row = rows["tpr", "eps=0.2", f"g={name}"]
        assert row.value == pytest.approx(rates[name][0])
        assert rows["top-1", "eps=0.2", f"g={name}"].value == pytest.approx(
            (said == truth)[inside].mean()
        )
    odds = rows["equalized-odds-difference", "eps=0.2", "g"]
    apart = np.abs(np.subtract(rates["a"], rates["b"]))
    assert odds.value == pytest.approx(apart.max())
    rise = rows["equalized-odds-difference-rise", "eps=0.2", "g"]
    clean = rows["equalized-odds-difference", "clean", "g"]
    assert rise.value == pytest.approx(odds.value - clean.value)  # type: ignore[operator]


def test_numbers_are_the_rows(planted: Evidence) -> None:
    rows = scored(planted)
    found = across(planted).numbers(planted)
    assert {one.point for one in found} == {"clean", "eps=0.1", "eps=0.2"}
    n = len(planted.own.samples)
    for one in found:
        row = rows[one.metric, one.point, one.group]
        assert evaluate(one.form, n) == pytest.approx(row.value)


def test_a_rate_that_is_undefined_there_is_null_with_its_reason(build: Any) -> None:
    truth = np.tile([0, 0, 1, 1], 50)
    groups = np.repeat(["a", "b"], 100).astype(object)
    nobody = np.where(groups == "b", 0, truth)
    rows = scored(with_answers(build(truth, {"g": groups}, predictions=truth), truth, nobody))
    row = rows["predictive-parity-difference-rise", "eps=0.2", "g"]
    assert row.value is None
    assert row.reason == "other groups have a defined ppv there than on the samples as they are"


def test_clusters_across_groups_have_a_rise_without_an_interval(build: Any) -> None:
    rng = np.random.default_rng(2)
    truth, said = rng.integers(0, 2, (2, 400))
    groups = np.array(["a", "b"] * 200, dtype=object)
    whole = build(
        truth, {"g": groups}, predictions=said, clusters=[f"c{i // 2}" for i in range(400)]
    )
    row = scored(with_answers(whole, said, truth))["top-1-difference-rise", "eps=0.2", "g"]
    assert row.value is not None and row.lower is None and "clusters lie in several" in row.reason
    apart = build(
        truth, {"g": groups}, predictions=said, clusters=[f"c{i % 40}" for i in range(400)]
    )
    row = scored(with_answers(apart, said, truth))["top-1-difference-rise", "eps=0.2", "g"]
    assert row.lower is not None


def test_more_classes_and_regression(build: Any) -> None:
    rng = np.random.default_rng(3)
    groups = np.array(["a", "b"] * 200, dtype=object)
    truth = rng.integers(0, 4, 400)
    rows = scored(with_answers(build(truth, {"g": groups}, predictions=truth), truth, truth * 0))
    assert rows["top-1", "eps=0.2", "g=a"].value == pytest.approx((truth[::2] == 0).mean())
    assert not any(metric.startswith("equal") for metric, _, _ in rows)
    values = rng.normal(0, 1, 400)
    off = values + np.where(groups == "b", 2.0, 0.0)
    evidence = with_answers(build(values, {"g": groups}, predictions=values + 0.1), values, off)
    rows = scored(evidence)
    assert rows["mae-difference", "eps=0.2", "g"].value == pytest.approx(2.0)
    assert rows["worst-group-mae-rise", "eps=0.2", ""].value == pytest.approx(1.9)


def test_an_outcome_view_that_lacks_a_sample_is_an_error(planted: Evidence) -> None:
    source = planted.needs["source"]
    short = replace(source, records=Records(source.records.table.slice(1)))
    broken = replace(planted, needs={**planted.needs, "source": short})
    with pytest.raises(ValueError, match=r"'eps=0.1': expected one outcome of each of 1200"):
        score(across(planted), broken)


def test_what_is_read() -> None:
    assert readable(SOURCE)
    assert not readable(replace(SOURCE, role="shift/v2"))
    scenario = Across.of("bias", replace(SOURCE, limit=50), {})
    assert scenario.limit == 50 and scenario.points == ("clean", "eps=0.1", "eps=0.2")
    assert [(need.alias, need.cell) for need in scenario.needs] == [
        ("clean", "pass/test"), ("source", "other/attack"), ("source/plain", "pass/test")
    ]  # fmt: skip


MODELS = """
import numpy as np

def _answer(margin):
    p = np.where(margin > 0, 0.9, 0.1)
    return np.stack([1 - p, p], axis=1)

def one_pixel(images):
    images = np.asarray(images)
    return _answer((images[..., 0, 0] - images[..., -1, -1]).mean(axis=1))

def halves(images):
    images = np.asarray(images)
    return _answer((images[..., :4] - images[..., 4:]).mean(axis=(1, 2, 3)))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Which half is brighter; of the group ``faint`` by little, else by half of the range."""
    folder = tmp_path_factory.mktemp("across")
    rng = np.random.default_rng(0)
    n = 240
    right, faint = rng.integers(0, 2, n), rng.integers(0, 2, n)
    pixels = np.full((n, 8, 8, 3), 0.25)
    for row in range(n):
        half = slice(0, 4) if right[row] else slice(4, 8)
        pixels[row, :, half, :] += 0.04 if faint[row] else 0.5
    pixels += rng.uniform(0, 0.004, pixels.shape)
    np.savez(
        folder / "halves.npz", x=(255 * pixels).astype(np.uint8), y=right,
        g=np.where(faint == 1, "faint", "strong"),
    )  # fmt: skip
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    return folder


def test_a_gap_that_grows_under_noise_and_one_that_does_not(images: Path, tmp_path: Path) -> None:
    data = f"npz:{images / 'halves.npz'}?groups=g"
    settings = {"shift.corruptions": ["gaussian_noise"], "shift.severities": [5]}
    targets = np.load(images / "halves.npz")["y"]
    logged = images / "logged.csv"
    pd.DataFrame({"said": targets}).to_csv(logged, index=False)
    models = {name: f"python:{images / 'models.py'}:{name}" for name in ("one_pixel", "halves")}
    run = cb.run(
        models=models | {"logged": f"predictions:{logged}?prediction=said"}, data=data,
        suites=["shift", "bias"], settings=settings, out=tmp_path, workers=0,
    )  # fmt: skip
    assert cb.verify(run.root) == []
    rows = run.metrics()
    rows = rows[rows["scenario"] == "across/shift/gaussian_noise"]
    rises = rows[rows["metric"] == "top-1-difference-rise"].set_index(["model", "group", "point"])
    assert rises.loc[("one_pixel", "g", "severity=5"), "lower"] > 0.1
    assert rises.loc[("halves", "g", "severity=5"), "lower"] < 0
    assert rises.loc[("halves", "g", "severity=5"), "value"] < 0.05
    address = "halves:bias/across/shift/gaussian_noise[severity=5]/top-1-difference-rise@g"
    verdict = cb.gate(run, run, {"required": [{"address": address, "margin": 0.3}]})
    assert [(check.address, check.outcome) for check in verdict.checks] == [(address, "pass")]
    codes = {
        file.model: [finding.code for finding in file.findings]
        for file in run.cells.values()
        if file.scenario == "across/shift/gaussian_noise"
    }
    assert "gap-grows" in codes["one_pixel"] and "gap-grows" not in codes["halves"]
    # Logged predictions can't answer changed images: what would read them says so.
    (lacking,) = [
        file
        for file in run.cells.values()
        if (file.model, file.scenario) == ("logged", "across/shift/gaussian_noise")
    ]
    assert str(lacking.status) == "skipped" and "any-input" in lacking.reason
    report = next(tmp_path.glob("*/report.html")).read_text(encoding="utf-8")
    assert "Gaps under shift and attack" in report
