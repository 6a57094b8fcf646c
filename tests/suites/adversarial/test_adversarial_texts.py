"""Texts attacked: known optima, budgets, what is left alone, draws by sample, and audits."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.verdict import Severity
from crucibench.metrics.scoring import score
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.text import self_tests
from crucibench_suites.adversarial.text.by_labels import ByLabels, _wrong
from crucibench_suites.adversarial.text.edits import KINDS, TRIES, _deletion, character_edits
from crucibench_suites.adversarial.text.greedy import Greedy
from crucibench_suites.adversarial.text.scenario import (
    CharacterEdits,
    LeftAlone,
    ListedWords,
)
from crucibench_suites.adversarial.text.searching import TextSearch, run_together, words_allowed
from crucibench_suites.adversarial.text.texts import CANDIDATES, drawn, edited, listed, spoilt
from crucibench_suites.adversarial.text.words import ENGLISH, parts_of, split_sample
from crucibench_suites.adversarial.threat import ThreatModel

sys.path.append(str(Path(__file__).parent))
from bags import Bag, drive

sys.path.pop()

NAMES = ["anchor", "basket", "candle", "desert", "engine", "forest", "garden", "hammer"]

unicode = st.text(st.characters(exclude_categories=()), max_size=60) | st.text(
    st.sampled_from("a\u0301b\u200d👩👧🏽🇩🇪한ᄒ\u1161\u11ab م\n\r\t'-é word\ud800中й."), max_size=60
)
texts = unicode | st.tuples(unicode, unicode)


def threat(eps: tuple[float, ...] = (0.1, 0.3, 1.0), queries: int = 500) -> ThreatModel:
    return ThreatModel(norm="words", unit="words", eps=eps, access="score", queries=queries)


def edits(eps: tuple[float, ...] = (0.1, 0.3, 1.0), queries: int = 500, **left: Any) -> Any:
    return CharacterEdits.of(
        "adversarial", threat(eps, queries), None, LeftAlone(**{"stop_words": "none", **left}), {}
    )


def fewest(weights: Sequence[int], bias: float) -> int | None:
    """Returns the size of the smallest set of words without which the sum is below 0, by trying."""
    for count in range(len(weights) + 1):
        for gone in combinations(range(len(weights)), count):
            if bias + sum(w for at, w in enumerate(weights) if at not in gone) < 0:
                return count
    return None


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(-3, 9), min_size=1, max_size=8),
    bias=st.sampled_from([-6.5, -2.5, -0.5, 0.5]),
)
def test_greedy_edits_find_the_optimal_removal_of_a_bag_of_words(
    weights: list[int], bias: float
) -> None:
    words = NAMES[: len(weights)]
    model = Bag(dict(zip(words, map(float, weights), strict=True)), bias)
    best = fewest(weights, bias)
    own = drive(edits(), model, [" ".join(words)], targets=[1]).own.records
    if not len(own):
        assert best == 0  # wrong as it is
    elif best is None:
        assert own.array("prediction")[0] == -1 and own.array("level")[0] == 3
    else:
        assert own.array("changed")[0] == best
        share = best / len(words)
        assert own.array("distance_words")[0] == pytest.approx(share)
        grid = [words_allowed(eps, len(words)) for eps in (0.1, 0.3, 1.0)]
        assert own.array("level")[0] == sum(allowed < best for allowed in grid)


def test_substitutions_reach_the_known_optimum_and_points_are_monotone() -> None:
    model = Bag({"good": 3.0, "fine": 2.0, "nice": 1.0, "bad": -4.0}, bias=-0.5)
    given_list = {"good": ("bad",), "fine": ("poor",), "nice": ("poor",)}

    class Given(ListedWords):
        def maker(self, context: Any) -> Any:
            return listed(given_list)

    attack = Given.of("adversarial", threat((0.2, 0.4, 0.6)), None, LeftAlone(), {}, file=None)
    texts = ["Good fine nice plain words", "fine nice plain more words", "nice plain x y z"]
    evidence = drive(attack, model, texts)
    # 6 - 3 - 4 < 0.5 with one word; 3 - 2 - 1 needs both; 1 - 1 needs one.
    assert evidence.own.records.array("changed").tolist() == [1, 2, 1]
    assert evidence.own.records.array("level").tolist() == [0, 1, 0]
    rows = {(row.metric, row.point): row.value for row in score(attack, evidence).rows}
    robust = [rows["robust-accuracy", f"eps={eps}"] for eps in (0.2, 0.4, 0.6)]
    assert robust == [pytest.approx(1 / 3), 0.0, 0.0]
    assert rows["median-minimal-distance-words", ""] == pytest.approx(0.2)
    assert not attack.audit(evidence)


def by_labels(eps: tuple[float, ...] = (0.1, 0.3, 1.0), queries: int = 500) -> Any:
    seen = threat(eps, queries).model_copy(update={"access": "decision"})
    return CharacterEdits.of(
        "adversarial", seen, None, LeftAlone(stop_words="none"), {}, method="text-by-labels"
    )


def test_labels_alone_find_removals_that_are_nearly_the_fewest() -> None:
    rng = np.random.default_rng(0)
    found, best = [], []
    for _ in range(40):
        weights = rng.integers(0, 10, len(NAMES)).tolist()
        bias = float(rng.choice([-6.5, -2.5, -0.5]))
        fewer = fewest(weights, bias)
        if not fewer:  # wrong as it is
            continue
        model = Bag(dict(zip(NAMES, map(float, weights), strict=True)), bias)
        own = drive(by_labels(), model, [" ".join(NAMES)], targets=[1]).own.records
        best.append(fewer)
        found.append(int(own.array("changed")[0]))
        assert own.array("prediction")[0] == 0 and own.array("queries")[0] <= 500
    assert len(best) > 20
    assert (np.array(found) >= best).all()
    assert (np.array(found) == best).mean() > 0.8


def test_a_robust_bag_is_left_by_labels_and_no_example_is_made_up() -> None:
    attack = by_labels()
    evidence = drive(attack, Bag(HEAVY, 0.5), PLAIN)
    assert (evidence.own.records.array("prediction") == -1).all()
    assert evidence.own.records.array("queries").max() < 110
    assert codes(evidence, attack) == set()


def test_labels_that_lead_nowhere_are_told() -> None:
    attack = by_labels()
    clean = drive(attack, Bag(HEAVY, -5.5), PLAIN)
    assert clean.own.records.array("changed").tolist() == [3] * len(PLAIN)
    assert codes(clean, attack) == set()
    # Wrong where no word is left, and nowhere else.
    evidence = drive(attack, Bag(HEAVY, -0.5), PLAIN)
    assert evidence.own.records.array("changed").tolist() == [8] * len(PLAIN)
    assert codes(evidence, attack) == {"queries-gain-nothing"}


def test_labels_that_beat_scores_are_told() -> None:
    def rounded(scores: np.ndarray, inputs: Sequence[Any]) -> np.ndarray:
        return np.where(scores == scores.max(axis=1, keepdims=True), 1.0, 0.0)

    told = []
    for spoil in (None, rounded):
        model = Bag(HEAVY, -3.5, spoil)
        other = drive(by_labels(), model, PLAIN)
        evidence = drive(edits(), model, PLAIN)
        needs = {**evidence.needs, "label-only": other.own}
        told.append(codes(replace(evidence, needs=needs), edits()))
    assert told[0] == set()
    assert "labels-beat-scores" in told[1]


GREEDY, BY_LABELS = Greedy(), ByLabels()


def hashed(text: Any) -> float:
    """A lead of wrong classes that any change of any text moves: no model, but an answer."""
    return zlib.crc32(repr(text).encode("utf-8", "surrogatepass")) / 2**32 - 0.97


def searched(
    samples: Sequence[Any], ids: Sequence[str], eps: tuple[float, ...], queries: int,
    stop_words: frozenset[str], protected: frozenset[int], attack: Any = GREEDY,
) -> list[TextSearch]:  # fmt: skip
    cut = [split_sample(sample, stop_words, protected) for sample in samples]
    draws = Draws(0, "adversarial/character-edits")
    searches = [
        TextSearch(one, eps, queries, drawn(draws, name))
        for one, name in zip(cut, ids, strict=True)
    ]
    found = edited(draws)(cut, ids)
    run_together(
        [search.questions(one, attack) for search, one in zip(searches, found, strict=True)],
        lambda _, asked: [hashed(text) for text in asked],
    )
    return searches


@settings(max_examples=120, deadline=None)
@given(
    samples=st.lists(texts, min_size=1, max_size=3), queries=st.integers(1, 60),
    eps=st.sampled_from([(0.0, 0.2), (0.1, 0.5), (0.34, 1.0)]), protect=st.booleans(),
    attack=st.sampled_from([GREEDY, BY_LABELS]),
)  # fmt: skip
def test_any_text_within_both_budgets_and_what_is_left_alone_stays(
    samples: list[Any], queries: int, eps: tuple[float, ...], protect: bool, attack: Any
) -> None:
    stop_words, protected = frozenset({"a", "word", "b"}), frozenset({1} if protect else ())
    ids = [f"id{place}" for place in range(len(samples))]
    together = searched(samples, ids, eps, queries, stop_words, protected, attack)
    for sample, name, search in zip(samples, ids, together, strict=True):
        (alone,) = searched([sample], [name], eps, queries, stop_words, protected, attack)
        assert (alone.replaced, alone.queries) == (search.replaced, search.queries)
        np.testing.assert_array_equal(alone.queries_to, search.queries_to)
        assert search.queries <= queries
        assert "".join("".join(part) for part in search.sample_words.columns) == "".join(
            parts_of(sample)
        )
        if search.replaced is None:
            assert np.isnan(search.queries_to).all()
            continue
        words = search.sample_words.words
        within = len(search.replaced) <= int(eps[-1] * len(words) + 1e-9)
        assert within or attack is BY_LABELS  # whose examples begin far away
        assert np.isnan(search.queries_to[-1]) != within
        assert not within or np.nanmax(search.queries_to) <= search.queries
        assert hashed(search.example) > 0
        # Put together from the characters again: only open words differ, and no protected column.
        parts = []
        for column, characters in enumerate(search.sample_words.columns):
            pieces = list(characters)
            for number, text in search.replaced.items():
                place = words[number]
                if place.column == column:
                    old = "".join(characters[place.start : place.stop])
                    assert old.casefold() not in stop_words and old != text
                    pieces[place.start] = text
                    for at in range(place.start + 1, place.stop):
                        pieces[at] = ""
            parts.append("".join(pieces))
        assert tuple(parts) == parts_of(search.example)
        if protect and isinstance(sample, tuple):
            assert search.example[1] == sample[1]


@settings(max_examples=150, deadline=None)
@given(word=st.text(st.characters(exclude_categories=("Z", "Cc")), min_size=1, max_size=12))
def test_edits_of_a_word_are_few_and_other_words(word: str) -> None:
    cut = split_sample(word, frozenset(), frozenset())
    for number in cut.open:
        own = cut.word(number)
        drawn = Draws(0, "x").words(["id"], "edits", len(KINDS) * len(own))
        made = character_edits(own, drawn.reshape(len(KINDS), len(own)))
        assert len(made) <= TRIES * len(KINDS) and len(set(made)) == len(made)
        assert "".join(own) not in made and all(made)


def test_edits_are_of_the_four_kinds() -> None:
    drawn = Draws(0, "x").words(["id"], "edits", len(KINDS) * 8)
    made = character_edits(list("splendid"), drawn.reshape(len(KINDS), 8))
    assert {len(word) - 8 for word in made} == {-1, 0, 1}
    assert any(sorted(word) == sorted("splendid") for word in made)
    assert any(not word.isascii() for word in made)
    assert character_edits(["a"], drawn[:, :4].reshape(4, 1)) == ["aa", "а"]  # noqa: RUF001


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's a well-made film, isn't it?", ["It's", "a", "well-made", "film", "isn't", "it"]),
        ("中文 text", ["中", "文", "text"]),
        ("naïve e\u0301t 3.5", ["naïve", "e\u0301t", "3", "5"]),
        ("... 😀 -- ", []),
        ("", []),
    ],
)
def test_words_are_letters_and_digits_with_signs_between_them(text: str, words: list[str]) -> None:
    cut = split_sample(text, frozenset(), frozenset())
    assert ["".join(cut.word(number)) for number in cut.open] == words


def test_stop_words_are_known_in_any_case_and_with_any_apostrophe() -> None:
    cut = split_sample("The film DON\u2019T bore", ENGLISH, frozenset())
    assert ["".join(cut.word(number)) for number in cut.open] == ["film", "bore"]


def test_leaving_a_word_out_takes_a_space_along() -> None:
    cut = split_sample(("one two", "three, four"), frozenset(), frozenset({0}))
    assert [cut.without(number) for number in cut.open] == [
        ("one two", ", four"),
        ("one two", "three,"),
    ]


def records(evidence: Evidence) -> dict[str, Any]:
    frame = evidence.own.records.frame().set_index("id").sort_index()
    return {name: frame[name].tolist() for name in frame}


@pytest.mark.parametrize("attack", ["scores", "labels"])
def test_records_do_not_depend_on_batches_or_order(attack: str) -> None:
    made = {"scores": edits(), "labels": by_labels(queries=60)}[attack]
    rng = np.random.default_rng(0)
    model = Bag({word: float(weight) for word, weight in zip(NAMES, range(1, 9), strict=True)}, -9)
    samples = [" ".join(rng.permutation(NAMES)[:7]) for _ in range(9)]
    first = records(drive(made, model, samples))
    for size, order in (
        (1, None),
        (4, list(reversed(range(9)))),
        (64, [3, 1, 4, 0, 5, 8, 2, 6, 7]),
    ):
        again = records(drive(made, model, samples, batch_size=size, order=order))
        for name, values in first.items():
            np.testing.assert_array_equal(np.array(values), np.array(again[name]), err_msg=name)


def test_a_budget_that_is_too_small_for_all_words_still_leaves_questions_for_edits() -> None:
    words = {f"word{place}x": 1.0 for place in range(100)}
    model = Bag(words, bias=-99.5)  # any one word less, and it is wrong
    own = drive(edits(queries=20), model, [" ".join(words)]).own.records
    assert own.array("changed")[0] == 1 and own.array("queries")[0] <= 20


@pytest.mark.parametrize("made", CANDIDATES)
def test_the_attacks_pass_their_self_tests_at_the_optimum(made: str) -> None:
    result = self_tests.tested(made, CANDIDATES[made], GREEDY)
    assert result.passed and result.ratio == 1.0 and result.found == 1.0


@pytest.mark.parametrize("made", CANDIDATES)
def test_on_labels_the_attacks_pass_their_self_tests(made: str) -> None:
    result = self_tests.tested(made, CANDIDATES[made], BY_LABELS)
    assert result.passed and result.ratio < 1.3 and result.found == 1.0


def test_a_search_in_the_wrong_order_fails_the_self_test() -> None:
    # Only the later half of the alphabet is left alone: the heaviest words.
    light = {word: ("unheard",) for word in self_tests.weights() if word < "n"}
    result = self_tests.self_test("blind", listed(light), GREEDY)
    assert not result.passed and "blind" in result.reason
    evidence = drive(edits(), Bag({"anchor": 1.0}, -0.5), ["anchor basket"])
    failed = to_table(
        {
            "id": ["blind"], "point": "", "passed": np.array([False]),
            "ratio": np.array([result.ratio]), "tolerance": np.array([1.5]),
            "found": np.array([result.found]), "reason": [result.reason],
        }
    )  # fmt: skip
    own = replace(evidence.own, probes={"self-test": Records(failed)})
    (finding,) = edits().audit(replace(evidence, own=own))
    assert (finding.code, finding.severity) == ("attack-fails-self-test", Severity.INVALID)


HEAVY = dict.fromkeys(NAMES, 1.0)
PLAIN = [" ".join(np.random.default_rng(row).permutation(NAMES)) for row in range(12)]


def codes(evidence: Evidence, attack: Any) -> set[str]:
    return {finding.code for finding in attack.audit(evidence)}


def test_an_honest_model_is_not_flagged() -> None:
    attack = edits()
    evidence = drive(attack, Bag(HEAVY, -5.5), PLAIN)
    assert evidence.own.records.array("changed").tolist() == [3] * len(PLAIN)
    assert codes(evidence, attack) == set()


def test_a_robust_model_is_not_flagged() -> None:
    attack = edits((0.1, 0.3))
    evidence = drive(attack, Bag(HEAVY, -0.5), PLAIN)
    assert (evidence.own.records.array("prediction") == -1).all()
    assert codes(evidence, attack) == set()


def test_answers_that_change_by_themselves_are_found() -> None:
    def restless(scores: np.ndarray, inputs: Sequence[Any]) -> np.ndarray:
        return -np.abs(scores)  # asked by the attack it says "no" to what the pass saw as "yes"

    attack = edits()
    evidence = drive(attack, Bag(HEAVY, -5.5, restless), PLAIN)
    assert evidence.own.records.array("unchanged").all()
    found = {finding.code: finding for finding in attack.audit(evidence)}
    assert found["unchanged-examples"].severity == Severity.INVALID


def test_rounded_scores_give_a_search_nothing_to_follow() -> None:
    def rounded(scores: np.ndarray, inputs: Sequence[Any]) -> np.ndarray:
        return np.where(scores == scores.max(axis=1, keepdims=True), 1.0, 0.0)

    attack = edits((0.1, 0.3))
    evidence = drive(attack, Bag(HEAVY, -3.5, rounded), PLAIN)
    assert "queries-gain-nothing" in codes(evidence, attack)


class Marks(ListedWords):
    """Every word for a word without a letter, or for one that is far too long."""

    others = ("!",)

    def maker(self, context: Any) -> Any:
        return listed(dict.fromkeys(NAMES, self.others))


class Lengthy(Marks):
    others = ("unheard " * 40,)


@pytest.mark.parametrize("kind", [Marks, Lengthy])
def test_examples_that_nobody_could_label_are_found(kind: type[Marks]) -> None:
    attack = kind.of("adversarial", threat(), None, LeftAlone(), {}, file=None)
    evidence = drive(attack, Bag(HEAVY, -2.5), PLAIN)
    assert evidence.own.records.array("changed").tolist() == [6] * len(PLAIN)
    assert codes(evidence, attack) == {"unreadable-examples"}


def test_texts_without_a_word_to_change_are_told() -> None:
    attack = edits((0.1,))
    evidence = drive(attack, Bag({}, 1.0), ["two words"] * 4)
    assert codes(evidence, attack) == {"nothing-to-change"}


@pytest.mark.parametrize(
    ("new", "told"), [("ab", False), ("a", True), ("abcdefgh", False), ("abcdefghi", True)]
)
def test_spoilt_is_less_than_half_or_over_twice(new: str, told: bool) -> None:
    sample = SimpleNamespace(sample="a-b.cd")
    search: Any = SimpleNamespace(replaced={}, sample_words=sample, example=new)
    assert spoilt(search) is told
    search.replaced = None
    assert not spoilt(search)


@pytest.mark.parametrize(
    ("word", "place", "made"), [("abc", 1, "ac"), ("a-bc", 1, ""), ("ab", 0, "")]
)
def test_letters_of_longer_words_alone_are_left_out(word: str, place: int, made: str) -> None:
    assert _deletion(word, place, 0) == made


@pytest.mark.parametrize(("lead", "wrong"), [(-1.0, False), (0.0, False), (1.0, True)])
def test_a_tie_is_not_wrong(lead: float, wrong: bool) -> None:
    noted: list[dict[int, str]] = []

    def ask(texts: list[Any]) -> Any:
        yield texts
        return [lead]

    search: Any = SimpleNamespace(
        sample_words=SimpleNamespace(changed=str), ask=ask, watch=lambda *_: None, replaced=None,
        note=noted.append,
    )  # fmt: skip
    asked = _wrong(search, {0: "a", 1: "b"}, [1])
    assert next(asked) == ["{1: 'b'}"]
    with pytest.raises(StopIteration) as ended:
        next(asked)
    assert ended.value.value is wrong
    assert noted == ([{1: "b"}] if wrong else [])
