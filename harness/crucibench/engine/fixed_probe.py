"""The fixed probe: a few samples whose answers show changes that a fingerprint misses.

A fingerprint can miss something that moves a model's answers: an environment variable, a file that
an imported helper read. So inspection asks every model that has one about the same samples, chosen
by content alone, a few at a time; the answer is stored with each cell that is kept, and what was
kept is used only where the model still answers so.
"""

from __future__ import annotations

import base64
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import EvalSet
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.lists import Lists
from crucibench.engine.plan.plan import PlannedCell
from crucibench.passes.scenario import best_answer
from crucibench.util.draws import Draws
from crucibench.util.memory import free_memory, is_out_of_memory

_SAMPLES = 16
_AT_ONCE = 4
"""Always: what is asked for must not depend on how much memory there is."""
_GRADIENTS = 4
_DIRECTIONS = 8
_BLOCK = 65536
_SPREADS = 2.0
"""By how many times the distance of two askings a third may differ."""
_GRADIENT_NOISE = 10.0
"""How many times the noise of an answer that of its gradient may be, relative to its length."""
_DRAWS = Draws(0, "engine/fixed-probe")

Numbers = NDArray[np.float64]
CellProbe = Mapping[str, Mapping[str, Any]]
"""What the models that a cell's records come from answer, by the way to them: "" is the cell's own
model, ``/ALIAS`` that of a cell it needs."""


@dataclass(frozen=True, kw_only=True)
class ProbeAnswer:
    """What one model answers to the fixed probe.

    Attributes:
        kind: ``scores``, ``values`` or ``labels``.
        answers: of the first asking, shape (samples, columns).
        spread: how far the second lies from it at most, relative to the larger of an answer and 1;
            of labels, how many are others.
        noise: how far float noise alone may move an answer, `ModelInfo.noise`.
        gradient: of a fixed combination of the logits of a few samples, by sample its length and
            its products with fixed directions; None where there is none.
        gradient_spread: how far that of a second asking lies from it, relative to its length.
    """

    kind: str
    answers: Numbers
    spread: float
    noise: float
    gradient: Numbers | None = None
    gradient_spread: float = 0.0

    def as_dict(self, *, gradient: bool) -> dict[str, Any]:
        """Returns plain data, as it is stored; without the gradient unless it is asked for."""
        found = {
            "kind": self.kind, "answers": _packed(self.answers), "spread": self.spread,
            "noise": self.noise,
        }  # fmt: skip
        if gradient and self.gradient is not None:
            found |= {"gradient": _packed(self.gradient), "gradient_spread": self.gradient_spread}
        return found


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """How a model's answer differs from the stored one.

    Attributes:
        what: ``answers`` or ``gradients``.
        differ: samples whose answer is another.
        samples: of so many.
        apart: how far at most, relative to the larger of an answer and 1, or to the length of the
            gradient.
        whose: the way to the model: "" for the cell's own.
    """

    what: str
    differ: int
    samples: int
    apart: float
    whose: str = ""


def fixed_probe_rows(evalset: EvalSet) -> tuple[int, ...]:
    """Returns the rows of the role test that the fixed probe holds: those of the smallest ids."""
    count = evalset.card.counts.get("test", 0)
    smallest: list[tuple[str, int]] = []
    for start in range(0, count, _BLOCK):
        rows = range(start, min(start + _BLOCK, count))
        ids = evalset.slice("test", rows).names.column
        at = pc.bottom_k_unstable(ids, _SAMPLES)  # no id stands there twice
        smallest += zip(ids.take(at).to_pylist(), (at.to_numpy() + start).tolist(), strict=True)
    return tuple(row for _, row in heapq.nsmallest(_SAMPLES, smallest))


def ask_probe(
    adapter: Adapter, evalset: EvalSet, rows: Sequence[int], info: ModelInfo
) -> ProbeAnswer | None:
    """Asks a model about the fixed probe, twice.

    None for a model without a fingerprint, whose cells are never taken from anywhere, and for one
    that can't answer: its cells will say why.
    """
    if info.fingerprint is None or not rows:
        return None
    try:
        batch = evalset.batch("test", np.asarray(rows, dtype=np.int64), adapter.input_spec)
        want = best_answer(evalset.task, info)
        (kind,) = want
        first, second = (_answers(adapter, batch, want) for _ in range(2))
    except Exception as error:
        if is_out_of_memory(error):
            free_memory()
        return None
    spread = _apart(kind, second, first)
    gradient, gradient_spread = _gradient(adapter, batch, info)
    return ProbeAnswer(
        kind=kind, answers=first, noise=info.noise,
        spread=float(spread.sum() if kind == "labels" else spread.max()),
        gradient=gradient, gradient_spread=gradient_spread,
    )  # fmt: skip


def cell_probe(
    cell: PlannedCell,
    cells: Mapping[str, PlannedCell],
    answers: Mapping[tuple[str, str], ProbeAnswer],
) -> dict[str, dict[str, Any]] | None:
    """Returns what is stored with a cell: what each model that its records come from answers.

    Models without a fingerprint are left out: `passes.repeats` watches that they don't change.
    None if another one has no answer, so that a change would not show.
    """
    found: dict[tuple[str, str], tuple[str, bool]] = {}
    _walk(cell, cells, "", found)
    stored: dict[str, dict[str, Any]] = {}
    for key, (way, gradient) in found.items():
        answer = answers.get(key)
        if answer is None or (gradient and answer.gradient is None):
            return None
        stored[way] = answer.as_dict(gradient=gradient)
    return stored


def disagreement(stored: CellProbe, present: CellProbe) -> Disagreement | None:
    """Returns the first difference that noise does not explain."""
    for way in sorted(present):
        before, now = stored.get(way, {}), present[way]
        found = _other_answers(before, now)
        if found is None and "gradient" in now:
            found = _other_gradients(before, now)
        if found is not None:
            return replace(found, whose=way)
    return None


def _other_answers(before: Mapping[str, Any], now: Mapping[str, Any]) -> Disagreement | None:
    kind, current = now["kind"], _unpacked(now["answers"])
    everything = Disagreement(what="answers", differ=len(current), samples=len(current), apart=0.0)
    if before.get("kind") != kind:
        return everything
    stored = _unpacked(before["answers"])
    if stored.shape != current.shape:
        return everything
    spread = _SPREADS * max(before["spread"], now["spread"])
    far = _apart(kind, current, stored)
    beyond = far > (0.0 if kind == "labels" else max(now["noise"], spread))
    if int(beyond.sum()) > (spread if kind == "labels" else 0):
        return replace(everything, differ=int(beyond.sum()), apart=float(far.max()))
    return None


def _other_gradients(before: Mapping[str, Any], now: Mapping[str, Any]) -> Disagreement | None:
    everything = Disagreement(what="gradients", differ=_GRADIENTS, samples=_GRADIENTS, apart=0.0)
    if "gradient" not in before or before["gradient"]["shape"] != now["gradient"]["shape"]:
        return everything
    spread = _SPREADS * max(before["gradient_spread"], now["gradient_spread"])
    far = _gradients_apart(_unpacked(now["gradient"]), _unpacked(before["gradient"]))
    beyond = far > max(_GRADIENT_NOISE * now["noise"], spread)
    if not beyond.any():
        return None
    return replace(everything, differ=int(beyond.sum()), samples=len(far), apart=float(far.max()))


def _walk(
    cell: PlannedCell, cells: Mapping[str, PlannedCell], way: str,
    found: dict[tuple[str, str], tuple[str, bool]],
) -> None:  # fmt: skip
    key = cell.key[:2]
    if cell.model.fingerprint is not None:
        first, gradient = found.get(key, (way, False))
        found[key] = first, gradient or Capability.GRADIENTS in cell.scenario.requires
    for alias in sorted(cell.needs):
        _walk(cells[cell.needs[alias]], cells, f"{way}/{alias}", found)


def _answers(adapter: Adapter, batch: Batch, want: frozenset[str]) -> Numbers:
    (kind,) = want
    parts = []
    for start in range(0, len(batch), _AT_ONCE):
        part = batch.take(range(start, min(start + _AT_ONCE, len(batch))))
        found = adapter.predict(part, want).column(kind)
        array = found.summary() if isinstance(found, Lists) else np.asarray(found)
        parts.append(array.reshape(len(part), -1).astype(np.float64))
    return cast("Numbers", np.concatenate(parts))


def _apart(kind: str, now: Numbers, before: Numbers) -> Numbers:
    """Returns how far each sample's answer differs; for labels, 1 where it differs, else 0."""
    far = np.abs(now - before)
    if kind == "labels":
        return cast("Numbers", (far.max(axis=1) > 0).astype(np.float64))
    return cast("Numbers", (far / np.maximum(1.0, np.abs(before))).max(axis=1))


def _gradient(adapter: Adapter, batch: Batch, info: ModelInfo) -> tuple[Numbers | None, float]:
    if Capability.GRADIENTS not in info.capabilities:
        return None, 0.0
    few = batch.take(range(min(_GRADIENTS, len(batch))))
    try:
        first, second = (_projected(adapter, few) for _ in range(2))
    except Exception as error:
        if is_out_of_memory(error):
            free_memory()
        return None, 0.0
    return first, float(_gradients_apart(second, first).max())


def _projected(adapter: Adapter, batch: Batch) -> Numbers:
    import torch

    inputs = adapter.encode(batch).detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = adapter.module()(inputs)
        logits = logits.reshape(len(batch), -1)
        weights = _signs(("logits",), logits.shape[1])[0]
        total = (logits * torch.from_numpy(weights).to(logits)).sum()
        (found,) = torch.autograd.grad(total, inputs)
    gradient = found.reshape(len(batch), -1).double().cpu().numpy()
    if not np.isfinite(gradient).all():
        raise ValueError("a gradient is not finite")
    directions = _signs([f"direction-{at}" for at in range(_DIRECTIONS)], gradient.shape[1])
    length = np.linalg.norm(gradient, axis=1, keepdims=True)
    return cast("Numbers", np.hstack([length, gradient @ directions.T.astype(np.float64)]))


def _signs(names: Sequence[str], count: int) -> NDArray[np.float32]:
    uniform = _DRAWS.uniform(names, "signs", (count,))
    return np.where(uniform < 0.5, np.float32(-1), np.float32(1))


def _gradients_apart(now: Numbers, before: Numbers) -> Numbers:
    scale = np.maximum(now[:, 0], before[:, 0])
    far = np.abs(now - before).max(axis=1)
    return cast("Numbers", np.divide(far, scale, out=np.zeros_like(far), where=scale > 0))


def _packed(array: Numbers) -> dict[str, Any]:
    content = np.ascontiguousarray(array, dtype="<f8").tobytes()
    return {"shape": list(array.shape), "float64": base64.b64encode(content).decode("ascii")}


def _unpacked(stored: Mapping[str, Any]) -> Numbers:
    content = base64.b64decode(stored["float64"])
    return cast("Numbers", np.frombuffer(content, dtype="<f8").reshape(stored["shape"]))
