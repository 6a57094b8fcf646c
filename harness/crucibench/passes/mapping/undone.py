"""Changes of inputs, undone: the same samples in other units, columns, colours and layouts.

A model is asked so only where it leaves room for what an explanation must give: one that is right
on more than nine samples of ten is asked nothing. Of many changes, each is tried on some samples,
and those that look best on all. Nothing is tried on the table of a model that reads one column
alone: there another unit is another threshold, and another column another rule, which may well be
the better one. Columns are exchanged only where it reads both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.task import Modality, Task
from crucibench.passes.mapping.answers import UNITS
from crucibench.passes.mapping.explanation import (
    GAIN,
    Explanation,
    of_numbers,
    of_predictions,
    r_squared,
)
from crucibench.passes.probes import MOST_OF_REMOTE, answer_labels, answers, normalised, undone
from crucibench.util.memory import is_out_of_memory

PROBE = "undone"
_GIVEN = "as given"
_ALL_AT_MOST = 16
"""More changes than these are tried on some samples first."""
_SOME = 64
_BEST = 12
_TOGETHER = 16
_MOST_COLUMNS = 60
_MOST_PAIRS = 400
_IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Change(NamedTuple):
    """A change of inputs, undone.

    Attributes:
        cause: its kind, as of `Explanation`.
        words: what is undone, after "with".
        undo: from a batch's inputs to those with the change undone.
        columns: of a table, those that are changed.
    """

    cause: str
    words: str
    undo: Callable[[Any], Any]
    columns: tuple[Any, ...] = ()


def probe_undone(work: Work, context: MapContext) -> Columns | None:
    """Returns predictions with each change undone, or None where there is nothing to look for.

    Columns: ``id``, ``point`` (``CAUSE: WORDS``, or `_GIVEN`), ``prediction``, and ``tried``, how
    many changes were.
    """
    adapter, targets = context.adapter, work.samples.targets
    task = adapter.task
    if not (task.one_class or task.one_number) or not work.samples.labelled or len(targets) < 2:
        return None
    given = _ask(work.batch, context)
    if _quality(given, targets, task) > 1.0 - GAIN:
        return None
    found = list(changes(work.batch.inputs, task, adapter.normalisation, _own_sizes(context)))
    if found and task.modality is Modality.TABLE:
        read = _columns_read(work.batch, context, found)
        found = [one for one in found if _may_be_an_error(one.columns, read)]
    if adapter.remote:
        found = found[:MOST_OF_REMOTE]
    tried = len(found)
    if tried > _ALL_AT_MOST and len(targets) > _SOME:
        found = _most_promising(found, work, context)
    points, predictions = [_GIVEN], [given]
    for change in found:
        if (after := _undone(change, work.batch, context)) is not None:
            points.append(f"{change.cause}: {change.words}")
            predictions.append(after)
    if len(points) == 1:
        return None
    return {
        "id": list(work.batch.ids) * len(points),
        "point": np.repeat(np.array(points, dtype=object), len(targets)),
        "prediction": np.concatenate(predictions),
        "tried": np.full(len(points) * len(targets), tried, dtype=np.int64),
    }


def input_explanations(own: CellEvidence, task: Task) -> tuple[list[Explanation], int]:
    """Returns what explains wrong answers by inputs, and how many changes were tried."""
    probe = own.probes.get(PROBE)
    if probe is None or not len(probe):
        return [], 0
    given, tried = probe.at(_GIVEN), int(probe.array("tried")[0])
    place = {identity: row for row, identity in enumerate(own.samples.ids)}
    targets = own.samples.targets[[place[identity] for identity in given.ids]]
    before = given.array("prediction")
    found: list[Explanation | None] = []
    for point in probe.points:
        if point == _GIVEN:
            continue
        cause, _, words = point.partition(": ")
        after = probe.at(point).array("prediction")
        if task.one_number:
            one = of_numbers(cause, words, before=before, after=after, targets=targets, tried=tried)
        else:
            one = of_predictions(
                cause, words, before=before, after=after, targets=targets,
                classes=len(task.classes), tried=tried,
            )  # fmt: skip
        found.append(one)
    return [one for one in found if one], tried


def changes(
    inputs: Any, task: Task, declared: Normalisation | None, own_sizes: bool = False
) -> Iterator[Change]:
    """Yields changes that may be undone in inputs of a modality, the plainest first."""
    if task.modality is Modality.IMAGE and not own_sizes:
        yield from _of_images(inputs, declared)
    elif task.modality is Modality.TABLE:
        yield from _of_tables(inputs)
    elif task.modality is Modality.TEXT:
        yield from _of_texts(inputs)


def _of_images(images: Any, declared: Normalisation | None) -> Iterator[Change]:
    mean = images.mean(dim=(0, 2, 3), keepdim=True)
    spread = images.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    if declared is not None and declared != Normalisation():
        yield Change("normalisation", "inputs not normalised", lambda x: undone(x, declared))
        yield Change("normalisation", "inputs normalised twice", lambda x: normalised(x, declared))
    yield Change("normalisation", "pixels in [0, 255]", lambda x: x * 255.0)
    yield Change("normalisation", "pixels in [-1, 1]", lambda x: x * 2.0 - 1.0)
    if images.shape[1] == 3:
        yield Change("normalisation", "ImageNet mean and std", lambda x: normalised(x, _IMAGENET))
        yield Change(
            "normalisation", "ImageNet mean and std taken off", lambda x: undone(x, _IMAGENET)
        )
        yield Change("channels", "channels in reverse order", lambda x: x.flip(1))
    yield Change("normalisation", "pixels standardised", lambda x: (x - mean) / spread)
    yield Change("inverted", "pixels inverted", lambda x: 1.0 - x)
    yield Change("normalisation", "pixels divided by 255", lambda x: x / 255.0)
    yield Change("normalisation", "pixels from [-1, 1]", lambda x: (x + 1.0) / 2.0)
    if images.shape[2] == images.shape[3]:
        yield Change("layout", "rows and columns exchanged", lambda x: x.transpose(2, 3))
    if images.shape[1] > 1:
        yield Change("layout", "pixels as height, width, channels", interleaved)
        yield Change("layout", "pixels as channels, height, width", planar)


def interleaved(images: Any) -> Any:
    """Returns images whose pixels lie as height, width, channels, in the shape that they had."""
    return images.permute(0, 2, 3, 1).reshape(images.shape)


def planar(images: Any) -> Any:
    """Returns images whose pixels, taken for height, width, channels, lie channel by channel."""
    n, channels, height, width = images.shape
    return images.reshape(n, height, width, channels).permute(0, 3, 1, 2).contiguous()


def _of_tables(frame: Any) -> Iterator[Change]:
    numbers = list(frame.select_dtypes("number").columns)
    if not numbers:
        return
    mean, spread = frame[numbers].mean(), frame[numbers].std().replace(0.0, 1.0).fillna(1.0)
    yield Change(
        "normalisation", "columns standardised",
        lambda x: _with(x, {name: (x[name] - mean[name]) / spread[name] for name in numbers}),
    )  # fmt: skip
    for name in numbers[:_MOST_COLUMNS]:
        for words, undo in UNITS:
            yield Change("unit", f"column {name!r} {words}", _each([name], undo), (name,))
    for words, undo in UNITS:
        yield Change("unit", f"all columns of numbers {words}", _each(numbers, undo))
    orders = {
        "one to the left": [*numbers[1:], numbers[0]],
        "one to the right": [numbers[-1], *numbers[:-1]],
        "in reverse order": numbers[::-1],
        "in alphabetical order": sorted(numbers, key=str),
    }
    for words, order in orders.items():
        if order != numbers:
            yield Change("columns", f"columns of numbers {words}", _moved(numbers, order))
    kinds = dict(frame.dtypes)
    pairs = combinations(frame.columns, 2)
    alike = (pair for pair in pairs if kinds[pair[0]] == kinds[pair[1]])
    for first, second in islice(alike, _MOST_PAIRS):
        words = f"columns {first!r} and {second!r} exchanged"
        yield Change("columns", words, _moved([first, second], [second, first]), (first, second))


def _columns_read(batch: Batch, context: MapContext, found: list[Change]) -> set[Any]:
    """Returns those columns of a table whose values, moved one row on, change any answer.

    Asked as given, and with columns standardised: one that lies far beyond the others, for being
    in another unit, may hide them all.
    """
    some = batch.take(range(min(len(batch), _SOME)))
    read: set[Any] = set()
    for frame in (some.inputs, found[0].undo(some.inputs)):
        given = _tried(answers, some.with_inputs(frame), context)
        if given is None:
            continue
        for name in {name for one in found for name in one.columns} - read:
            moved = some.with_inputs(_with(frame, {name: np.roll(frame[name], 1)}))
            after = _tried(answers, moved, context)
            if after is None or not np.array_equal(after, given, equal_nan=True):
                read.add(name)
    return read


def _may_be_an_error(changed: tuple[Any, ...], read: set[Any]) -> bool:
    if len(changed) == 1:
        # In another unit a column may lie beyond all that a model knows: it seems not to be read.
        return bool(read.difference(changed))
    return len(read) > 1 and read.issuperset(changed)


def _each(names: list[Any], undo: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda frame: _with(frame, {name: undo(frame[name]) for name in names})


def _moved(names: list[Any], order: list[Any]) -> Callable[[Any], Any]:
    return lambda frame: _with(
        frame, {name: frame[other] for name, other in zip(names, order, strict=True)}
    )


def _with(frame: Any, columns: dict[Any, Any]) -> Any:
    made = frame.copy()
    for name, values in columns.items():
        made[name] = values
    return made


def _of_texts(texts: list[Any]) -> Iterator[Change]:
    yield Change("case", "texts in lower case", lambda x: [_texts_of(one, str.lower) for one in x])
    if texts and isinstance(texts[0], tuple):
        yield Change("columns", "texts in reverse order", lambda x: [one[::-1] for one in x])


def _texts_of(text: Any, change: Callable[[str], str]) -> Any:
    return tuple(map(change, text)) if isinstance(text, tuple) else change(text)


def _own_sizes(context: MapContext) -> bool:
    return context.adapter.input_spec.own_sizes


def _ask(batch: Batch, context: MapContext) -> NDArray[Any]:
    found = answers(batch, context)
    return found[:, 0] if context.adapter.task.one_number else answer_labels(found)


def _quality(predictions: NDArray[Any], targets: NDArray[Any], task: Task) -> float:
    """Returns accuracy or R²; 1 where there is none."""
    if task.one_class:
        return float((predictions == targets).mean())
    found = r_squared(predictions, targets)
    return found if np.isfinite(found) else 1.0


def _undone(change: Change, batch: Batch, context: MapContext) -> NDArray[Any] | None:
    """Returns the predictions with a change undone; None where the model refuses such inputs."""
    return _tried(lambda: _ask(batch.with_inputs(change.undo(batch.inputs)), context))


def _tried(ask: Callable[..., NDArray[Any]], *given: Any) -> NDArray[Any] | None:
    try:
        return ask(*given)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None  # a model may refuse what it was never meant to see


def _most_promising(found: list[Change], work: Work, context: MapContext) -> list[Change]:
    """Returns those changes that do best on some samples, in the order in which they came."""
    rows = range(0, len(work.batch), -(-len(work.batch) // _SOME))
    some, targets = work.batch.take(rows), work.samples.targets[list(rows)]
    after = _all_undone(found, some, context)
    scored = [(-_quality(after[at], targets, context.adapter.task), at) for at in after]
    return [found[at] for at in sorted(at for _, at in sorted(scored)[:_BEST])]


def _all_undone(found: list[Change], batch: Batch, context: MapContext) -> dict[int, NDArray[Any]]:
    """Returns by position the predictions with each change undone that the model does not refuse.

    Only tables are changed in so many ways. Those of equal types are asked together: what a model
    needs to begin with a table is often more than what it needs for the rows.
    """
    import pandas as pd

    alike: dict[Any, dict[int, Any]] = {}
    for at, change in enumerate(found):
        with contextlib.suppress(Exception):
            frame = change.undo(batch.inputs)
            alike.setdefault(tuple(frame.dtypes), {})[at] = frame
    after: dict[int, NDArray[Any]] = {}
    for frames in alike.values():
        for start in range(0, len(frames), _TOGETHER):
            places = list(frames)[start : start + _TOGETHER]
            one = pd.concat([frames[at] for at in places], ignore_index=True)
            many = batch.take(list(range(len(batch))) * len(places)).with_inputs(one)
            answer = _tried(_ask, many, context)
            if answer is not None:
                after |= zip(places, np.split(answer, len(places)), strict=True)
                continue
            for at in places:
                if (alone := _tried(_ask, batch.with_inputs(frames[at]), context)) is not None:
                    after[at] = alone
    return after
