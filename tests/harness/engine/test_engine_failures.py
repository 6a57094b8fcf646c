"""A failure is a result: one bad cell never takes another down."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.adapter import Answer
from crucibench.contracts.verdict import Status
from crucibench.engine.collect import open_cell
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.util.errors import InputError


@pytest.fixture
def model(run_spec: Any) -> Any:
    run_spec(out="warm")
    from crucibench_sample.adapter import NearestMean

    return NearestMean


def statuses(run: Any) -> dict[tuple[str, str], Status]:
    return {(f.model, f"{f.suite}/{f.scenario}"): f.status for f in run.cells.values()}


def test_a_model_that_answers_nan_fails_its_own_cells(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = model._predict

    def nan(self: Any, batch: Any, want: Any) -> Answer:
        outputs = honest(self, batch, want)
        return Answer(scores=outputs.scores * np.nan) if self.lean else outputs

    monkeypatch.setattr(model, "_predict", nan)
    run = run_spec()
    found = statuses(run)
    assert run.exit_code == 4
    assert found["b", "pass/test"] is Status.FAILED
    assert found["b", "sample/search"] is Status.FAILED, "it needs the pass"
    assert found["a", "sample/agreement"] is Status.FAILED
    assert found["a", "pass/test"] is found["a", "sample/search"] is Status.OK
    failed = [file for file in run.cells.values() if file.status is Status.FAILED]
    assert any("rows in a batch are not finite" in file.reason for file in failed)
    assert len(run.metrics().query("model == 'a'")) == 4


def test_a_model_that_raises_midway_keeps_the_rest_and_its_traceback(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = model._predict

    def moody(self: Any, batch: Any, want: Any) -> Answer:
        if float(batch.inputs.max()) >= 1.0 and self.lean:
            raise RuntimeError("this is my own bug")
        return honest(self, batch, want)

    monkeypatch.setattr(model, "_predict", moody)
    run = run_spec(models={"a": "nearest:0", "b": "nearest:1.5"}, keep_going=True)
    failed = [file for file in run.cells.values() if file.status is Status.FAILED]
    assert failed and all(file.model == "b" or "needs" in file.reason for file in failed)
    own = [file for file in failed if "this is my own bug" in file.reason]
    assert own and all("in moody" in file.detail for file in own if file.detail)


def test_a_repaired_model_resumes_where_it_failed(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def broken(*args: Any) -> Answer:
            return Answer(scores=np.full((len(args[1]), 2), np.inf))

        patched.setattr(model, "_predict", broken)
        assert run_spec().exit_code == 4
    assert run_spec().exit_code == 0, "the same command tries failed cells again"


def test_a_model_that_fails_inspection_stops_the_run_before_anything_is_written(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = model.open.__func__

    def refuse(cls: Any, opening: Any) -> Any:
        if opening.name == "b":
            raise InputError("weights do not fit", detail="the user's traceback")
        return honest(cls, opening)

    monkeypatch.setattr(model, "open", classmethod(refuse))
    with pytest.raises(InputError) as caught:
        run_spec(out="stopped")
    assert str(caught.value) == "spec: model 'b' on 'stripes': weights do not fit"
    assert caught.value.detail == "the user's traceback"
    assert not (tmp_path / "stopped").exists()
    run = run_spec(out="kept", keep_going=True)
    found = statuses(run)
    assert found["b", "pass/inspection"] is Status.FAILED
    assert found["a", "sample/search"] is Status.OK
    assert run.exit_code == 4


def test_an_unfingerprinted_model_that_changes_is_invalid(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = model._predict
    calls = {"count": 0}

    def drifting(self: Any, batch: Any, want: Any) -> Answer:
        calls["count"] += 1
        outputs = honest(self, batch, want)
        return Answer(scores=outputs.scores + (5.0 if calls["count"] > 90 else 0.0))

    monkeypatch.setattr(model, "_predict", drifting)
    monkeypatch.setattr(model, "fingerprint", lambda self: None)
    run = run_spec(models={"a": "nearest:0"}, defaults={"batch_size": 2}, data="stripes:200")
    changed = [f for f in run.cells.values() if any(x.code == "model-changed" for x in f.findings)]
    assert changed and all(file.status is Status.FAILED for file in changed)


def test_what_a_model_can_not_give_is_skipped_with_the_reason(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench.contracts.capability import Capability

    monkeypatch.setattr(model, "capabilities", frozenset({Capability.LABELS}))

    def labels(self: Any, batch: Any, want: Any) -> Answer:
        return Answer(labels=np.zeros(len(batch), dtype=np.int64))

    monkeypatch.setattr(model, "_predict", labels)
    run = run_spec(models={"a": "nearest:0"})
    skipped = [f for f in run.cells.values() if f.status is Status.SKIPPED]
    assert {f.scenario for f in skipped} == {"noise", "search"}
    assert all(f.reason.startswith("the model can't give: any-input") for f in skipped)
    assert run.exit_code == 0, "planned skips are not failures"


def test_a_score_that_raises_is_a_failed_cell(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample.suite import Noise

    def score(self: Any, evidence: Any) -> Any:
        raise ZeroDivisionError("no samples")

    monkeypatch.setattr(Noise, "score", score)
    run = run_spec()
    noise = [f for f in run.cells.values() if f.scenario == "noise"]
    assert {f.status for f in noise} == {Status.FAILED}
    assert all(f.verdict is None and "ZeroDivisionError" in f.reason for f in noise)
    assert {f.status for f in run.cells.values() if f.scenario == "search"} == {Status.OK}


def test_the_folder_must_be_writable(run_spec: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"--out .*file/out': can't write there: '.*/file' is a file"
    ):
        run_spec(out="file/out")


def test_unknown_names_come_with_the_nearest(with_plugin: Path, tmp_path: Path) -> None:
    document = {
        "models": [{"name": "a", "uri": "nearst:0"}, {"name": "b", "uri": "broken:x"}],
        "data": [{"name": "d", "uri": "stripes:many"}],
        "suites": {"sampel": {}, "sample": {"sigmas": "x", "reffrence": "b"}},
    }
    with pytest.raises(InputError) as caught:
        resolve(document, tmp_path, "spec.yaml", Overrides())
    text = str(caught.value)
    for line in (
        "suites: unknown suite 'sampel'; did you mean 'sample'?",
        "suites.sample.sigmas: input should be a valid list, got 'x'",
        "suites.sample.reffrence: unknown key; did you mean 'reference'?",
        "models[0].uri: unknown model scheme 'nearst'; did you mean 'nearest'?",
        "models[1].uri: model scheme 'broken' of package crucibench-sample can't be loaded from "
        "crucibench_sample.broken:Anything: RuntimeError: this plug-in is broken on purpose",
        "data[0].uri: stripes: expected a number of images, got 'many'",
    ):
        assert line in text


def test_a_cell_that_takes_too_long_fails_and_keeps_what_it_has(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = model._predict
    clock = {"now": 0.0}
    ticking = SimpleNamespace(perf_counter=lambda: clock["now"])
    monkeypatch.setattr(open_cell, "time", ticking)

    def slow(self: Any, batch: Any, want: Any) -> Answer:
        clock["now"] += 1.0
        return honest(self, batch, want)

    monkeypatch.setattr(model, "_predict", slow)
    spec = {"models": {"a": "nearest:0"}, "suites": ("sample",)}
    defaults = {"batch_size": 1, "timeout": 150}
    late = run_spec(**spec, defaults=defaults)
    cut = [file for file in late.cells.values() if "longer than its timeout" in file.reason]
    assert cut and late.exit_code == 4
    kept = [one for file in cut for one in late.layout.cell(file.cell).glob("records-*")]
    assert kept, "shards that were done before are kept"
    again = run_spec(**spec, defaults=defaults | {"timeout": 10_000})
    assert again.id == late.id and again.exit_code == 0


def test_settings_that_would_do_nothing_are_refused(with_plugin: Path, tmp_path: Path) -> None:
    model = {"name": "a", "uri": "nearest:0", "headers": {"Authorization": "env:TOKEN"}}
    document = {"models": [model], "data": [{"name": "d", "uri": "stripes:50"}]}
    with pytest.raises(InputError) as caught:
        resolve(document, tmp_path, "spec", Overrides())
    told = "spec: models[0].headers: nearest: models are not asked over a network"
    assert str(caught.value) == told
