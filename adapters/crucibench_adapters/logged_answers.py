"""``answers:FILE``: what a language model once answered; there is no model.

A file is what lm-evaluation-harness logs (``samples_*.jsonl``), a log of Inspect (``.json``), or
the folder of a run of this project: then its answers are used again, so that another extractor, or
another metric, costs no request. Questions are found by what was asked: prompt, system message and
continuation, and how it was sampled where the log is a run's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request, Sources
from crucibench.contracts.asking import Asking, Question, Reply, replies_of
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.lists import Lists
from crucibench.contracts.records import Records
from crucibench.contracts.uri import URI, existing_file
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.text import shorten
from crucibench.util.untrusted.content import read_content, text_of
from crucibench.util.untrusted.json_text import parse_json
from crucibench.util.untrusted.parquet import require_bounded

_MOST = 1 << 30
_ENDS = {"max_tokens": "length", "content_filter": "refused"}
_RECORDS = "cells/*/records-*.parquet"
_Asked = tuple[str, str | None] | int
"""A prompt, and a continuation or None; or `Question.digest`, where the log is a run's."""


class AnswersAdapter(Asking):
    """Logged answers."""

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only()
        folder = (base / Path(uri.rest).expanduser()).resolve()
        if not folder.is_dir():
            return Sources((existing_file(base, uri.rest, "answers"),))
        files = tuple(sorted(folder.glob(_RECORDS)))
        if not files:
            raise InputError(f"answers: {uri.rest!r} is the folder of no run: it has no records")
        return Sources(files)

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        files = cls.sources(opening.uri, opening.base).files
        if opening.data.task.kind != "generation":
            raise InputError("answers: are those to items (items:FILE.jsonl?target=FIELD)")
        return cls(files, opening)

    def __init__(self, files: Sequence[Path], opening: Opening) -> None:
        self.task = opening.data.task
        self.input_spec = InputSpec()
        self._files = files
        self._name = Path(opening.uri.rest).name
        self._known: dict[_Asked, Reply] = {}
        self._repeated = 0
        for file in files:
            for asked, reply in _of_run(file) if file.suffix == ".parquet" else _logged(file):
                self._repeated += self._known.get(asked, reply) != reply
                self._known.setdefault(asked, reply)
        if not self._known:
            raise InputError(f"{self._name} holds no answers")
        self.capabilities = frozenset(
            Capability.TEXTS if reply.loglikelihood is None else Capability.LOGLIKELIHOODS
            for reply in self._known.values()
        )

    def _ask(self, questions: Sequence[Question]) -> Sequence[Reply]:
        found = [self._reply(one) for one in questions]
        missing = [one for one, reply in zip(questions, found, strict=True) if reply is None]
        if missing:
            raise InputError(
                f"{self._name} lacks {len(missing)} of {len(questions)} answers of a batch, "
                f"e.g. to {shorten(repr(missing[0].prompt[-80:]), 100)}: template, choices and "
                "delimiter have to be those that it was made with"
            )
        return [reply for reply in found if reply is not None]

    def _reply(self, question: Question) -> Reply | None:
        asked = question.prompt, question.continuation
        return self._known.get(question.digest) or self._known.get(asked)

    def _predict(self, batch: Batch, want: Request) -> Answer:
        # A log answers what was asked, and items without a template were not.
        return Answer(texts=Lists.of([0] * len(batch), np.zeros(0, dtype=object)))

    def fingerprint(self) -> Mapping[str, str] | None:
        return {"files": data_digest([file_digest(file) for file in self._files])}

    def diagnostics(self) -> Mapping[str, Any]:
        notes = [f"{len(self._known)} logged answers"]
        if self._repeated:
            notes.append(
                f"{self._repeated} more answers to the same questions were other ones: the first "
                "counts"
            )
        return {"notes": notes, "preprocessing": {"encoding": "none: the prompts are looked up"}}


def _logged(file: Path) -> Iterator[tuple[_Asked, Reply]]:
    text = text_of(read_content(file, file.name, _MOST), file.name)
    try:
        if file.suffix == ".json":
            yield from _inspect(parse_json(text, file.name, most=_MOST, values=_MOST))
            return
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield from _lm_eval(parse_json(line, f"{file.name} line {number}"))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{file.name}: expected samples_*.jsonl of lm-evaluation-harness or a .json log of "
            f"Inspect: {type(error).__name__}: {error}"
        ) from error


def _of_run(file: Path) -> Iterator[tuple[_Asked, Reply]]:
    """Yields the answers in records of a scenario that asked."""
    require_bounded(file, file.name)
    with pq.ParquetFile(file) as opened:
        if "question" not in opened.schema_arrow.names:
            return
        records = Records(opened.read())
    if "input:texts" not in records:
        raise InputError(f"{file.name}: its texts were left out when it was published")
    yield from replies_of(records)


def _lm_eval(sample: Any) -> Iterator[tuple[_Asked, Reply]]:
    """Yields the answers of one sample of lm-evaluation-harness."""
    arguments = sample["arguments"]
    if isinstance(arguments, dict):
        arguments = [list(one.values()) for one in arguments.values()]
    for (prompt, second, *_), responses in zip(arguments, sample["resps"], strict=True):
        if isinstance(second, str):
            value, greedy = responses[0]
            yield (
                (prompt, second),
                Reply(loglikelihood=min(0.0, float(value)), greedy=str(greedy) == "True"),
            )
        else:
            texts = tuple(str(one) for one in responses)
            yield (prompt, None), Reply(texts=texts, finish=("",) * len(texts))


def _inspect(log: Any) -> Iterator[tuple[_Asked, Reply]]:
    """Yields the answers of a log of Inspect."""
    for sample in log["samples"]:
        asked = sample["input"]
        if not isinstance(asked, str):
            asked = next(one["content"] for one in asked if one["role"] == "user")
        output = sample["output"]
        texts, finish = [], []
        for choice in output["choices"]:
            content = choice["message"]["content"]
            if not isinstance(content, str):
                content = "".join(part.get("text", "") for part in content)
            end = str(choice.get("stop_reason") or "")
            texts.append(content)
            finish.append(_ENDS.get(end, end))
        usage = output.get("usage") or {}
        yield (asked, None), Reply(
            texts=tuple(texts), finish=tuple(finish), model=str(output.get("model") or ""),
            tokens=usage.get("output_tokens"), prompt_tokens=usage.get("input_tokens"),
        )  # fmt: skip
