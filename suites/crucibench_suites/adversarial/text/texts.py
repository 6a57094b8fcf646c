"""Attacks the texts of a batch, and keeps and checks what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.attack import Attack
from crucibench.contracts.batch import Batch
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench.util.untrusted.json_text import parse_json
from crucibench_suites.adversarial.answers import labels_of, leads
from crucibench_suites.adversarial.saved import ADVERSARIALS, Judge, SavedExamples, misclassified
from crucibench_suites.adversarial.text.edits import KINDS, character_edits, fitting
from crucibench_suites.adversarial.text.searching import (
    Candidates,
    Drawn,
    TextSearch,
    run_together,
    words_allowed,
)
from crucibench_suites.adversarial.text.words import SplitSample, parts_of, plain_word
from crucibench_suites.adversarial.threat import ThreatModel, point_of

MakeCandidates = Callable[[Sequence[SplitSample], Sequence[str]], list[Candidates]]
"""From samples and their ids to what the words of each could become."""

_AT_ONCE = 64


def edited(draws: Draws) -> MakeCandidates:
    """Returns edits of characters as candidates, drawn by sample, column and place."""

    def make(samples: Sequence[SplitSample], ids: Sequence[str]) -> list[Candidates]:
        def of(one: SplitSample, identity: str) -> Candidates:
            def candidates(number: int) -> list[str]:
                word, place = one.word(number), one.words[number]
                step = f"edits/{place.column}/{place.start}"
                drawn = draws.words([identity], step, len(KINDS) * len(word))
                return character_edits(word, drawn.reshape(len(KINDS), len(word)))

            return candidates

        return [of(one, identity) for one, identity in zip(samples, ids, strict=True)]

    return make


def listed(words: Mapping[str, Sequence[str]]) -> MakeCandidates:
    """Returns the words of a list as candidates."""

    def make(samples: Sequence[SplitSample], ids: Sequence[str]) -> list[Candidates]:
        def of(one: SplitSample) -> Candidates:
            def candidates(number: int) -> list[str]:
                word = "".join(one.word(number))
                return fitting(word, words.get(plain_word(word), ()))

            return candidates

        return [of(one) for one in samples]

    return make


def near(
    adapter: Adapter, count: int, similarity: float, stop_words: AbstractSet[str]
) -> MakeCandidates:
    """Returns words near in the model's own embeddings as candidates.

    Args:
        adapter: a model with embeddings.
        count: how many at most.
        similarity: the least cosine.
        stop_words: none of which takes a word's place.
    """

    def make(samples: Sequence[SplitSample], ids: Sequence[str]) -> list[Candidates]:
        words = sorted(
            {plain_word("".join(one.word(number))) for one in samples for number in one.open}
        )
        found = adapter.neighbours(words, count)
        kept = {
            word: [
                other
                for other, cosine in others
                if cosine >= similarity and plain_word(other) not in stop_words
            ]
            for word, others in zip(words, found, strict=True)
        }
        return listed(kept)(samples, ids)

    return make


def _embedded(other: str) -> Any:
    """Returns a model in whose embeddings one word is near all others."""
    return SimpleNamespace(neighbours=lambda words, count: [[(other, 1.0)] for _ in words])


class CandidateKind(NamedTuple):
    """A kind of candidates: what a cell makes, and what its self-test makes.

    Attributes:
        make: from what candidates are made of to a `MakeCandidates`.
        known: what they are made of in a self-test, from the words and the one that may replace
            each.
    """

    make: Callable[..., MakeCandidates]
    known: Callable[[Sequence[str], str], tuple[Any, ...]]


CANDIDATES: Mapping[str, CandidateKind] = {
    "edits": CandidateKind(edited, lambda words, other: (Draws(0, "self-test"),)),
    "listed": CandidateKind(listed, lambda words, other: (dict.fromkeys(words, (other,)),)),
    "near": CandidateKind(near, lambda words, other: (_embedded(other), 1, 0.5, frozenset())),
}
"""All of them. What has no entry is no attack: nothing else tells them apart by name."""


def attacked(
    threat: ThreatModel, work: Work, adapter: Adapter, draws: Draws, *,
    attack: Attack, cut: Callable[[Any], SplitSample], make: MakeCandidates, at_once: int | None,
) -> tuple[Columns, list[TextSearch]]:  # fmt: skip
    """Attacks every sample of a batch.

    Args:
        threat: shares of words, and the budget.
        work: the samples, right as they are.
        adapter: a model with scores, or with labels where the attacker sees no more.
        draws: of the scenario's stream.
        attack: how it searches.
        cut: cuts a sample into words.
        make: what words could become.
        at_once: how many texts the model is asked about at once.

    Returns:
        What a record holds of each sample, and the searches.
    """
    batch, targets = work.batch, work.samples.targets.astype(np.int64)
    samples = [cut(sample) for sample in batch.inputs]
    searches = [
        TextSearch(one, threat.eps, threat.queries, drawn(draws, identity))
        for one, identity in zip(samples, batch.ids, strict=True)
    ]
    width = at_once or _AT_ONCE

    def ask(rows: list[int], texts: list[Any]) -> list[float]:
        found = np.empty(len(rows))
        # Texts of like length together: others are filled up to the longest.
        order = np.argsort([sum(map(len, map(str, parts_of(text)))) for text in texts],
                           kind="stable")  # fmt: skip
        for start in range(0, len(rows), width):
            part = order[start : start + width]
            asked = batch.take([rows[at] for at in part]).with_inputs([texts[at] for at in part])
            mine = targets[[rows[at] for at in part]]
            found[part] = leads(adapter, asked, mine, labels=attack.access == "decision")
        return [float(one) for one in found]

    candidates = make(samples, batch.ids)
    run_together(
        [search.questions(one, attack) for search, one in zip(searches, candidates, strict=True)],
        ask,
    )
    predicted = _confirmed(adapter, batch, targets, searches)
    return _columns(threat, searches, predicted), searches


def drawn(draws: Draws, identity: str) -> Drawn:
    """Returns what draws for one sample."""
    return lambda step, count: draws.words([identity], step, count)[0]


def _confirmed(
    adapter: Adapter, batch: Batch, targets: np.ndarray, searches: Sequence[TextSearch]
) -> np.ndarray:
    """Returns the class of each example that the plain model gets wrong once more, else -1."""
    predicted = np.full(len(batch), -1, dtype=np.int32)
    rows = [row for row, search in enumerate(searches) if search.replaced is not None]
    if rows:
        examples = batch.take(rows).with_inputs([searches[row].example for row in rows])
        labels = labels_of(adapter, examples)
        predicted[rows] = np.where(labels != targets[rows], labels, -1)
    return predicted


def _columns(threat: ThreatModel, searches: Sequence[TextSearch], predicted: np.ndarray) -> Columns:
    holds = predicted >= 0
    found = np.array([search.replaced is not None for search in searches], dtype=np.bool_)
    words = np.array([len(search.sample_words.words) for search in searches], dtype=np.int64)
    changed = np.array([search.changed for search in searches], dtype=np.int64)
    level = np.array(
        [
            sum(allowed < search.changed for allowed in search.allowed)
            if keep else len(threat.eps)
            for search, keep in zip(searches, holds, strict=True)
        ],
        dtype=np.int32,
    )  # fmt: skip
    share = np.where(holds, changed / np.maximum(words, 1), np.nan)
    queries = np.array([search.queries for search in searches], dtype=np.int64)
    queries_to = np.array([search.queries_to for search in searches])
    first = np.array([search.first for search in searches]) / np.maximum(words, 1)
    return {
        "level": level,
        "smallest_eps": np.array([*threat.eps, np.nan])[level],
        "distance_words": share,
        "prediction": predicted,
        "forwards": queries + found,
        "backwards": np.zeros(len(searches), dtype=np.int64),
        "queries": queries,
        "confirmations": found.astype(np.int64),
        "unconfirmed": (found & ~holds).astype(np.int64),
        "queries_to": np.where(holds[:, None], queries_to, np.nan),
        "first_distance": np.where(holds, first, np.nan),
        "words": words,
        "choices": np.array([len(search.options) for search in searches], dtype=np.int64),
        "changed": np.where(holds, changed, 0),
        "moved": np.array([search.moved for search in searches]),
        "unchanged": holds & np.array([same(search) for search in searches], dtype=np.bool_),
        "spoilt": holds & np.array([spoilt(search) for search in searches], dtype=np.bool_),
    }


def same(search: TextSearch) -> bool:
    """Whether the example is the sample itself."""
    return bool(search.example == search.sample_words.sample)


def spoilt(search: TextSearch) -> bool:
    """Whether a column of the example has less than half, or over twice, the letters and digits."""
    if search.replaced is None:
        return False
    for old, new in zip(
        parts_of(search.sample_words.sample), parts_of(search.example), strict=True
    ):
        if isinstance(old, str):
            before, after = (sum(map(str.isalnum, text)) for text in (old, new))
            if 2 * after < before or after > 2 * before:
                return True
    return False


CHECKED = ("changed",)
"""What is looked at in the records."""


def texts_kept(
    threat: ThreatModel, ids: Sequence[str], searches: Sequence[TextSearch],
    level: NDArray[np.int64], attack: str,
) -> Columns:  # fmt: skip
    """Returns the example with the fewest changed words of each sample that the attack broke.

    Columns of m rows: ``id``, the smallest share that it breaks as ``point``, ``attack``, ``text``,
    a JSON list of the sample's columns, and ``replaced``, a JSON object from the number of each
    changed word to what took its place; m may be 0. JSON, since no other form holds any text.
    """
    rows = [int(row) for row in np.flatnonzero(level < len(threat.eps))]
    return {
        "id": [ids[row] for row in rows],
        "point": [point_of(threat.eps[at]) for at in level[rows]],
        "attack": [attack] * len(rows),
        "text": [json.dumps(parts_of(searches[row].example)) for row in rows],
        "replaced": [json.dumps(searches[row].replaced) for row in rows],
    }


def texts_judged(
    threat: ThreatModel, cut: Callable[[Any], SplitSample], context: MapContext
) -> Judge:
    """Returns what judges saved texts: the words that differ, their number, and the classes."""

    def judge(shown: SavedExamples) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        kept = shown.own.artifacts[ADVERSARIALS]
        samples = [cut(sample) for sample in shown.clean.inputs]
        replaced = [
            {
                int(number): text
                for number, text in parse_json(kept.array("replaced")[at], "replaced").items()
            }
            for at in shown.at
        ]
        open_ = [set(words) <= set(one.open) for one, words in zip(samples, replaced, strict=True)]
        made = [
            one.changed(words) if fit else one.sample
            for one, words, fit in zip(samples, replaced, open_, strict=True)
        ]
        texts = [parse_json(kept.array("text")[at], "text") for at in shown.at]
        own = [list(parts_of(one)) == text for one, text in zip(made, texts, strict=True)]
        changed = np.array([len(words) for words in replaced], dtype=np.int64)
        level = np.array(
            [
                sum(words_allowed(share, len(one.words)) < count for share in threat.eps)
                for one, count in zip(samples, changed, strict=True)
            ],
            dtype=np.int64,
        )
        asked = shown.clean.with_inputs(made)
        predicted = labels_of(context.adapter, asked)
        wrong = np.select(
            [~np.array(open_), ~np.array(own), changed != shown.records["changed"].to_numpy()],
            [
                "change words that are to be left alone", "are not their samples with other words",
                "have another number of changed words than in the records",
            ],
            misclassified(shown, asked, predicted, context),
        )  # fmt: skip
        return wrong.astype(object), level

    return judge
