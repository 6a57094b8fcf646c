"""A metric that a suite computes and does not list fails its cell in one sentence, and loudly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from crucibench.contracts.verdict import Status
from crucibench.report.findings import nothing_found
from crucibench.store.run import Run
from crucibench_suites.accuracy.scenario import METRICS

Call = Callable[..., Result]

COMMAND = (
    *("run", "--model", "sklearn:models.py:logistic", "--data", "sklearn:wine"),
    *("--suite", "accuracy", "--limit", "40"),
)


@pytest.fixture
def failed(call: Call, folder: Path) -> Callable[[], tuple[str, Run]]:
    """Returns a function that runs the command, whose cell must fail: its reason, and the run."""

    def run() -> tuple[str, Run]:
        done = call(*COMMAND)
        assert done.exit_code == 4, done.stderr
        (root,) = (folder / "results").iterdir()
        found = Run(root)
        (cell,) = (cell for cell in found.cells.values() if cell.suite == "accuracy")
        assert cell.status is Status.FAILED
        assert cell.detail == "", "a sentence, and no traceback"
        assert f"accuracy/clean failed: {cell.reason}" in done.stderr
        assert "The audits found nothing." not in done.stderr
        told = " ".join(done.stderr.split())
        assert "found nothing in the 1 cell that ran; 1 cell failed and was not audited." in told
        page = found.layout.report.read_text(encoding="utf-8")
        assert "No audit found a fault." not in page
        assert "1 cell failed and was not audited." in page
        return cell.reason, found

    return run


def test_a_metric_that_a_scenario_does_not_list_is_named(
    failed: Callable[[], tuple[str, Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = tuple(metric for metric in METRICS if metric.id != "mcc")
    monkeypatch.setattr("crucibench_suites.accuracy.scenario.METRICS", fewer)
    reason, run = failed()
    assert reason == (
        "accuracy/clean computes metric 'mcc', which it does not list: add it to the metrics of "
        "Clean"
    )
    whole = list(run.cells.values())
    alone = [cell for cell in whole if cell.status is Status.FAILED]
    assert nothing_found(alone) == "Nothing was audited: 1 cell failed and was not audited."
    ok = [cell for cell in whole if cell.status is Status.OK]
    assert nothing_found(ok) == "The audits found nothing."
    assert nothing_found([]) == "No cell ran to the end: nothing was audited."
