"""From end to end: the bundled network on digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import crucibench as cb
import crucibench_adapters
from crucibench.comparing.runs import compare_runs
from crucibench.contracts.verdict import Status
from crucibench_suites.shift import asking

pytestmark = pytest.mark.slow

DEMO = Path(crucibench_adapters.__file__).parent / "demo"
MODELS = {
    name: f"torch:{DEMO}/models.py:{name.partition('-')[0]}?weights={DEMO}/{name}.safetensors"
    for name in ("cnn", "mlp")
}


def run(out: Path, batch: int, **settings: object) -> cb.Run:
    return cb.run(
        models=MODELS,
        data="sklearn:digits?split=0.3",
        suites=["shift"],
        settings={f"shift.{key}": value for key, value in settings.items()},
        defaults={"batch_size": batch},
        out=out,
        workers=0,
        cache=False,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> cb.Run:
    return run(
        tmp_path_factory.mktemp("shift"), 64,
        corruptions=["common", "rotation", "geometric_worst"], severities=[1, 5], samples=120,
        reference="mlp",
    )  # fmt: skip


def value(rows: pd.DataFrame, model: str, scenario: str, metric: str, point: str = "") -> float:
    found = rows[
        (rows.model == model) & (rows.scenario == scenario) & (rows.metric == metric)
        & (rows.point == point)
    ]  # fmt: skip
    return float(found["value"].item())


def test_every_cell_ends_well(done: cb.Run) -> None:
    assert {cell.status for cell in done.cells.values()} == {Status.OK}
    shift = [cell for cell in done.cells.values() if cell.suite == "shift"]
    assert len(shift) == 2 * 18
    assert {str(cell.verdict) for cell in shift} <= {"valid", "suspect"}


def test_corruptions_cost_accuracy_and_more_so_when_severe(done: cb.Run) -> None:
    rows = done.metrics()
    for model in MODELS:
        mild, strong = (
            np.mean(
                [
                    value(rows, model, name, "top-1", f"severity={severity}")
                    for name in ("gaussian_noise", "snow", "contrast", "elastic_transform", "fog")
                ]
            )
            for severity in (1, 5)
        )
        assert strong < mild - 0.05
        assert value(rows, model, "summary", "worst-case-top-1") <= value(
            rows, model, "summary", "worst-corruption-top-1"
        )
        assert value(rows, model, "geometric_worst", "worst-case-top-1") < 0.5
    assert value(rows, "mlp", "summary", "mce") == pytest.approx(100.0)
    assert value(rows, "cnn", "summary", "mce") < 80


def test_batches_and_pieces_change_no_draw(
    done: cb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_PIECE", 64 * 10)
    again = run(
        tmp_path, 37, corruptions=["gaussian_noise", "glass_blur", "snow"], severities=[1, 5],
        samples=120,
    )  # fmt: skip
    for cell in again.cells.values():
        if cell.suite != "shift" or cell.scenario == "summary":
            continue
        first, second = (
            run.cell_records(cell.cell).frame().sort_values(["point", "id"])
            for run in (done, again)
        )
        assert first["id"].tolist() == second["id"].tolist()
        # A pixel may fall to the next of 256 levels, one in some hundreds.
        assert np.allclose(first["distance"], second["distance"], atol=1e-3)
        assert (first["prediction"].to_numpy() == second["prediction"].to_numpy()).mean() > 0.99


def test_two_models_are_compared_on_the_same_corrupted_samples(done: cb.Run) -> None:
    found = compare_runs(done, done, models={"cnn": "mlp"})
    assert not found.refused
    differences = {
        (one.address.scenario, one.address.point, one.address.metric): one
        for one in found.differences
    }
    noise = differences["gaussian_noise", "severity=5", "top-1"]
    assert noise.delta is not None
    assert noise.interval is not None
    assert noise.n == 120
    summary = differences["summary", "", "corrupted-top-1"]
    assert summary.delta is not None
    assert summary.delta > 0
    assert summary.interval is not None


def test_numbers_are_made_again_from_records(done: cb.Run) -> None:
    assert cb.verify(done.root) == []


def test_the_report_shows_a_curve_a_corruption(done: cb.Run) -> None:
    page = (done.root / "report.html").read_text()
    for name in ("gaussian noise", "jpeg compression", "rotation"):
        assert f"Line plot of {name}: accuracy against severity" in page
    assert "Corrupted accuracy" in page
