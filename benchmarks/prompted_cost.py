"""What asking and judging language models costs beside the model itself.

    python benchmarks/prompted_cost.py [--items 250000] [--requests 2000]

Requests go to `examples/mock_language_model.py`, one at a time; so do the same bodies by
`http.client` on one connection. A million answers, four to each item, come from an adapter that
waits for none.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from _mock_server import Server
from _report import load, publish, table

import crucibench as cb
from crucibench.contracts.adapter import Opening
from crucibench.contracts.asking import Asking, Question, Reply, Sampling
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.engine.score.rescore import rescore
from crucibench.store.answers import AnswerLog
from crucibench.util.http.limits import Remote
from crucibench_adapters.openai_server import OpenAIAdapter

ITEMS = Task(kind="generation", modality=Modality("item"))
DRAWS = 4


class Instant(Asking):
    """Answers at once, right to three of four items."""

    task = ITEMS
    input_spec = InputSpec()
    capabilities = frozenset({Capability.TEXTS})
    score_kind = "logits"
    asked = 0

    @classmethod
    def open(cls, opening: Opening) -> Instant:
        """Returns one."""
        return cls()

    def _ask(self, questions: Sequence[Question]) -> Sequence[Reply]:
        self.asked += len(questions)
        return [
            Reply(texts=tuple(f"It is {one.prompt[2:-1]}, I think {at}" for at in
                              range(one.sampling.n)), finish=("stop",) * one.sampling.n)
            for one in questions
        ]  # fmt: skip


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Returns seconds on the wall and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def requests(folder: Path, count: int) -> dict[str, tuple[float, float]]:
    """Returns milliseconds a request, wall and processor: bare, and by the adapter."""
    server = Server()
    opening = Opening(
        name="m", uri=parse_uri(server.uri("chat")), base=folder, remote=Remote(concurrency=1),
        data=DataCard(name="d", uri="", task=ITEMS),
    )  # fmt: skip
    adapter: Any = OpenAIAdapter.open(opening)
    asked = [
        Question(id=str(at), prompt=f"Q {at}?", sampling=Sampling(max_tokens=4))
        for at in range(count)
    ]
    bodies = [json.dumps({"model": "mock", **adapter._chat_body(one)}).encode() for one in asked]
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port)

    def bare() -> None:
        for body in bodies:
            connection.request("POST", "/v1/chat/completions", body,
                               {"Content-Type": "application/json"})  # fmt: skip
            json.loads(connection.getresponse().read())

    found: dict[str, list[tuple[float, float]]] = {}
    kept = (AnswerLog(folder / f"log{turn}", {}) for turn in range(3))
    ways = {
        "http.client": bare,
        "Adapter.ask": lambda: adapter.ask(asked),
        "Adapter.ask, kept as they come": lambda: adapter.ask(asked, next(kept)),
    }
    for _ in range(3):
        for name, work in ways.items():
            found.setdefault(name, []).append(timed(work))
    adapter.close()
    server.close()
    best = {name: np.median(np.array(times), axis=0) for name, times in found.items()}
    return {name: tuple(1000 * value / count) for name, value in best.items()}  # type: ignore[misc]


def rescored(folder: Path, items: int) -> dict[str, float]:
    """Returns seconds to judge a million answers anew, and how often the model was asked for it."""
    path = folder / "items.jsonl"
    with path.open("w") as stream:
        for at in range(items):
            stream.write(json.dumps({"q": at, "answer": str(at + (at % 4 == 3))}) + "\n")
    model = Instant()
    task = {
        "kind": "text", "template": "Q {q}?", "temperature": 1.0, "samples": DRAWS,
        "extract": {"n": r"is (\d+)"}, "pass_at": [1, 2],
    }  # fmt: skip
    run = cb.run(
        models={"m": model}, data=f"items:{path}?target=answer", suites=["prompted"],
        settings={"prompted.tasks": {"t": task}}, out=folder / "results", workers=0,
    )  # fmt: skip
    before = model.asked
    wall, cpu = timed(lambda: rescore(run))
    again_wall, again_cpu = timed(lambda: rescore(run, {"prompted.tasks.t.extract.n": r"(\d+), I"}))
    return {
        "score, s": wall, "score, CPU s": cpu, "score --set, s": again_wall,
        "score --set, CPU s": again_cpu, "requests": model.asked - before,
        "answers": items * DRAWS,
    }  # fmt: skip


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=250_000)
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        costs = requests(Path(name), options.requests)
        again = rescored(Path(name), options.items)
    bare = costs["http.client"]
    publish(
        "prompted-cost",
        "Language models: what asking and judging costs",
        [
            f"{options.requests} requests to a server on this machine, one at a time; median of 3 "
            f"rounds. {load()}",
            "",
            *table(
                ("a request", "wall, ms", "CPU, ms", "more than bare, wall", "CPU"),
                [[name, *(f"{one:.2f}" for one in found),
                  *(f"{one - other:.2f}" for one, other in zip(found, bare, strict=True))]
                 for name, found in costs.items()],
            ),
            "",
            f"{again['answers']:,} written answers to {options.items:,} items, judged again: "
            "extracted by a regular expression, exact match, word F1, pass@1 and pass@2, with "
            "intervals; all checked against the manifest before, and written. `--set` makes a run "
            "beside it by another regular expression.",
            "",
            *table(("", "found"), [
                [name, f"{again[name]:.1f}"] for name in again if name.endswith(" s")
            ] + [["requests", int(again["requests"])]]),
        ],
        "pyarrow",
    )  # fmt: skip


if __name__ == "__main__":
    main()
