"""Parity within a run: do the later models of a track answer as the first? From records alone.

It is a pure function of the run's forward passes over ``test``, so that it needs no model, and is
computed wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crucibench.comparing.parity import (
    Answers,
    Parity,
    measure,
    other_order,
    probabilities,
    rounding,
)
from crucibench.contracts.capability import other_geometry
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Status
from crucibench.store.cells import CellFile
from crucibench.store.run import Run

PASS = ("pass", "test")
"""Suite and scenario whose records are compared."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two models of a track, held against each other.

    Attributes:
        track: its name.
        data: the data set's name.
        first: the track's first model, which is taken to be right.
        second: a later one.
        parity: how far their answers lie apart; None where it is unknown.
        reason: why it is unknown.
    """

    track: str
    data: str
    first: str
    second: str
    parity: Parity | None = None
    reason: str = ""

    @property
    def agree(self) -> bool:
        """Whether they are known to answer alike."""
        return self.parity is not None and self.parity.agree

    def sentence(self) -> str:
        """Returns the outcome as a sentence without a full stop."""
        where = f"on {self.data}"
        if self.parity is None:
            return f"{self.second} can't be held against {self.first} {where}: {self.reason}"
        found = self.parity
        verb = "answers" if self.agree else "does not answer"
        parts = [f"{found.n:,} sample{'s' * (found.n != 1)}"]
        if found.flips is not None:
            parts.append(f"{found.flips:,} label flip{'s' * (found.flips != 1)}")
        if found.largest is not None:
            what = "values" if found.flips is None else "probabilities"
            parts.append(f"{what} at most {found.largest:.2g} apart ({found.tolerance:g} allowed)")
        suspicion = f"; {found.suspicion}" if found.suspicion else ""
        return f"{self.second} {verb} as {self.first} {where}: {', '.join(parts)}{suspicion}"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data."""
        found = self.parity
        return {
            "track": self.track, "data": self.data, "first": self.first, "second": self.second,
            "agree": self.agree, "samples": found.n if found else None,
            "label_flips": found.flips if found else None,
            "largest_difference": found.largest if found else None,
            "tolerance": found.tolerance if found else None,
            "suspicion": found.suspicion if found else "", "reason": self.reason,
        }  # fmt: skip


def pairs_of(run: Run) -> list[Pair]:
    """Returns the pairs that a run was asked to check; none where it was not asked to."""
    tolerance = (run.spec.get("defaults") or {}).get("check_parity")
    if tolerance is None:
        return []
    variants = {model["name"]: model.get("variants") or [] for model in run.spec["models"]}
    pairs = []
    for track in run.spec["tracks"]:
        names = [
            name
            for model in track["models"]
            for name in (model, *(f"{model}@{v}" for v in variants[model] if v != "fp32"))
        ]
        for second in names[1:]:
            pair = Pair(track=track["name"], data=track["data"], first=names[0], second=second)
            pairs.append(_held(run, pair, float(tolerance)))
    return pairs


def exit_code(run: Run) -> int:
    """Returns the run's exit code: 4 also where models that should answer alike do not."""
    return run.exit_code or 4 * (not all(pair.agree for pair in pairs_of(run)))


def _held(run: Run, pair: Pair, tolerance: float) -> Pair:
    cells = {
        cell.model: cell
        for cell in run.cells.values()
        if cell.data == pair.data and (cell.suite, cell.scenario) == PASS
    }
    for name in (pair.first, pair.second):
        if (why := _unusable(cells.get(name), name)) is not None:
            return replace(pair, reason=why)
    first, second = (
        run.cell_records(cells[name].cell).of_draw() for name in (pair.first, pair.second)
    )
    if set(first.ids) != set(second.ids):
        return replace(pair, reason="they were asked about different samples")
    card = run.cards[pair.data]
    what = "values" if card.task.one_number else "scores"
    if what == "scores" and not ("scores" in first and "scores" in second):
        what = "labels"
    ours = _answers(run, first, (pair.first, pair.data), what)
    theirs = _answers(run, second.aligned(first.ids), (pair.second, pair.data), what)
    found = measure(ours, theirs, tolerance, what)
    if not found.agree:
        suspicion = (
            _other_geometry(run, pair)
            or (what == "scores" and other_order(ours, theirs, card.task.classes, tolerance))
            or rounding(found)
            or "crucibench parity asks the models again and looks for the reason"
        )
        found = replace(found, suspicion=suspicion)
    return replace(pair, parity=found)


def _unusable(cell: CellFile | None, name: str) -> str | None:
    if cell is None:
        return f"the run has no forward pass of {name} over test"
    if cell.status is not Status.OK:
        return f"the forward pass of {name} {cell.status}: {cell.reason}"
    return None


def _answers(run: Run, records: Records, model: tuple[str, str], what: str) -> Answers:
    if what == "scores":
        return probabilities(records.array("scores"), run.models[model].score_kind)
    return records.array("prediction").reshape(-1, 1).astype(np.float64)


def _other_geometry(run: Run, pair: Pair) -> str:
    first, second = (run.models[name, pair.data].geometry for name in (pair.first, pair.second))
    apart = other_geometry(first, second)
    return f"they take different canonical inputs: {'; '.join(apart)}" if apart else ""
