"""The suite from the command line and from Python: declared, refused, run, shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

import crucibench as cb
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.suite import SuiteRequest
from crucibench.contracts.task import Modality, Task
from crucibench.util.errors import InputError
from crucibench_suites.bias import BiasConfig, BiasSuite


def request(groups: tuple[str, ...] = ("sex", "age"), **settings: Any) -> SuiteRequest:
    task = Task(kind="classification", modality=Modality.TABLE, classes=("n", "y"))
    model = ModelInfo(
        name="m", uri="t:m", capabilities=frozenset(), score_kind="probabilities", geometry={},
        fingerprint=None,
    )  # fmt: skip
    card = DataCard(name="people", uri="t:d", task=task, groups=groups, counts={"test": 10})
    config = BiasConfig.model_validate(settings)
    return SuiteRequest(model=model, data=card, config=config, preset="quick")


def test_one_scenario_over_all_group_columns() -> None:
    (scenario,) = BiasSuite().scenarios(request())
    assert scenario.address == "bias/groups" and scenario.needs[0].cell == "pass/test"
    assert scenario.parameters["columns"] == ["sex", "age"]
    assert scenario.parameters["depth"] == 2
    (many,) = BiasSuite().scenarios(request(tuple("abcdefg")))
    assert many.parameters["depth"] == 1
    (chosen,) = BiasSuite().scenarios(request(columns=["age"], edges={"age": [30, 50]}))
    assert chosen.parameters["edges"] == {"age": [30.0, 50.0]}


def test_nothing_is_read_of_other_suites_that_are_not_in_the_run() -> None:
    assert BiasSuite().across(request(), []) == []


def test_data_without_groups() -> None:
    found = BiasSuite().scenarios(request(()))
    assert found == "the data names no groups (option groups=COLUMN,...)"


@pytest.mark.parametrize("key", ["columns", "edges", "reference"])
def test_a_column_that_is_no_group(key: str) -> None:
    value: Any = {"columns": ["sx"], "edges": {"sx": [1]}, "reference": {"sx": "f"}}[key]
    says = rf"suites.bias.{key}: unknown group column of 'people' 'sx'; did you mean 'sex'"
    with pytest.raises(InputError, match=says):
        BiasSuite().scenarios(request(**{key: value}))
    with pytest.raises(InputError):
        BiasSuite().scenarios(request((), **{key: value}))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"columns": []}, "columns: expected some, each once"),
        ({"columns": ["a", "a"]}, "columns: expected some, each once"),
        ({"edges": {"age": [50, 30]}}, "expected rising numbers"),
        ({"edges": {"age": []}}, "expected rising numbers"),
        ({"depth": 0}, "greater than or equal to 1"),
        ({"nothing": 1}, "Extra inputs"),
        ({"terms": {"role": [["nurse"]]}}, "rows of as many words, two or more"),
        ({"terms": {"role": [["a", "b"], ["c"]]}}, "rows of as many words, two or more"),
        ({"terms": {"role": [["a", "b"], ["B", "c"]]}}, "different words, got one twice"),
    ],
)
def test_settings_are_checked(settings: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        BiasConfig.model_validate(settings)


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: Any) -> Path:
    """A user's file of decisions in words, where one group is selected half as often."""
    rng = np.random.default_rng(0)
    n = 900
    sex, race = rng.choice(["f", "m"], n), rng.choice(["x", "y", ""], n, p=[0.5, 0.4, 0.1])
    paid = rng.random(n) < 0.5
    score = np.where(paid, 0.7, 0.3) - np.where(sex == "f", 0.25, 0.0) + rng.normal(0, 0.2, n)
    outcome = np.select([score > 0.6, score > 0.45], ["approve", "counter-offer"], "refuse")
    frame = pd.DataFrame(
        {"sex": sex, "race": race, "paid": np.where(paid, "yes", "no"), "outcome": outcome}
    )
    path = tmp_path_factory.mktemp("logged") / "decisions.csv"
    frame.to_csv(path, index=False)
    return path


def test_logged_decisions(decisions: Path, tmp_path: Path) -> None:
    """Categories that count as positive give every rate by group at once."""
    model = f"predictions:{decisions}?prediction=outcome&positive=approve,counter-offer"
    run = cb.run(
        models={"clerk": model},
        data=f"csv:{decisions}?target=paid&groups=sex,race",
        suites=["bias"],
        out=tmp_path,
        workers=0,
    )
    rows = run.metrics().set_index(["metric", "group"])
    frame = pd.read_csv(decisions, keep_default_na=False)
    selected = frame["outcome"] != "refuse"
    for sex in "fm":
        row = rows.loc["selection-rate", f"sex={sex}"]
        assert row["value"] == pytest.approx(selected[frame["sex"] == sex].mean())
        assert row["n"] == (frame["sex"] == sex).sum()
    gap = rows.loc["demographic-parity-difference", "sex"]
    assert gap["lower"] > 0.1
    assert rows.loc["selection-rate", "race=(missing)"]["n"] == (frame["race"] == "").sum()
    assert ("tpr", "sex=f, race=x") in rows.index


def test_diabetes_and_its_report(tmp_path: Path) -> None:
    data = load_diabetes(scaled=False, as_frame=True)
    model = LinearRegression().fit(data.data, data.target)
    run = cb.run(
        models={"linear": model}, data="sklearn:diabetes", suites=["bias"], out=tmp_path, workers=0
    )
    rows = run.metrics().set_index(["metric", "group"])
    assert rows.loc["mae", "sex=1"]["n"] + rows.loc["mae", "sex=2"]["n"] == 442
    assert rows.loc["worst-group-mae", ""]["value"] >= rows.loc["mae", "sex=1"]["value"]
    report = next(tmp_path.glob("*/report.html")).read_text(encoding="utf-8")
    assert "Each group against the others" in report and "Gaps and chance" in report
