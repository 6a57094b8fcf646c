"""Saved texts: which words were replaced in each, and whether the model bears it out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext
from crucibench_suites.adversarial.answers import labels_of
from crucibench_suites.adversarial.saved import ADVERSARIALS, Judge, Shown, misclassified
from crucibench_suites.adversarial.text.searching import Course, words_allowed
from crucibench_suites.adversarial.text.words import Parsed, parts_of
from crucibench_suites.adversarial.threat import ThreatModel, point_of

TOLD = ("changed",)
"""What is looked at in the records."""


def texts_kept(
    threat: ThreatModel, ids: Sequence[str], courses: Sequence[Course],
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
        "text": [json.dumps(parts_of(courses[row].example)) for row in rows],
        "replaced": [json.dumps(courses[row].replaced) for row in rows],
    }


def texts_judged(threat: ThreatModel, cut: Callable[[Any], Parsed], context: MapContext) -> Judge:
    """Returns what judges saved texts: the words that differ, their number, and the classes."""

    def judge(shown: Shown) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        kept = shown.own.artifacts[ADVERSARIALS]
        samples = [cut(sample) for sample in shown.clean.inputs]
        replaced = [
            {int(number): text for number, text in json.loads(kept.array("replaced")[at]).items()}
            for at in shown.at
        ]
        open_ = [set(words) <= set(one.open) for one, words in zip(samples, replaced, strict=True)]
        made = [
            one.changed(words) if fit else one.sample
            for one, words, fit in zip(samples, replaced, open_, strict=True)
        ]
        texts = [json.loads(kept.array("text")[at]) for at in shown.at]
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
        said = labels_of(context.adapter, asked)
        wrong = np.select(
            [~np.array(open_), ~np.array(own), changed != shown.told["changed"].to_numpy()],
            [
                "change words that are to be left alone", "are not their samples with other words",
                "have another number of changed words than in the records",
            ],
            misclassified(shown, asked, said, context),
        )  # fmt: skip
        return wrong.astype(object), level

    return judge
