"""One run with a scenario of each kind, from a third party's package."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crucibench as cb
from crucibench.contracts.rows import COLUMNS
from crucibench.contracts.verdict import Status, Verdict
from crucibench.engine.listener import Listener
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.score.rescore import rescore
from crucibench.integrity.verify import verify
from crucibench.store.cells import CellFile
from crucibench.store.manifest import digests
from crucibench.store.run import Run
from crucibench.store.tables import read_frame, write_frame
from crucibench.tasks.classification.view import view_of_pass

TIMED = "sample-rounds"


def cell(run: Run, model: str, address: str) -> CellFile:
    suite, _, scenario = address.partition("/")
    found = [
        file for file in run.cells.values()
        if (file.model, file.suite, file.scenario) == (model, suite, scenario)
    ]  # fmt: skip
    assert len(found) == 1, f"{address} of {model}: {len(found)} cells"
    return found[0]


def results(run: Run) -> dict[str, str]:
    """Digests of all that must be the same bytes: timings and what holds them are exempt."""
    return {name: value for name, value in digests(run.layout).items() if TIMED not in name}


def rows(run: Run) -> Any:
    frame = run.metrics()
    return frame[frame.scenario != "rounds"].reset_index(drop=True)


@pytest.fixture
def finished(run_spec: Any, made: list[Run]) -> Run:
    """Returns a run of the usual spec, made once; tests only read it."""
    if not made:
        made.append(run_spec())
    return made[0]


def test_a_run_holds_what_the_design_says(finished: Run) -> None:
    run = finished
    assert {file.status for file in run.cells.values()} == {Status.OK}
    assert run.exit_code == 0
    assert tuple(run.metrics().columns) == COLUMNS
    for name in (
        "spec.yaml", "environment/main.json", "samples/stripes/test.parquet",
        "samples/stripes/card.json", "metrics.parquet", "events.jsonl", "manifest.json",
    ):  # fmt: skip
        assert (run.root / name).is_file(), name
    assert len(run.samples("stripes", "test")) == 300
    assert run.cards["stripes"].task.classes == ("horizontal", "vertical")
    assert verify(run) == []


def test_a_mapped_scenario_draws_by_sample_whatever_the_batches(run_spec: Any) -> None:
    frames = {}
    for size in (1, 7, 256):
        run = run_spec(
            defaults={"batch_size": size}, out=f"out{size}", models={"a": "nearest:0"},
            data="stripes:100",
        )  # fmt: skip
        frames[size] = run.records(cell(run, "a", "sample/noise").cell)
        frames[size] = frames[size].sort_values(["point", "id"]).reset_index(drop=True)
    for size in (1, 7):
        assert (frames[size].id == frames[256].id).all()
        assert (frames[size].drawn == frames[256].drawn).all(), "draws depend on the batch"
        assert (frames[size].prediction == frames[256].prediction).mean() > 0.99
    shared = frames[256].pivot_table(index="id", columns="point", values="drawn")
    assert (shared["sigma=0.1"] == shared["sigma=0.3"]).all(), "severities share draws"


def test_models_share_draws(finished: Run) -> None:
    run = finished
    first, second = (run.records(cell(run, m, "sample/noise").cell) for m in ("a", "b"))
    assert (first.drawn == second.drawn).all() and (first.id == second.id).all()


def test_stages_meet_only_what_the_stages_before_left(run_spec: Any) -> None:
    run = run_spec(defaults={"batch_size": 16})
    file = cell(run, "b", "sample/search")
    records = run.records(file.cell)
    assert [stage.name for stage in file.stages] == ["weak", "strong", "strongest"]
    clean = run.records(cell(run, "b", "pass/test").cell).set_index("id").prediction
    samples = run.samples("stripes", "test")
    target = dict(zip(samples.ids, samples.targets, strict=True))
    left = None
    for stage in file.stages:
        now = records[records.stage == stage.name]
        assert len(now) == stage.samples
        if left is None:
            assert all(clean[i] == target[i] for i in now.id), "misclassified points never enter"
            assert len(now) <= 150
        else:
            assert set(now.id) == left, "survivors of the whole set are re-batched"
        left = set(now.id[~now.broken])
    assert file.stages[0].samples > file.stages[-1].samples > 0


def test_a_derived_scenario_reads_the_cells_of_two_models(finished: Run) -> None:
    run = finished
    file = cell(run, "a", "sample/agreement")
    assert file.needs == {
        "own": cell(run, "a", "pass/test").cell, "reference": cell(run, "b", "pass/test").cell,
    }  # fmt: skip
    a, b = (run.records(cell(run, m, "pass/test").cell).prediction for m in ("a", "b"))
    found = run.metrics().query("model == 'a' and metric == 'agreement'")
    assert found.value.item() == pytest.approx((a == b).mean())


def test_timed_scenarios_take_turns(finished: Run) -> None:
    run = finished
    a, b = (run.records(cell(run, m, "sample/rounds").cell) for m in ("a", "b"))
    assert a["round"].tolist() == b["round"].tolist() == list(range(6))
    order = np.argsort(np.concatenate([a.begun, b.begun]))
    assert order.tolist() == [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11], "rounds are A B A B"


def test_the_same_run_twice_is_the_same_bytes(run_spec: Any, finished: Run) -> None:
    first, second = finished, run_spec(out="two")
    assert first.id == second.id
    assert results(first) == results(second)
    assert rows(first).equals(rows(second))


def test_a_finished_run_is_not_run_again(run_spec: Any) -> None:
    run = run_spec()
    before = run.layout.manifest.stat().st_mtime_ns
    heard: list[str] = []

    class Ear(Listener):
        def note(self, message: str) -> None:
            heard.append(message)

    again = run_spec(listener=Ear())
    assert again.id == run.id and heard == []
    assert again.layout.manifest.stat().st_mtime_ns == before


class _Stop(Listener):
    """Interrupts after so many batches, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def _thorough(*values: int) -> list[Any]:
    return [pytest.param(value, marks=pytest.mark.thorough) for value in values]


@pytest.mark.parametrize("after", [*_thorough(0, 3), 11, 40, *_thorough(60)])
def test_an_interrupted_run_resumes_to_the_same_bytes(run_spec: Any, after: int) -> None:
    setting = {"data": "stripes:160", "defaults": {"batch_size": 8}}
    whole = run_spec(out="whole", **setting)
    with pytest.raises(KeyboardInterrupt):
        run_spec(out="cut", listener=_Stop(after), **setting)
    resumed = run_spec(out="cut", **setting)
    assert results(resumed) == results(whole)
    assert rows(resumed).equals(rows(whole))
    assert verify(resumed) == []


def test_resuming_asks_no_shard_twice(run_spec: Any, tmp_path: Path) -> None:
    setting = {"data": "stripes:160", "defaults": {"batch_size": 8}}
    with pytest.raises(KeyboardInterrupt):
        run_spec(listener=_Stop(30), **setting)
    shards = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("records-*.parquet")}
    assert shards
    run_spec(**setting)
    for path, changed in shards.items():
        assert path.stat().st_mtime_ns == changed, f"{path.name} was collected again"


def test_a_damaged_shard_is_collected_again(run_spec: Any, tmp_path: Path) -> None:
    whole = run_spec(out="whole")
    with pytest.raises(KeyboardInterrupt):
        run_spec(out="cut", listener=_Stop(4))
    shard = next((tmp_path / "cut").rglob("records-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:50])
    assert results(run_spec(out="cut")) == results(whole)


def test_scoring_again_changes_nothing_and_needs_no_model(
    run_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_spec()
    before = digests(run.layout), run.metrics()
    from crucibench_sample.adapter import NearestMean  # type: ignore[import-not-found]
    from crucibench_sample.source import Stripes  # type: ignore[import-not-found]

    monkeypatch.setattr(NearestMean, "open", None)
    monkeypatch.setattr(Stripes, "read", None)
    shutil.rmtree(tmp_path / "scratch")
    again = rescore(Run(run.root))
    assert digests(again.layout) == before[0]
    assert again.metrics().equals(before[1])


def test_views_of_large_passes_are_made_again_for_each_cell_and_numbers_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame({"x": np.linspace(-2, 2, 200), "sex": ["f", "m"] * 100})
    frame["y"] = frame.x.round(2) * 100 % 3 > 0
    made: list[int] = []
    view = view_of_pass

    def counted(*given: Any) -> Any:
        made.append(1)
        return view(*given)

    def found(out: str) -> tuple[int, pd.DataFrame]:
        made.clear()
        run = cb.run(
            models={"m": lambda table: np.stack([0 * table.x + 0.4, 0 * table.x + 0.6], axis=1)},
            data=frame, data_options={"target": "y", "groups": ["sex"]},
            suites=["accuracy", "bias"], workers=0, out=tmp_path / out, cache=False,
        )  # fmt: skip
        return len(made), run.metrics().drop(columns="cell")

    monkeypatch.setattr("crucibench.tasks.classification.view.view_of_pass", counted)
    kept = found("kept")
    monkeypatch.setattr("crucibench.engine.score.score._MOST_VIEWED", 0)
    again = found("again")
    assert again[0] > kept[0]
    assert again[1].equals(kept[1])


def test_verify_finds_an_edited_number(run_spec: Any) -> None:
    run = run_spec()
    frame = read_frame(run.layout.metrics)
    frame.loc[0, "value"] += 0.01
    write_frame(run.layout.metrics, frame)
    found = verify(Run(run.root))
    assert len(found) == 2
    assert found[0].startswith("metrics.parquet: not what was scored")
    assert "value is" in found[1] and "the records give" in found[1]


def test_a_limit_keeps_a_stratified_subset_and_a_smaller_one_is_within(run_spec: Any) -> None:
    ids, searched = {}, {}
    for limit in (80, 200):
        run = run_spec(defaults={"limit": limit}, out=f"out{limit}")
        samples = run.samples("stripes", "test")
        ids[limit] = set(samples.ids)
        assert len(samples) == limit
        share = run_spec(out="all").samples("stripes", "test").targets.mean()
        assert abs(samples.targets.mean() - share) <= 1 / limit
        assert verify(run) == []
        searched[limit] = set(run.records(cell(run, "a", "sample/search").cell).id)
    assert ids[80] < ids[200]
    assert searched[80] <= ids[80]
    assert len(searched[200]) <= 150 and searched[200] < ids[200]


def test_every_difference_of_the_model_changes_the_identity(run_spec: Any) -> None:
    first = run_spec(models={"a": "nearest:0"}, out="one")
    second = run_spec(models={"a": "nearest:0.5"}, out="two")
    one, two = (cell(run, "a", "pass/test") for run in (first, second))
    assert one.identity is not None and two.identity is not None
    assert one.identity.digest != two.identity.digest
    assert one.comparison == two.comparison, "the comparison key leaves the model out"


def test_findings_of_a_pass_reach_the_cells_that_need_it(
    run_spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_spec()  # imports the plug-in
    from crucibench_sample.adapter import NearestMean

    honest = NearestMean._predict
    rng = np.random.default_rng(0)

    def random(self: Any, batch: Any, want: Any) -> Any:
        outputs = honest(self, batch, want)
        return type(outputs)(scores=outputs.scores + rng.normal(0, 2, outputs.scores.shape))

    monkeypatch.setattr(NearestMean, "_predict", random)
    run = run_spec(out="random")
    assert cell(run, "a", "pass/test").verdict is Verdict.SUSPECT
    needing = cell(run, "a", "sample/search")
    assert needing.verdict is Verdict.SUSPECT
    assert [(f.code, f.cell) for f in needing.findings] == [
        ("non-deterministic-output", cell(run, "a", "pass/test").cell)
    ]
    assert cell(run, "a", "sample/noise").verdict is Verdict.VALID
