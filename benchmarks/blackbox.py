"""Attacks on labels alone beside ART's, on digits, at equal queries.

    python benchmarks/blackbox.py [--cases cnn:40,logistic:40,forest:20] [--queries 1000]

Needs ``pip install adversarial-robustness-toolbox`` in an environment of its own. A case is
MODEL:SAMPLES: bundled networks, and estimators that are fitted here. Every attack sees the class
that the model names and nothing else, of the same images, those that the model gets right. What it
asks is counted here, question by question: after a budget, what counts is the nearest image that
the model got wrong by then, whoever asked about it and whatever the attack would return in the end.
Questions about the image as it is are not counted. ART draws its starts from the system, so that
its numbers move a little from one run to the next.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from _attacked import Bundled, images
from _report import load, publish, table
from art.attacks.evasion import BoundaryAttack, HopSkipJump
from art.estimators.classification import BlackBoxClassifier
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.attack import Norm
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import Samples
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.task import Modality, Task
from crucibench.stats import wilson
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.scenario import BlackBoxAttack, scenarios
from crucibench_suites.adversarial.scoring import order_statistics_interval, weighted_median

Floats = np.ndarray
Labels = Callable[[Floats], Floats]
"""From images (m, 1, 8, 8) to classes (m,)."""

CLASSES = 10
LEVEL = 0.95
EPS: dict[Norm, float] = {"linf": 0.2, "l2": 1.0}
TRAIN = slice(900, None)
"""Of the digits in their shuffled order: estimators are fitted on those that are not attacked."""


class SpentError(Exception):
    """The budget of a sample is spent."""


class Ledger:
    """What has been asked about each of n images, and the nearest wrong answer by then."""

    def __init__(self, labels: Labels, x: Floats, y: Floats, norm: Norm, budget: int) -> None:
        self._labels, self._x, self._y, self._norm, self._budget = labels, x, y, norm, budget
        self.asked = np.zeros(len(x), dtype=np.int64)
        self.found: list[list[tuple[int, float]]] = [[] for _ in x]

    def answer(self, rows: Sequence[int], asked: Floats) -> Floats:
        """Returns the classes of images that are of the samples at `rows`."""
        said = self._labels(asked)
        moved = asked.astype(np.float64) - self._x[list(rows)]
        flat = np.abs(moved).reshape(len(moved), -1)
        far = flat.max(axis=1) if self._norm == "linf" else np.linalg.norm(flat, axis=1)
        for row, label, distance in zip(rows, said, far, strict=True):
            self.asked[row] += distance > 0
            if label != self._y[row] and self.asked[row] <= self._budget:
                self.found[row].append((int(self.asked[row]), float(distance)))
        return said

    def peer(self, row: int) -> Labels:
        """Returns what another's attack may ask about one sample; it ends with the budget."""

        def labels(asked: Floats) -> Floats:
            if self.asked[row] >= self._budget:
                raise SpentError
            return self.answer([row] * len(asked), np.asarray(asked, dtype=np.float32))

        return labels

    def nearest(self, queries: int) -> Floats:
        """Returns the distance of the nearest example after so many questions, (n,)."""
        return np.array(
            [min((far for at, far in one if at <= queries), default=np.inf) for one in self.found]
        )


class Counted(Adapter):
    """A model that names a class, with all that it is asked put down."""

    input_spec = InputSpec(modality=Modality.IMAGE)
    capabilities = frozenset({Capability.LABELS, Capability.ANY_INPUT})
    task = Task(
        kind="classification", modality=Modality.IMAGE,
        classes=tuple(str(k) for k in range(CLASSES)),
    )  # fmt: skip

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: Request) -> Answer:
        rows = [int(one) for one in batch.ids]
        return Answer(labels=self._ledger.answer(rows, batch.inputs.numpy()))


def ours(name: BlackBoxAttack) -> Callable[..., None]:
    """Returns the suite's attack, on all samples side by side."""

    def attack(ledger: Ledger, x: Floats, y: Floats, norm: Norm, queries: int) -> None:
        # A radius that nothing reaches: the search goes on until its budget is spent.
        (cell,) = scenarios(
            "adversarial", (name,), (norm, (1e-9,), None), queries=queries, limit=None
        )
        ids = np.array([str(row) for row in range(len(x))], dtype=object)
        samples = Samples(ids, y.astype(np.int64), pd.DataFrame(index=range(len(x))))
        work = Work(Batch(tuple(ids), torch.from_numpy(x)), samples, {})
        cell.run("main", work, MapContext(Counted(ledger), Draws(0, cell.stream)))

    return attack


def of_art(make: Callable[..., Any], **options: Any) -> Callable[..., None]:
    """Returns an attack of ART, one sample after the other, as it goes through them itself."""

    def attack(ledger: Ledger, x: Floats, y: Floats, norm: Norm, queries: int) -> None:
        given = {"norm": np.inf if norm == "linf" else 2} if make is HopSkipJump else {}
        for row in range(len(x)):
            labels = ledger.peer(row)
            model = BlackBoxClassifier(
                lambda asked, labels=labels: np.eye(CLASSES)[labels(asked)],
                x.shape[1:], CLASSES, clip_values=(0.0, 1.0),
            )  # fmt: skip
            attacker = make(model, verbose=False, **given, **options)
            try:
                attacker.generate(x[row : row + 1], np.eye(CLASSES)[y[row : row + 1]])
            except SpentError:
                continue

    return attack


ATTACKS: dict[Norm, dict[str, Callable[..., None]]] = {
    "linf": {
        "HopSkipJump, ours": ours("hopskipjump"),
        "HopSkipJump, ART": of_art(HopSkipJump),
    },
    "l2": {
        "HopSkipJump, ours": ours("hopskipjump"),
        "HopSkipJump, ART": of_art(HopSkipJump),
        "Boundary, ours": ours("boundary"),
        "Boundary, ART": of_art(BoundaryAttack, targeted=False),
    },
}


def model(name: str) -> Labels:
    """Returns a model as what it names."""
    if name in {"cnn", "mlp"}:
        network = Bundled(name).eval()

        def named(x: Floats) -> Floats:
            with torch.no_grad():
                return network(torch.from_numpy(x)).argmax(1).numpy()

        return named
    x, y = images("digits", len(load_digits().target))
    makes = {
        "forest": RandomForestClassifier(60, random_state=0),
        "logistic": LogisticRegression(max_iter=1000),
    }
    fitted = makes[name].fit(x[TRAIN].flatten(1).numpy(), y[TRAIN])
    return lambda x: np.asarray(fitted.predict(x.reshape(len(x), -1))).astype(np.int64)


def line(near: Floats, eps: float, reference: Floats | None) -> list[str]:
    """Returns success, the median distance, and how far it is behind ours, each with interval."""
    hits = int((near <= eps).sum())
    share = wilson(hits, len(near), LEVEL)
    found = [f"{100 * hits / len(near):.0f} [{100 * share.lower:.0f}, {100 * share.upper:.0f}]"]
    numbers = [near]
    if reference is not None:
        both = np.isfinite(near) | np.isfinite(reference)
        with np.errstate(invalid="ignore"):
            numbers.append((near / reference)[both])
    for values in numbers:
        everyone = np.ones(len(values), dtype=np.bool_)
        median = float(weighted_median(values, everyone)(np.ones((1, len(values))))[0])
        interval = order_statistics_interval(values, LEVEL)
        ends = "" if isinstance(interval, str) else f" [{interval.lower:.3f}, {interval.upper:.3f}]"
        found.append("none" if np.isnan(median) else f"{median:.3f}{ends}")
    return found if reference is not None else [*found, "1"]


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="cnn:40,logistic:40,forest:20")
    parser.add_argument("--queries", type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    budgets = [args.queries // 5, args.queries]
    lines = []
    for case in args.cases.split(","):
        name, samples = case.split(":")
        labels = model(name)
        drawn, targets = images("digits", int(samples))
        x, y = drawn.numpy(), targets
        right = labels(x) == y
        x, y = x[right], y[right]
        for norm, attacks in ATTACKS.items():
            reference: dict[str, Ledger] = {}
            for title, attack in attacks.items():
                method, _, whose = title.partition(", ")
                ledger = Ledger(labels, x, y, norm, args.queries)
                torch.manual_seed(0)
                np.random.seed(0)
                start = time.process_time()
                attack(ledger, x, y, norm, args.queries)
                took = time.process_time() - start
                reference.setdefault(method, ledger)
                for queries in budgets:
                    mine = reference[method].nearest(queries) if whose != "ours" else None
                    numbers = line(ledger.nearest(queries), EPS[norm], mine)
                    at_end = queries == args.queries
                    seconds = f"{took:.1f}" if at_end else ""
                    lines.append([name, norm, len(x), method, whose, queries, *numbers, seconds])
                    print(*lines[-1], sep=" | ", flush=True)
    head = ("model", "norm", "n", "attack", "whose", "queries", "success % [95 %]",
            "median distance [95 %]", "times ours [95 %]", "s")  # fmt: skip
    publish(
        "blackbox",
        "Attacks on labels alone beside ART's",
        [
            "Digits, one thread; the nearest image that the model got wrong within so many "
            f"questions. Success is within {EPS['linf']:g} in Linf and {EPS['l2']:g} in L2 "
            "(Wilson). Times ours: the median over samples of the distance over that of our "
            "attack of the same name on the same image; above 1 it is further away (order "
            "statistics). Seconds of the processor, for the larger budget, the model's own among "
            f"them; ours goes through all images side by side, ART's one by one. {load()}",
            "",
            *table(head, lines),
        ],
        "adversarial-robustness-toolbox",
        "torch",
        "scikit-learn",
    )


if __name__ == "__main__":
    main()
