"""Inspect: open each data set, and each model once, and ask each model a probe batch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from crucibench.contracts.adapter import Adapter, Normalisation, Opening, Remote
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard, EvalSet
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.task import Decision, Modality, NonFiniteError, Task
from crucibench.engine.listener import Listener
from crucibench.engine.plan.batching import fitting_batch, largest_batch, memory_in_use
from crucibench.engine.plan.roles import Rows, probe_rows
from crucibench.engine.resolve.resolve import Resolved, ResolvedModel
from crucibench.engine.worker.data_sets import open_resolved
from crucibench.engine.worker.meter import count_passes
from crucibench.engine.worker.tasks import Inspected, Made
from crucibench.passes.scenario import best_answer
from crucibench.spec.check import Mistakes
from crucibench.spec.models import InputSettings, ModelSpec, RemoteSettings
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.memory import free_memory, is_out_of_memory
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line, user_traceback

_PROBE = 32
_BLOCK = 4096
_MOST_READ = 200_000
_NO_FINGERPRINT = "the adapter gives no fingerprint"


class Models:
    """Opens models and keeps the last few open."""

    def __init__(self, resolved: Resolved, device: str, cards: Mapping[str, DataCard]) -> None:
        self._resolved = resolved
        self._device = device
        self._cards = cards
        self._open: dict[tuple[str, str], Adapter] = {}

    def get(self, model: str, data: str, keep: int = 2) -> Adapter:
        """Returns an open model, closing those used longest ago beyond `keep`.

        Raises:
            InputError: if it can't be opened.
        """
        key = (model, data)
        adapter = self._open.pop(key, None)
        if adapter is None:
            adapter = self._load(key)
            count_passes(adapter)
        self._open[key] = adapter
        while len(self._open) > max(1, keep):
            self._open.pop(next(iter(self._open))).close()
        return adapter

    def holds(self, model: str, data: str) -> bool:
        """Whether a model is open."""
        return (model, data) in self._open

    def close(self) -> None:
        """Closes all."""
        for adapter in self._open.values():
            adapter.close()
        self._open.clear()

    def _load(self, key: tuple[str, str]) -> Adapter:
        entry = self._resolved.models[key[0]]
        adapter = open_plain(entry, self._resolved, self._device, self._cards[key[1]])
        return adapter.with_variant(entry.variant) if entry.variant else adapter


def open_plain(entry: ResolvedModel, resolved: Resolved, device: str, card: DataCard) -> Adapter:
    """Opens the model as it is, whichever variant of it `entry` stands for.

    Raises:
        InputError: if it can't be opened.
    """
    if isinstance(entry.live, Adapter):
        return entry.live
    settings = entry.spec.input
    auto = entry.spec.device == "auto"
    return entry.adapter.open(
        Opening(
            name=entry.name,
            uri=entry.uri,
            base=resolved.base,
            data=card,
            normalisation=_normalisation(settings),
            size=(settings.size[0], settings.size[1]) if settings and settings.size else None,
            device=device if auto else entry.spec.device,
            auto_device=auto and resolved.spec.defaults.device == "auto",
            allow_pickle=resolved.allow_pickle,
            trust_remote_code=resolved.trust_remote_code,
            classes=_classes(entry.spec.classes),
            remote=_remote(entry.spec),
            live=entry.live,
        )
    )


def open_all_data(
    resolved: Resolved, scratch: Path, listener: Listener, where: str,
    made: Mapping[str, Made | CrucibenchError] | None = None,
) -> dict[str, EvalSet]:  # fmt: skip
    """Opens every data set that a track names.

    Args:
        resolved: the spec.
        scratch: the cache.
        listener: hears what is read.
        where: what messages call the spec.
        made: what was made in a process apart, or why it could not be.

    Raises:
        InputError: all that can't be opened, at once.
    """
    mistakes = Mistakes(where)
    opened: dict[str, EvalSet] = {}
    used = {track.data for track in resolved.tracks}
    details: list[str] = []
    for position, name in enumerate(resolved.data):
        if name not in used:
            continue
        listener.note(f"reading {name}")

        def failed(path: str, error: Exception) -> None:
            told = error
            if not isinstance(told, CrucibenchError):
                told = unforeseen("it can't be read", error)
            mistakes.add(path, str(told))
            details.extend([told.detail] if told.detail else [])

        progress = partial(listener.indexing, name)
        before = (made or {}).get(name)
        if isinstance(before, CrucibenchError):
            failed(f"data[{position}] ({name})", before)
            continue
        raw = None if before is None else dict(before.raw)
        try:
            evalset = open_resolved(name, resolved, scratch, failed, progress=progress, made=raw)
        except Exception as error:
            failed(f"data[{position}] ({name})", error)
        else:
            opened |= {} if evalset is None else {name: evalset}
    report(mistakes, details)
    return opened


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
    want = (
        frozenset({"values"})
        if evalset.task.kind == "regression"
        else frozenset({"scores"} if Capability.SCORES in adapter.capabilities else {"labels"})
    )
    adapter.fingerprint()  # of the model as it was opened, before it is asked
    before = memory_in_use(device)
    seconds = _ask(adapter, evalset, rows, want)
    grown = max(0, memory_in_use(device) - before)
    info = _info(entry, adapter, evalset.task, base)
    if isinstance(batch_size, int):
        return Inspected(info=info, seconds_per_sample=seconds, batch_size=batch_size)
    most = min(count, limit or count)

    def ask(size: int) -> object:
        again = [int(rows[at % len(rows)]) for at in range(min(size, most))]
        return adapter.predict(evalset.batch("test", again, adapter.input_spec), want)

    ceiling = largest_batch(info.geometry, evalset.task.modality)
    fitting = fitting_batch(ask, len(rows), grown, ceiling)
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


def _ask(adapter: Adapter, evalset: EvalSet, rows: Rows, want: frozenset[str]) -> float:
    """Returns seconds a sample of one batch, smaller than asked for if memory runs out."""
    while True:
        try:
            return _timed_batch(adapter, evalset, rows, want)
        except InputError as error:
            if len(rows) == 1 or not is_out_of_memory(error.__cause__ or error):
                raise
            rows = rows[: len(rows) // 2]
        free_memory()


def _timed_batch(adapter: Adapter, evalset: EvalSet, rows: Rows, want: frozenset[str]) -> float:
    batch = evalset.batch("test", rows, adapter.input_spec)
    begun = time.perf_counter()
    try:
        adapter.predict(batch, want)
    except NonFiniteError:
        pass  # a failed cell, not a mistake of the spec: the rest of the run is worth having
    except CrucibenchError:
        raise
    except Exception as error:
        shape = f" of shape {tuple(batch.inputs.shape)}" if hasattr(batch.inputs, "shape") else ""
        raise unforeseen(f"it failed on a probe batch{shape}", error) from error
    return (time.perf_counter() - begun) / len(batch)


def unforeseen(what: str, error: Exception) -> InputError:
    """Returns the sentence for an error that an adapter or a source did not put into words."""
    return InputError(f"{what}: {one_line(error)}", detail=user_traceback(error))


def _info(entry: ResolvedModel, adapter: Adapter, task: Task, base: Path) -> ModelInfo:
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
        decision=_decision(entry, task),
        diagnostics={**adapter.diagnostics(), **_on_disk(entry, base)},
        remote=adapter.remote,
        intensive=not adapter.remote or (entry.spec.remote or RemoteSettings()).intensive,
        card=entry.spec.card,
        group=_group(entry),
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
    """Returns the group of seeds; a variant belongs to the group of that variant."""
    group = entry.spec.group or ""
    return f"{group}@{entry.variant}" if group and entry.variant else group


def _decision(entry: ResolvedModel, task: Task) -> Decision:
    settings = entry.spec.decision
    if settings is None:
        return Decision()
    if not task.binary:
        raise InputError(
            f"decision: needs a binary task, and the data has {len(task.classes)} classes"
        )
    positive = str(settings.positive)
    if positive not in task.classes:
        raise InputError(f"decision.positive: {unknown('class', positive, task.classes)}")
    return Decision(positive=task.classes.index(positive), threshold=settings.threshold)


def _classes(
    classes: list[str] | dict[str, str] | None,
) -> tuple[str, ...] | Mapping[str, str] | None:
    return tuple(classes) if isinstance(classes, list) else classes


def _remote(spec: ModelSpec) -> Remote:
    settings = spec.remote or RemoteSettings()
    return Remote(
        headers=spec.headers, concurrency=settings.concurrency,
        requests_per_second=settings.requests_per_second, max_requests=settings.max_requests,
        timeout=settings.timeout,
    )  # fmt: skip


def _normalisation(settings: InputSettings | None) -> Normalisation | None:
    if settings is None or not {"range", "mean", "std"} & settings.model_fields_set:
        return None
    low, high = settings.range
    # x * (high - low) + low - mean: the low end of the range joins the mean.
    return Normalisation(
        scale=high - low, mean=tuple(mean - low for mean in settings.mean), std=tuple(settings.std)
    )


def report(mistakes: Mistakes, details: list[str]) -> None:
    """Raises what was found, with the users' own tracebacks as its detail."""
    try:
        mistakes.report()
    except InputError as error:
        raise InputError(str(error), detail="\n".join(details) or None) from None
