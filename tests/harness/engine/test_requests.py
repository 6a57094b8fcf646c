"""How often served models are asked: what is planned, refused and skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crucibench.contracts.adapter import Answer, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.plan.requests import _questions, check_requests, planned_requests
from crucibench.engine.resolve.resolve import Overrides, Resolved, resolve
from crucibench.engine.run import execute
from crucibench.store.run import Run
from crucibench.util.errors import InputError


class _Keeping(Listener):
    plan: Plan | None = None

    def planned(self, plan: Plan, inspection: Any) -> None:
        self.plan = plan


@pytest.fixture
def asked(with_plugin: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes the sample model one that is served, and notes the size of each request."""
    from crucibench_sample.adapter import NearestMean
    from crucibench_sample.suite import Search

    sizes: list[int] = []
    original = NearestMean._predict

    def counting(self: Any, batch: Batch, want: Request) -> Answer:
        whole, rest = divmod(len(batch), 20)
        sizes.extend([20] * whole + [rest] * (rest > 0))
        return original(self, batch, want)

    monkeypatch.setattr(NearestMean, "remote", True)
    monkeypatch.setattr(NearestMean, "fingerprint", lambda self: None)
    monkeypatch.setattr(NearestMean, "diagnostics", lambda self: {"request_batch": 20})
    monkeypatch.setattr(NearestMean, "_predict", counting)
    monkeypatch.setattr(Search, "intensive", True)
    return sizes


def _resolved(folder: Path, remote: Mapping[str, Any], **defaults: Any) -> Resolved:
    document = {
        "models": [{"name": "a", "uri": "nearest:0", "remote": dict(remote)}],
        "data": [{"name": "stripes", "uri": "stripes:100"}],
        "defaults": {"batch_size": 32, "limit": 90} | defaults,
    }
    return resolve(document, folder, "spec", Overrides(suites=("sample",)))


def _run(folder: Path, resolved: Resolved, listener: Listener | None = None, **more: Any) -> Run:
    options = RunOptions(
        out=folder / "out", scratch=folder / "scratch", workers=0, cache=False, **more
    )
    done = execute(resolved, options, listener or Listener())
    assert done is not None
    return done


def test_what_asks_often_is_skipped_unless_it_is_allowed(asked: list[int], tmp_path: Path) -> None:
    reason = "it asks a served model many times: remote: {intensive: true} allows it"
    run = _run(tmp_path, _resolved(tmp_path, {}))
    found = {cell.scenario: (cell.status, cell.reason) for cell in run.cells.values()}
    assert found["search"] == found["rounds"] == (Status.SKIPPED, reason)
    assert found["noise"][0] is Status.OK
    run = _run(tmp_path, _resolved(tmp_path, {"intensive": True}))
    assert {cell.status for cell in run.cells.values()} == {Status.OK}


def test_the_plan_says_how_many_requests(asked: list[int], tmp_path: Path) -> None:
    listener = _Keeping()
    resolved = _resolved(tmp_path, {"max_requests": 10_000})
    _run(tmp_path, resolved, listener)
    assert listener.plan is not None
    (found,) = planned_requests(resolved, listener.plan)
    assert (found.model, found.batch, found.allowed) == ("a", 20, 10_000)
    # Skipped: search and rounds. Inspected: 32 samples. The noise cell has three batches of 32, 32
    # and 26 at two strengths, in three shards, each of which asks the 16 probe samples again; these
    # are asked about eight times at first.
    assert found.requests == 2 + (8 + 2 * 3 * 2 + 3)
    assert len(asked) == found.requests


def test_a_plan_beyond_the_limit_is_refused(asked: list[int], tmp_path: Path, refusal: Any) -> None:
    assert refusal(
        InputError, lambda: _run(tmp_path, _resolved(tmp_path, {"max_requests": 24}))
    ) == (
        "model 'a': the plan needs about 25 requests, remote.max_requests allows 24: nothing was "
        "collected; allow more, or ask about fewer samples (--limit)"
    )
    assert len(asked) == 2 and not (tmp_path / "out").exists()
    _run(tmp_path, _resolved(tmp_path, {"max_requests": 25}))


@pytest.mark.parametrize("limit", ["max_requests", "requests_per_second"])
def test_limits_hold_for_one_worker(
    asked: list[int], tmp_path: Path, limit: str, refusal: Any
) -> None:
    listener = _Keeping()
    resolved = _resolved(tmp_path, {limit: 1000})
    _run(tmp_path, resolved, listener)
    assert listener.plan is not None
    check_requests(resolved, listener.plan, 1)
    assert refusal(InputError, lambda: check_requests(resolved, listener.plan, 4)) == (
        f"model 'a': remote.{limit}: each worker keeps it for itself, and 4 would ask 4 times as "
        "often: expected --workers 1 or 0"
    )
    check_requests(_resolved(tmp_path, {"concurrency": 4}), listener.plan, 4)


@dataclass(frozen=True, kw_only=True)
class _Points(Mapped):
    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        raise AssertionError("only planned")


def test_a_mean_over_points_is_not_asked_for() -> None:
    task = Task(kind="classification", modality=Modality.TABLE, classes=("a", "b"))
    model = ModelInfo(
        name="m", uri="test:m", capabilities=frozenset(), score_kind="logits", geometry={},
        fingerprint=None,
    )  # fmt: skip
    card = DataCard(name="d", uri="test:d", task=task, counts={"test": 100})

    def asked_for(*points: str) -> list[int]:
        scenario = _Points(suite="s", name="n", points=points)
        cell = PlannedCell(id="c", scenario=scenario, model=model, data=card, batch_size=32)
        return list(_questions(cell))

    assert asked_for("", "severity=1", "severity=3") == asked_for("severity=1", "severity=3")
    assert sum(asked_for("severity=1", "severity=3")) == sum(asked_for("")) + 100
