"""The suite in a run: two models take turns, are scored, verified and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

import crucibench as cb
from crucibench.integrity.verify import verify
from crucibench_suites.throughput import ThroughputConfig


def test_models_take_turns_are_scored_verified_and_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 3))
    labels = (inputs[:, 0] > 0).astype(int)
    models = {
        name: LogisticRegression(C=strength).fit(inputs, labels)
        for name, strength in (("a", 1.0), ("b", 0.1))
    }
    run = cb.run(
        models=models,
        data=(inputs, labels),
        suites=["throughput"],
        settings={
            "throughput.seconds": 0.06, "throughput.rounds": 6,
            "throughput.batch_sizes": [1, 16], "throughput.loads": [0.5],
        },
        defaults={"replicates": 100},
        out=tmp_path,
    )  # fmt: skip
    assert verify(run) == []
    metrics = run.metrics()
    for scenario, point, metric in (
        ("single-stream", "", "latency-p50"),
        ("offline", "knee", "throughput"),
        ("server", "load=0.5", "latency-mean"),
    ):
        rows = metrics[
            (metrics.scenario == scenario) & (metrics.point == point) & (metrics.metric == metric)
        ]
        assert set(rows.model) == {"a", "b"}
        assert (rows.value > 0).all()
        assert rows.comparison_key.nunique() == 1
    codes = {
        finding.code for cell in run.cells.values() for finding in cell.findings
        if cell.suite == "throughput"
    }  # fmt: skip
    assert not codes & {
        "wrong-answers-while-timed", "other-numerics-while-timed", "answers-not-checked",
        "answers-from-a-cache",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scenarios": ["sever"]}, "got 'sever'"),
        ({"scenarios": []}, "at least one"),
        ({"seconds": 0}, "seconds above 0"),
        ({"rounds": 1}, "greater than or equal to 2"),
        ({"batch_sizes": [0]}, "batch sizes"),
        ({"loads": [1.0]}, "between 0 and 1"),
        ({"second": 1}, "second"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ThroughputConfig.model_validate(settings)
