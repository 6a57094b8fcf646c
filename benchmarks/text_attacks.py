"""Edits of characters beside TextAttack's DeepWordBug, on the bundled recurrent network.

    python benchmarks/text_attacks.py [--samples 60] [--queries 50,500] [--share 0.2]

Needs ``pip install textattack`` in an environment of its own. Both attack the same reviews, those
that the model gets right, with the same stop words left alone, the same share of words and the same
query budget. DeepWordBug (Gao et al. 2018) is put together from TextAttack's parts as its recipe
is, but for the stop words, which the recipe downloads, and its bound of 30 on the edit distance,
which the share of words takes the place of. TextAttack asks about a text only once, however often
it comes up, and does not count it again; ours counts every question.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import textattack
import torch
from _report import publish, table
from safetensors.torch import load_file
from textattack import transformations as swaps
from textattack.constraints.overlap import MaxWordsPerturbed
from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
from textattack.goal_functions import UntargetedClassification
from textattack.models.wrappers import ModelWrapper
from textattack.search_methods import GreedyWordSwapWIR

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import Samples
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.task import Modality, Task
from crucibench.data.sources.synthetic.reviews import CLASSES, reviews
from crucibench.stats import wilson
from crucibench.util.draws import Draws
from crucibench_adapters.demo import text_models
from crucibench_suites.adversarial.text.scenario import CharacterEdits, LeftAlone
from crucibench_suites.adversarial.text.words import ENGLISH
from crucibench_suites.adversarial.threat import ThreatModel

Measured = tuple[int, float, float]
"""Samples broken, questions about each (mean), and seconds of the processor."""


class Network(Adapter):
    """The recurrent network; it counts what it is asked."""

    input_spec = InputSpec(modality=Modality.TEXT)
    capabilities = frozenset({Capability.SCORES, Capability.ANY_INPUT})
    score_kind = "logits"
    task = Task(kind="classification", modality=Modality.TEXT, classes=CLASSES)

    def __init__(self) -> None:
        self.model: Any = text_models.gru()
        folder = Path(text_models.__file__).parent
        self.model.load_state_dict(load_file(folder / "gru.safetensors"))
        self.model.eval()

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = self.model(self.model.encode(texts)).numpy()
        return found

    def _predict(self, batch: Batch, want: Request) -> Answer:
        return Answer(scores=self.scores(batch.inputs))


class Wrapped(ModelWrapper):  # type: ignore[misc]
    """The same network, as TextAttack asks it."""

    def __init__(self, network: Network) -> None:
        self.model = network.model
        self._network = network

    def __call__(self, text_input_list: Sequence[str]) -> np.ndarray:
        return self._network.scores(list(text_input_list))


def ours(network: Network, texts: list[str], y: np.ndarray, share: float, most: int) -> Measured:
    """Attacks with our edits of characters."""
    threat = ThreatModel(norm="words", unit="words", eps=(share,), access="score", queries=most)
    attack = CharacterEdits.of("adversarial", threat, None, LeftAlone(), {})
    ids = np.array([f"id{row}" for row in range(len(texts))], dtype=object)
    samples = Samples(ids, y, pd.DataFrame(index=range(len(texts))))
    context = MapContext(network, Draws(0, attack.stream), batch_size=64)
    start = time.process_time()
    found = attack.run("main", Work(Batch(tuple(ids), texts), samples, {}), context)
    took = time.process_time() - start
    broken = int((np.asarray(found["level"]) == 0).sum())
    return broken, float(np.mean(np.asarray(found["queries"]))), took


def theirs(network: Network, texts: list[str], y: np.ndarray, share: float, most: int) -> Measured:
    """Attacks with TextAttack's DeepWordBug."""
    attack = textattack.Attack(
        UntargetedClassification(Wrapped(network), query_budget=most),
        [
            RepeatModification(),
            StopwordModification(stopwords=ENGLISH),
            MaxWordsPerturbed(max_percent=share),
        ],
        swaps.CompositeTransformation(
            [
                swaps.WordSwapNeighboringCharacterSwap(),
                swaps.WordSwapRandomCharacterSubstitution(),
                swaps.WordSwapRandomCharacterDeletion(),
                swaps.WordSwapRandomCharacterInsertion(),
            ]
        ),
        GreedyWordSwapWIR(),
    )
    broken, queries = 0, 0
    start = time.process_time()
    for text, target in zip(texts, y, strict=True):
        result = attack.attack(text, int(target))
        broken += isinstance(result, textattack.attack_results.SuccessfulAttackResult)
        queries += result.num_queries
    return broken, queries / len(texts), time.process_time() - start


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--queries", default="50,500")
    parser.add_argument("--share", type=float, default=0.2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = Network()
    drawn = list(reviews(0, "test", args.samples))
    texts = [one.text for one in drawn]
    targets = np.array([CLASSES.index(one.label) for one in drawn])
    right = np.flatnonzero(network.scores(texts).argmax(axis=1) == targets)
    texts, targets = [texts[row] for row in right], targets[right].astype(np.int64)
    lines = []
    for most in map(int, args.queries.split(",")):
        for name, attack in (("ours", ours), ("TextAttack", theirs)):
            np.random.seed(0)  # what TextAttack draws from
            broken, queries, took = attack(network, texts, targets, args.share, most)
            found = wilson(broken, len(texts), 0.95)
            lines.append(
                [most, name, f"{100 * broken / len(texts):.1f}",
                 f"{100 * found.lower:.1f} to {100 * found.upper:.1f}", f"{queries:.1f}",
                 f"{took:.2f}"]
            )  # fmt: skip
            print(*lines[-1], flush=True)
    head = ("query budget", "attack", "success %", "95 % interval", "questions a sample", "s")
    publish(
        "text-attacks",
        "Edits of characters beside TextAttack's DeepWordBug",
        [
            f"The bundled recurrent network on {len(texts)} reviews that it gets right, one "
            f"thread, a share of {args.share:g} of the words, the same stop words; seconds of the "
            "processor, one run.",
            "",
            *table(head, lines),
        ],
        "textattack",
        "torch",
    )


if __name__ == "__main__":
    main()
