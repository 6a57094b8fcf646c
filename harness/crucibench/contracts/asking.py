"""Questions to language models: what is asked, what is answered, and who asks.

A `Question` is one prompt; a `Reply` what a model said to it. An adapter of a language model
subclasses `Asking` and writes `_ask`; a scenario that asks subclasses `Asked` and writes
`questions` and `columns`.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.lists import Lists
from crucibench.contracts.records import Columns, Records
from crucibench.contracts.scenario import KeptAnswers, MapContext, Mapped, Work
from crucibench.contracts.task import Modality, NonFiniteError, OutputError
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench.util.templates import render, require_fields

ENDS = ("stop", "length", "refused")
"""Why texts end, by their code in records; any other reason has the code after the last."""

_ROUNDING = 1e-6
_PROBE_TOKENS = 16
_LABEL_TOKENS = 32


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How text is generated.

    Attributes:
        max_tokens: at most so many tokens.
        temperature: 0 for the most probable token each time.
        top_p: the share of the probability that is drawn from, in (0, 1].
        stop: texts before which an answer ends.
        n: how many answers.
        seed: of a server that takes one; None to leave it out.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    n: int = 1
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        id: of the item that it is about: a digest of its fields, made before any template.
        prompt: the text that is continued; of a chat, the user's message.
        system: of a chat, the message before all others; "" for none.
        turns: of a chat, messages between these two: role and text of each.
        continuation: the text whose log-likelihood is asked for; None to generate.
        sampling: how to generate.
    """

    id: str
    prompt: str
    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    continuation: str | None = None
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def messages(self) -> list[dict[str, str]]:
        """What a chat is sent."""
        first = [("system", self.system)] if self.system else []
        every = [*first, *self.turns, ("user", self.prompt)]
        return [{"role": role, "content": text} for role, text in every]

    @property
    def shown(self) -> str:
        """The prompt; of a chat with more messages, all of them by role."""
        messages = self.messages
        if len(messages) == 1:
            return self.prompt
        return "\n\n".join(f"{one['role']}: {one['content']}" for one in messages)

    @property
    def capability(self) -> Capability:
        """What a model must be able to do to answer it."""
        return Capability.TEXTS if self.continuation is None else Capability.LOGLIKELIHOODS

    @property
    def digest(self) -> int:
        """Of all that decides the answer, in 63 bits: records name a question by it."""
        content = repr(self.content).encode()
        return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1

    @property
    def content(self) -> tuple[Any, ...]:
        """What is equal where one answer serves both: of drawn texts the item counts, too."""
        drawn = self.continuation is None and self.sampling.temperature > 0
        own = self.id if drawn else ""
        return self.prompt, self.system, self.turns, self.continuation, self.sampling, own


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The answer to one question.

    Attributes:
        texts: `Sampling.n` answers; none to a question for a log-likelihood.
        finish: why each ended: ``stop``, ``length`` (of `Sampling.max_tokens`), ``refused`` (by the
            server, with a reason of its own), or what else the server says.
        loglikelihood: of the continuation, in nats, at most 0.
        greedy: whether the continuation is what greedy decoding gives; None where that is unknown.
        tokens: of the continuation or of all texts; None where nobody says.
        prompt_tokens: of the prompt; None where nobody says.
        cost: money, in the unit of the declared price; None without one.
        seconds: from the first request to the answer.
        attempts: requests that it took; 0 where an answer of an earlier run is used again.
        model: what the server says answered, "" where it says nothing.
        doubled_start: whether the prompt began with two tokens of the beginning.
        cut: tokens of the prompt that were left out because it was too long.
        logprobs: of each token of the continuation, or of all texts one after the other, in nats;
            None where the model gives none.
        error: why the server would not take the question, a sentence; its texts are then empty. ""
            where it did.
    """

    texts: tuple[str, ...] = ()
    finish: tuple[str, ...] = ()
    loglikelihood: float | None = None
    greedy: bool | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    cost: float | None = None
    seconds: float = 0.0
    attempts: int = 1
    model: str = ""
    doubled_start: bool = False
    cut: int = 0
    logprobs: tuple[float, ...] | None = None
    error: str = ""

    def require(self, question: Question) -> None:
        """Checks that it answers a question.

        Raises:
            OutputError: if it has other texts than asked for, or no log-likelihood of at most 0.
        """
        if not all(value <= _ROUNDING for value in self.logprobs or ()):  # nor NaN
            raise OutputError("expected log-probabilities of tokens of at most 0")
        if question.continuation is None:
            if not len(self.texts) == len(self.finish) == question.sampling.n:
                raise OutputError(
                    f"expected {question.sampling.n} texts with a reason of their end, got "
                    f"{len(self.texts)} and {len(self.finish)}"
                )
            return
        value = self.loglikelihood
        if value is None:
            raise OutputError("asked for a log-likelihood, the model gave none")
        if not np.isfinite(value):
            raise NonFiniteError(f"a log-likelihood is {value}")
        if value > _ROUNDING:
            raise OutputError(f"expected a log-likelihood of at most 0, got {value:g}")


@dataclass(frozen=True, kw_only=True)
class ClassPrompt:
    """How a classification is put to a language model.

    Attributes:
        template: with places for the samples' text columns by name; ``{text}`` is the only one.
        verbalisers: the continuation that stands for each class, in class order.
        unparsed: the class that a written answer counts as which begins with no verbaliser; None
            to refuse it.
    """

    template: str
    verbalisers: tuple[str, ...]
    unparsed: int | None = None

    def label(self, text: str) -> int:
        """Returns the class that a written answer names: by the longest verbaliser it begins with.

        Raises:
            OutputError: if it names none, and `unparsed` says nothing.
        """
        plain = text.strip().lower()
        words = [word.strip().lower() for word in self.verbalisers]
        named = [
            at for at, word in enumerate(words)
            if plain.startswith(word) and not plain[len(word) : len(word) + 1].isalnum()
        ]  # fmt: skip
        if named:
            return max(named, key=lambda at: len(words[at]))
        if self.unparsed is None:
            raise OutputError(
                f"the answer {text[:80]!r} begins with no class's verbaliser: unparsed: CLASS in "
                "the prompt's file says what such an answer counts as"
            )
        return self.unparsed

    @classmethod
    def of(
        cls, opening: Opening, template: str, words: dict[str, str] | None, unparsed: str | None
    ) -> ClassPrompt:  # fmt: skip
        """Returns the prompt for a data set.

        Args:
            opening: of the model.
            template: text with places.
            words: class name to continuation; None for a space and the class's name.
            unparsed: the class that an answer counts as which names none, or None.

        Raises:
            InputError: if the data are no texts, or the template or the words don't fit them.
        """
        task = opening.data.task
        if task.modality is not Modality.TEXT or not task.one_class:
            raise InputError(
                f"a language model takes texts in classes or items of the task generation, the "
                f"data is {task.kind} of {task.modality}"
            )
        require_fields(template, [*opening.data.features, "text"])
        words = {name: f" {name}" for name in task.classes} if words is None else words
        if set(words) != set(task.classes):
            odd = sorted(set(words) ^ set(task.classes))[0]
            raise InputError(
                f"verbalisers: expected one for each class ({', '.join(task.classes)}); {odd!r} "
                f"is {'no class' if odd in words else 'missing'}"
            )
        found = tuple(words[name] for name in task.classes)
        if len(set(found)) < len(found) or "" in found:
            raise InputError("verbalisers: expected a text of its own for each class")
        if unparsed is not None and unparsed not in task.classes:
            raise InputError(f"unparsed: {unknown('class', unparsed, task.classes)}")
        return cls(
            template=template, verbalisers=found,
            unparsed=None if unparsed is None else task.classes.index(unparsed),
        )  # fmt: skip


class Asking(Adapter):
    """One language model, opened. Authors write `open`, `_ask` and the attributes of `Adapter`.

    Of texts in classes it makes scores: the log-likelihood of each class's verbaliser; or labels,
    where it can but write: the class whose verbaliser its answer begins with. An item of
    the task ``generation`` without a template is put to it as its fields, a line each: so that
    inspection and the watch on servers have something to ask.

    Attributes:
        class_prompt: how classes are asked for; None for other tasks.
        columns: names of the text columns.
    """

    class_prompt: ClassPrompt | None = None
    columns: tuple[str, ...] = ()
    _kept: KeptAnswers | None = None

    @abstractmethod
    def _ask(self, questions: Sequence[Question]) -> Sequence[Reply]:
        """Answers questions, in their order; each is another one.

        It may call `came` as soon as there is an answer: what a killed process has not is lost.
        """

    @final
    def came(self, question: Question, reply: Reply) -> None:
        """Takes the answer to a question of those that are being asked; from any thread.

        Raises:
            OutputError: if it is not as promised.
        """
        reply.require(question)
        if self._kept is not None:
            self._kept.add(question.digest, reply)

    @final
    def ask(
        self, questions: Sequence[Question], kept: KeptAnswers | None = None
    ) -> list[Reply]:  # fmt: skip
        """Answers questions and checks the answers. What is equal is asked once.

        Args:
            questions: any.
            kept: where answers are looked for before they are asked for, and kept as they come.

        Raises:
            InputError: if the model can't answer such questions.
            OutputError: if an answer is not as promised.
        """
        self._kept = kept
        try:
            return self._answered(questions, count=True)
        finally:
            self._kept = None

    def _answered(self, questions: Sequence[Question], *, count: bool = False) -> list[Reply]:
        for capability in {question.capability for question in questions} - self.capabilities:
            raise InputError(f"the model gives no {capability}")
        once = {question.content: question for question in reversed(questions)}
        found: dict[tuple[Any, ...], Reply] = {}
        missing: list[Question] = []
        for content, question in reversed(once.items()):
            known = None if self._kept is None else self._kept.find(question.digest)
            if known is None:
                missing.append(question)
            else:
                found[content] = known
        # What is asked to make scores counts as samples, in `predict`.
        self.passes.forwards += len(missing) if count else 0
        replies = self._ask(missing) if missing else []
        if len(replies) != len(missing):
            raise OutputError(f"expected {len(missing)} answers, got {len(replies)}")
        for question, reply in zip(missing, replies, strict=True):
            self.came(question, reply)
            found[question.content] = reply
        return [found[question.content] for question in questions]

    def _predict(self, batch: Batch, want: Request) -> Answer:
        if self.class_prompt is None:
            return self._written(batch)
        prompt = self.class_prompt
        likely = Capability.LOGLIKELIHOODS in self.capabilities
        questions = []
        for key, text in zip(batch.ids, batch.inputs, strict=True):
            parts = text if isinstance(text, tuple) else (text,)
            item = {"text": parts[0], **dict(zip(self.columns, parts, strict=True))}
            asked = Question(
                id=key, prompt=render(prompt.template, item),
                sampling=Sampling(max_tokens=_LABEL_TOKENS),
            )  # fmt: skip
            questions += (
                [replace(asked, continuation=word) for word in prompt.verbalisers]
                if likely
                else [asked]
            )
        if not likely:
            labels = [prompt.label(reply.texts[0]) for reply in self._taken(questions)]
            return Answer(labels=np.array(labels, np.int64))
        values = [reply.loglikelihood for reply in self._answered(questions)]
        return Answer(scores=np.array(values, np.float64).reshape(len(batch), -1))

    def _taken(self, questions: Sequence[Question]) -> list[Reply]:
        """Returns the answers, where the server takes any of the questions."""
        replies = self._answered(questions)
        if replies and all(reply.error for reply in replies):
            raise OutputError(replies[0].error)
        return replies

    def _written(self, batch: Batch) -> Answer:
        if (
            Capability.TEXTS not in self.capabilities
        ):  # nothing that an item without a template could ask
            return Answer(texts=Lists.of([0] * len(batch), np.zeros(0, dtype=object)))
        sampling = Sampling(max_tokens=_PROBE_TOKENS)
        prompts = (
            "\n".join(f"{name}: {value}" for name, value in item.items()) for item in batch.inputs
        )
        questions = [
            Question(id=key, prompt=prompt, sampling=sampling)
            for key, prompt in zip(batch.ids, prompts, strict=True)
        ]
        texts = [reply.texts[0] for reply in self._taken(questions)]
        return Answer(texts=Lists.of([1] * len(batch), np.array(texts, dtype=object)))


@dataclass(frozen=True, kw_only=True)
class Asked(Mapped):
    """Says questions; the answers become records: a row a sample and point.

    Columns of text are called ``input:NAME``, so that they are not published.
    """

    requires: ClassVar[frozenset[Capability]] = frozenset()

    @abstractmethod
    def questions(self, work: Work, point: str) -> Sequence[Sequence[Question]]:
        """Returns the questions about each sample at a point, in the order of the samples."""

    def columns(self, work: Work, point: str) -> Columns:
        """Returns columns that scoring needs beside the answers, n rows each."""
        return {}

    @final
    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Asks, and returns the records of one batch."""
        if not isinstance(context.adapter, Asking):
            raise InputError("the model is no language model: it can't be asked questions")
        asked = [questions for point in self.points for questions in self.questions(work, point)]
        flat = context.adapter.ask(
            [question for part in asked for question in part], context.answers
        )
        lengths = [len(part) for part in asked]
        beside = [self.columns(work, point) for point in self.points]
        return {
            "id": list(work.batch.ids) * len(self.points),
            "point": np.repeat(np.array(self.points, dtype=object), len(work.batch)),
            **{name: _joined([one[name] for one in beside]) for name in beside[0]},
            "input:prompt": [part[0].shown for part in asked],
            "question": Lists.of(
                lengths, np.array([one.digest for part in asked for one in part], dtype=np.int64)
            ),
            **_of_replies(flat, lengths),
        }


def _end(name: str) -> int:
    return ENDS.index(name) if name in ENDS else len(ENDS)


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Lists):
        lengths = np.concatenate([part.lengths for part in parts])
        return Lists.of(lengths, np.concatenate([part.values for part in parts]))
    return np.concatenate(parts)


def _of_replies(replies: Sequence[Reply], lengths: Sequence[int]) -> Columns:
    """Returns what is kept of answers: lists over the questions about a sample, or over texts."""
    texts = [text for reply in replies for text in reply.texts]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    owned = [replies[at:to] for at, to in pairwise(starts)]
    of_texts = [sum(len(reply.texts) for reply in part) for part in owned]

    def each(values: Sequence[Any], dtype: Any) -> Lists:
        return Lists.of(lengths, np.array(values, dtype=dtype))

    def known(values: Sequence[float | None]) -> Lists:
        return each([np.nan if value is None else value for value in values], np.float64)

    return {
        "input:texts": Lists.of(of_texts, np.array(texts, dtype=object)),
        "finish": Lists.of(
            of_texts,
            np.array([_end(end) for one in replies for end in one.finish], dtype=np.int64),
        ),
        "loglikelihood": known([reply.loglikelihood for reply in replies]),
        "greedy": known([reply.greedy for reply in replies]),
        "tokens": known([reply.tokens for reply in replies]),
        "prompt_tokens": known([reply.prompt_tokens for reply in replies]),
        "cost": known([reply.cost for reply in replies]),
        "attempts": each([reply.attempts for reply in replies], np.int64),
        "cut": each([reply.cut for reply in replies], np.int64),
        "logprobs": Lists.of(
            [sum(len(reply.logprobs or ()) for reply in part) for part in owned],
            np.array([one for reply in replies for one in reply.logprobs or ()], np.float64),
        ),
        "logprobs_count": each([len(reply.logprobs or ()) for reply in replies], np.int64),
        "input:error": each([reply.error for reply in replies], object),
        "doubled_start": each([reply.doubled_start for reply in replies], np.bool_),
        "answered_by": [part[0].model for part in owned],
    }


def replies_of(records: Records) -> Iterator[tuple[int, Reply]]:
    """Yields the answers in records of a scenario that asked, each after its question's digest.

    Those of version 0.1.0 have neither log-probabilities of tokens nor errors.
    """
    asked, texts, ends = (records.lists(name) for name in ("question", "input:texts", "finish"))
    numbers = {
        name: records.lists(name).values
        for name in (
            "loglikelihood", "greedy", "tokens", "prompt_tokens", "cost", "attempts", "cut",
            "doubled_start",
        )
    }  # fmt: skip
    models = records.array("answered_by").tolist()
    ends_of = np.zeros(len(asked.values) + 1, dtype=np.int64)
    logs: NDArray[Any] = np.zeros(0)
    errors: NDArray[Any] = np.full(len(asked.values), "", dtype=object)
    if "logprobs" in records:
        ends_of[1:] = np.cumsum(records.lists("logprobs_count").values)
        logs, errors = records.lists("logprobs").values, records.lists("input:error").values
    written = texts.values.tolist()
    finish = [(*ENDS, "other")[end] for end in ends.values.tolist()]
    for row, (at, to) in enumerate(pairwise(asked.offsets.tolist())):
        own = slice(texts.offsets[row], texts.offsets[row + 1])
        written_texts, over = tuple(written[own]), tuple(finish[own])
        for place in range(at, to):
            value, greedy, tokens, before, cost = (
                None if np.isnan(number := numbers[name][place]) else float(number)
                for name in ("loglikelihood", "greedy", "tokens", "prompt_tokens", "cost")
            )
            yield int(asked.values[place]), Reply(
                texts=written_texts, finish=over, loglikelihood=value,
                greedy=None if greedy is None else bool(greedy),
                tokens=None if tokens is None else int(tokens),
                prompt_tokens=None if before is None else int(before), cost=cost,
                attempts=int(numbers["attempts"][place]), model=str(models[row]),
                doubled_start=bool(numbers["doubled_start"][place]),
                cut=int(numbers["cut"][place]), error=str(errors[place]),
                logprobs=tuple(logs[ends_of[place] : ends_of[place + 1]].tolist()) or None,
            )  # fmt: skip
