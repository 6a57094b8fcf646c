"""The noise of training: how often a gate calls two trainings of one recipe a regression.

    python benchmarks/seeds.py --repetitions 4000

Six recipes are trained with 20 seeds each. Their answers, a row a training and a column a sample,
are then the population: sets of trainings and of samples are drawn from it with replacement, so
that the truth is known. Differences are measured and judged by the product's own functions.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _report import publish, table
from numpy.typing import NDArray
from scipy.stats import beta

from crucibench.comparing.cell import FormPair, measure_cell
from crucibench.comparing.results import MetricDifference, RecipeSpread
from crucibench.comparing.standing import LinedUp, pair_p_values
from crucibench.contracts.rows import parse_address
from crucibench.contracts.statistic import Share, TableMetric
from crucibench.gating.decide import LEVEL, decide_no_worse, p_value
from crucibench.gating.result import Outcome
from crucibench.metrics.classification import f1_macro
from crucibench.metrics.forms import evaluate
from crucibench.metrics.trainings import SampleUnits, table_of_trainings
from crucibench.report.plots import trainings_svg
from crucibench.stats import rank_sets
from crucibench.stats.rank_sets import of_next_trainings
from crucibench.stats.two_way import TwoSources, difference_of_recipes, two_way

Floats = NDArray[np.float64]

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "seeds.svg"
SEEDS = 20
SIDES = (3, 5, 8)
SETS = (3, 5, 10)


class Recipe(NamedTuple):
    """A recipe's answers.

    Attributes:
        name: what the page calls it.
        gains: what each sample adds, more being better, (20, n): 1 if right, or minus the error.
        answers: class indices, (20, n), or None.
        targets: likewise, (n,).
    """

    name: str
    gains: Floats
    answers: NDArray[np.int64] | None = None
    targets: NDArray[np.int64] | None = None

    @property
    def deviation(self) -> float:
        """SD between seeds of the number, on the samples as they are."""
        return float(self.gains.mean(axis=1).std(ddof=1))

    @property
    def deviation_drawn(self) -> float:
        """SD between seeds of the number on samples that are drawn: what a user sees of them."""
        both = two_way(self.gains)
        return float(np.sqrt(self.deviation**2 + both.residual / both.columns))


def recipes() -> list[Recipe]:
    """Trains six recipes with 20 seeds each."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    digits, shapes = load_digits(return_X_y=True), _shapes()
    cancer, diabetes = load_breast_cancer(return_X_y=True), load_diabetes(return_X_y=True)

    def short(seed: int) -> object:
        return MLPClassifier((32,), max_iter=8, random_state=seed)

    def well(seed: int) -> object:
        return MLPClassifier((64,), max_iter=200, random_state=seed)

    def forest(seed: int) -> object:
        return RandomForestClassifier(60, random_state=seed)

    def scaled(seed: int) -> object:
        net = MLPClassifier((8,), max_iter=60, random_state=seed)
        return make_pipeline(StandardScaler(), net)

    def boosted(seed: int) -> object:
        return GradientBoostingRegressor(n_estimators=60, subsample=0.5, random_state=seed)

    return [
        _trained("digits: MLP, 8 epochs", digits, short),
        _trained("digits: MLP, 200 epochs", digits, well),
        _trained("digits: random forest", digits, forest),
        _trained("shapes: MLP, 200 epochs", shapes, well),
        _trained("table (breast cancer): MLP", cancer, scaled),
        _trained("table (diabetes): boosting, error", diabetes, boosted),
    ]


def _shapes() -> tuple[Floats, NDArray[np.int64]]:
    """Draws grey images of shapes, 16 pixels wide."""
    from crucibench.contracts.uri import parse_uri
    from crucibench.data.sources.synthetic.shapes import ShapeSettings, factors, images

    settings = ShapeSettings.of(parse_uri("synthetic:shapes?n=1600&size=16"))
    drawn = factors(settings, "test", 1600)
    pixels = np.concatenate([np.asarray(part) for part in images(settings, drawn)])
    return pixels.reshape(1600, -1, 3).mean(axis=2) / 255.0, drawn.classes


def _trained(
    name: str, data: tuple[Floats, NDArray[np.int64]], make: Callable[[int], object]
) -> Recipe:
    x, y = data
    order = np.random.default_rng(0).permutation(len(x))
    train, test = np.array_split(order, 2)
    said = np.stack([make(s).fit(x[train], y[train]).predict(x[test]) for s in range(SEEDS)])
    if y.dtype.kind == "f":
        return Recipe(name, -np.abs(said - y[test]))
    return Recipe(name, (said == y[test]).astype(float), said.astype(np.int64), y[test])


def judged(delta: float, sources: TwoSources, n: int, trainings: tuple[int, int]) -> Outcome:
    """Judges a recipe against one that it must be no worse than, as a gate does."""
    p = sources.p(delta)
    difference = MetricDifference(
        address=parse_address("r@recipe:accuracy/clean/gain"), data="d", direction="higher",
        baseline=0.0, candidate=delta, delta=delta, interval=sources.interval(delta, LEVEL),
        standard_error=sources.standard_error, p=p, method="", n=n, verdicts=("valid", "valid"),
        spread=RecipeSpread(sources, trainings, False, 0.0, 0.0, 0.0),
    )  # fmt: skip
    return decide_no_worse(difference, np.inf, p_value(difference))


def two_files(recipe: Recipe) -> tuple[float, float]:
    """Returns how many ordered pairs of trainings a gate of two files calls a regression, and how
    many pairs it tells apart.
    """
    n = recipe.gains.shape[1]
    ids = np.arange(n).astype(object)
    worse = apart = 0
    pairs = list(permutations(range(SEEDS), 2))
    for a, b in pairs:
        if recipe.answers is None:
            change = recipe.gains[b] - recipe.gains[a]
            error = change.std(ddof=1) / np.sqrt(n)
            far = abs(change.mean()) > 1.96 * error
            lost = far and change.mean() < 0
        else:
            forms = FormPair(Share(recipe.gains[a] == 1), Share(recipe.gains[b] == 1))
            found = measure_cell({("top-1", "", ""): forms}, ids)["top-1", "", ""]
            assert found.interval is not None and found.p is not None
            lower, upper = found.interval.lower, found.interval.upper
            far = found.p < 0.05 and not lower <= 0 <= upper
            lost = far and upper < 0
        worse, apart = worse + bool(lost), apart + bool(far)
    return worse / len(pairs), apart / len(pairs)


def drawn(rng: np.random.Generator, recipe: Recipe, *sizes: int) -> list[Floats]:
    """Draws sets of trainings, all on one set of samples."""
    n = recipe.gains.shape[1]
    columns = rng.integers(0, n, n)
    return [recipe.gains[rng.integers(0, SEEDS, size)][:, columns] for size in sizes]


def false_alarms(recipe: Recipe, size: int, repetitions: int) -> int:
    """Counts the pairs of sets of one recipe that are called a regression."""
    rng = np.random.default_rng([1, size])
    count = 0
    for _ in range(repetitions):
        was, now = drawn(rng, recipe, size, size)
        found = judged(*difference_of_recipes(was, now), was.shape[1], (size, size))
        count += found is Outcome.REGRESSION
    return count


def found_losses(recipe: Recipe, size: int, repetitions: int) -> int:
    """Counts the sets of a recipe worse by two seed SDs that are called a regression.

    A part of the right answers is made wrong, at random in each training; an error is added to.
    """
    rng = np.random.default_rng([2, size])
    loss = 2 * recipe.deviation_drawn
    count = 0
    for _ in range(repetitions):
        was, now = drawn(rng, recipe, size, size)
        if recipe.answers is None:
            now = now - loss
        else:
            now = now * (rng.random(now.shape) >= loss / recipe.gains.mean())
        found = judged(*difference_of_recipes(was, now), was.shape[1], (size, size))
        count += found is Outcome.REGRESSION
    return count


def covered(recipe: Recipe, size: int, repetitions: int) -> int:
    """Counts the intervals of a recipe that hold its mean over trainings and samples."""
    rng = np.random.default_rng([3, size])
    truth = recipe.gains.mean()
    hits = 0
    for _ in range(repetitions):
        (rows,) = drawn(rng, recipe, size)
        found = two_way(rows)
        interval = found.sources.interval(found.estimate, LEVEL)
        hits += interval is not None and interval.lower <= truth <= interval.upper
    return hits


def covered_f1(recipe: Recipe, size: int, repetitions: int) -> int:
    """Does the same of macro F1, which is no mean: a two-way jackknife of 200 groups."""
    assert recipe.answers is not None and recipe.targets is not None
    rng = np.random.default_rng([4, size])
    classes, n = int(recipe.targets.max()) + 1, len(recipe.targets)
    truth = np.mean([evaluate(_f1(row, recipe.targets, classes), n) for row in recipe.answers])
    hits = 0
    for k in range(repetitions):
        columns = rng.integers(0, n, n)
        rows = recipe.answers[rng.integers(0, SEEDS, size)][:, columns]
        forms = [_f1(row, recipe.targets[columns], classes) for row in rows]
        found = two_way(table_of_trainings(forms, SampleUnits(n, f"f1/{k}")))
        interval = found.sources.interval(found.estimate, LEVEL)
        hits += interval is not None and interval.lower <= truth <= interval.upper
    return hits


def _f1(row: NDArray[np.int64], targets: NDArray[np.int64], classes: int) -> TableMetric:
    return TableMetric(row, targets, classes, f1_macro)


def ranks_held(
    recipes_: list[Recipe], size: int, repetitions: int
) -> tuple[float, float, float, float]:
    """Returns how often rank sets hold the ranks of the next trainings, and their mean width.

    First those of the files that were measured, then those for the next training of each recipe.
    """
    rng = np.random.default_rng([6, size])
    n, many = recipes_[0].gains.shape[1], len(recipes_)
    held, widths = np.zeros(2), np.zeros(2)
    for _ in range(repetitions):
        columns = rng.integers(0, n, n)
        tables = [one.gains[rng.integers(0, SEEDS, size)][:, columns] for one in recipes_]
        forms = tuple(Share(table[0] == 1) for table in tables)
        lined = LinedUp(ids=np.arange(n).astype(object), clusters=None, forms=forms)
        variances = np.array([two_way(table).components().training for table in tables])
        files = pair_p_values(lined, None)
        following = of_next_trainings(
            lined.values(), files, variances, np.full(many, size - 1.0), n
        )
        truth = np.array([one.gains[rng.integers(0, SEEDS)].mean() for one in recipes_])
        place = 1 + (truth[None, :] > truth[:, None]).sum(axis=1)
        for k, p_values in enumerate((files, following)):
            sets = rank_sets(lined.values(), p_values, level=LEVEL)
            held[k] += bool(((sets.lower <= place) & (place <= sets.upper)).all())
            widths[k] += float((sets.upper - sets.lower).mean())
    return tuple((np.stack([held, widths], axis=1) / repetitions).ravel().tolist())


def parity() -> list[str]:
    """Holds the components against the mixed model of statsmodels, by REML."""
    import pandas as pd
    import statsmodels
    import statsmodels.formula.api as formulas

    rng = np.random.default_rng(5)
    s, n = 6, 40
    values = (
        0.7 + 0.10 * rng.normal(size=(s, 1)) + 0.2 * rng.normal(size=(1, n))
        + 0.3 * rng.normal(size=(s, n))
    )  # fmt: skip
    frame = pd.DataFrame(
        {"y": values.ravel(), "t": np.repeat(np.arange(s), n), "i": np.tile(np.arange(n), s)}
    )
    model = formulas.mixedlm(
        "y ~ 1", frame.assign(whole=1), groups="whole",
        vc_formula={"i": "0 + C(i)", "t": "0 + C(t)"},
    )  # fmt: skip
    theirs = model.fit(reml=True)
    table_ = two_way(values)
    ours = table_.components()
    rows = [
        ("mean", table_.estimate, theirs.params["Intercept"]),
        ("standard error of the mean", table_.sources.standard_error, theirs.bse["Intercept"]),
        ("variance of trainings", ours.training, theirs.vcomp[1]),
        ("variance of samples", ours.samples * n, theirs.vcomp[0]),
        ("residual variance", ours.residual * n, theirs.scale),
    ]
    shown = [(name, f"{a:.6f}", f"{b:.6f}", f"{abs(a - b) / abs(b):.1e}") for name, a, b in rows]
    return [
        f"Six trainings of 40 drawn samples, against `mixedlm` of statsmodels "
        f"{statsmodels.__version__} (REML, crossed effects). The standard error here keeps the "
        "sampling part whole where theirs takes the residual off once, so that it is never less.",
        "",
        *table(("", "crucibench", "statsmodels", "relative difference"), shown),
    ]


class Nested(NamedTuple):
    """What trainings, samples and askings do to an answer, as half-widths, and how it is drawn."""

    name: str
    training: float
    samples: float
    both: float
    binary: bool

    def drawn(self, rng: np.random.Generator, s: int, r: int, n: int) -> Floats:
        """Draws answers (trainings, askings, samples): right or wrong, or a score with noise."""
        sides = (self.training, (s, 1, 1)), (self.samples, (1, 1, n)), (self.both, (s, 1, n))
        share = 0.65 + sum(side * rng.uniform(-1, 1, shape) for side, shape in sides)
        if self.binary:
            return (rng.random((s, r, n)) < share).astype(float)
        return share + 0.4 * rng.normal(size=(s, r, n))

    def truth(self, n: int) -> Floats:
        """Returns the variance of one training's number, asked once, by its source."""
        parts = [side**2 / 3 for side in (self.training, self.samples, self.both)]
        asking = 0.65 * 0.35 - sum(parts) if self.binary else 0.4**2
        return np.array([parts[0], parts[1] / n, parts[2] / n, asking / n])


NESTED = (
    Nested("right or wrong, trainings far apart", 0.08, 0.15, 0.08, True),
    Nested("right or wrong, trainings alike", 0.02, 0.20, 0.05, True),
    Nested("a score with noise", 0.08, 0.15, 0.08, False),
)
PARTS = ("training", "samples", "residual", "repeat")
ASKED = ((3, 2), (5, 3), (8, 5))


def parts_covered(one: Nested, s: int, r: int, repetitions: int, n: int = 300) -> Floats:
    """Returns how often the interval of each part of the variance holds it, shape (4,)."""
    rng, hits = np.random.default_rng([7, s, r]), np.zeros(4)
    for _ in range(repetitions):
        answers = one.drawn(rng, s, r, n)
        found = two_way(answers.mean(axis=1), list(answers)).components(LEVEL)._asdict()
        lower, upper = (
            np.array([found[f"{part}_{end}"] for part in PARTS]) for end in ("lower", "upper")
        )
        hits += (lower <= one.truth(n)) & (one.truth(n) <= upper)
    return hits / repetitions


def parity_of_askings() -> list[tuple[str, str, str, str]]:
    """Holds the parts of several askings against the mixed model, crossed and nested, by REML."""
    import pandas as pd
    import statsmodels.formula.api as formulas

    rng, (s, r, n) = np.random.default_rng(0), (5, 3, 12)
    answers = (
        0.4 * rng.normal(size=(s, r, n)) + rng.normal(size=(s, 1, n))
        + rng.normal(size=(s, 1, 1)) + rng.normal(size=(1, 1, n))
    )  # fmt: skip
    t, _, i = np.indices(answers.shape)
    frame = pd.DataFrame({"y": answers.ravel(), "t": t.ravel(), "i": i.ravel(), "whole": 1})
    frame["both"] = 100 * frame.t + frame.i
    formula = {name: f"0 + C({name})" for name in ("both", "i", "t")}
    theirs = formulas.mixedlm("y ~ 1", frame, groups="whole", vc_formula=formula).fit(reml=True)
    table_ = two_way(answers.mean(axis=1), list(answers))
    ours, (both, samples, training) = table_.components(), theirs.vcomp
    assert ours.residual is not None and ours.repeat is not None
    rows = [
        ("standard error of the mean", table_.sources.standard_error, theirs.bse["Intercept"]),
        ("variance of trainings", ours.training, training),
        ("variance of samples", ours.samples * n, samples),
        ("of trainings and samples together", ours.residual * n, both),
        ("variance of askings", ours.repeat * n, theirs.scale),
    ]
    return [(name, f"{a:.6f}", f"{b:.6f}", f"{abs(a - b) / abs(b):.1e}") for name, a, b in rows]


def draw_picture(recipe: Recipe) -> None:
    """Draws one recipe's trainings for the documentation."""
    both = two_way(recipe.gains)
    parts = both.components()
    interval = both.sources.interval(both.estimate, LEVEL)
    assert interval is not None
    svg = trainings_svg(
        list(100 * recipe.gains.mean(axis=1)), (100 * interval.lower, 100 * interval.upper),
        [("training", parts.training), ("samples", parts.samples), ("both", parts.residual)],
        x="Accuracy %", alt=f"The accuracy of {SEEDS} trainings of one recipe",
    )  # fmt: skip
    # The page's colours and type, which a picture by itself lacks.
    style = "text{font-family:sans-serif;font-size:9px;text-anchor:middle;fill:#57616c}"
    lines = ".grid{stroke:#dde1e6;stroke-width:.6}.edge{fill:none;stroke:#dde1e6;stroke-width:.8}"
    for name, colour in zip(range(4), ("#0b62a4", "#c2481a", "#00775a", "#8546a0"), strict=True):
        svg = svg.replace(f"var(--line-{name})", colour)
    head, _, rest = svg.partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    PICTURE.write_text(f"{head}><style>{style}{lines}</style>{rest}\n", encoding="utf-8")


def bound(count: int, repetitions: int, cells: int, *, upper: bool) -> float:
    """Returns a one-sided bound that holds for all cells at once, at 95 % (Bonferroni)."""
    alpha = 0.05 / cells
    if upper:
        return float(beta.ppf(1 - alpha, count + 1, repetitions - count))
    return float(beta.ppf(alpha, count, repetitions - count + 1)) if count else 0.0


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    many, start = options.repetitions, time.perf_counter()
    known = recipes()
    trained = time.perf_counter() - start
    alarms, power, coverage, files = [], [], [], []
    worst, least, lowest = 0.0, 1.0, 1.0
    for one in known:
        n = one.gains.shape[1]
        both = two_way(one.gains)
        error = one.gains.std(axis=1, ddof=1).mean() / np.sqrt(n)
        files.append(
            (one.name, n, f"{abs(both.estimate):.3f}", f"{one.deviation:.4f}", f"{error:.4f}",
             *map(percent, two_files(one)))
        )  # fmt: skip
        counts = [false_alarms(one, size, many) for size in SIDES]
        worst = max(worst, *(bound(c, many, len(known) * len(SIDES), upper=True) for c in counts))
        alarms.append((one.name, *(percent(c / many) for c in counts)))
        losses = [found_losses(one, size, many) for size in SIDES]
        least = min(least, bound(losses[-1], many, len(known), upper=False))
        power.append((one.name, *(percent(c / many) for c in losses)))
        hits = [covered(one, size, many) for size in SETS]
        lowest = min(lowest, *(bound(h, many, len(known) * len(SETS), upper=False) for h in hits))
        coverage.append((one.name, *(percent(h / many) for h in hits)))
    draw_picture(known[0])
    few = max(many // 10, 1)
    coverage.append(
        (f"{known[0].name}, macro F1", *(percent(covered_f1(known[0], s, few) / few) for s in SETS))
    )
    publish(
        "seeds", "The noise of training",
        [
            "Made by `benchmarks/seeds.py`: six recipes, 20 seeds each, half of the data to test.",
            f"Trained in {trained:.0f} s, simulated in {time.perf_counter() - start - trained:.0f} "
            f"s: {many:,} draws a number ({few} of macro F1), of trainings and of samples, with "
            "replacement.",
            "",
            "## Two files",
            "",
            "A gate of one training against another, over all ordered pairs of the 20: how many it "
            "calls a regression, and how many pairs it tells apart, in either direction.",
            "",
            *table(
                ("recipe", "samples", "mean", "SD of seeds", "SE of sampling", "regressions",
                 "told apart"), files,
            ),
            "",
            "## Sets of one recipe that are called a regression",
            "",
            "The aim is 5 % at most. "
            f"The upper bound of the worst, for all {len(known) * len(SIDES)} at once: "
            f"{percent(worst)}.",
            "",
            *table(("recipe", *(f"{s} seeds a side" for s in SIDES)), alarms),
            "",
            "## A recipe worse by two SDs of its seeds that is found",
            "",
            "Two SDs of what the seeds' numbers show on drawn samples; the aim is 90 % with eight. "
            f"The lower bound of the worst with eight seeds a side, for all {len(known)} at once: "
            f"{percent(least)}.",
            "",
            *table(("recipe", *(f"{s} seeds a side" for s in SIDES)), power),
            "",
            "## Coverage of 95 % intervals of a recipe",
            "",
            f"The lower bound of the worst mean, for all {len(known) * len(SETS)} at once: "
            f"{percent(lowest)}.",
            "",
            *table(("recipe", *(f"{s} seeds" for s in SETS)), coverage),
            "",
            "## Ranks of the next training",
            "",
            "The three recipes on digits, ranked by one training of each; a set of ranks has to "
            "hold the rank of another training of each, on all samples. The aim is 95 %. Width: "
            "ranks that a set holds beyond one, the mean of the three.",
            "",
            *table(
                ("seeds", "of the files: held", "width", "of the next trainings: held", "width"),
                [
                    (size, percent(found[0]), f"{found[1]:.2f}", percent(found[2]),
                     f"{found[3]:.2f}")
                    for size in SIDES
                    for found in [ranks_held(known[:3], size, many)]
                ],
            ),
            "",
            "## Parts of the variance",
            "",
            "Trainings that answer each of 300 samples several times, drawn: how often the "
            "interval of each part of the variance of one training's number holds it, of "
            f"{few * 5:,} draws. The aim is 95 %.",
            "",
            *table(
                ("answers", "seeds", "askings", "trainings", "samples", "both", "askings' part"),
                [
                    (one.name, s, r, *map(percent, parts_covered(one, s, r, few * 5)))
                    for one in NESTED
                    for s, r in ASKED
                ],
            ),
            "",
            "## Parity",
            "",
            *parity(),
            "",
            "Five trainings that answered 12 drawn samples three times each, askings nested:",
            "",
            *table(("", "crucibench", "statsmodels", "relative difference"), parity_of_askings()),
        ],
        "numpy", "scipy", "scikit-learn", "statsmodels",
    )  # fmt: skip


if __name__ == "__main__":
    main()
