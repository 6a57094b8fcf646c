"""Linear bags of words, and a driver that runs an attack on texts as the engine does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.scenario import MapContext, StageView, Work
from crucibench.contracts.task import Modality, Task
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.text.scenario import TextAttack

_WORD = re.compile(r"\w+")

Spoil = Callable[[np.ndarray, Sequence[Any]], np.ndarray]


class Bag(Adapter):
    """Scores of two classes: the second's is the sum of what words weigh, the first's is 0."""

    input_spec = InputSpec(modality=Modality.TEXT)
    capabilities = frozenset({Capability.SCORES, Capability.ANY_INPUT})
    score_kind = "logits"

    def __init__(self, weights: Mapping[str, float], bias: float = 0.0,
                 spoil: Spoil | None = None) -> None:  # fmt: skip
        self.weights, self.bias, self._spoil = weights, bias, spoil
        self.task = Task(kind="classification", modality=Modality.TEXT, classes=("no", "yes"))

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def lead(self, sample: Any) -> float:
        text = " ".join(sample) if isinstance(sample, tuple) else sample
        return self.bias + sum(self.weights.get(word, 0.0) for word in _WORD.findall(text.lower()))

    def _predict(self, batch: Batch, want: Request) -> Answer:
        scores = np.array([[0.0, self.lead(sample)] for sample in batch.inputs]).reshape(-1, 2)
        return Answer(scores=scores if self._spoil is None else self._spoil(scores, batch.inputs))


def drive(
    scenario: TextAttack, adapter: Bag, inputs: Sequence[Any], *, batch_size: int = 64,
    order: Sequence[int] | None = None, targets: Sequence[int] | None = None,
) -> Evidence:  # fmt: skip
    """Runs a scenario over samples, of which it gets those that are right; ids are id0, id1, ..."""
    rows = list(range(len(inputs)) if order is None else order)
    ids = np.array([f"id{row}" for row in rows], dtype=object)
    texts = [inputs[row] for row in rows]
    said = np.array([int(adapter.lead(text) > 0) for text in texts])
    wanted = said if targets is None else np.array([targets[row] for row in rows])
    samples = Samples(ids, wanted.astype(np.int64), pd.DataFrame(index=range(len(ids))))
    info = ModelInfo(
        name="bag", uri="test:bag", capabilities=adapter.capabilities, score_kind="logits",
        geometry={}, fingerprint=None,
    )  # fmt: skip
    table = to_table({"id": list(ids), "prediction": said.astype(np.int32)})
    clean = CellEvidence(
        cell="pass-test", model=info, role="test", records=Records(table), samples=samples
    )
    context = MapContext(adapter, Draws(0, scenario.stream), batch_size=batch_size)
    whole = Work(Batch(tuple(ids), texts), samples, {})
    probes = {
        name: Records(to_table(found)) for name, found in scenario.probe(whole, context).items()
    }
    kept = np.flatnonzero(
        scenario.select("main", lambda: StageView(samples, {"clean": clean}, {})).keep
    )
    tables = []
    for start in range(0, len(kept), batch_size):
        part = kept[start : start + batch_size]
        batch = Batch(tuple(ids[part]), [texts[row] for row in part])
        work = Work(batch, samples.take(part), {})
        tables.append(to_table(scenario.run("main", work, context)))
    own = Records(pa.concat_tables(tables) if tables else to_table({"id": []}))
    return Evidence(
        own=CellEvidence(
            cell="own", model=info, role="test", records=own, samples=samples, probes=probes
        ),
        needs={"clean": clean},
        data=DataCard(name="data", uri="test:data", task=adapter.task),
        options=ScoringOptions(replicates=200),
    )
