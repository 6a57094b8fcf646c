"""Models that answer as they did, and models that do not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from crucibench.contracts.adapter import Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.verdict import Status
from crucibench.engine.ask_again import RecheckReport, ask_again, compare_records
from crucibench.engine.listener import Listener
from crucibench.store.run import Run
from crucibench.store.tables import read_table, write_table
from crucibench.util.errors import InputError

DEFAULTS = {"batch_size": 16, "limit": 200}


@pytest.fixture
def run(run_spec: Any, made: list[Run], tmp_path: Path) -> Run:
    """Returns a copy of a run that is made once."""
    if not made:
        made.append(run_spec(defaults=DEFAULTS, out="shared"))
    return Run(shutil.copytree(made[0].root, tmp_path / "out" / made[0].id))


def again(run: Run, tmp_path: Path, batches: int = 1) -> RecheckReport:
    return ask_again(Run(run.root), tmp_path / "scratch", batches=batches, listener=Listener())


def shift(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amount: float
) -> RecheckReport:
    from crucibench_sample.adapter import NearestMean  # type: ignore[import-not-found]

    honest = NearestMean._predict

    def shifted(self: Any, batch: Batch, want: Any) -> Answer:
        return Answer(scores=honest(self, batch, want).scores * (1 + amount))

    monkeypatch.setattr(NearestMean, "_predict", shifted)
    return again(run, tmp_path)


def test_the_same_models_give_the_same_records(run: Run, tmp_path: Path) -> None:
    mapped = [f for f in run.cells.values() if f.kind == "mapped" and f.status is Status.OK]
    for batches in (1, 1000):
        asked = again(run, tmp_path, batches)
        assert asked.differences == [] and asked.unchecked == []
        assert asked.identical == len(mapped) == 6 and asked.noisy == 0
    every = sum(len(run.cell_records(file.cell)) for file in mapped)
    assert asked.rows == every, "all batches are all records"


def test_an_edited_record_is_found(run: Run, tmp_path: Path) -> None:
    name = next(c for c, f in run.cells.items() if f.model == "a" and f.scenario == "noise")
    for path in run.layout.cell(name).glob("records-*.parquet"):
        table = read_table(path)
        values = [1 - value for value in table.column("prediction").to_pylist()]
        column = table.column_names.index("prediction")
        write_table(path, table.set_column(column, "prediction", pa.array(values, pa.int32())))
    asked = again(run, tmp_path)
    assert len(asked.differences) == 1
    due = rf"{name}: (\d+) of \1 records differ in prediction, and in no float: that is not noise"
    assert re.fullmatch(due, asked.differences[0]), asked.differences


def test_another_answer_is_found_and_noise_is_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        asked = shift(run, tmp_path, patch, 1e-7)
        assert asked.differences == []
        assert asked.noisy == 2 and asked.identical == 4, "passes hold scores, the others labels"
        assert 0 < asked.largest < 1e-6
    with monkeypatch.context() as patch:
        found = shift(run, tmp_path, patch, 0.01).differences
        assert len(found) == 2
        assert all(
            "scores lies up to 0.01 from what is stored, which is more th" in s for s in found
        )


def test_a_stage_that_would_ask_about_others_is_found(run: Run, tmp_path: Path) -> None:
    name = next(c for c, f in run.cells.items() if f.model == "b" and f.scenario == "search")
    for path in run.layout.cell(name).glob("records-00-*.parquet"):
        table = read_table(path)
        column = table.column_names.index("broken")
        write_table(path, table.set_column(column, "broken", pa.array([True] * table.num_rows)))
    differences = again(run, tmp_path).differences
    assert len(differences) == 1 and differences[0].startswith(f"{name}: ")


def test_a_random_model_can_not_be_checked(
    run_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_spec(out="other")  # imports the plug-in
    from crucibench_sample.adapter import NearestMean

    honest = NearestMean._predict
    rng = np.random.default_rng(0)

    def random(self: Any, batch: Batch, want: Any) -> Answer:
        scores = honest(self, batch, want).scores
        return Answer(scores=scores + (self.lean > 0) * rng.normal(0, 2, scores.shape))

    monkeypatch.setattr(NearestMean, "_predict", random)
    asked = again(run_spec(defaults=DEFAULTS), tmp_path)
    assert asked.differences == [] and asked.identical == 3
    assert len(asked.unchecked) == 3
    assert all("'b' answers in another way each time" in entry for entry in asked.unchecked)


def test_another_model_or_other_data_are_said_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample.adapter import NearestMean

    with monkeypatch.context() as patch:
        patch.setattr(NearestMean, "fingerprint", lambda self: {"lean": f"{self.lean}?"})
        found = again(run, tmp_path).differences
        assert found == [
            f"model {name!r} is not what it was: its lean is another" for name in ("a", "b")
        ]
    with monkeypatch.context() as patch:
        patch.setattr(NearestMean, "open", lambda opening: 1 / 0)
        found = again(run, tmp_path).differences
        assert len(found) == 2 and all("can't be opened again" in entry for entry in found)
    with monkeypatch.context() as patch:
        patch.setattr(NearestMean, "_predict", lambda self, batch, want: 1 / 0)
        found = again(run, tmp_path).differences
        assert len(found) == 6
        assert all("asking again raised: ZeroDivisionError" in entry for entry in found)


def test_what_is_not_there_as_it_was_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample.source import Stripes  # type: ignore[import-not-found]

    from crucibench.contracts.adapter import Sources

    monkeypatch.setattr(Stripes, "sources", lambda uri, base: Sources(facts={"stripes": "2"}))
    with pytest.raises(InputError, match=r"data\.stripes\.stripes is not what it was when run"):
        again(run, tmp_path)
    text = run.layout.spec.read_text()
    run.layout.spec.write_text(text.replace("stripes: '1'", "live: 'x'"))
    with pytest.raises(InputError, match=r"data\.stripes was a live object"):
        again(run, tmp_path)


def test_tables_are_held_against_each_other_row_by_row() -> None:
    scores = pa.FixedSizeListArray.from_arrays(pa.array([0.0, 1.0, 2.0, 3.0]), 2)
    stored = pa.table(
        {"id": ["x", "y"], "point": ["", ""], "label": [0, 1], "scores": scores, "extra": [1, 2]}
    )
    asked = stored.drop_columns(["extra"])
    assert compare_records(stored, asked).identical
    assert compare_records(stored, asked.take([1, 0])).identical, (
        "rows are matched, not counted off"
    )
    flipped = compare_records(stored, asked.set_column(2, "label", pa.array([0, 2])))
    assert (flipped.flips, flipped.flipped, flipped.largest) == (1, ("label",), 0.0)
    near = pa.FixedSizeListArray.from_arrays(pa.array([0.0, 1.0, 2.0, 3.3]), 2)
    far = compare_records(stored, asked.set_column(3, "scores", near))
    assert far.largest == pytest.approx(0.1) and far.column == "scores"
    nan = pa.FixedSizeListArray.from_arrays(pa.array([0.0, 1.0, 2.0, float("nan")]), 2)
    assert compare_records(stored, asked.set_column(3, "scores", nan)).largest == float("inf")
    assert "2 records are stored, 1 come now" in compare_records(stored, asked.slice(0, 1)).wrong
    other = asked.set_column(0, "id", pa.array(["x", "z"]))
    assert "the first difference: {'id': 'y'" in compare_records(stored, other).wrong
    more = asked.append_column("new", pa.array([1, 2]))
    assert compare_records(stored, more).wrong == "the column 'new' is not stored"
