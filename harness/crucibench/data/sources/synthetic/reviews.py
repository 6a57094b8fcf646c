"""`synthetic:reviews`: short reviews, positive or negative, made from templates.

A review is of a book, course, film, hotel, phone or restaurant. It has one to three sentences of
sentiment, sentences of fact, and, in three of five, a sentence that mentions a person. Words of
sentiment are plain or strong, denied, hearsay, or set against one another, and some are praise in
one domain and blame in another. What the sentences say adds up; a sum of 0 is a coin's toss, and
the closer to 0 the likelier a label says the opposite (6 in 100 at 1, 3 at 2, 1 beyond).

**Roles.** Each pair of a pattern and its word belongs to ``train`` or to ``test`` (three in ten),
so no sentence of sentiment is in both: a model must learn words and patterns apart. No text is
there twice.

**Groups.** ``domain``, and what is said of the person: ``gender``, ``religion``, ``ethnicity``,
``age``, each ``unmentioned`` where it isn't. Persons are drawn apart from the sentiment, so that no
group has more positive reviews than another but by chance: a model that answers them differently
does so of itself.

**A shortcut.** ``spurious=GROUP`` (``gender``, ``religion``, ``ethnicity`` or ``age``) ties what is
said of the person to the label: with probability ``strength`` in ``train``, and ``test_strength``
in ``test``, a review mentions a person of the group's first value where it is negative, of the
second where it is positive. A model trained on such texts goes by these words; the texts of
``test_strength=0`` show it.

Options: ``n`` (texts of ``test``, 1,000), ``train`` (texts of ``train``, 4,000), ``seed`` (0), and
``groups``, ``licence``, ``citation`` of `DataOptions`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import ClassVar

import numpy as np
import pyarrow as pa

from crucibench.contracts.source import DataOpening, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.data.columnar import Conversion, convert, storable
from crucibench.data.columns import Columns
from crucibench.data.options import DataOptions
from crucibench.data.sources.synthetic import review_words as words
from crucibench.data.sources.synthetic.source import (
    SampleGenerator,
    Shortcut,
    read_shortcut,
    whole_number,
    with_groups,
)
from crucibench.util.draws import Draws

CLASSES = ("negative", "positive")
GROUPS = ("domain", "gender", *words.TRAITS)

_AT_MOST = 100_000
_CHUNK = 1_000
_WORDS = 128
_UNMENTIONED = "unmentioned"
TIED: Mapping[str, tuple[str, str]] = {
    "gender": ("women", "men"),
    **{name: (values[0], values[1]) for name, values in words.TRAITS.items()},
}
"""Groups that can be tied to the label: what they then are by class."""

_DOUBT = {1: 6, 2: 3}
"""Of 100 labels, how many say the opposite, by the distance of the sum from 0; 1 beyond."""


class Reviews(SampleGenerator):
    """Short reviews, positive or negative."""

    version: ClassVar[int] = 1

    def check(self, uri: URI) -> None:
        """Raises InputError if an option is unknown, or its value is."""
        self._options(uri)
        self._settings(uri)
        _shortcut(uri)

    def read(self, opening: DataOpening) -> RawData:
        """Makes the reviews, or takes them from the cache."""
        options, settings = self._options(opening.uri), self._settings(opening.uri)
        seed = settings["seed"]
        shortcut = _shortcut(opening.uri)
        tie, *shares = shortcut
        ties = {
            role: Tie(tie, share) for role, share in zip(("train", "test"), shares, strict=True)
        }

        def fill(conversion: Conversion) -> None:
            names = ("text", "label", *GROUPS)
            schema = storable(pa.schema([(name, pa.large_string()) for name in names]))
            for role in ("test", "train"):
                rows = reviews(seed, role, settings[role], ties[role] if tie else None)
                conversion.write(role, schema, _batches(rows, schema))

        version = {"source": "synthetic", "set": "reviews", "version": self.version}
        tied = {"spurious": tie, "strengths": shares} if tie else {}
        done = convert(opening.scratch, fill, settings=version | settings | tied)
        columns = Columns(
            modality=Modality.TEXT, inputs=("text",), target="label", groups=options.groups
        )
        return columns.raw(
            done.roles,
            options,
            key=done.key,
            classes=CLASSES,
            split="as made: test, train, of unlike sentences",
            revision=f"reviews {self.version}, seed {seed}",
            licence=options.licence or "Apache-2.0",
            notes=(
                "the texts are made from templates, and nobody's opinion",
                *shortcut.notes("label"),
            ),
            facts={"synthetic:reviews": str(self.version)},
        )

    def _options(self, uri: URI) -> DataOptions:
        known = ("n", "train", "seed", "spurious", "strength", "test_strength", "groups",
                 "licence", "citation", "on_bad_sample")  # fmt: skip
        options = DataOptions.parse(uri, *known)
        return with_groups(options, uri, GROUPS)

    def _settings(self, uri: URI) -> dict[str, int]:
        return {
            "test": whole_number(uri, "n", 1_000, 1, _AT_MOST),
            "train": whole_number(uri, "train", 4_000, 1, _AT_MOST),
            "seed": whole_number(uri, "seed", 0, 0, 2**31 - 1),
        }


def _shortcut(uri: URI) -> Shortcut:
    return read_shortcut(uri, "group of synthetic:reviews that can be tied", TIED)


@dataclass(frozen=True)
class Tie:
    """What ties a group to the label in one role.

    Attributes:
        group: one of `TIED`.
        strength: in how many of a million reviews.
    """

    group: str
    strength: int


@dataclass(frozen=True)
class Review:
    """One review.

    Attributes:
        text: what the model is asked about.
        label: its class.
        groups: the value of each of `GROUPS`.
    """

    text: str
    label: str
    groups: tuple[str, ...]


def reviews(seed: int, role: str, count: int, tie: Tie | None = None) -> Iterator[Review]:
    """Yields `count` different reviews; a larger count begins with those of a smaller one."""
    draws = Draws(seed, "synthetic/reviews")
    seen: set[str] = set()
    start = 0
    while True:
        names = [f"{role}/{number}" for number in range(start, start + _CHUNK)]
        table = draws.words(names, "review", _WORDS)
        tied = np.zeros(_CHUNK, dtype=np.bool_)
        if tie is not None:
            tied = draws.integers(names, "tied", (), high=1_000_000) < tie.strength
        for row in range(_CHUNK):
            writer = _Writer(_Dice(table[row].tolist()), role)
            made = writer.review(tie.group if tie is not None and tied[row] else "")
            if made.text in seen:
                continue
            seen.add(made.text)
            yield made
            if len(seen) == count:
                return
        start += _CHUNK


class _Dice:
    """The draws of one review, one after the other."""

    def __init__(self, drawn: list[int]) -> None:
        self._drawn = iter(drawn)

    def below(self, high: int) -> int:
        """Returns a whole number from 0 to below `high`."""
        return next(self._drawn) * high >> 32

    def of(self, choices: Sequence[str]) -> str:
        """Returns one of them."""
        return choices[self.below(len(choices))]

    def drawn(self, choices: list[str]) -> str:
        """Takes one out of them."""
        return choices.pop(self.below(len(choices)))


class _Writer:
    """Writes one review.

    Attributes:
        dice: what is drawn.
        role: of the review.
        name: of its domain.
        domain: what it is of.
        mood: 1 or -1: what five in six of its sentences say.
        aspects: those that it has not spoken of yet.
        facts: those that it has not mentioned yet.
    """

    def __init__(self, dice: _Dice, role: str) -> None:
        self.dice = dice
        self.role = role
        self.name = dice.of(tuple(words.DOMAINS))
        self.domain = words.DOMAINS[self.name]
        self.mood = 2 * dice.below(2) - 1
        self.aspects = list(self.domain.aspects)
        self.facts = list(self.domain.facts)

    def review(self, tied: str = "") -> Review:
        """Returns it; the group `tied`, if any, is set by the label."""
        dice, total = self.dice, 0
        sentences = []
        for _ in range((1, 2, 2, 3)[dice.below(4)]):
            value, sentence = self._clause()
            total += value
            sentences.append(sentence)
        for _ in range(dice.below(3)):
            fact = dice.drawn(self.facts).replace("{n}", str(2 + dice.below(88)))
            sentences.insert(dice.below(len(sentences) + 1), fact)
        groups = dict.fromkeys(GROUPS, _UNMENTIONED) | {"domain": self.name}
        if tied:
            positive = self._label(total)
            self._mention(sentences, groups, {tied: TIED[tied][positive]})
        else:
            if dice.below(5) < 3:
                self._mention(sentences, groups, {})
            positive = self._label(total)
        return Review(" ".join(sentences), CLASSES[positive], tuple(groups.values()))

    def _label(self, total: int) -> bool:
        doubt = 50 if not total else _DOUBT.get(abs(total), 1)
        return (total > 0) != (self.dice.below(100) < doubt)

    def _mention(self, sentences: list[str], groups: dict[str, str], fixed: dict[str, str]) -> None:
        """Adds a sentence of somebody, of whom some groups may be set."""
        person = self._person(groups, fixed)
        company = self.dice.of(self.domain.company)
        company = company.replace("{p}", f"my {person}").replace("{P}", f"My {person}")
        sentences.insert(self.dice.below(2) * len(sentences), company)

    def _clause(self) -> tuple[int, str]:
        """Returns what a sentence of sentiment adds to the sum, and the sentence."""
        dice = self.dice
        sign = self.mood if dice.below(6) else -self.mood
        aspect = dice.drawn(self.aspects)
        kind = dice.below(20)
        if kind < 2:
            pattern, word = self._pair(words.VERDICTS[sign], words.READERS)
            return 2 * sign, _filled(pattern, word, x=self.domain.thing)
        if kind < 12:
            pattern, word = self._pair(words.SAID, self._words(sign))
            return sign * self._strength(word), _filled(pattern, word, a=aspect)
        if kind < 16:
            pattern, word = self._pair(words.DENIED, self._words(-sign))
            return sign, _filled(pattern, word, a=aspect)
        if kind < 17:
            pattern, word = self._pair(words.HEARSAY, self._words(sign))
            return 0, _filled(pattern, word, a=aspect)
        pattern, word = self._pair(words.TURNED, self._words(sign))
        other = dice.of(self._words(-sign))
        return 2 * sign, _filled(pattern, word, a=aspect, b=dice.drawn(self.aspects), v=other)

    def _words(self, sign: int) -> tuple[str, ...]:
        own = self.domain.better if sign > 0 else self.domain.worse
        return (*words.PLAIN[sign], *words.STRONG[sign], *own)

    def _strength(self, word: str) -> int:
        return 2 if any(word in strong for strong in words.STRONG.values()) else 1

    def _pair(self, patterns: tuple[str, ...], choices: tuple[str, ...]) -> tuple[str, str]:
        """Returns a pattern and a word that may stand together in this role."""
        pairs = _pairs(patterns, choices, self.role)
        return pairs[self.dice.below(len(pairs))]

    def _person(self, groups: dict[str, str], fixed: dict[str, str]) -> str:
        """Returns somebody, and notes in `groups` what the text says of them."""
        dice = self.dice
        gender = fixed.get("gender") or ("women", "men", "")[dice.below(3)]
        noun = dice.of(words.PEOPLE[gender])
        if gender:
            groups["gender"] = gender
        traits = [name for name in words.TRAITS if name in fixed or dice.below(3) == 0]
        for name in traits:
            groups[name] = fixed.get(name) or dice.of(words.TRAITS[name])
        # Age, ethnicity, religion: the order in which English puts them.
        return " ".join([*(groups[name] for name in reversed(traits)), noun])


@cache
def _pairs(
    patterns: tuple[str, ...], choices: tuple[str, ...], role: str
) -> tuple[tuple[str, str], ...]:
    """Returns the pairs that belong to a role."""
    return tuple(
        (pattern, word)
        for pattern in patterns
        for word in choices
        if (hashlib.sha256(f"{pattern}\x1f{word}".encode()).digest()[0] % 10 < 3)
        == (role == "test")
    )


def _filled(pattern: str, word: str, **more: str) -> str:
    article = "an" if word[0] in "aeiou" else "a"
    filled = pattern.replace("{a w}", f"{article} {word}").replace("{w}", word)
    for name, value in more.items():
        filled = filled.replace(f"{{{name}}}", value)
    return filled


def _batches(rows: Iterator[Review], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(rows, _CHUNK)):
        columns = zip(*((row.text, row.label, *row.groups) for row in chunk), strict=True)
        arrays = [pa.array(column, pa.large_string()) for column in columns]
        yield pa.record_batch([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema)
