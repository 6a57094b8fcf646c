"""Perturbed texts: deterministic by sample, nested, within their severity, whole characters."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.contracts.corruption import Changed, CorruptionContext
from crucibench.util.draws import Draws
from crucibench.util.graphemes import graphemes
from crucibench_suites.shift.corruptions import text_letters as letters
from crucibench_suites.shift.corruptions import text_words as words
from crucibench_suites.shift.corruptions.text_edits import allowed, planned
from crucibench_suites.shift.corruptions.texts import TEXTS

ALL = (1, 2, 3, 4, 5)

ENGLISH = (
    "I don't think it is a good film, but we are happy with the acting. The modern barn was "
    "clearly curled, and they will not do it again."
)

unicode = st.text(st.characters(exclude_categories=()), max_size=60) | st.text(
    st.sampled_from("a\u0301b\u200d👩👧🏽🇩🇪한ᄒ\u1161\u11ab م\n\r\t'e I\ud800中й."), max_size=40
)


def made(name: str, texts: list[Any], ids: list[str] | None = None) -> dict[int, Changed]:
    names = tuple(ids or [f"id{place}" for place in range(len(texts))])
    context = CorruptionContext(names, Draws(0, f"shift/{name}"))
    return dict(zip(ALL, TEXTS[name].apply(texts, ALL, context), strict=True))


def only(name: str, text: str, severity: int = 5) -> str:
    found = made(name, [text])[severity].inputs[0]
    assert isinstance(found, str)
    return found


def test_severities_grow_and_are_shares() -> None:
    for kind in TEXTS.values():
        levels = [kind.level(severity)[0] for severity in ALL]
        assert levels == sorted(set(levels)) and levels[0] > 0 and levels[-1] <= 1


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=20, deadline=None)
@given(texts=st.lists(unicode, min_size=1, max_size=3))
def test_any_text_alone_and_in_a_batch_within_its_severity(name: str, texts: list[str]) -> None:
    together = made(name, texts)
    for place, text in enumerate(texts):
        alone = made(name, [text], [f"id{place}"])
        before = -1
        for severity in ALL:
            variant = together[severity]
            assert alone[severity].inputs == [variant.inputs[place]]
            edits, units = (int(variant.columns[key][place]) for key in ("edits", "units"))
            assert before <= edits <= allowed(TEXTS[name].level(severity)[0], units)
            before = edits
            assert bool(variant.columns["touched"][place]) == (variant.inputs[place] != text)
            assert not variant.columns["spoilt"][place]
            if not edits:
                assert variant.inputs[place] == text


@pytest.mark.parametrize("name", TEXTS)
def test_no_perturbation_does_nothing(name: str) -> None:
    variant = made(name, [ENGLISH])[5]
    assert only(name, ENGLISH) != ENGLISH
    assert variant.columns["touched"][0] and variant.columns["edits"][0] >= 1


@settings(max_examples=50, deadline=None)
@given(text=unicode)
def test_characters_joined_are_the_text_and_marks_stay_with_their_letters(text: str) -> None:
    cut = graphemes(text)
    assert "".join(cut) == text
    assert all(cut)
    for before, after in pairwise(cut):
        if unicodedata.category(after[0]) == "Mn":
            assert unicodedata.category(before[-1]) in ("Cc", "Zl", "Zp")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301a", ["e\u0301", "a"]),
        ("👨‍👩‍👧x", ["👨‍👩‍👧", "x"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("👍🏽!", ["👍🏽", "!"]),
        ("\u1112\u1161\u11ab\u1100", ["\u1112\u1161\u11ab", "\u1100"]),
        ("a\r\nb", ["a", "\r\n", "b"]),
        ("\ud83dx", ["\ud83d", "x"]),
        ("นี้", ["นี้"]),
        ("क्षि", ["क्षि"]),
        ("", []),
    ],
)
def test_known_characters(text: str, expected: list[str]) -> None:
    assert graphemes(text) == expected


@settings(max_examples=50, deadline=None, derandomize=True)
@given(text=unicode)
def test_no_character_is_torn_apart_that_an_independent_library_keeps(text: str) -> None:
    regex = pytest.importorskip("regex", reason="regex is not installed")
    ours, ends = set(), 0
    for cut in graphemes(text):
        ends += len(cut)
        ours.add(ends)
    # Its Unicode may be newer or older than Python's: what neither assigns is left out.
    if all(unicodedata.category(char) != "Cn" for char in text):
        assert ours <= {match.end() for match in regex.finditer(r"\X", text)}


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_low_severity_touches_a_high_one_touches(name: str) -> None:
    draws = Draws(3, "s")
    plan = planned(
        ENGLISH, (getattr(letters, name, None) or getattr(words, name)).__wrapped__,
        lambda count: np.asarray(draws.words(["a"], "order", count)[0]),
        lambda count: np.asarray(draws.words(["a"], "choice", count)[0]),
    )  # fmt: skip
    assert len(plan.edits) >= 2
    counts = [
        min(len(plan.edits), allowed(TEXTS[name].level(severity)[0], plan.units))
        for severity in ALL
    ]
    assert counts == sorted(counts) and counts[-1] > counts[0]
    changed = [only(name, ENGLISH, severity) for severity in ALL]
    assert len(set(changed)) > 1 and ENGLISH not in changed


@settings(max_examples=50, deadline=None)
@given(text=unicode)
def test_look_alikes_are_taken_back(text: str) -> None:
    if not any("CYRILLIC" in (said := unicodedata.name(c, "")) or "GREEK" in said for c in text):
        back = str.maketrans(letters.CYRILLIC)
        assert only("homoglyph", text).translate(back) == text


@settings(max_examples=50, deadline=None)
@given(text=unicode)
def test_the_case_alone_changes(text: str) -> None:
    found = only("casing", text)
    assert len(found) == len(text)
    for old, new in zip(text, found, strict=True):
        assert new in (old, old.swapcase())


@settings(max_examples=50, deadline=None)
@given(text=unicode)
def test_what_is_only_added_is_taken_off_again(text: str) -> None:
    for name, pieces in (
        ("emoji_noise", words.EMOJI),
        ("leading_distractor", words.SENTENCES),
        ("trailing_distractor", words.SENTENCES),
    ):
        if not any(piece in text for piece in pieces):
            added = "|".join(map(re.escape, pieces))
            assert re.sub(rf"^(?:(?:{added}) )+|(?: (?:{added}))", "", only(name, text)) == text


@settings(max_examples=50, deadline=None)
@given(text=unicode)
def test_white_space_and_punctuation_leave_letters_and_their_order(text: str) -> None:
    for name in ("white_space", "punctuation"):
        kept = [char for char in only(name, text) if char.isalnum()]
        assert kept == [char for char in text if char.isalnum()]


def test_a_typed_letter_lies_beside_the_one_meant() -> None:
    assert set(letters.NEIGHBOURS["g"]) == set("ftyhbv")
    assert set(letters.NEIGHBOURS["q"]) == set("wa")
    assert all(
        key in letters.NEIGHBOURS[near] for key, all_ in letters.NEIGHBOURS.items() for near in all_
    )
    found = only("keyboard_typo", ENGLISH)
    changed = [(old, new) for old, new in zip(ENGLISH, found, strict=True) if old != new]
    assert changed
    for old, new in changed:
        assert new.lower() in letters.NEIGHBOURS[old.lower()] and old.isupper() == new.isupper()


def test_a_scanner_reads_two_letters_as_one() -> None:
    assert "m" in only("ocr_confusion", "burn corn " * 30)  # of rn; no single letter becomes it


def test_swaps_keep_letters_and_deletions_and_insertions_change_their_number() -> None:
    assert sorted(only("letter_swap", ENGLISH)) == sorted(ENGLISH)
    edits = int(made("letter_deletion", [ENGLISH])[5].columns["edits"][0])
    assert len(only("letter_deletion", ENGLISH)) == len(ENGLISH) - edits
    edits = int(made("letter_insertion", [ENGLISH])[5].columns["edits"][0])
    assert len(only("letter_insertion", ENGLISH)) == len(ENGLISH) + edits
    assert edits > 5


def test_words_are_not_edited_away() -> None:
    for name in ("letter_deletion", "letter_swap", "keyboard_typo"):
        found = only(name, ENGLISH).split()
        assert len(found) == len(ENGLISH.split())
        for old, new in zip(ENGLISH.split(), found, strict=True):
            assert len(new) >= len(old) - max(1, len(old) // 3)
            if len(old) < 3:
                assert name != "letter_deletion" or new == old


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't know", "I do not know"),
        ("We are here", "We're here"),
        ("IT IS SO", "IT'S SO"),
        ("You can't, I won't", "You cannot, I will not"),
        ("It's his", "It's his"),
        ("candor islet", "candor islet"),
        ("café do not", "café don't"),
    ],
)
def test_contractions_are_english(text: str, expected: str) -> None:
    assert only("contraction", text) == expected


@pytest.mark.parametrize("name", ["contraction", "leading_distractor", "trailing_distractor"])
@pytest.mark.parametrize(
    "text", ["Привет, мир do not", "这是一部好电影", "مرحبا", "", " \n", "12 !"]
)
def test_english_is_not_put_into_other_scripts(name: str, text: str) -> None:
    assert only(name, text) == text


def test_han_characters_are_words_and_are_left_alone() -> None:
    for name in ("letter_swap", "letter_deletion", "letter_insertion"):
        assert only(name, "这是一部非常好的电影") == "这是一部非常好的电影"
        assert only(name, "хороший фильм сегодня") != "хороший фильм сегодня"


def test_columns_share_the_edits_of_a_sample() -> None:
    samples = [("The first column of it", "and the second one here"), ("", "alone in this one")]
    variant = made("letter_deletion", samples)[1]
    assert [int(edits) for edits in variant.columns["edits"]] == [1, 1]
    assert variant.inputs[1][0] == ""
    assert sum(old != new for old, new in zip(samples[0], variant.inputs[0], strict=True)) == 1
    # What is no text stays as it is.
    assert made("casing", [(None, "word")])[5].inputs[0][0] is None


def test_ids_decide_and_seeds_do() -> None:
    kind = TEXTS["keyboard_typo"]
    texts = [
        next(kind.apply([ENGLISH], (5,), CorruptionContext((name,), Draws(seed, "s")))).inputs[0]
        for seed, name in ((0, "a"), (0, "b"), (1, "a"))
    ]
    assert len(set(texts)) == 3
