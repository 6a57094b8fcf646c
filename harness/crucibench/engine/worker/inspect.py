"""Inspect: ask an open model a probe batch, and find out what it can do and what memory holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard, EvalSet
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.task import Decision, Modality, NonFiniteError
from crucibench.engine.plan.roles import Rows, largest_batch, probe_rows
from crucibench.engine.resolve.resolve import ResolvedModel
from crucibench.engine.worker.opening import unexpected
from crucibench.engine.worker.tasks import Inspected
from crucibench.passes.scenario import best_answer
from crucibench.spec.models import DecisionSettings, RemoteSettings
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.gaps import emptied, half_empty
from crucibench.util.memory import available_memory, free_memory, is_out_of_memory, resident_memory
from crucibench.util.suggest import unknown

_PROBE = 32
_BLOCK = 4096
_MOST_READ = 200_000
_NO_FINGERPRINT = "the adapter gives no fingerprint"


def inspect_model(
    entry: ResolvedModel,
    adapter: Adapter,
    evalset: EvalSet,
    *,
    batch_size: int | str,
    limit: int | None,
    device: str,
    base: Path,
) -> Inspected:
    """Asks a model a probe batch of the largest inputs, and finds out what it can do.

    Args:
        entry: the model.
        adapter: the model, open.
        evalset: the data.
        batch_size: what the spec asks for; ``auto`` is resolved here.
        limit: at most so many samples are asked about.
        device: where the model runs.
        base: the folder that relative paths are relative to.

    Raises:
        InputError: if the model can't answer the data.
    """
    count = evalset.card.counts["test"]
    rows = _largest(evalset, adapter, min(_PROBE, count))
    want = frozenset({evalset.task.definition.best_answer(adapter.capabilities)})
    adapter.fingerprint()  # of the model as it was opened, before it is asked
    before = _memory_in_use(device)
    # The last asking: logged answers that are too few are a mistake of the spec.
    seconds = _ask(adapter, evalset, rows, want, entry.spec.repeat - 1)
    grown = max(0, _memory_in_use(device) - before)
    info = _info(entry, adapter, evalset.card, base)
    if _answers_gaps(adapter, evalset, rows, want):
        info = replace(info, capabilities=info.capabilities | {Capability.MISSING_VALUES})
    if isinstance(batch_size, int):
        return Inspected(info=info, seconds_per_sample=seconds, batch_size=batch_size)
    most = min(count, limit or count)

    def ask(size: int) -> object:
        again = [int(rows[at % len(rows)]) for at in range(min(size, most))]
        return adapter.predict(evalset.batch("test", again, adapter.input_spec), want)

    ceiling = largest_batch(info.geometry, evalset.task.modality)
    fitting = _fitting_batch(ask, len(rows), grown, ceiling)
    return Inspected(info=info, seconds_per_sample=seconds, batch_size=fitting)


def _largest(evalset: EvalSet, adapter: Adapter, wanted: int) -> Rows:
    """Returns the rows that need the most memory: the longest texts; else any, spread evenly."""
    count = evalset.card.counts["test"]
    if evalset.task.modality is not Modality.TEXT:
        return probe_rows(count, wanted)
    lengths: list[tuple[int, int]] = []
    step = -(-count // _MOST_READ)
    for start in range(0, count, _BLOCK * step):
        rows = range(start, min(start + _BLOCK * step, count), step)
        texts = evalset.batch("test", rows, adapter.input_spec).inputs
        sizes = (sum(map(len, text)) if isinstance(text, tuple) else len(text) for text in texts)
        lengths += zip(sizes, rows, strict=True)
        lengths = sorted(lengths, key=lambda one: (-one[0], one[1]))[:wanted]
    return np.array(sorted(row for _, row in lengths), dtype=np.int64)


def _ask(adapter: Adapter, evalset: EvalSet, rows: Rows, want: frozenset[str], draw: int) -> float:
    """Returns seconds a sample of one batch, smaller than asked for if memory runs out."""
    while True:
        try:
            batch = evalset.batch("test", rows, adapter.input_spec)
            return _timed_batch(adapter, replace(batch, draw=draw), want)
        except InputError as error:
            if len(rows) == 1 or not is_out_of_memory(error.__cause__ or error):
                raise
            rows = rows[: len(rows) // 2]
        free_memory()


def _timed_batch(adapter: Adapter, batch: Batch, want: frozenset[str]) -> float:
    begun = time.perf_counter()
    try:
        adapter.predict(batch, want)
    except NonFiniteError:
        pass  # a failed cell, not a mistake of the spec: the rest of the run is worth having
    except CrucibenchError:
        raise
    except Exception as error:
        shape = f" of shape {tuple(batch.inputs.shape)}" if hasattr(batch.inputs, "shape") else ""
        raise unexpected(f"it failed on a probe batch{shape}", error) from error
    return (time.perf_counter() - begun) / len(batch)


def _answers_gaps(adapter: Adapter, evalset: EvalSet, rows: Rows, want: frozenset[str]) -> bool:
    """Whether a model of tables that does not declare so answers rows with missing values.

    One whose layers learn while they answer is not asked: a gap would stay in their statistics.
    """
    knows = Capability.MISSING_VALUES in adapter.capabilities
    if evalset.task.modality is not Modality.TABLE or knows:
        return False
    learns = bool(adapter.diagnostics().get("training_modules"))
    if learns or Capability.ANY_INPUT not in adapter.capabilities:
        return False
    batch = evalset.batch("test", rows, adapter.input_spec)
    try:
        adapter.predict(batch.with_inputs(half_empty(batch.inputs)), want)
        alone = batch.take(range(1))  # no other row can stand in for what is missing
        adapter.predict(alone.with_inputs(emptied(alone.inputs)), want)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return False
    return True


def _fitting_batch(ask: Callable[[int], object], asked: int, grown: int, ceiling: int) -> int:
    """Returns the largest batch, `ceiling` halved as often as it must be, that memory holds.

    Args:
        ask: answers a batch of so many of the largest inputs.
        asked: how many were in the batch that was asked already.
        grown: by how many bytes memory grew for it.
        ceiling: where to start.
    """
    free = available_memory()
    if free is not None and 2 * grown * ceiling // max(1, asked) < free:
        return ceiling  # far from the limit: nothing to try
    size = ceiling
    while size > 1:
        try:
            ask(size)
        except Exception as error:
            if not is_out_of_memory(error):
                return size  # not a question of size: the cell will say what it is
            free_memory()
            size = max(1, size // 2)
        else:
            return size
    return size


def _memory_in_use(device: str) -> int:
    """Returns the bytes in use where a model on `device` answers; the highest so far on CUDA."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return resident_memory(os.getpid()) or 0


def _info(entry: ResolvedModel, adapter: Adapter, card: DataCard, base: Path) -> ModelInfo:
    task = card.task
    fingerprint = adapter.fingerprint() or None  # an empty one would be every model's
    info = ModelInfo(
        name=entry.name,
        uri=str(entry.uri),
        variant=entry.variant,
        capabilities=adapter.capabilities,
        score_kind=adapter.score_kind,
        geometry=adapter.input_spec.as_dict(),
        fingerprint=fingerprint,
        unidentified="" if fingerprint else adapter.unidentified() or _NO_FINGERPRINT,
        numerics=adapter.numerics(),
        decision=_decision(entry, card),
        diagnostics={**adapter.diagnostics(), **_on_disk(entry, base)},
        remote=adapter.remote,
        intensive=not adapter.remote or (entry.spec.remote or RemoteSettings()).intensive,
        card=entry.spec.card,
        group=_group(entry),
        seed=entry.spec.seed,
        repeat=entry.spec.repeat,
    )
    if best_answer(task, info) == {"values"} and Capability.VALUES not in info.capabilities:
        raise InputError("the data asks for a number (regression), the model gives classes")
    return info


def _on_disk(entry: ResolvedModel, base: Path) -> Mapping[str, int]:
    """Returns the bytes of the files that the model's address names, its source left out."""
    if entry.live is not None or entry.variant:
        return {}  # a variant is made of them when it is opened
    files = [file for file in entry.adapter.sources(entry.uri, base).files if file.suffix != ".py"]
    return {"file_bytes": sum(file.stat().st_size for file in files)} if files else {}


def _group(entry: ResolvedModel) -> str:
    """Returns the recipe; a variant belongs to the group of that variant."""
    group = entry.spec.group or ""
    return f"{group}@{entry.variant}" if group and entry.variant else group


def _label_decision(settings: DecisionSettings, card: DataCard) -> Decision:
    task, role = card.task, settings.chosen_on or ""
    if role:
        others = sorted(set(card.counts) - {"test"} - set(card.unlabelled))
        if settings.thresholds:
            raise InputError("decision: thresholds are declared or chosen on a role, not both")
        if role == "test":
            raise InputError("decision.chosen_on: thresholds are never chosen on test")
        if role not in others:
            raise InputError(f"decision.chosen_on: {unknown('role with labels', role, others)}")
        return Decision(threshold=settings.threshold, chosen_on=role)
    for name in settings.thresholds:
        if name not in task.classes:
            raise InputError(f"decision.thresholds: {unknown('label', name, task.classes)}")
    each = tuple(float(settings.thresholds.get(name, settings.threshold)) for name in task.classes)
    return Decision(threshold=settings.threshold, thresholds=each if settings.thresholds else ())


def _decision(entry: ResolvedModel, card: DataCard) -> Decision:
    decided, declared, task = _decided(entry, card), entry.spec.abstains, card.task
    if declared is None:
        return decided
    if not task.one_class:
        raise InputError(f"abstains: {task.kind} has no answer that could be left out")
    if isinstance(declared, str):
        if declared not in task.classes:
            raise InputError(f"abstains: {unknown('class', declared, task.classes)}")
        return replace(decided, unsure=task.classes.index(declared))
    return replace(decided, least=float(declared))


def _decided(entry: ResolvedModel, card: DataCard) -> Decision:
    settings, task = entry.spec.decision, card.task
    if settings is None:
        return Decision()
    if task.definition.label_threshold and settings.positive is None:
        return _label_decision(settings, card)
    if settings.chosen_on is not None:
        raise InputError(f"decision.chosen_on: {task.kind} has no labels of their own")
    if settings.thresholds:
        raise InputError(f"decision.thresholds: {task.kind} has no labels of their own")
    if not task.binary:
        raise InputError(
            f"decision: needs a binary task, and the data has {len(task.classes)} classes"
        )
    if settings.positive is None:
        raise InputError(f"decision.positive: which class? One of {', '.join(task.classes)}")
    positive = str(settings.positive)
    if positive not in task.classes:
        raise InputError(f"decision.positive: {unknown('class', positive, task.classes)}")
    return Decision(positive=task.classes.index(positive), threshold=settings.threshold)
