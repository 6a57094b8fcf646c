"""Answers of language models: kept as they come, and taken from an earlier run where one is named.

A log is appended to as answers come, so that a process that is killed loses what was under way
alone. It lives until the records are there that hold the same.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from crucibench.contracts.asking import Reply, replies_of
from crucibench.contracts.evidence import ModelInfo
from crucibench.store.journal import checked_line, read_lines
from crucibench.store.layout import ANSWERS, slug
from crucibench.store.run import Run
from crucibench.util import doors
from crucibench.util.doors import storing


class AnswerLog:
    """The answers of one shard that is being collected."""

    def __init__(self, path: Path, others: Mapping[int, Reply]) -> None:
        """Takes the log's place, and answers of another run by the digest of their question."""
        self._path = path
        self._others = others
        self._lock = threading.Lock()
        self._known: dict[int, Reply] | None = None
        self._stream: io.BufferedRandom | None = None

    def find(self, question: int) -> Reply | None:
        """Returns an answer that is known."""
        with self._lock:
            return self._own().get(question) or self._others.get(question)

    def add(self, question: int, reply: Reply) -> None:
        """Keeps an answer, unless it is known."""
        with self._lock:
            known = self._own()
            if question in known:
                return
            known[question] = reply
            with storing(self._path):
                if self._stream is None:
                    self._stream = doors.open_file(self._path, "ab")
                self._stream.write(checked_line({"question": question, **vars(reply)}))
                self._stream.flush()  # not synced: a kill of this process loses nothing of it

    def close(self) -> None:
        """Closes the file."""
        if self._stream is not None:
            self._stream.close()

    def _own(self) -> dict[int, Reply]:
        if self._known is None:
            self._known = _logged(self._path)
        return self._known


def _logged(path: Path) -> dict[int, Reply]:
    return {int(line.pop("question")): _reply(line) for line in read_lines(path)}


def _reply(line: dict[str, Any]) -> Reply:
    lists = {name: tuple(value) for name, value in line.items() if isinstance(value, list)}
    return Reply(**{**line, **lists})


def same_models(run: Run, model: ModelInfo) -> set[tuple[str, str]]:
    """Returns the (model, data set) of an earlier run that are this model.

    That is one with the same fingerprint; or without any, at the same address.
    """
    return {key for key, info in run.models.items() if _source(info) == _source(model)}


def answers_of(run: Run, model: ModelInfo) -> dict[int, Reply]:
    """Returns the answers that a model gave in an earlier run, by the digest of their question.

    Those of cells that were not finished count, too. Each says that it took no request now.
    """
    found: dict[int, Reply] = {}
    for name, data in same_models(run, model):
        for folder in run.layout.cells.glob(f"{slug(name)[:40]}.{slug(data)[:40]}.*"):
            records = run.cell_records(folder.name)
            if "question" in records and "input:texts" in records:
                found |= replies_of(records)
            for path in folder.glob(f"{ANSWERS}*"):
                found |= _logged(path)
    return {key: replace(reply, attempts=0, seconds=0.0) for key, reply in found.items()}


def _source(model: ModelInfo) -> Any:
    if model.fingerprint is not None:
        return dict(model.fingerprint), model.variant
    return model.uri, dict(model.numerics)
