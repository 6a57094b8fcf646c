"""The public functions together: run, load, compare, gate, verify."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import crucibench as cb
from crucibench.api import default_name
from crucibench.cli._app import application
from crucibench.cli.compare import change
from crucibench.util.memory import keep_freed_memory

POLICY = {"schema_version": 1, "required": [{"address": "*:accuracy/clean/top-1", "margin": 0.05}]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[cb.Run, cb.Run]:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    out = tmp_path_factory.mktemp("runs")
    good = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:300], y[:300])
    poor = LogisticRegression(max_iter=1000).fit(X[["mean texture"]][:300], y[:300])
    first = cb.run(models={"m": good}, data=(X[300:], y[300:]), suites=["accuracy"], out=out)
    second = cb.run(
        models={"m": lambda frame: poor.predict_proba(frame[["mean texture"]])},
        data=(X[300:], y[300:]), suites=["accuracy"], out=out,
    )  # fmt: skip
    return first, second


def test_a_worse_model_is_stopped_and_the_same_one_passes(runs: tuple[cb.Run, cb.Run]) -> None:
    good, poor = runs
    assert cb.gate(good, good, POLICY).outcome == "pass"
    # Or a finding that it answers as if its classes were others.
    assert cb.gate(good, poor, POLICY).outcome in {"regression", "invalid"}
    assert cb.gate(str(poor.root), good.root, POLICY).outcome == "pass"


def test_memory_of_a_process_that_is_not_the_harness_s_stays_as_it_is(
    runs: tuple[cb.Run, cb.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr("pyarrow.set_memory_pool", seen.append)
    keep_freed_memory.cache_clear()
    cb.run(
        models={"m": lambda frame: [[0.4, 0.6]] * len(frame)},
        data=load_breast_cancer(return_X_y=True, as_frame=True), suites=["accuracy"], out=tmp_path,
    )  # fmt: skip
    cb.compare(*runs)
    assert not seen
    CliRunner().invoke(application, ["compare", *(str(run.root) for run in runs)])
    assert bool(seen) == (sys.platform == "linux")


def test_a_comparison_has_every_number_and_its_sign(runs: tuple[cb.Run, cb.Run]) -> None:
    good, poor = runs
    found = {entry.address.metric: entry for entry in cb.compare(good, poor).differences}
    top = found["top-1"]
    assert top.delta is not None and top.delta < -0.1 and top.p is not None and top.p < 1e-6
    assert top.flips is not None and len(top.flips.lost) > len(top.flips.gained)
    back = {entry.address.metric: entry for entry in cb.compare(poor, good).differences}
    assert back["top-1"].delta == -top.delta
    plug_in = [one for name, one in found.items() if name.startswith("ece-15-equal-width")]
    assert plug_in and all(one.biased for one in plug_in) and not top.biased
    clear = replace(plug_in[0], delta=0.2, p_adjusted=0.001, identical=False)
    assert change(clear) == "no claim: biased"
    assert change(replace(clear, biased=False)) in {"better", "worse"}
    policy = {"required": [{"address": f"*/{plug_in[0].address.metric}", "margin": 0.5}]}
    assert any("marked biased" in note for note in cb.gate(good, poor, policy).notes)


def test_runs_are_loaded_and_verified(runs: tuple[cb.Run, cb.Run]) -> None:
    good, _ = runs
    again = cb.load(good.root)
    assert again.metrics().equals(good.metrics())
    assert cb.verify(good.root) == []
    cell = next(iter(again.cells))
    assert set(again.records(cell).columns) >= {"id"} or again.records(cell).empty


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "expected a spec, or models and data"),
        ({"models": {"m": 3}, "data": "sklearn:iris"}, "no installed adapter or source takes"),
        ({"spec": {}, "models": {}}, "expected a spec, or models and data, not both"),
    ],
)
def test_mistakes_are_sentences(
    arguments: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(cb.InputError, match=sentence):
        cb.run(**arguments, out=tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("csv:people.csv", "people"),
        ("sklearn:models.py:logistic", "logistic"),
        ("parquet:claims/*.parquet?target=y", "claims"),
        ("tar:shards/wds-0[0-4].tar", "shards"),
        ("tar:claims/**/part.tar", "claims"),
        ("parquet:*.parquet", "here"),
    ],
)
def test_an_address_is_named_by_its_file_or_folder(
    uri: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert default_name(uri) == name
