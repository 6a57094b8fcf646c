"""With and without loading and preprocessing: scripted parts, a model in a run, and a slow file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import crucibench as cb
from crucibench.cli._app import application
from crucibench.contracts.adapter import Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.scenario import FreshStart
from crucibench.integrity.verify import verify
from crucibench.metrics.scoring import score
from crucibench.stats import student_t
from crucibench_suites.throughput.regimes import ColdStart, EndToEnd, Sustained

from .conftest import READING, Measure, Scripted, ScriptedClock

END_TO_END = EndToEnd(seconds=0.2, turns=2)
ENCODING, MODEL = 2e-4, 1e-3


class Encoding(Scripted):
    """Takes 0.2 ms a sample to encode, and 1 ms a batch to answer."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.capabilities |= {Capability.GRADIENTS}
        self.batches: dict[int, Batch] = {}

    def encode(self, batch: Batch) -> torch.Tensor:
        self.clock.work(ENCODING * len(batch))
        column = torch.from_numpy(batch.inputs["x"].to_numpy().copy())
        return torch.stack([-column, column], dim=1)

    def timed(self, batch: Batch) -> object:
        return self.timed_encoded(self.encode(batch))

    def timed_encoded(self, inputs: torch.Tensor) -> object:
        self.clock.work(MODEL)
        return Answer(scores=inputs.numpy())


@pytest.mark.parametrize("size", [1, 64])
def test_each_place_has_what_lies_behind_it(measure: Measure, size: int) -> None:
    found = measure(END_TO_END, adapter=Encoding)
    expected = {"encoded": MODEL, "sample": MODEL + ENCODING * size}
    expected["source"] = expected["sample"] + READING * size
    for start, seconds in expected.items():
        point = f"from={start},batch={size}"
        assert found.rows["latency-mean", point].value == pytest.approx(1e3 * seconds, rel=1e-3)
        assert found.rows["throughput", point].value == pytest.approx(size / seconds, rel=1e-3)
        ratio = found.rows["prepared-ratio", point]
        assert ratio.value == pytest.approx(seconds / expected["sample"], rel=1e-3)
    assert found.findings == {}


def test_the_table_says_what_is_inside(measure: Measure) -> None:
    class OnCuda(Encoding):
        device = "cuda:0"

    told = {}
    for adapter in (Encoding, OnCuda):
        scenario = EndToEnd(seconds=0.05, turns=2)
        found = measure(scenario, adapter=adapter)
        table = score(scenario, found.evidence).tables["inside"]
        told[adapter] = table[table.batch == 1].set_index("from")
    inside = told[OnCuda]
    assert inside.reading_and_decoding.to_dict() == {
        "source": "inside", "sample": "outside", "encoded": "outside",
    }  # fmt: skip
    assert inside.preprocessing.to_dict() == {
        "source": "inside", "sample": "inside", "encoded": "outside",
    }  # fmt: skip
    assert inside.copy_to_the_device.to_dict() == inside.preprocessing.to_dict()
    assert set(told[Encoding].copy_to_the_device) == {"there is none"}


def test_a_model_that_torch_cannot_look_into_has_two_places(measure: Measure) -> None:
    found = measure(END_TO_END)
    row = found.rows["latency-p50", "from=encoded,batch=1"]
    assert row.value is None
    assert row.reason == "torch can't look into the model: its preprocessing is a part of it"
    sample, source = (
        found.rows["latency-p50", f"from={start},batch=1"].value for start in ("sample", "source")
    )
    assert source - sample == pytest.approx(1e3 * READING, rel=1e-3)
    assert found.findings == {}


def test_answers_to_what_was_read_anew_are_checked(measure: Measure) -> None:
    class Hasty(Encoding):
        def timed_encoded(self, inputs: torch.Tensor) -> object:
            return Answer(scores=np.tile([[1.0, -1.0]], (len(inputs), 1)))

    assert "wrong-answers-while-timed" in measure(END_TO_END, adapter=Hasty).findings


class Small(torch.nn.Module):
    crucibench_input = {"size": [8, 8], "range": [0, 1], "channels": 1}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(64, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layer(pixels.flatten(1))


def test_images_are_decoded_anew_for_each_query(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (600, 600), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    run = cb.run(
        models={"small": Small()},
        data=f"imagefolder:{tmp_path / 'photos'}",
        suites=["throughput"],
        settings={
            "throughput.seconds": 0.1, "throughput.rounds": 2,
            "throughput.scenarios": ["end-to-end"],
        },
        defaults={"replicates": 100},
        out=tmp_path / "out",
    )  # fmt: skip
    assert verify(run) == []
    (cell,) = (cell for cell in run.cells.values() if cell.scenario == "end-to-end")
    assert str(cell.status) == "ok", cell.reason
    codes = {finding.code for finding in cell.findings}
    assert not codes & {"wrong-answers-while-timed", "other-numerics-while-timed"}
    rows = run.metrics().query("metric == 'latency-mean'").set_index("point").value
    source, sample, encoded = (
        rows[f"from={start},batch=1"] for start in ("source", "sample", "encoded")
    )
    # Decoding 360,000 pixels takes far longer than multiplying 64 numbers twice.
    assert source > 3 * max(sample, encoded)


# Cold starts: scripted ones, and a model in real processes whose parts are known to sleep.

MODEL_COLD = """
import time

import numpy as np
from sklearn.linear_model import LogisticRegression


class Lazy(LogisticRegression):
    def predict_proba(self, X):
        if not hasattr(self, "ready_"):
            time.sleep(0.2)
            self.ready_ = True
        return super().predict_proba(X)


def lazy():
    time.sleep(0.3)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    return Lazy().fit(X, (X[:, 0] > 0).astype(int))


def short_lived():
    import os

    if os.environ.get("CRUCIBENCH_TEST_DIES"):
        print("the weights are gone")
        os._exit(3)
    return lazy()
"""

SPEC = """
schema_version: 1
defaults: {batch_size: 16, replicates: 100}
models:
  - {name: lazy, uri: "sklearn:models.py:FACTORY"}
data:
  - {name: points, uri: "csv:points.csv?target=y"}
suites:
  throughput: {scenarios: [cold-start], starts: 2}
tracks:
  - {name: all, models: [lazy], data: points, suites: [throughput]}
"""


def run(folder: Path, factory: str) -> cb.Run:
    rng = np.random.default_rng(1)
    rows = [f"{a:.6f},{b:.6f},{int(a > 0)}" for a, b in rng.normal(size=(30, 2))]
    (folder / "points.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    (folder / "models.py").write_text(MODEL_COLD)
    (folder / "spec.yaml").write_text(SPEC.replace("FACTORY", factory))
    arguments = ["run", str(folder / "spec.yaml"), "--out", str(folder / "out"), "--workers", "0"]
    CliRunner().invoke(application, arguments)
    (found,) = (folder / "out").iterdir()
    return cb.load(found)


def test_a_new_process_loads_and_answers_and_says_how_long_each_took(tmp_path: Path) -> None:
    found = run(tmp_path, "lazy")
    assert verify(found) == []
    rows = found.metrics().set_index("metric").value
    # Sleeps are a lower bound, and of what the machine adds nothing is known but that it is there.
    assert rows["model-load"] >= 300
    assert rows["cold-call"] >= 200
    assert rows["later-call"] < rows["cold-call"] - 150
    assert rows["model-prepare"] == 0
    assert rows["process-start"] > 20
    parts = rows[["process-start", "model-load", "model-prepare", "cold-call"]].sum()
    assert rows["cold-start"] == pytest.approx(parts)
    assert rows["process-memory"] > 20
    (cell,) = (cell for cell in found.cells.values() if cell.scenario == "cold-start")
    assert {finding.code for finding in cell.findings} <= {"unsteady-starts"}


def test_a_process_that_ends_is_a_failure_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench.engine.worker import cold_start

    main = cold_start._MAIN
    monkeypatch.setattr(
        cold_start, "_MAIN", f"import os; os.environ['CRUCIBENCH_TEST_DIES'] = '1'; {main}"
    )
    found = run(tmp_path, "short_lived")
    (cell,) = (cell for cell in found.cells.values() if cell.scenario == "cold-start")
    assert str(cell.status) == "failed"
    assert "exit code 3 before it answered: the weights are gone" in cell.reason


class Starts:
    """Processes of scripted times."""

    def __init__(self, loads: list[float], sign: float = 1.0, *, readable: bool = True) -> None:
        self.loads = iter(loads)
        self.sign = sign
        self.readable = readable

    def __call__(self, batch: Batch, calls: int) -> FreshStart:
        column = self.sign * batch.inputs["x"].to_numpy()
        answer = Answer(scores=np.stack([-column, column], axis=1))
        return FreshStart(
            process=0.5, load=next(self.loads), prepare=0.25,
            calls=(0.125, *[0.001] * (calls - 1)), memory=3 * 2**20,
            answer=answer if self.readable else None,
        )  # fmt: skip


def cold(turns: int) -> ColdStart:
    return ColdStart(turns=turns)


def test_the_parts_of_a_start_and_their_sum(measure: Measure) -> None:
    loads = [1.0, 1.1, 0.9, 1.0]
    found = measure(cold(4), start=Starts(loads))
    rows = {metric: row for (metric, _), row in found.rows.items()}
    assert rows["cold-start"].value == pytest.approx(1875)
    interval = student_t(1875 + 1e3 * (np.array(loads) - 1))
    assert (rows["cold-start"].lower, rows["cold-start"].upper) == pytest.approx(interval[:2])
    assert rows["model-load"].value == pytest.approx(1000)
    assert rows["model-prepare"].value == pytest.approx(250)
    assert rows["cold-call"].value == pytest.approx(125)
    assert rows["later-call"].value == pytest.approx(1)
    assert rows["process-memory"].value == 3
    assert found.findings == {}


def test_live_objects_have_no_cold_start_and_say_why(measure: Measure) -> None:
    found = measure(cold(4))
    assert {row.value for row in found.rows.values()} == {None}
    assert all("live objects" in (row.reason or "") for row in found.rows.values())
    assert found.findings == {}


def test_what_is_off_about_a_start_is_told(measure: Measure) -> None:
    assert set(measure(cold(4), start=Starts([1, 3, 1, 2])).findings) == {"unsteady-starts"}
    wrong = measure(cold(4), start=Starts([1.0] * 4, sign=-1.5)).findings
    assert set(wrong) == {"wrong-answers-while-timed"}
    mute = measure(cold(4), start=Starts([1.0] * 4, readable=False)).findings
    assert set(mute) == {"answers-not-checked"}


# After a rest and sustained: models that slow down when hot, and steady ones.

STRETCH = 2.0
SUSTAINED = Sustained(seconds=STRETCH, turns=5, samples=8)


class Hot(ScriptedClock):
    """Heats up by work and cools at rest: temperature from 0 to 1, with a time of 0.3 s."""

    heat = 0.0

    def until(self, instant: int) -> None:
        rest = max(0, instant - self.instant) * 1e-9
        self.heat *= math.exp(-rest / 0.1)
        super().until(instant)

    def work(self, seconds: float) -> None:
        self.heat += (1 - self.heat) * (1 - math.exp(-seconds / 0.3))
        super().work(seconds)


def test_a_steady_model_keeps_up(measure: Measure) -> None:
    found = measure(SUSTAINED, 1e-3)
    assert found.rows["sustained-ratio", "sustained"].value == pytest.approx(1, rel=1e-6)
    for point in ("burst", "sustained"):
        assert found.rows["latency-p50", point].value == pytest.approx(1, rel=1e-3)
        assert found.rows["throughput", point].value == pytest.approx(8000, rel=1e-3)
    assert found.findings == {}
    table = score(found.scenario, found.evidence).tables["stretch"]
    assert table.seconds.iloc[[0, -1]].tolist() == pytest.approx([0.05, 1.95])


@pytest.mark.parametrize("seed", range(3))
def test_jitter_is_no_slowdown(measure: Measure, seed: int) -> None:
    times = 1e-3 * (1 + np.random.default_rng(seed).gamma(2, 0.05, 100_000))
    assert measure(SUSTAINED, lambda call, batch: times[call]).findings == {}


def test_a_model_that_is_throttled_when_hot_is_told(measure: Measure) -> None:
    clock = Hot()
    found = measure(SUSTAINED, lambda call, batch: 1e-3 * (1 + 0.5 * clock.heat), clock=clock)
    assert set(found.findings) == {"slower-when-sustained"}
    ratio = found.rows["sustained-ratio", "sustained"]
    # Hot it takes 1.5 ms; the burst, a tenth of a stretch, begins at 1 ms.
    assert 1.15 < ratio.value < 1.5
    assert ratio.lower <= ratio.value <= ratio.upper
    assert found.rows["latency-p50", "sustained"].value == pytest.approx(1.5, rel=0.01)
    assert found.rows["throughput", "burst"].value > found.rows["throughput", "sustained"].value
    table = score(found.scenario, found.evidence).tables["stretch"]
    assert table.latency_p50_ms.iloc[0] < 1.3 < 1.49 < table.latency_p50_ms.iloc[-1]


def test_a_leak_that_no_rest_heals_is_told(measure: Measure) -> None:
    """Every call takes a little longer than the one before, whatever lies between."""
    found = measure(SUSTAINED, lambda call, batch: 1e-3 * (1 + 1e-4 * call)).findings
    assert "slower" in found["drift"].message
    assert found["drift"].evidence["change"] > 0.2


def test_a_quick_model_is_asked_on_though_few_queries_are_kept(measure: Measure) -> None:
    clock = ScriptedClock()
    short = Sustained(seconds=STRETCH, turns=2, samples=8)
    found = measure(short, 3e-5, clock=clock)
    # 20 windows of 2,500 at most, of 3,333 that fit in; the stretch lasts as long as it should.
    kept = found.evidence.own.records.array("phase") == "query"
    assert kept.sum() == 2 * 20 * 2500
    assert clock.instant * 1e-9 > 2 * STRETCH * 1.25
    assert found.rows["throughput", "sustained"].value == pytest.approx(8 / 3e-5, rel=0.01)
