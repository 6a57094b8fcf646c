"""Examples that cells kept: a few samples, as they are and changed, and what the model said."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crucibench.contracts.examples import EXAMPLES, LONGEST, first_of
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Status
from crucibench.metrics.probabilistic import softmax
from crucibench.passes.scenario import SUITE as PASS
from crucibench.report.format import counted, show_plain
from crucibench.report.page import Block, Gallery
from crucibench.report.samples import Picture, Piece, ShownSample, Version
from crucibench.report.sections.edits import cells_of, changed_columns, edited, whole
from crucibench.report.sections.sources import Sources
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from crucibench.contracts.evidence import ModelInfo
    from crucibench.store.cells import CellFile

MOST_SCENARIOS = 3
MOST_SAMPLES = 6
"""Of one model."""

_ROOM = 40_000
"""Bytes of pictures of one model."""

_MOST_COLUMNS = 12
_SIDE = 96
"""CSS pixels of a picture's longer side, about."""


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What a cell kept, with the answers to the samples as they are.

    Attributes:
        cell: the cell.
        samples: the rows of each sample, those first whose answer was right and became wrong.
        flipped: how many those are.
    """

    cell: CellFile
    samples: Sequence[pd.DataFrame]
    flipped: int


def draw_gallery(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    """Shows a few samples of each model: of the same scenarios, where most answers flipped."""
    card = sources.run.cards.get(sources.data)
    if card is None or not sources.gallery:
        return []
    kept = [
        found
        for cell in sources.cells(section.get("scenario") or "")
        if cell.status is Status.OK and (found := _kept(cell, card.task, sources)) is not None
    ]
    flips: dict[str, int] = {}
    for one in kept:
        flips[one.cell.scenario] = flips.get(one.cell.scenario, 0) + one.flipped
    chosen = sorted(flips, key=lambda name: (-flips[name], name))[:MOST_SCENARIOS]
    blocks: list[Block] = []
    for model in sources.models:
        own = [one for name in chosen for one in kept
               if (one.cell.model, one.cell.scenario) == (model, name)]  # fmt: skip
        each = MOST_SAMPLES // max(1, len(own))
        samples = _within_room([_sample(one.cell, rows, card.task)
                                for one in own for rows in one.samples[:each]])  # fmt: skip
        if samples:
            blocks.append(
                Gallery(
                    head=sources.head(model), caption=section["title"], samples=samples,
                    folded=bool(blocks),
                )
            )  # fmt: skip
    return blocks


def _within_room(samples: Sequence[ShownSample]) -> list[ShownSample]:
    shown: list[ShownSample] = []
    room = _ROOM
    for sample in samples:
        room -= sum(len(one.source) for version in sample.versions for one in version.pictures)
        if shown and room < 0:
            break
        shown.append(sample)
    return shown


def _kept(cell: CellFile, task: Task, sources: Sources) -> _Kept | None:
    records = sources.run.artifacts(cell.cell, cell.outputs).get(EXAMPLES)
    info = sources.run.models.get((cell.model, cell.data))
    if records is None or info is None:
        return None
    frame = first_of(records.frame())
    clean = frame["point"] == ""
    answers = _plain_answers(cell, list(frame.loc[clean, "id"]), info, sources)
    for name, values in answers.items():
        frame.loc[clean, name] = values
    frame["prediction"], frame["confidence"] = _decided(frame, task, info)
    samples = [part for _, part in frame.groupby("id", sort=False)]
    flipped = [_flipped(part) for part in samples]
    order = np.argsort(np.logical_not(flipped), kind="stable")
    return _Kept(cell=cell, samples=[samples[at] for at in order], flipped=sum(flipped))


def _flipped(rows: pd.DataFrame) -> bool:
    right = (rows["prediction"] == rows["target"]).to_numpy()
    return bool(right[0] and not right[1:].all())


def _plain_answers(
    cell: CellFile, ids: Sequence[str], info: ModelInfo, sources: Sources
) -> dict[str, Any]:
    """Returns what the plain pass says of samples, as `crucibench.contracts.examples` has it."""
    passes = [
        other
        for need in cell.needs.values()
        if (other := sources.run.cells.get(need)) is not None
        and (other.suite, other.role, other.model) == (PASS, cell.role, cell.model)
    ]
    if not passes:
        return {}
    records = sources.run.cell_records(passes[0].cell)
    rows = pd.Index(records.ids).get_indexer(pd.Index(ids))
    if (rows < 0).any():
        return {}
    answers = {"prediction": records.array("prediction")[rows].astype(np.float64)}
    if "scores" in records:
        scores = records.array("scores")[rows].astype(np.float64)
        chances = softmax(scores) if info.score_kind == "logits" else scores
        said = answers["prediction"].astype(np.int64)
        binary = chances.shape[1] == 2
        answers["score"] = chances[:, 1] if binary else chances[np.arange(len(rows)), said]
    return answers


def _decided(frame: pd.DataFrame, task: Task, info: ModelInfo) -> tuple[Any, Any]:
    """Returns class (or value) and confidence of each row, by the model's decision rule."""
    said, score = frame["prediction"].to_numpy(), frame["score"].to_numpy()
    if not task.binary:
        return said, score
    rule = info.decision
    positive = score if rule.positive == 1 else 1.0 - score
    decided = np.where(positive >= rule.threshold, rule.positive, 1 - rule.positive)
    said = np.where(np.isfinite(score), decided, said)
    return said, np.where(said == rule.positive, positive, 1.0 - positive)


def _sample(cell: CellFile, rows: pd.DataFrame, task: Task) -> ShownSample:
    lines: list[dict[str, Any]] = [
        {str(name): value for name, value in line.items()} for line in rows.to_dict("records")
    ]
    clean = lines[0]
    target = _named(clean["target"], task)
    if task.modality is Modality.IMAGE:
        versions = [
            _version(line, task, pictures=_pictures(line, cell.scenario, task)) for line in lines
        ]
        return ShownSample(scenario=cell.scenario, target=target, versions=versions)
    contents = [json.loads(line["content"]) for line in lines]
    if task.modality is Modality.TEXT:
        parts = [[whole(text) for text in contents[0]]]
        parts += [list(map(edited, contents[0], text)) for text in contents[1:]]
        cut = any(len(text or "") >= LONGEST for text in contents[0])
        return ShownSample(
            scenario=cell.scenario, target=target,
            versions=[_version(line, task, parts=part)
                      for line, part in zip(lines, parts, strict=True)],
            alike=f"The first {LONGEST:,} characters." if cut else "",
        )  # fmt: skip
    return _row(cell.scenario, target, [_version(line, task) for line in lines], contents)


def _row(
    scenario: str, target: str, versions: Sequence[Version], contents: Sequence[dict[str, Any]]
) -> ShownSample:
    changed = changed_columns(contents)
    shown = changed[:_MOST_COLUMNS]
    same = len(contents[0]) - len(changed)
    alike = [f"{counted(same, 'column is as it was', 'columns are as they were')}"] if same else []
    if len(changed) > len(shown):
        alike.append(f"{counted(len(changed) - len(shown), 'changed column')} left out")
    cells: list[tuple[str, Sequence[Piece]]] = [(name, cells_of(name, contents)) for name in shown]
    return ShownSample(
        scenario=scenario, target=target, versions=versions, cells=cells,
        alike=f"{'; '.join(alike)}." if alike else "",
    )  # fmt: skip


def _version(line: Mapping[str, Any], task: Task, **shown: Any) -> Version:
    said = _named(line["prediction"], task)
    if task.kind == "regression":
        return Version(title=_title(line), said=said, **shown)
    confidence = line["confidence"]
    right = None if math.isnan(line["prediction"]) else line["prediction"] == line["target"]
    if math.isfinite(confidence):
        said += f", {100 * confidence:.0f} %"
    return Version(title=_title(line), said=said, right=right, **shown)


def _title(line: Mapping[str, Any]) -> str:
    return " by ".join(filter(None, (line["point"], line["by"]))) or "as it is"


def _named(value: float, task: Task) -> str:
    if math.isnan(value):
        return "not known"
    if task.kind == "regression":
        return show_plain(value)
    at = int(value)
    name = task.classes[at] if 0 <= at < len(task.classes) else str(at)
    return shorten(visible(str(name)), 40)


def _pictures(line: Mapping[str, Any], scenario: str, task: Task) -> list[Picture]:
    what = f"{_named(line['target'], task)}, {_title(line)}"
    if line["point"]:
        what += f", {scenario}"
    found = [_picture(line["content"], f"Image of {what}: {_named(line['prediction'], task)}")]
    if line["change"]:
        factor = f"{line['factor']:.3g}"
        found.append(
            _picture(line["change"], f"What was changed, {factor} times", f"change, {factor} times")
        )
    return found


def _picture(content: bytes, alt: str, note: str = "") -> Picture:
    # A PNG file's width and height stand at a fixed place.
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    scale = max(1, _SIDE // max(width, height, 1))
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Picture(source=source, alt=alt, width=scale * width, note=note)
