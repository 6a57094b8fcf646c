"""Asks two models about the same samples, and looks for the first reason why they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from crucibench.comparing.parity import (
    Answers,
    Parity,
    distances,
    measure,
    other_order,
    probabilities,
    rounding,
)
from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, other_geometry
from crucibench.contracts.data import EvalSet
from crucibench.contracts.task import Modality
from crucibench.engine.plan.roles import Rows, SelectedRole, batches, largest_batch
from crucibench.passes.mapping.undone import interleaved, planar
from crucibench.passes.probes import normalised, undone
from crucibench.util.errors import InputError

_EXPLAINED = 0.1
"""A change explains a difference if it leaves no more than this share of it."""

Change = Callable[[Any], Any]


def check_parity(
    first: Adapter, second: Adapter, data: EvalSet, *, limit: int | None, tolerance: float,
    seed: int = 0,
) -> Parity:  # fmt: skip
    """Asks both models about the same samples.

    Where they differ, the second is asked again about inputs that are changed as a mistaken
    conversion would change them; the change that makes them agree is the suspicion.

    Args:
        first: the model that is taken to be right.
        second: the other form of it.
        data: what they are asked about: its role ``test``.
        limit: at most so many samples.
        tolerance: how far probabilities may differ.
        seed: of the choice of samples.

    Raises:
        InputError: if the two can't be compared: other tasks, or other input geometry.
    """
    asked = [model for model in (first, second) if Capability.ANY_INPUT in model.capabilities]
    role = SelectedRole(data, "test", limit, seed)
    what = _common(first, second, data)
    spec = asked[0].input_spec if asked else first.input_spec
    cuts = batches(range(len(role)), largest_batch(spec.as_dict(), data.task.modality))
    parts = [role.batch(rows, spec) for rows in cuts]
    # Logged predictions take no input at all: they go with any.
    if len(asked) == 2:
        _require_one_input(asked[0], asked[1], role, zip(cuts, parts, strict=True))
    answers = np.concatenate([_ask(first, part, what) for part in parts])
    others = np.concatenate([_ask(second, part, what) for part in parts])
    parity = measure(answers, others, tolerance, what)
    if parity.agree:
        return parity
    return _explained(parity, (first, second), parts, (answers, others), data)


def _require_one_input(
    first: Adapter, second: Adapter, role: SelectedRole, parts: Iterable[tuple[Rows, Batch]]
) -> None:
    """Refuses two models that would be asked about different inputs.

    What they declare may differ and come to the same: how an image is fitted matters only where it
    has other proportions.

    Raises:
        InputError: if a sample's canonical input differs.
    """
    apart = other_geometry(first.input_spec.as_dict(), second.input_spec.as_dict())
    if not apart:
        return
    if first.task.modality is Modality.IMAGE and all(
        _equal(part.inputs, role.batch(rows, second.input_spec).inputs) for rows, part in parts
    ):
        return
    raise InputError(f"the models take different canonical inputs: {'; '.join(apart)}")


def _equal(images: Any, others: Any) -> bool:
    """Says whether two batches hold the same images; of several sizes, they are lists."""
    if len(images) != len(others):
        return False
    if isinstance(images, list) or isinstance(others, list):
        return all(_equal(one, other) for one, other in zip(images, others, strict=True))
    return images.shape == others.shape and bool((images == others).all())


def _common(first: Adapter, second: Adapter, data: EvalSet) -> str:
    if data.task.one_number:
        return "values"
    both = Capability.SCORES in first.capabilities & second.capabilities
    return "scores" if both else "labels"


def _ask(adapter: Adapter, batch: Batch, what: str) -> Answers:
    outputs = adapter.predict(batch, frozenset({what}))
    if what == "scores" and outputs.scores is not None:
        return probabilities(outputs.scores, adapter.score_kind)
    array = outputs.values if what == "values" else outputs.labels
    if array is None:
        raise AssertionError("Adapter.predict lets no empty answer through")
    return array.reshape(-1, 1).astype(np.float64)


def _explained(
    parity: Parity, models: tuple[Adapter, Adapter], parts: list[Batch],
    answers: tuple[Answers, Answers], data: EvalSet,
) -> Parity:  # fmt: skip
    first, second = models
    if parity.largest is None:
        return parity
    tried: dict[str, float] = {}
    sample, reference = parts[0], answers[0][: len(parts[0])]
    before = float(distances(reference, answers[1][: len(reference)]).max())
    for name, change in _changes(sample, first, second).items():
        try:
            changed = _ask(second, sample.with_inputs(change(sample.inputs)), "scores")
        except Exception:
            continue  # a model may refuse what it was never meant to see
        tried[name] = float(distances(reference, changed).max())
    best = min(tried, key=tried.__getitem__, default="")
    suspicion = ""
    if best and tried[best] <= max(parity.tolerance * 10, _EXPLAINED * before):
        suspicion = best
    suspicion = (
        suspicion
        or other_order(answers[0], answers[1], data.task.classes, parity.tolerance)
        or rounding(parity)
        or ""
    )
    return replace(parity, suspicion=suspicion, tried=tried)


def _changes(batch: Batch, first: Adapter, second: Adapter) -> Mapping[str, Change]:
    if first.task.modality is not Modality.IMAGE or first.task.one_number:
        return {}
    if Capability.ANY_INPUT not in second.capabilities:
        return {}
    changes: dict[str, Change] = {
        "the second reads height as width: the image is transposed": lambda x: x.transpose(2, 3),
        "the second reads channels last where they come first": interleaved,
        "the second reads channels first where they come last": planar,
        "the second expects pixels from 0 to 255": lambda x: x * 255.0,
        "the second expects pixels from 0 to 1 and divides them by 255 again": lambda x: x / 255.0,
    }
    if batch.inputs.shape[1] == 3:
        changes["the second reads blue where red comes first: the channels are swapped"] = (
            lambda x: x.flip(1)
        )
    if first.normalisation is not None:
        own = first.normalisation
        changes["the second lacks the normalisation of the first"] = lambda x: normalised(x, own)
    if second.normalisation is not None:
        other = second.normalisation
        changes["the second normalises where the first does not"] = lambda x: undone(x, other)
    return changes
