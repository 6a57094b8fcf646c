"""Cold starts: scripted ones, and a model in real processes whose parts are known to sleep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import crucibench as cb
from crucibench.cli._app import application
from crucibench.contracts.adapter import Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import FreshStart
from crucibench.integrity.verify import verify
from crucibench.stats import student_t
from crucibench_suites.throughput.regimes import ColdStart

from .conftest import Measure

MODEL = """
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
    (folder / "models.py").write_text(MODEL)
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
