"""What each cell of a run cost: time, passes through the model, memory; and all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crucibench.contracts.verdict import Status
from crucibench.report.provenance import environment_of
from crucibench.store.documents import read_document
from crucibench.util.errors import UnreadableError

if TYPE_CHECKING:
    from crucibench.store.run import Run

SUMMED = (
    "seconds", "cpu_seconds", "device_seconds", "forwards", "backwards", "tasks", "attempts",
)  # fmt: skip
"""What the costs of cells add up to; the peak of memory is the highest of theirs."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What collecting one cell cost; None where it was not measured.

    Attributes:
        cell: its id, or "" for all together.
        seconds: on the wall.
        cpu_seconds: of all threads.
        device_seconds: of an accelerator.
        forwards: samples that went through the model.
        backwards: samples that a gradient came back for.
        peak_memory: bytes of the worker that used most.
        tasks: how many.
        attempts: how many.
        cached: whether the records were taken from the cache.
    """

    cell: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    device_seconds: float | None = None
    forwards: int | None = None
    backwards: int | None = None
    peak_memory: int | None = None
    tasks: int | None = None
    attempts: int | None = None
    cached: bool | None = None


def cost_of(run: Run, cell: str) -> Cost:
    """Returns what a cell cost; a run of an older version knows its wall seconds alone."""
    try:
        timing = read_document(run.layout.timing(cell))
    except UnreadableError:
        timing = None
    facts: dict[str, Any] = timing if isinstance(timing, dict) else {}
    cached = facts.get("cached")
    return Cost(
        cell=cell,
        seconds=_seconds(facts, "seconds"),
        cpu_seconds=_seconds(facts, "cpu_seconds"),
        device_seconds=_seconds(facts, "device_seconds"),
        forwards=_count(facts, "forwards"),
        backwards=_count(facts, "backwards"),
        peak_memory=_count(facts, "peak_memory"),
        tasks=_count(facts, "tasks"),
        attempts=_count(facts, "attempts"),
        cached=cached if isinstance(cached, bool) else None,
    )


def costs(run: Run) -> list[Cost]:
    """Returns what each cell that was not skipped cost."""
    return [
        cost_of(run, name) for name, cell in run.cells.items() if cell.status is not Status.SKIPPED
    ]


def total(found: Sequence[Cost]) -> dict[str, Any]:
    """Returns the costs of all cells together.

    A sum is None where no cell knows the number; ``known`` says how many cells each one is made of.
    """
    sums: dict[str, Any] = {}
    known: dict[str, int] = {}
    for name in (*SUMMED, "peak_memory"):
        values = [value for value in (getattr(cost, name) for cost in found) if value is not None]
        whole = max(values, default=None) if name == "peak_memory" else sum(values)
        sums[name] = None if not values else round(whole, 6) if isinstance(whole, float) else whole
        known[name] = len(values)
    return {
        **sums,
        "cells": len(found),
        "cached": sum(cost.cached is True for cost in found),
        "known": known,
    }


def no_device_seconds(run: Run, found: Sequence[Cost]) -> str:
    """Returns why device seconds are missing, in one sentence, or "" where none is."""
    missing = [cost for cost in found if cost.device_seconds is None]
    if not missing:
        return ""
    if all(cost.cpu_seconds is None for cost in found):
        return "only wall seconds are known: the run holds no other costs"
    if len(missing) < len(found):
        return "device seconds are measured where a task gave an accelerator something to do"
    if str(environment_of(run).get("device", "")).startswith("cpu"):
        return "no device seconds: the models ran on the CPU, and CPU seconds hold their time"
    return "no device seconds: no task gave an accelerator anything to do"


def _seconds(facts: dict[str, Any], name: str) -> float | None:
    value = facts.get(name)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else None  # type: ignore[arg-type]


def _count(facts: dict[str, Any], name: str) -> int | None:
    value = facts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
