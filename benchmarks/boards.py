"""How often intervals of mean ranks cover, over samples drawn from models whose ranks are known.

    python benchmarks/boards.py run [--replicates 300] [--jobs 2]   # resumes
    python benchmarks/boards.py page

A board has 2 to 12 models and 3 to 20 columns of three axes, two thirds of them shares and one
third skewed losses, over 300 to 10,000 samples that all models and columns share. Models stand in
another order on each axis. What is measured is what the leaderboard does: paired tests
(`crucibench.comparing.standing`), votes (`votes_of`) and `crucibench.stats.mean_ranks`. A board
is covered if every model's interval holds its true mean rank. A cell is a case, a number of models,
of columns and of samples; it fails if the upper bound of its coverage lies under 93.5 %: the bound
holds for all cells at once.

Beside it: the percentile interval of mean ranks that are resampled, and how many models it covers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _report import run_or_page
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri
from scipy.stats import rankdata

from crucibench.comparing.resampled import ResamplingSettings
from crucibench.comparing.standing import LinedUp, joint_replicates, pair_p_values
from crucibench.contracts.statistic import Share
from crucibench.metrics.forms import mean_form
from crucibench.report.leaderboard import Column
from crucibench.report.leaderboard.ranks import LEVEL, votes_of
from crucibench.report.numbers import ShownMetric
from crucibench.stats import mean_ranks

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "results" / "boards"
PAGE = ROOT / "results" / "reference" / "evidence" / "boards.md"
MODELS, COLUMNS, SIZES = (2, 5, 12), (3, 8, 20), (300, 1000, 10_000)
AXES, FLOOR = 3, 0.935
_BATCH = 25
_SLACK = 1e-9

Floats = NDArray[np.float64]


class Case(NamedTuple):
    """How far models are apart.

    Attributes:
        gap: between one and the next, as a share of samples.
        in_pairs: whether every two of them are equal.
        alike: the correlation of a model's errors between the columns of an axis, at equal
            difficulty of the samples.
    """

    gap: float
    in_pairs: bool
    alike: float


CASES = {
    "all equal": Case(0.0, False, 0.3),
    "all equal, columns alike": Case(0.0, False, 0.95),
    ".2 points apart": Case(0.002, False, 0.3),
    ".2 points apart, columns alike": Case(0.002, False, 0.95),
    "1 point apart, in equal pairs": Case(0.01, True, 0.95),
}


class Board(NamedTuple):
    """A board that was drawn.

    Attributes:
        columns: with the loss of each model and sample, (M, n), or whether it was right.
        truth: (C, M) what the numbers are in the population, the higher the better.
        votes: (C,) shares.
    """

    columns: list[NDArray[Any]]
    truth: Floats
    votes: Floats


def draw(case: Case, models: int, columns: int, n: int, rng: np.random.Generator) -> Board:
    """Draws a board; numbers of the population are known by construction."""
    order = np.arange(models) // 2 if case.in_pairs else np.arange(models)
    axes = [axis * AXES // columns for axis in range(columns)]
    orders = [order, *(order[rng.permutation(models)] for _ in range(AXES - 1))]
    difficulty = rng.standard_normal(n, dtype=np.float32)
    drawn, truth = [], np.empty((columns, models))
    own = np.empty((models, n), dtype=np.float32)
    for c, axis in enumerate(axes):
        if c == 0 or axis != axes[c - 1]:
            own = rng.standard_normal((models, n), dtype=np.float32)
        noise = rng.standard_normal((models, n), dtype=np.float32)
        score = np.sqrt(0.5) * difficulty + np.sqrt(0.5 * case.alike) * own
        score += np.sqrt(0.5 * (1 - case.alike)) * noise
        right = 0.85 + case.gap * orders[axis]
        if c % 3 < 2:
            drawn.append(score < ndtri(right)[:, None])
            truth[c] = right
        else:
            # A squared exponential over two has the mean 1.
            drawn.append((1 - right[:, None]) * np.log(ndtr(-score).clip(1e-30)) ** 2 / 2)
            truth[c] = -(1 - right)
    metric = ShownMetric(suite="s", id="m", name="m")
    places = [
        Column(place=f"axis{axis}/s/m-{c}", axis=f"axis{axis}", metric=metric)
        for c, axis in enumerate(axes)
    ]
    return Board(drawn, truth, np.array(list(votes_of(places).values())))


def true_ranks(board: Board) -> Floats:
    """Returns the true mean ranks; equal models share theirs."""
    return board.votes @ rankdata(-board.truth.round(9), axis=1)


def intervals(board: Board, seed: int) -> tuple[Floats, Floats]:
    """Returns the ends that the leaderboard gives."""
    n = board.columns[0].shape[1]
    ids = np.array([f"{row:032x}" for row in range(n)], dtype=object)
    share = [column.dtype == np.bool_ for column in board.columns]
    lined = [
        LinedUp(ids=ids, clusters=None, forms=tuple(map(Share if right else mean_form, column)))
        for column, right in zip(board.columns, share, strict=True)
    ]
    settings = ResamplingSettings(replicates=1000, seed=seed, stream="ranks")
    losses = [one for one, right in zip(lined, share, strict=True) if not right]
    drawn = iter(joint_replicates(losses, settings))
    tested = [
        pair_p_values(one, None if right else next(drawn))
        for one, right in zip(lined, share, strict=True)
    ]
    found = mean_ranks(_values(board), np.stack(tested), board.votes, level=LEVEL)
    return found.lower, found.upper


def resampled(board: Board, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Returns percentiles of mean ranks; the numbers are drawn about those found, as resampled."""
    values = _values(board)
    rows = np.concatenate([column.astype(np.float32) for column in board.columns])
    error = np.cov(rows) / rows.shape[1]
    signs = np.repeat([1 if c.dtype == np.bool_ else -1 for c in board.columns], values.shape[1])
    drawn = values.ravel() + rng.multivariate_normal(
        np.zeros(len(error)), error * np.outer(signs, signs), 500, method="eigh"
    )
    ranks = board.votes @ rankdata(-drawn.reshape(500, *values.shape), axis=2)
    lower, upper = np.quantile(ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return lower, upper


def _values(board: Board) -> Floats:
    return np.stack(
        [c.mean(axis=1) * (1 if c.dtype == np.bool_ else -1) for c in board.columns]
    ).astype(np.float64)


def batch(task: tuple[str, int, int, int, int]) -> dict[str, Any]:
    """Returns how many boards and models were covered in some replicates of a cell."""
    case, models, columns, n, start = task
    began = time.process_time()
    covered, before, widths = 0, 0, []
    for replicate in range(start, start + _BATCH):
        rng = np.random.default_rng([list(CASES).index(case), models, columns, n, replicate])
        board = draw(CASES[case], models, columns, n, rng)
        truth = true_ranks(board)
        lower, upper = intervals(board, replicate)
        covered += int(((lower - _SLACK <= truth) & (truth <= upper + _SLACK)).all())
        widths.append(float(np.mean(upper - lower)) / (models - 1))
        low, high = resampled(board, rng)
        before += int(((low - _SLACK <= truth) & (truth <= high + _SLACK)).sum())
    return {
        "case": case, "models": models, "columns": columns, "n": n, "start": start,
        "covered": covered, "resampled": before, "width": float(np.median(widths)),
        "seconds": time.process_time() - began,
    }  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Runs the batches that are missing."""
    results = options.work / "results.jsonl"
    options.work.mkdir(parents=True, exist_ok=True)
    names = ("case", "models", "columns", "n", "start")
    done = {tuple(line[name] for name in names) for line in read(results)}
    starts = range(0, options.replicates, _BATCH)
    tasks = [
        (case, models, columns, n, start)
        for start, n, columns, models, case in product(starts, SIZES, COLUMNS, MODELS, CASES)
        if (case, models, columns, n, start) not in done
        # The largest n takes ten times as long.
        and start < options.replicates / (4 if n == max(SIZES) else 1)
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        for line in pool.map(batch, tasks):
            with results.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the results so far."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def page(options: argparse.Namespace) -> str:
    """Returns the page."""
    lines = read(options.work / "results.jsonl")
    cells: dict[tuple[str, int, int, int], dict[str, Any]] = defaultdict(
        lambda: {"boards": 0, "covered": 0, "resampled": 0, "widths": []}
    )
    for line in lines:
        cell = cells[line["case"], line["models"], line["n"], line["columns"]]
        cell["boards"] += _BATCH
        cell["covered"] += line["covered"]
        cell["resampled"] += line["resampled"]
        cell["widths"].append(line["width"])
    tail = 0.05 / max(1, len(cells))
    failing = [
        key
        for key, cell in cells.items()
        if cell["covered"] < cell["boards"]
        and betaincinv(cell["covered"] + 1, cell["boards"] - cell["covered"], 1 - tail) < FLOOR
    ]
    lowest = min(cell["covered"] / cell["boards"] for cell in cells.values())
    fewest = min(cell["boards"] for cell in cells.values())
    most = max(cell["boards"] for cell in cells.values())
    resampled = min(cell["resampled"] / cell["boards"] / key[1] for key, cell in cells.items())
    hours = sum(line["seconds"] for line in lines) / 3600
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    text = [
        "# Mean ranks on a board", "",
        f"`python benchmarks/boards.py`: {len(CASES)} cases, {', '.join(map(str, MODELS))} models, "
        f"{', '.join(map(str, COLUMNS))} columns of {AXES} axes, "
        f"n of {', '.join(map(str, SIZES))}, {each} boards each, {hours:.2f} CPU hours. "
        f"Of {len(cells)} cells {len(failing)} fail: the upper bound of their coverage (for all "
        f"cells at once) lies under {100 * FLOOR:g} %. The lowest covers {100 * lowest:.1f} %.", "",
        "A board counts as covered if every interval holds the true mean rank of its model; equal "
        "models share their ranks. Widths are means over models, as shares of the whole range from "
        "first to last, and medians over boards: 100 % says nothing. The percentile interval of "
        "resampled mean ranks, for comparison, is counted model by model: in its worst cell it "
        f"covers {100 * resampled:.0f} % of models.", "",
        *_table(cells), "",
    ]  # fmt: skip
    return "\n".join(text)


def _table(cells: dict[tuple[str, int, int, int], dict[str, Any]]) -> list[str]:
    """Returns a row for each case, number of models and n, over the numbers of columns."""
    text = [
        "| case | models | n | boards covered [%] | width [%] | resampled: models covered [%] |",
        "|---|---|---|---|---|---|",
    ]
    for case, models, n in product(CASES, MODELS, SIZES):
        own = [cells[case, models, n, columns] for columns in COLUMNS]
        if not all(cell["boards"] for cell in own):
            continue
        covered = [100 * cell["covered"] / cell["boards"] for cell in own]
        widths = [100 * float(np.median(cell["widths"])) for cell in own]
        before = [100 * cell["resampled"] / cell["boards"] / models for cell in own]
        text.append(
            f"| {case} | {models} | {n:,} | {_span(covered)} | {_span(widths)} | {_span(before)} |"
        )
    return text


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    run_or_page(__doc__, 300, WORK, run, page, PAGE)
