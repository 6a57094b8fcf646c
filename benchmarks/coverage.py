"""How often intervals cover: the product's own rows, over samples drawn from known models.

    python benchmarks/coverage.py run [--replicates 200] [--jobs 2]   # resumes
    python benchmarks/coverage.py page

Eight models answer n = 30, 100, 300 and 1,000 samples; what each number is in the population comes
from millions of samples. A row is one that `crucibench.metrics.scoring` makes, with all its
metrics at once, as a run does. A cell is a metric, a model and an n. It fails if the upper
bound of its coverage among unmarked rows lies under 93.5 %: the bound holds for all cells at once.

Two classifiers, and the numbers of regression, had no part in the choice of methods; they are
reported apart. Differences are those of `compare`, of each model and a rival that answers the same
samples almost alike; a difference carries no mark, so that all replicates count.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _report import run_or_page
from numpy.typing import NDArray
from scipy.special import betaincinv, expit, softmax

from crucibench.comparing.cell import FormPair, MeasuredDifference, measure_cell
from crucibench.comparing.resampled import ResamplingSettings
from crucibench.contracts.audit import example_cell, example_evidence
from crucibench.contracts.metric import metrics_named
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Number
from crucibench.contracts.task import task_kinds
from crucibench.metrics.forms import evaluate
from crucibench.metrics.numbers import numbers_of
from crucibench.metrics.scoring import rows_of
from crucibench.tasks.classification.view import ClassView
from crucibench.tasks.regression.kind import NumberView
from crucibench.util.names import Names
from crucibench_suites.accuracy.scenario import Clean

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "results" / "coverage"
PAGE = ROOT / "results" / "reference" / "evidence" / "coverage.md"
SIZES = (30, 100, 300, 1000)
LEVEL, FLOOR = 0.95, 0.935
POPULATION = 2_000_000
_BATCH = 25
_RIVAL = "-rival"
_ALWAYS_BIASED = ("ece-15", "mce-", "recall-at-precision")

Floats = NDArray[np.float64]


Pair = tuple[Any, Any]
"""What a model and its rival answer to the same samples, as views."""


@dataclass(frozen=True)
class Model:
    """A classifier whose samples can be drawn.

    Attributes:
        classes: how many.
        spread: of the log odds, which decides how often it is right.
        shift: of the log odds, which decides how rare the positive class is.
        overstated: what the log odds are multiplied by when they are stated.
    """

    kind = "classification"
    classes: int = 2
    spread: float = 1.0
    shift: float = 0.0
    overstated: float = 1.0

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        """Returns probabilities (n, K) and targets (n,)."""
        if self.classes == 2:
            odds = self.shift + self.spread * rng.standard_normal(n)
            targets = (rng.random(n) < expit(odds)).astype(np.int64)
            positive = expit(self.overstated * odds)
            return np.stack([1 - positive, positive], axis=1), targets
        scores = self.spread * rng.standard_normal((n, self.classes))
        true = softmax(scores, axis=1)
        targets = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=self.classes - 1)
        return softmax(self.overstated * scores, axis=1), targets

    def views(self, n: int, rng: np.random.Generator) -> Pair:
        """Returns what the model and its rival answer to n samples."""
        stated, targets = self.draw(n, rng)
        logits = np.log(np.clip(stated, 1e-300, None))
        rival = softmax(logits + 0.3 * self.spread * rng.standard_normal(stated.shape), axis=1)
        return view_of(stated, targets), view_of(rival, targets)


@dataclass(frozen=True)
class Numbers:
    """A regression model whose samples can be drawn.

    Attributes:
        freedom: degrees of freedom of its errors, which are Student's; None for normal ones.
    """

    kind = "regression"
    classes = 0
    freedom: float | None = None

    def views(self, n: int, rng: np.random.Generator) -> Pair:
        """Returns what the model and its rival answer to n samples."""
        signal = rng.standard_normal(n)
        error = rng.standard_normal(n) if self.freedom is None else rng.standard_t(self.freedom, n)
        ids, targets = _ids(n), signal + 0.5 * error
        rival = signal + 0.2 * rng.standard_normal(n)
        return NumberView(ids, targets, signal), NumberView(ids, targets, rival)


MODELS: Mapping[str, Model | Numbers] = {
    "55 % right": Model(spread=0.26),
    "85 % right": Model(spread=3.4),
    "99 % right": Model(spread=55.0),
    "99.9 % right": Model(spread=555.0),
    "calibrated": Model(spread=2.0),
    "overconfident": Model(spread=2.0, overstated=2.5),
    "prevalence 1 %": Model(spread=1.5, shift=-5.55),
    "ten classes": Model(classes=10, spread=3.5),
    "three classes": Model(classes=3, spread=5.0),
    "prevalence 5 %": Model(spread=2.0, shift=-4.5, overstated=0.6),
    "normal errors": Numbers(),
    "heavy tails": Numbers(freedom=5.0),
}
LEFT_OUT = ("three classes", "prevalence 5 %", "normal errors", "heavy tails")
"""Models that had no part in the choice of methods."""


def _ids(n: int) -> NDArray[np.object_]:
    return np.array([f"{row:032x}" for row in range(n)], dtype=object)


def view_of(probabilities: Floats, targets: NDArray[np.int64]) -> ClassView:
    """Returns what a run reads from such answers."""
    n, classes = probabilities.shape
    binary = classes == 2
    predictions = (
        (probabilities[:, 1] >= 0.5).astype(np.int64) if binary else probabilities.argmax(axis=1)
    )
    return ClassView(
        names=Names(_ids(n)),
        targets=targets, predictions=predictions,
        classes=tuple(f"c{index}" for index in range(classes)), scores=probabilities,
        probabilities=probabilities,
        why_none="", positive=1 if binary else None, at_threshold=binary,
    )  # fmt: skip


def _key(row: Any) -> str:
    return f"{row.metric}@{row.group}" if row.group else str(row.metric)


def numbers(view: Any) -> list[Number]:
    """Returns the numbers that a run makes of a view."""
    kind = "classification" if isinstance(view, ClassView) else "regression"
    return numbers_of(metrics_named(task_kinds().get(kind).metrics), view)


def rows(view: Any, seed: int) -> list[Row]:
    """Returns the rows that a run makes of a view."""
    scenario = Clean.of("accuracy", train=False)
    own = example_cell({"prediction": view.predictions}, view.targets)
    evidence = example_evidence(own, classes=getattr(view, "classes", ("no", "yes")))
    options = evidence.options.__class__(replicates=2000, seed=seed)
    evidence = evidence.__class__(own=evidence.own, needs={}, data=evidence.data, options=options)
    return rows_of(numbers(view), scenario, evidence)


def differences(views: Pair, seed: int) -> dict[str, MeasuredDifference]:
    """Returns the differences that `compare` makes of a model and its rival."""
    first, second = ({_key(one): one for one in numbers(view)} for view in views)
    pairs = {
        (key, "", ""): FormPair(first[key].form, second[key].form)
        for key in first
        if first[key].make is not None and key in second and second[key].make is not None
    }
    settings = ResamplingSettings(seed=seed)
    found = measure_cell(pairs, views[0].ids, settings=settings)
    return {key[0]: difference for key, difference in found.items()}


@cache
def truths(name: str) -> dict[str, float]:
    """Returns what each number is in the population, and ``METRIC-rival``, the rival's."""
    stored = WORK / "truths.json"
    known = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    if name in known and any(key.endswith(_RIVAL) for key in known[name]):
        return dict(known[name])
    model = MODELS[name]
    size = POPULATION if model.classes <= 2 else POPULATION // 4
    found = {}
    for suffix, view in zip(("", _RIVAL), model.views(size, np.random.default_rng(7)), strict=True):
        for number in numbers(view):
            if number.make is not None:
                found[_key(number) + suffix] = evaluate(number.form, size)
    known = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps({**known, name: found}), encoding="utf-8")
    return found


def paired_batch(task: tuple[str, int, int]) -> list[dict[str, Any]]:
    """Returns what happened to each difference in some replicates of a model and an n."""
    name, n, start = task
    began, real = time.process_time(), truths(name)
    tally: dict[str, list[Any]] = defaultdict(lambda: [0, 0, 0, []])
    for replicate in range(start, start + _BATCH):
        rng = np.random.default_rng([list(MODELS).index(name), n, replicate])
        for key, found in differences(MODELS[name].views(n, rng), replicate).items():
            if "@" in key and not key.endswith("@c0"):
                continue
            counts, truth = tally[key], real.get(key + _RIVAL, np.nan) - real.get(key, np.nan)
            if found.interval is None:
                counts[0] += 1
                continue
            lower, upper = found.interval.lower, found.interval.upper
            counts[1] += 1
            counts[2] += int(lower - 1e-9 <= truth <= upper + 1e-9)
            counts[3].append(upper - lower)
    spent = (time.process_time() - began) / max(1, len(tally))
    return [
        {
            "model": name, "n": n, "start": start, "metric": metric, "null": null, "marked": 0,
            "unmarked": there, "covered": covered, "seconds": spent, "paired": True,
            "width": float(np.median(widths)) if widths else None,
        }
        for metric, (null, there, covered, widths) in tally.items()
    ]  # fmt: skip


def batch(task: tuple[str, int, int]) -> list[dict[str, Any]]:
    """Returns what happened to each number in some replicates of a model and an n."""
    name, n, start = task
    began, real = time.process_time(), truths(name)
    tally: dict[str, list[Any]] = defaultdict(lambda: [0, 0, 0, 0, []])
    for replicate in range(start, start + _BATCH):
        rng = np.random.default_rng([list(MODELS).index(name), n, replicate])
        for row in rows(MODELS[name].views(n, rng)[0], replicate):
            if row.group not in {"", "c0"}:
                continue  # Other classes are drawn alike.
            counts = tally[_key(row)]
            truth = real.get(_key(row), float("nan"))
            if row.lower is None or row.upper is None:
                counts[0] += 1
                continue
            covered = row.lower - 1e-9 <= truth <= row.upper + 1e-9
            counts[1 if row.mark else 2] += 1
            if not row.mark:
                counts[3] += int(covered)
                counts[4].append(row.upper - row.lower)
    spent = (time.process_time() - began) / max(1, len(tally))
    return [
        {
            "model": name, "n": n, "start": start, "metric": metric, "null": null,
            "marked": marked, "unmarked": unmarked, "covered": covered,
            "width": float(np.median(widths)) if widths else None, "seconds": spent,
        }
        for metric, (null, marked, unmarked, covered, widths) in tally.items()
    ]  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Runs the batches that are missing."""
    results = options.work / "results.jsonl"
    options.work.mkdir(parents=True, exist_ok=True)
    done = {
        (line["model"], line["n"], line["start"], line.get("paired", False))
        for line in read(results)
    }
    for name in MODELS:
        truths(name)
    with ProcessPoolExecutor(options.jobs) as pool:
        for paired, start in product((False, True), range(0, options.replicates, _BATCH)):
            tasks = [
                (name, n, start)
                for n, name in product(SIZES, MODELS)
                if (name, n, start, paired) not in done
            ]
            for lines in pool.map(paired_batch if paired else batch, tasks):
                with results.open("a", encoding="utf-8") as stream:
                    stream.writelines(json.dumps(line) + "\n" for line in lines)
                print(lines[0]["model"], lines[0]["n"], start, "paired" * paired, flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the results so far."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def bound(covered: int, total: int, tail: float) -> float:
    """Returns the upper Clopper-Pearson bound of a coverage."""
    return 1.0 if covered == total else float(betaincinv(covered + 1, total - covered, 1 - tail))


Cells = dict[tuple[str, str, int], dict[str, Any]]
"""By metric, model and n: how many rows were null, marked or not, and covered; and widths."""


def page(options: argparse.Namespace) -> str:
    """Returns the page."""
    lines = read(options.work / "results.jsonl")
    rows = [line for line in lines if not line.get("paired")]
    chosen = _cells(line for line in rows if line["model"] not in LEFT_OUT)
    apart = _cells(line for line in rows if line["model"] in LEFT_OUT)
    paired = _cells(line for line in lines if line.get("paired"))
    drawn = _replicates(paired)
    for key, cell in paired.items():
        # A difference carries no mark of its own: it is as good as the numbers that it is of.
        own = chosen.get(key) or apart.get(key)
        if own is not None and _mostly_marked(own):
            cell["marked"] = cell["unmarked"] + 1
    hours = sum(line["seconds"] for line in lines) / 3600
    large = {key: cell for key, cell in chosen.items() if key[2] >= 100}
    marked = [key for key, cell in large.items() if _mostly_marked(cell)]
    plug_in = sum(key[0].startswith(_ALWAYS_BIASED) for key in marked)
    text = [
        "# Coverage of intervals", "",
        f"`python benchmarks/coverage.py`: {len(MODELS) - len(LEFT_OUT)} models, n of "
        f"{', '.join(map(str, SIZES))}, {len({key[0] for key in chosen})} numbers, "
        f"{_replicates(chosen)} replicates, {hours:.2f} CPU hours with all that follows. A cell "
        "fails if the upper bound of its coverage among unmarked rows (for all cells of a part at "
        f"once) lies under {100 * FLOOR:g} %.", "",
        f"Marked or null in more than half of the replicates: {len(marked)} of {len(large)} cells "
        f"with n of 100 or more ({len(marked) / max(1, len(large)):.0%}). {plug_in} of them are "
        "plug-in calibration errors and thresholds' best recalls, marked as biased at any n; the "
        "rest are of fewer than ten errors or positives, or of ten samples a class.", "",
        *_part("Numbers", chosen),
        *_part(f"Left out while methods were chosen: {', '.join(LEFT_OUT)}", apart),
        "Differences are those of `compare`, of each model and a rival that answers the same "
        f"samples almost alike; up to {drawn} replicates. Those of which the model's "
        "own number is mostly marked count as marked: no claim rests on them, but `compare` and "
        "`gate` show them.", "",
        *_part("Differences", paired),
        "## Every metric", "", *_by_metric(chosen | apart), "",
        "## Every difference", "", *_by_metric(paired), "",
    ]  # fmt: skip
    return "\n".join(text)


def _cells(lines: Iterable[Mapping[str, Any]]) -> Cells:
    cells: Cells = {}
    for line in lines:
        key = (line["metric"], line["model"], line["n"])
        cell = cells.setdefault(
            key, {"null": 0, "marked": 0, "unmarked": 0, "covered": 0, "widths": []}
        )
        for name in ("null", "marked", "unmarked", "covered"):
            cell[name] += line[name]
        if line["width"] is not None:
            cell["widths"].append(line["width"])
    return cells


def _asked(cell: Mapping[str, Any]) -> int:
    return int(cell["null"] + cell["marked"] + cell["unmarked"])


def _mostly_marked(cell: Mapping[str, Any]) -> bool:
    return bool((cell["null"] + cell["marked"]) * 2 > _asked(cell))


def _replicates(cells: Cells) -> int:
    return max(map(_asked, cells.values()), default=0)


def _part(title: str, cells: Cells) -> list[str]:
    """Returns the cells that fail, and those that look low by themselves."""
    tail = 0.05 / max(1, len(cells))
    failing: list[Any] = []
    selected: list[Any] = []
    low: list[Any] = []
    for key, cell in cells.items():
        covered, unmarked, mostly = cell["covered"], cell["unmarked"], _mostly_marked(cell)
        if unmarked and bound(covered, unmarked, tail) < FLOOR:
            (selected if mostly else failing).append((covered / unmarked, key, cell))
        elif unmarked and not mostly and bound(covered, unmarked, 0.025) < FLOOR:
            low.append((covered / unmarked, key, cell))
    text = [
        f"## {title}", "",
        f"Of {len(cells)} cells, {len(failing) + len(selected)} fail; {len(selected)} of them are "
        "mostly marked (then few rows are left: those that are narrow by chance).", "",
    ]  # fmt: skip
    for name, found in (
        ("Cells that fail", failing),
        ("Cells that fail and are mostly marked", selected),
        ("Other cells that look low by themselves", low),
    ):
        text += [f"### {name}", "", *(_table(found) if found else ["None."]), ""]
    return text


def _table(found: Sequence[tuple[float, tuple[str, str, int], dict[str, Any]]]) -> list[str]:
    head = [
        "| number | model | n | covered | unmarked | median width |",
        "|---|---|---|---|---|---|",
    ]
    order: Callable[[Any], float] = lambda one: one[0]  # noqa: E731
    return head + [
        f"| {metric} | {model} | {n} | {100 * share:.1f} % | {cell['unmarked']} | "
        f"{np.median(cell['widths']):.3g} |"
        for share, (metric, model, n), cell in sorted(found, key=order)
    ]


def _by_metric(cells: Cells) -> list[str]:
    """Returns the lowest and the mean coverage of each metric by n, and how much is marked."""
    head = "| number |" + "".join(f" n = {n} |" for n in SIZES)
    text = [head, "|---|" + "---|" * len(SIZES)]
    for metric in sorted({key[0] for key in cells}):
        columns = []
        for n in SIZES:
            own = [cell for key, cell in cells.items() if key[0] == metric and key[2] == n]
            covered = [c["covered"] / c["unmarked"] for c in own if c["unmarked"] >= 40]
            asked = sum(c["null"] + c["marked"] + c["unmarked"] for c in own)
            marked = sum(c["null"] + c["marked"] for c in own) / max(1, asked)
            shown = f"{100 * min(covered):.0f} to {100 * max(covered):.0f}" if covered else "none"
            columns.append(f" {shown} ({100 * marked:.0f} % marked) |")
        text.append(f"| {metric} |" + "".join(columns))
    return text


if __name__ == "__main__":
    run_or_page(__doc__, 200, WORK, run, page, PAGE)
