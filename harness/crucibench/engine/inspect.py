"""Inspect: open each data set and each model once, and ask each model a probe batch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from crucibench.contracts.adapter import Adapter, NonFiniteError, Normalisation, Opening
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard, EvalSet
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.source import DataOpening
from crucibench.contracts.task import Decision, Task
from crucibench.data.evalset import open_data
from crucibench.engine.inspection import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.passes import best_answer
from crucibench.engine.resolve import Resolved, ResolvedModel
from crucibench.engine.roles import probe_rows
from crucibench.spec.check import Mistakes
from crucibench.spec.models import InputSettings
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line, user_traceback

_PROBE = 32


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
        adapter = self._open.pop(key, None) or self._load(key)
        self._open[key] = adapter
        while len(self._open) > max(1, keep):
            self._open.pop(next(iter(self._open))).close()
        return adapter

    def close(self) -> None:
        """Closes all."""
        for adapter in self._open.values():
            adapter.close()
        self._open.clear()

    def _load(self, key: tuple[str, str]) -> Adapter:
        entry = self._resolved.models[key[0]]
        if isinstance(entry.live, Adapter):
            return entry.live.with_variant(entry.variant) if entry.variant else entry.live
        settings = entry.spec.input
        adapter = entry.adapter.open(
            Opening(
                name=entry.name,
                uri=entry.uri,
                base=self._resolved.base,
                data=self._cards[key[1]],
                normalisation=_normalisation(settings),
                size=(settings.size[0], settings.size[1]) if settings and settings.size else None,
                device=self._device if entry.spec.device == "auto" else entry.spec.device,
                allow_pickle=self._resolved.allow_pickle,
                live=entry.live,
            )
        )
        return adapter.with_variant(entry.variant) if entry.variant else adapter


def open_all_data(
    resolved: Resolved, scratch: Path, listener: Listener, where: str
) -> dict[str, EvalSet]:
    """Opens every data set that a track names.

    Raises:
        InputError: all that can't be opened, at once.
    """
    mistakes = Mistakes(where)
    opened: dict[str, EvalSet] = {}
    used = {track.data for track in resolved.tracks}
    details: list[str] = []
    for position, (name, entry) in enumerate(resolved.data.items()):
        if name not in used:
            continue
        listener.note(f"reading {name}")
        opening = DataOpening(
            name=name, uri=entry.uri, base=resolved.base, scratch=scratch, live=entry.live,
            allow_pickle=resolved.allow_pickle,
            progress=partial(listener.indexing, name),
        )  # fmt: skip
        try:
            opened[name] = open_data(entry.source(), opening)
        except Exception as error:
            told = error
            if not isinstance(told, CrucibenchError):
                told = _unforeseen("it can't be read", error)
            mistakes.add(f"data[{position}] ({name})", str(told))
            details += [told.detail] if told.detail else []
    _report(mistakes, details)
    return opened


def inspect(
    resolved: Resolved,
    data: dict[str, EvalSet],
    models: Models,
    listener: Listener,
    where: str,
    *,
    keep_going: bool = False,
) -> Inspection:
    """Inspects every model on every data set that it meets.

    Raises:
        InputError: all that went wrong, at once; with `keep_going` only if no model is left.
    """
    found = Inspection(data=data)
    for track in resolved.tracks:
        for name in track.models:
            key = (name, track.data)
            if key in found.models or key in found.errors:
                continue
            listener.note(f"inspecting {name} on {track.data}")
            try:
                adapter = models.get(*key)
                found.seconds_per_sample[key] = _ask(adapter, data[track.data])
                found.models[key] = _info(resolved.models[name], adapter, data[track.data].task)
            except CrucibenchError as error:
                found.errors[key] = error
            except Exception as error:
                found.errors[key] = _unforeseen("it can't be opened", error)
    if found.errors and not (keep_going and found.models):
        mistakes = Mistakes(where)
        for (name, dataset), failure in found.errors.items():
            mistakes.add(f"model {name!r} on {dataset!r}", str(failure))
        _report(mistakes, [entry.detail for entry in found.errors.values() if entry.detail])
    return found


def _ask(adapter: Adapter, evalset: EvalSet) -> float:
    batch = evalset.batch(
        "test", probe_rows(evalset.card.counts["test"], _PROBE), adapter.input_spec
    )
    want = (
        frozenset({"values"})
        if evalset.task.kind == "regression"
        else frozenset({"scores"} if Capability.SCORES in adapter.capabilities else {"labels"})
    )
    begun = time.perf_counter()
    try:
        adapter.predict(batch, want)
    except NonFiniteError:
        pass  # a failed cell, not a mistake of the spec: the rest of the run is worth having
    except CrucibenchError:
        raise
    except Exception as error:
        shape = f" of shape {tuple(batch.inputs.shape)}" if hasattr(batch.inputs, "shape") else ""
        raise _unforeseen(f"it failed on a probe batch{shape}", error) from error
    return (time.perf_counter() - begun) / len(batch)


def _unforeseen(what: str, error: Exception) -> InputError:
    """Returns the sentence for an error that an adapter or a source did not put into words."""
    return InputError(f"{what}: {one_line(error)}", detail=user_traceback(error))


def _info(entry: ResolvedModel, adapter: Adapter, task: Task) -> ModelInfo:
    info = ModelInfo(
        name=entry.name,
        uri=str(entry.uri),
        variant=entry.variant,
        capabilities=adapter.capabilities,
        score_kind=adapter.score_kind,
        geometry=adapter.input_spec.as_dict(),
        fingerprint=adapter.fingerprint(),
        numerics=adapter.numerics(),
        decision=_decision(entry, task),
        diagnostics=adapter.diagnostics(),
        card=entry.spec.card,
    )
    if best_answer(task, info) == {"values"} and Capability.VALUES not in info.capabilities:
        raise InputError("the data asks for a number (regression), the model gives classes")
    return info


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


def _normalisation(settings: InputSettings | None) -> Normalisation | None:
    if settings is None or not {"range", "mean", "std"} & settings.model_fields_set:
        return None
    low, high = settings.range
    # x * (high - low) + low - mean: the low end of the range joins the mean.
    return Normalisation(
        scale=high - low, mean=tuple(mean - low for mean in settings.mean), std=tuple(settings.std)
    )


def _report(mistakes: Mistakes, details: list[str]) -> None:
    try:
        mistakes.report()
    except InputError as error:
        raise InputError(str(error), detail="\n".join(details) or None) from None
