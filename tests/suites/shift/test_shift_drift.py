"""Drift: false alarms at the stated rate, planted shifts found, records that tell no text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression

from crucibench.contracts.capability import Capability
from crucibench.contracts.columns import MISSING
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.task import Modality, Task
from crucibench.passes.inputs import input_columns
from crucibench.stats import holm
from crucibench_suites.shift import drift_scoring
from crucibench_suites.shift.drift_scoring import audit_drift, drift_tests, floor_note, score_drift

CLASSES = ("no", "yes")


@pytest.fixture(autouse=True)
def fewer_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_scoring, "PERMUTATIONS", 499)


def cell(columns: Mapping[str, Any], clusters: Any = None, prefix: str = "s") -> CellEvidence:
    n = len(next(iter(columns.values())))
    ids = np.array([f"{prefix}{row:05d}" for row in range(n)], dtype=object)
    model = ModelInfo(
        name="model", uri="test:model", capabilities=frozenset({Capability.SCORES}),
        score_kind="probabilities", geometry={}, fingerprint=None,
    )  # fmt: skip
    samples = Samples(
        ids, np.full(n, -1), pd.DataFrame(index=range(n)),
        None if clusters is None else np.asarray(clusters, dtype=object),
    )  # fmt: skip
    records = Records(to_table({"id": list(ids), **columns}))
    return CellEvidence(cell="cell", model=model, role="test", records=records, samples=samples)


def evidence(
    home: Any, here: Any, *, scores: tuple[Any, Any] | None = None, features: Any = None,
    clusters: tuple[Any, Any] = (None, None), seed: int = 0,
) -> Evidence:  # fmt: skip
    """Returns evidence of inputs on two sides, and of what a model made of them."""
    sides = {
        f"{side}/inputs": cell(input_columns(inputs), own)
        for side, inputs, own in zip(("home", "here"), (home, here), clusters, strict=True)
    }
    for place, side in enumerate(("home", "here") if scores is not None else ()):
        answered = np.asarray(scores[place])  # type: ignore[index]
        columns = {"prediction": answered.argmax(axis=1).astype(np.int32), "scores": answered}
        if features is not None:
            columns["features"] = features[place]
        sides[f"{side}/pass"] = cell(columns, clusters[place])
    task = Task(kind="classification", modality=Modality.TABLE, classes=CLASSES)
    return Evidence(
        own=sides["here/inputs"], needs=sides,
        data=DataCard(name="data", uri="test:data", task=task),
        options=ScoringOptions(seed=seed),
    )  # fmt: skip


def diabetes() -> tuple[pd.DataFrame, np.ndarray]:
    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame["sex"] = frame.sex.map({1.0: "a", 2.0: "b"}).astype("category")
    target = frame.pop("target") > 140
    model = LogisticRegression(max_iter=5000).fit(frame.drop(columns="sex"), target)
    return frame, model.predict_proba(frame.drop(columns="sex"))


def digits() -> tuple[torch.Tensor, np.ndarray]:
    loaded = load_digits()
    images = torch.from_numpy((loaded.images / 16).astype(np.float32))[:, None]
    model = LogisticRegression(max_iter=300).fit(loaded.data[:300] / 16, loaded.target[:300] > 4)
    return images, model.predict_proba(loaded.data / 16)


@pytest.mark.parametrize("splits", [30, pytest.param(120, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("which", [diabetes, digits])
def test_false_alarms_on_split_halves_are_at_the_stated_level(which: Any, splits: int) -> None:
    inputs, scores = which()
    rng = np.random.default_rng(1)
    level = 0.05
    family, single = [], []
    for seed in range(splits):
        order = rng.permutation(len(inputs))
        half = len(order) // 2 if len(order) < 1000 else 250
        first, second = order[:half], order[half : 2 * half]
        parts = [
            inputs.iloc[rows].reset_index(drop=True) if which is diabetes else inputs[rows]
            for rows in (first, second)
        ]
        told = evidence(*parts, scores=(scores[first], scores[second]), seed=seed)
        found = np.array([one.test.p_value for one in drift_tests(told, "drift")])
        family.append(bool((holm(found) < level).any()))
        single.append(float((found < level).mean()))
    error = np.sqrt(level * (1 - level) / splits)
    assert np.mean(family) <= level + 3 * error
    # Ties make some tests cautious; none may alarm too often, and together not too seldom.
    assert 0.4 * level <= np.mean(single) <= level + 3 * error


def named(told: Evidence) -> dict[str, str]:
    table = score_drift(told, "drift").tables["drift"]
    return {f"{row['of']} {row['column']}": row["drift"] for row in table.to_dict("records")}


@pytest.mark.parametrize("column", ["bmi", "bp", "s5"])
def test_a_planted_shift_of_a_column_is_found_and_named(column: str) -> None:
    frame, scores = diabetes()
    order = np.random.default_rng(0).permutation(len(frame))
    first, second = order[:221], order[221:]
    home, here = (frame.iloc[rows].reset_index(drop=True) for rows in (first, second))
    here[column] += 0.6 * frame[column].std()
    told = evidence(home, here, scores=(scores[first], scores[second]))
    found = {name for name, drift in named(told).items() if drift == "yes"}
    assert found == {f"input {column}"}
    rows = {row.metric: row for row in score_drift(told, "drift").rows}
    assert rows["drifted"].value == 1.0 and rows["drifted"].n == 12
    smallest = rows["drift-p-value"]
    assert smallest.value is not None and smallest.value < 0.01 and column in smallest.method
    assert rows["largest-psi"].method.startswith(f"it is {column};")


def test_categories_missing_values_and_predictions() -> None:
    rng = np.random.default_rng(3)
    n = 400

    def side(share: float, gone: float, sure: float) -> tuple[pd.DataFrame, np.ndarray]:
        pay = np.where(rng.random(n) < gone, np.nan, rng.normal(size=n))
        town = np.where(rng.random(n) < share, "Oslo", "Bergen").astype(object)
        town[rng.random(n) < 0.05] = None
        frame = pd.DataFrame({"town": town, "pay": pay, "same": rng.normal(size=n)})
        yes = np.where(rng.random(n) < sure, 0.9, 0.2)
        return frame, np.stack([1 - yes, yes], axis=1)

    home, at_home = side(0.3, 0.05, 0.5)
    here, scores = side(0.6, 0.25, 0.8)
    found = named(evidence(home, here, scores=(at_home, scores)))
    assert found == {
        "input town": "yes", "missing town": "no", "input pay": "no", "missing pay": "yes",
        "input same": "no", "model predicted classes": "yes", "model confidence": "yes",
    }  # fmt: skip


def test_brighter_images_and_other_features_are_found() -> None:
    images, scores = digits()
    rows = np.random.default_rng(0).permutation(600)
    first, second = rows[:300], rows[300:]
    features = np.random.default_rng(1).normal(size=(600, 5))
    moved = features[second] + 0.8 * (np.arange(5) == 2)
    told = evidence(
        images[first], (images[second] * 0.8 + 0.2).clamp(0, 1),
        scores=(scores[first], scores[second]), features=(features[first], moved),
    )  # fmt: skip
    found = named(told)
    assert found["input brightness"] == found["input darkest"] == "yes"
    assert found["model features (MMD)"] == "yes"
    assert found["model predicted classes"] == found["model confidence"] == "no"


def test_clusters_count_once() -> None:
    rng = np.random.default_rng(0)
    # Twenty samples of each of 15 patients: 300 a side that are worth 15.
    at = [np.repeat(rng.normal(size=15), 20) for _ in range(2)]
    frames = [pd.DataFrame({"x": values}) for values in at]
    clusters = [np.repeat([f"p{k}" for k in range(15)], 20) for _ in range(2)]
    blind = score_drift(evidence(*frames), "drift").tables["drift"]
    told = score_drift(evidence(*frames, clusters=(clusters[0], clusters[1])), "drift")
    assert blind["drift"].tolist() == ["yes"]
    assert told.tables["drift"]["drift"].tolist() == ["no"]
    assert told.tables["drift"]["n here"].tolist() == [15]
    assert "one sample of each cluster" in told.rows[0].method


def test_a_column_that_is_missing_throughout_is_told_and_not_tested() -> None:
    home, here = pd.DataFrame({"x": [1.0, 2.0, 3.0]}), pd.DataFrame({"x": [np.nan] * 3})
    told = evidence(home, here)
    table = score_drift(told, "drift").tables["drift"]
    assert set(table[table.of == "input"]["drift"]) == {"untested"}
    (finding,) = audit_drift(told, None)
    assert finding.code == "too-few-samples-for-drift" and "3 samples at home" in finding.message


def test_columns_of_a_table_hold_no_text() -> None:
    frame = pd.DataFrame(
        {
            "name": ["Ada", None, "Ada"], "flag": [True, False, True], "count": [1, 2, 3],
            "when": pd.to_datetime(["1970-01-01", "1970-01-02", None]),
            "big": [np.inf, 0.0, -np.inf],
        }
    )  # fmt: skip
    columns = input_columns(frame)
    assert columns["input:name"].dtype == np.int64
    assert columns["input:name"][0] == columns["input:name"][2] >= 0
    assert columns["input:name"][1] == MISSING
    assert len(set(columns["input:flag"])) == 2 and columns["input:flag"].dtype == np.int64
    assert columns["input:count"].tolist() == [1.0, 2.0, 3.0]
    assert columns["input:when"].tolist()[:2] == [0.0, 86400.0]
    assert np.isnan(columns["input:when"][2]) and np.isfinite(columns["input:big"]).all()


def test_statistics_of_images_and_texts() -> None:
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 0.5
    found = {name.partition(":")[2]: float(values[0]) for name, values in
             input_columns(red).items()}  # fmt: skip
    assert found["red"] == 0.5 and found["green"] == 0.0 and found["saturation"] == 0.5
    assert found["brightness"] == pytest.approx(0.1495) and found["contrast"] < 1e-12
    grey = input_columns(torch.rand(2, 1, 5, 5))
    assert "statistic:red" not in grey and len(grey["statistic:edges"]) == 2
    said = input_columns(["To be, 2 b.", ""])
    assert said["statistic:characters"].tolist() == [11.0, 0.0]
    assert said["statistic:words"].tolist() == [4.0, 0.0]
    assert said["statistic:digits"].tolist() == [1 / 11, 0.0]
    pairs = input_columns([("a b", "c")])
    assert pairs["statistic:text 1 words"].tolist() == [2.0]


def test_permutations_that_can_find_nothing_say_so() -> None:
    by_chance = ["chi-square-permutation", "kolmogorov-smirnov-exact"]
    enough = round(0.05 * (drift_scoring.PERMUTATIONS + 1))
    assert floor_note(by_chance * 50, enough - 1, 0.05) == ""
    assert "50 tests by permutation" in floor_note(by_chance * 50, enough + 1, 0.05)
    assert floor_note(by_chance[1:] * 500, 5000, 0.05) == ""
