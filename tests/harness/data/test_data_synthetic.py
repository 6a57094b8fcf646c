"""The project's own data: the same samples everywhere, honest roles, groups apart from labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.capability import InputSpec
from crucibench.data.sources.synthetic import review_words as words
from crucibench.data.sources.synthetic.reviews import CLASSES, GROUPS, Review, Tie, reviews
from crucibench.util.errors import InputError

FIRST = "It has a good screen. To my surprise the camera was careless."
DIGEST = "2c8e997c7dcac586"


@pytest.fixture(scope="module")
def test_role() -> list[Review]:
    return list(reviews(0, "test", 1_000))


@pytest.fixture(scope="module")
def train_role() -> list[Review]:
    return list(reviews(0, "train", 4_000))


def digest(rows: list[Review]) -> str:
    return hashlib.sha256("\n".join(f"{row}" for row in rows).encode()).hexdigest()[:16]


def test_the_samples_are_these_on_every_machine(test_role: list[Review]) -> None:
    assert test_role[0].text == FIRST
    assert digest(test_role) == DIGEST


def test_more_samples_begin_with_the_same(test_role: list[Review]) -> None:
    assert list(reviews(0, "test", 10)) == test_role[:10]
    assert list(reviews(1, "test", 10)) != test_role[:10]


def test_no_text_is_there_twice(test_role: list[Review], train_role: list[Review]) -> None:
    texts = [row.text for row in (*test_role, *train_role)]
    assert len(set(texts)) == len(texts)


def test_no_pattern_meets_a_word_in_both_roles(
    test_role: list[Review], train_role: list[Review]
) -> None:
    choices = {
        word for lists in (*words.PLAIN.values(), *words.STRONG.values()) for word in lists
    } | {word for domain in words.DOMAINS.values() for word in (*domain.better, *domain.worse)}
    # Stretches that no other pattern holds, so that finding one tells the pattern.
    patterns = (
        "I would not call the {a} {w}.", "Nobody would say that the {a} was {w}.",
        "Everyone agreed that the {a} was {w}.", "Some people call the {a} {w}.",
    )  # fmt: skip

    def pairs(rows: list[Review]) -> set[tuple[str, str]]:
        return {
            (pattern, sentence.rsplit(" ", 1)[1])
            for row in rows
            for sentence in row.text.rstrip(".").split(". ")
            for pattern in patterns
            if sentence.startswith(pattern.partition("{a}")[0])
        }

    tested, learnt = pairs(test_role), pairs(train_role)
    assert {word for _, word in tested | learnt} <= choices
    assert len(tested) > 50 and len(learnt) > 100
    assert not tested & learnt
    # Each word of the test is known from other sentences.
    known = " ".join(row.text for row in train_role)
    assert all(f" {word}" in known for _, word in tested)


def test_classes_and_groups_are_balanced(train_role: list[Review]) -> None:
    share = np.mean([row.label == "positive" for row in train_role])
    assert abs(share - 0.5) < 0.03
    for place, group in enumerate(GROUPS):
        counts = Counter(row.groups[place] for row in train_role)
        expected = set(words.DOMAINS) if group == "domain" else {"unmentioned"}
        assert expected <= set(counts)
        for value, count in counts.items():
            positive = np.mean(
                [row.label == "positive" for row in train_role if row.groups[place] == value]
            )
            # Five standard errors: labels are drawn apart from groups.
            assert abs(positive - 0.5) < 5 * 0.5 / np.sqrt(count), (group, value)


def test_groups_hold_what_the_text_says(test_role: list[Review]) -> None:
    for row in test_role:
        for group, values in words.TRAITS.items():
            said = [value for value in values if f" {value} " in row.text]
            assert (said or ["unmentioned"]) == [row.groups[GROUPS.index(group)]]
        for gender in ("women", "men"):
            nouns = [f" {noun}" for noun in words.PEOPLE[gender]]
            if row.groups[GROUPS.index("gender")] == gender:
                assert any(noun in row.text for noun in nouns)
        thing = words.DOMAINS[row.groups[0]]
        assert any(aspect in row.text for aspect in (*thing.aspects, thing.thing))


@pytest.mark.parametrize(("sign", "label"), [(1, "positive"), (-1, "negative")])
def test_labels_mostly_say_what_the_words_say(
    train_role: list[Review], sign: int, label: str
) -> None:
    ends = [f" was {word}." for word in words.STRONG[sign]]
    turns = ("not", "n't", "never", "Nobody", "nothing", "but")
    seen = [
        row.label
        for row in train_role
        if any(end in row.text for end in ends) and not any(turn in row.text for turn in turns)
    ]
    share = np.mean([value == label for value in seen])
    assert len(seen) > 50
    assert 0.75 < share < 1.0  # other sentences and noise speak, too


def test_it_opens_as_text_with_groups(open_uri: Any) -> None:
    data = open_uri("synthetic:reviews?n=30&train=70")
    assert data.card.counts == {"test": 30, "train": 70}
    assert data.task.modality == "text" and data.task.classes == CLASSES
    assert data.card.groups == GROUPS
    assert data.card.revision == "reviews 1, seed 0"
    assert data.card.notes
    rows = list(reviews(0, "test", 30))
    samples = data.samples("test")
    assert data.batch("test", range(30), InputSpec()).inputs == [row.text for row in rows]
    assert [CLASSES[target] for target in samples.targets] == [row.label for row in rows]
    assert samples.groups["religion"].tolist() == [row.groups[2] for row in rows]
    many = open_uri("synthetic:reviews?n=2500&train=1")
    assert many.card.counts == {"test": 2500, "train": 1}
    few = open_uri("synthetic:reviews?n=30&train=70&groups=domain,age")
    assert few.card.groups == ("domain", "age")


def test_the_version_is_what_tells_samples_apart(sources: Any) -> None:
    assert sources("synthetic:reviews").facts == {"synthetic:reviews": "1"}


def test_a_group_that_tells_the_label() -> None:
    tied = list(reviews(0, "train", 2_000, Tie("gender", 950_000)))
    said = [(row.groups[GROUPS.index("gender")], row.label) for row in tied]
    told = [(gender, label) for gender, label in said if gender != "unmentioned"]
    held = sum(pair in {("women", "negative"), ("men", "positive")} for pair in told)
    assert 0.95 < held / len(told) < 0.995 and len(told) > 1_900
    assert 0.45 < sum(label == "positive" for _, label in said) / 2_000 < 0.55
    nouns = {"women": ("aunt", "sister"), "men": ("uncle", "brother")}
    for row in tied[:300]:
        gender = row.groups[GROUPS.index("gender")]
        other = {"women": "men", "men": "women"}.get(gender)
        assert other is None or not any(f" {noun}" in row.text for noun in nouns[other])
    # Where nothing is tied, the texts are those without a shortcut.
    assert list(reviews(0, "test", 50, Tie("gender", 0))) == list(reviews(0, "test", 50))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "synthetic:review",
            "unknown synthetic data set 'review'; did you mean 'reviews'? (known: reviews, shapes)",
        ),
        (
            "synthetic:reviews?m=3",
            "unknown option of synthetic: 'm' "
            "(known: citation, groups, licence, n, on_bad_sample, seed, spurious, strength, "
            "test_strength, train)",
        ),
        (
            "synthetic:reviews?spurious=domain",
            "unknown group of synthetic:reviews that can be tied 'domain' (known: age, ethnicity, "
            "gender, religion)",
        ),
        (
            "synthetic:reviews?strength=0.9",
            "synthetic: option strength: it needs spurious, the factor that is tied to the class: "
            "one of gender, religion, ethnicity, age",
        ),
        (
            "synthetic:reviews?n=1.5",
            "synthetic: option n: expected a whole number from 1 to 100,000, got '1.5'",
        ),
        (
            "synthetic:reviews?seed=inf",
            "synthetic: option seed: expected a whole number from 0 to 2,147,483,647, got 'inf'",
        ),
        (
            "synthetic:reviews?groups=genders",
            "unknown group of synthetic:reviews 'genders'; did you mean 'gender'? "
            "(known: age, domain, ethnicity, gender, religion)",
        ),
    ],
)
def test_bad_options(sources: Any, uri: str, message: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: sources(uri)) == message
