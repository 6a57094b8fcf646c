"""What is asked about an item: the prompt, the choices, and which of them is right."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from crucibench.contracts.asking import Asked, Asking, Question, Sampling
from crucibench.contracts.capability import Capability
from crucibench.contracts.lists import Lists
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench.util.templates import render
from crucibench_suites.prompted.bbq import bbq_columns
from crucibench_suites.prompted.config import AskSettings

LETTERS = string.ascii_uppercase
CHOICES = "choices"
REPEATED = 16
"""Items that are asked about twice more."""

Item = Mapping[str, Any]


def choices_of(ask: AskSettings, item: Item) -> list[str]:
    """Returns the texts of an item's choices, in the item's order.

    Raises:
        InputError: if there are none, or more than there are letters.
    """
    names = ask.choices if isinstance(ask.choices, list) else [ask.choices]
    for name in names:
        if name not in item:
            raise InputError(f"choices: {unknown('field', name, item)}")
    found = [item[name] for name in names] if isinstance(ask.choices, list) else item[names[0]]
    most = 2 if ask.kind == "pair" else len(LETTERS)
    if not isinstance(found, list) or not 2 <= len(found) <= most:
        raise InputError(f"choices: expected 2 to {most} texts, got {found!r}")
    return [str(one) for one in found]


def letters_of(ask: AskSettings, count: int) -> list[str]:
    """Returns the letter of each choice, which follows the order in which they are shown."""
    letters = list(LETTERS[:count])
    return letters[::-1] if ask.order == "reversed" else letters


def gold_of(ask: AskSettings, reference: str, choices: Sequence[str]) -> int:
    """Returns the index of the right choice.

    Raises:
        InputError: if the reference names none, or several.
    """
    if ask.gold == "text":
        at = [row for row, choice in enumerate(choices) if choice == reference]
    else:
        number = LETTERS.find(reference) if ask.gold == "letter" else _number(reference)
        at = [number] if len(reference) and 0 <= number < len(choices) else []
    if len(at) != 1:
        raise InputError(
            f"gold: {ask.gold}: the reference {reference!r} names {'none' if not at else 'several'}"
            f" of the choices {list(choices)!r} (index, letter or text)"
        )
    return at[0]


def prompt_of(ask: AskSettings, item: Item) -> str:
    """Returns the prompt: examples, each with its answer, and the item."""
    before = (
        _filled(ask, shot) + ask.delimiter + str(shot["answer"]) + ask.shot_delimiter
        for shot in _shots(ask, "text")
    )
    return "".join(before) + _filled(ask, item)


def turns_of(ask: AskSettings, item: Item) -> tuple[tuple[str, str], ...]:
    """Returns role and text of the messages before the prompt: examples, then the item's own.

    Raises:
        InputError: if the item's are none.
    """
    found: list[tuple[str, str]] = []
    for shot in _shots(ask, "turns"):
        found += [("user", _filled(ask, shot)), ("assistant", str(shot["answer"]))]
    if not ask.turns:
        return tuple(found)
    try:
        own = [(str(one["role"]), str(one["content"])) for one in item[ask.turns]]
    except (LookupError, TypeError) as error:
        raise InputError(
            f"turns: expected a list of role and content in field {ask.turns!r}, got "
            f"{item.get(ask.turns)!r}"
        ) from error
    return (*found, *own)


def _shots(ask: AskSettings, form: str) -> Sequence[Item]:
    shots = ask.shots if ask.shots_as == form else []
    return shots[::-1] if ask.shot_order == "reversed" else shots


def _filled(ask: AskSettings, item: Item) -> str:
    if not ask.choices:
        return render(ask.template, item)
    choices = choices_of(ask, item)
    lines = sorted(zip(letters_of(ask, len(choices)), choices, strict=True))
    shown = "\n".join(f"{letter}. {choice}" for letter, choice in lines)
    return render(ask.template, {**item, CHOICES: shown})


def continuations_of(ask: AskSettings, item: Item) -> list[str]:
    """Returns the texts whose log-likelihoods decide a choice, without the delimiter."""
    choices = choices_of(ask, item)
    return letters_of(ask, len(choices)) if ask.style == "letter" else choices


@dataclass(frozen=True, kw_only=True)
class Answers(Asked):
    """Asks about every item, once a prompt.

    Attributes:
        prompts: how to ask, by point.
        bbq: whether the items are BBQ's.
        most: questions about an item at most, all prompts together.
    """

    prompts: Mapping[str, AskSettings]
    bbq: bool = False
    most: int = 1
    version: ClassVar[int] = 2
    requires: frozenset[Capability] = frozenset()  # type: ignore[misc]

    audits: ClassVar[tuple[str, ...]] = (
        "answers-cut-off", "answers-refused", "questions-not-taken", "answers-alike",
        "prompt-start-doubled", "prompts-cut", "chat-template-unused", "greedy-not-greedy",
        "answering-model-changed", "answers-reused",
    )  # fmt: skip

    @property
    def most_questions(self) -> int:
        """One a prompt where text is written, else one for each choice."""
        return self.most

    @property
    def most_probed(self) -> int:
        """A few items twice, at the first prompt, where answers are not drawn."""
        drawn = self.prompts[self.points[0]].sampling.temperature > 0
        return 0 if drawn else 2 * REPEATED * self.most // len(self.points)

    def questions(self, work: Work, point: str) -> Sequence[Sequence[Question]]:
        """Returns one question for each text, or one for each choice."""
        ask = self.prompts[point]
        return [
            self._about(ask, key, item, references)
            for key, item, references in zip(
                work.batch.ids, work.batch.inputs, _references(work), strict=True
            )
        ]

    def _about(
        self, ask: AskSettings, key: str, item: Item, references: Sequence[str]
    ) -> list[Question]:
        asked = Question(
            id=key, prompt=prompt_of(ask, item), system=ask.system, turns=turns_of(ask, item),
            sampling=ask.sampling,
        )  # fmt: skip
        if ask.writes:
            return [asked]
        texts = continuations_of(ask, item) if ask.choices else references[:1]
        # How text is generated has no part in a log-likelihood.
        return [
            replace(asked, continuation=ask.delimiter + text, sampling=Sampling()) for text in texts
        ]

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Asks some of the questions twice, where answers are not drawn."""
        point = self.points[0]
        few = range(min(REPEATED, len(work.batch)))
        part = replace(work, batch=work.batch.take(few), samples=work.samples.take(np.array(few)))
        if self.prompts[point].sampling.temperature > 0 or not isinstance(context.adapter, Asking):
            return {}
        asked = self.questions(part, point)
        flat = [question for own in asked for question in own]
        first, again = (context.adapter.ask(flat) for _ in range(2))
        rows = np.repeat(np.arange(len(asked)), [len(own) for own in asked])
        differs, apart = np.zeros(len(asked), np.bool_), np.zeros(len(asked))
        for row, one, other in zip(rows, first, again, strict=True):
            differs[row] |= one.texts != other.texts
            if one.loglikelihood is not None and other.loglikelihood is not None:
                apart[row] = max(apart[row], abs(one.loglikelihood - other.loglikelihood))
        columns = {"id": list(part.batch.ids), "point": "", "differs": differs, "apart": apart}
        return {"again": columns}

    def columns(self, work: Work, point: str) -> Columns:
        """Returns the right choice and the bytes of each continuation, or the references."""
        ask, items, references = self.prompts[point], work.batch.inputs, _references(work)
        if ask.choices:
            texts = [choices_of(ask, item) for item in items]
            found: dict[str, Any] = {
                "gold": np.array([
                    0 if ask.kind == "pair" else gold_of(ask, own[0], choices)
                    for own, choices in zip(references, texts, strict=True)
                ], dtype=np.int64),
                "input:choices": _lists(texts, object),
            }  # fmt: skip
            judged = texts if ask.writes else [continuations_of(ask, item) for item in items]
            if self.bbq:
                found |= bbq_columns(items)
        else:
            found = {"input:references": _lists(references, object)}
            judged = [own[:1] for own in references]
        return {
            **found,
            "bytes": _lists([[len(text.encode()) for text in own] for own in judged], np.int64),
            "characters": _lists([list(map(len, own)) for own in judged], np.int64),
        }


def required(ask: AskSettings) -> frozenset[Capability]:
    """Returns what a model must be able to do."""
    return frozenset({Capability.TEXTS if ask.writes else Capability.LOGLIKELIHOODS})


def _references(work: Work) -> list[list[str]]:
    targets: Lists = work.samples.targets
    return [
        targets.values[at:to].tolist()
        for at, to in zip(targets.offsets[:-1], targets.offsets[1:], strict=True)
    ]


def _lists(rows: Sequence[Sequence[Any]], dtype: Any) -> Lists:
    flat = [value for row in rows for value in row]
    return Lists.of([len(row) for row in rows], np.array(flat, dtype=dtype))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1
