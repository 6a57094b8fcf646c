"""Examples that cells kept: a few samples, as they are and changed, and what the model answered."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.examples import LONGEST
from crucibench.contracts.section import Block, Section
from crucibench.contracts.task import Modality, Task
from crucibench.report.format import counted, show_plain
from crucibench.report.page import Gallery, Picture, Piece, ShownSample, Version
from crucibench.report.sections import PageEvidence, PageSection
from crucibench.util.text import shorten, visible
from crucibench.util.untrusted.json_text import parse_json

MOST_SCENARIOS = 3
MOST_SAMPLES = 4
"""Of one model."""

_ROOM = 30_000
"""Bytes of pictures of one model."""

_MOST_COLUMNS = 12
_SIDE = 96
"""CSS pixels of a picture's longer side, about."""

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_AROUND = 12
"""Words and signs that are shown on either side of an edit."""

_MOST_PIECES = 80
_LONGEST = 160

GAP = Piece(text=" … ", kind="gap")


class Examples(PageSection):
    """Shows a few samples of each model: of the same scenarios, where most answers flipped."""

    name = "gallery"
    optional = True

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        task = evidence.task
        if task is None:
            return []
        kept = [
            (cell, *_flips_first(frame))
            for cell in evidence.cells(section.scenario)
            if (frame := cell.examples()) is not None
        ]
        flips: dict[str, int] = {}
        for cell, _, flipped in kept:
            flips[cell.scenario] = flips.get(cell.scenario, 0) + flipped
        chosen = sorted(flips, key=lambda name: (-flips[name], name))[:MOST_SCENARIOS]
        blocks: list[Block] = []
        for model in evidence.models:
            own = [
                [(cell.scenario, rows) for rows in samples]
                for name in chosen
                for cell, samples, _ in kept
                if (cell.model, cell.scenario) == (model, name)
            ]
            # The first of each scenario, then the second of each, and so on.
            turns = zip_longest(*own)
            first = [pair for turn in turns for pair in turn if pair is not None][:MOST_SAMPLES]
            first.sort(key=lambda pair: chosen.index(pair[0]))
            samples = within_room([_sample(name, rows, task) for name, rows in first])
            if samples:
                blocks.append(
                    Gallery(
                        head=evidence.head(model), caption=section.title, samples=samples,
                        folded=bool(blocks),
                    )
                )  # fmt: skip
        return blocks


def within_room(samples: Sequence[ShownSample]) -> list[ShownSample]:
    """Returns the first samples whose pictures are not too much for one model."""
    shown: list[ShownSample] = []
    room = _ROOM
    for sample in samples:
        room -= sum(len(one.source) for version in sample.versions for one in version.pictures)
        if shown and room < 0:
            break
        shown.append(sample)
    return shown


def _flips_first(frame: pd.DataFrame) -> tuple[list[pd.DataFrame], int]:
    """Returns the rows of each sample, those first whose answer flipped, and how many did."""
    samples = [part for _, part in frame.groupby("id", sort=False)]
    flipped = [_flipped(part) for part in samples]
    order = np.argsort(np.logical_not(flipped), kind="stable")
    return [samples[at] for at in order], sum(flipped)


def _flipped(rows: pd.DataFrame) -> bool:
    right = (rows["prediction"] == rows["target"]).to_numpy()
    return bool(right[0] and not right[1:].all())


def _sample(scenario: str, rows: pd.DataFrame, task: Task) -> ShownSample:
    lines: list[dict[str, Any]] = [
        {str(name): value for name, value in line.items()} for line in rows.to_dict("records")
    ]
    clean = lines[0]
    target = _named(clean["target"], task)
    if task.modality is Modality.IMAGE:
        versions = [
            _version(line, task, pictures=_pictures(line, scenario, task)) for line in lines
        ]
        return ShownSample(scenario=scenario, target=target, versions=versions)
    contents = [parse_json(line["content"], "a stored sample") for line in lines]
    if task.modality is Modality.TEXT:
        parts = [[whole(text) for text in contents[0]]]
        parts += [list(map(edited, contents[0], text)) for text in contents[1:]]
        cut = any(len(text or "") >= LONGEST for text in contents[0])
        return ShownSample(
            scenario=scenario, target=target,
            versions=[_version(line, task, parts=part)
                      for line, part in zip(lines, parts, strict=True)],
            alike=f"The first {LONGEST:,} characters." if cut else "",
        )  # fmt: skip
    return _row(scenario, target, [_version(line, task) for line in lines], contents)


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
    answer = _named(line["prediction"], task)
    if not task.classes:
        return Version(title=_title(line), answer=answer, **shown)
    confidence = line["confidence"]
    right = None if math.isnan(line["prediction"]) else line["prediction"] == line["target"]
    if math.isfinite(confidence):
        answer += f", {100 * confidence:.0f} %"
    return Version(title=_title(line), answer=answer, right=right, **shown)


def _title(line: Mapping[str, Any]) -> str:
    return " by ".join(filter(None, (line["point"], line["by"]))) or "as it is"


def _named(value: float, task: Task) -> str:
    if math.isnan(value):
        return "not known"
    if not task.classes:
        return show_plain(value)
    at = int(value)
    name = task.classes[at] if 0 <= at < len(task.classes) else str(at)
    return shorten(visible(str(name)), 40)


def _pictures(line: Mapping[str, Any], scenario: str, task: Task) -> list[Picture]:
    what = f"{_named(line['target'], task)}, {_title(line)}"
    if line["point"]:
        what += f", {scenario}"
    found = [picture(line["content"], f"Image of {what}: {_named(line['prediction'], task)}")]
    if line["change"]:
        factor = f"{line['factor']:.3g}"
        found.append(
            picture(line["change"], f"What was changed, {factor} times", f"change, {factor} times")
        )
    return found


def picture(content: bytes, alt: str, note: str = "", side: int = _SIDE) -> Picture:
    """Returns a PNG file as a picture of the page, its longer side about so many CSS pixels."""
    # A PNG file's width and height stand at a fixed place.
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    scale = max(1, side // max(width, height, 1))
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Picture(source=source, alt=alt, width=scale * width, note=note)


def edited(before: str | None, after: str | None) -> list[Piece]:
    """Returns a changed text with its edits marked; what lies far from them is left out."""
    if before is None or after is None:
        return [_piece(one, kind) for one, kind in ((before, "taken-out"), (after, "put-in"))
                if one is not None]  # fmt: skip
    if before == after:
        return whole(after)
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    pieces: list[Piece] = []
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    steps = matcher.get_opcodes()
    for place, (kind, start, stop, first, last) in enumerate(steps):
        if kind == "equal":
            pieces += _context(new[first:last], first=place == 0, last=place == len(steps) - 1)
            continue
        pieces += [_piece("".join(old[start:stop]), "taken-out")] if stop > start else []
        pieces += [_piece("".join(new[first:last]), "put-in")] if last > first else []
    return pieces if len(pieces) <= _MOST_PIECES else [*pieces[:_MOST_PIECES], GAP]


def whole(text: str | None) -> list[Piece]:
    """Returns a text as it is, its middle left out where it is long."""
    if text is None:
        return [Piece(text="missing", kind="gap")]
    tokens = _TOKEN.findall(text)
    if len(tokens) <= 8 * _AROUND:
        return [_piece(text)]
    return [_piece("".join(tokens[: 6 * _AROUND])), GAP, _piece("".join(tokens[-2 * _AROUND :]))]


def changed_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the columns in which some row differs from the first, in their order."""
    first = rows[0]
    return [name for name in first if any(row.get(name) != first[name] for row in rows[1:])]


def cells_of(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """Returns a column of some rows; a value other than the first row's is marked."""
    first = rows[0][name]
    return [
        Piece(text=_value(row.get(name)), kind="same" if row.get(name) == first else "put-in")
        for row in rows
    ]


def _context(tokens: Sequence[str], *, first: bool, last: bool) -> list[Piece]:
    """Returns a stretch that was left as it was; the middle of a long one is left out."""
    before = 0 if first else _AROUND
    after = 0 if last else _AROUND
    if len(tokens) <= before + after + _AROUND:
        return [_piece("".join(tokens))]
    ends = (tokens[:before], tokens[len(tokens) - after :] if after else [])
    start, stop = ("".join(end) for end in ends)
    return [
        *([_piece(start)] if start else []), GAP, *([_piece(stop)] if stop else []),
    ]  # fmt: skip


def _piece(text: str, kind: Any = "same") -> Piece:
    # A word may be as long as its text.
    return Piece(text=shorten(text, 8 * _LONGEST if kind == "same" else _LONGEST), kind=kind)


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return show_plain(value) if isinstance(value, int | float) else shorten(str(value), _LONGEST)
