"""Attacks on tables: constraints kept, exact distances of trees, forests by brute force, runs."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

import crucibench as cb
from crucibench.contracts.attack import Norm, Search
from crucibench.contracts.verdict import Status
from crucibench.integrity.verify import verify
from crucibench.store.run import Run
from crucibench.util.draws import Draws
from crucibench.util.errors import InputError
from crucibench_adapters.sklearn_estimator import read_tree
from crucibench_suites.adversarial.attacked import self_tested
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions
from crucibench_suites.adversarial.tables.attacks import PLANNED
from crucibench_suites.adversarial.tables.constraints import Constraints, breaches
from crucibench_suites.adversarial.tables.exact_tree import nearest_leaves
from crucibench_suites.adversarial.tables.greedy import _neighbours, _Tried, greedy
from crucibench_suites.adversarial.tables.space import INWARDS, Facts, RowSpace, _cast
from crucibench_suites.adversarial.threat import ThreatModel

NORMS: tuple[Norm, ...] = ("linf", "l2")


def people(n: int, seed: int = 0) -> pd.DataFrame:
    """Rows of every kind of column, with gaps."""
    rng = np.random.default_rng(seed)
    low = rng.normal(50, 20, n).astype(np.float32)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "low": low,
            "high": low + rng.exponential(10, n).astype(np.float32),
            "income": rng.lognormal(3, 1, n),
            "visits": pd.array(rng.integers(0, 9, n), dtype="Int16"),
            "rooms": rng.integers(1, 6, n).astype(np.float64),
            "city": pd.Series(rng.choice(["Ulm", "Bonn", "Kiel"], n), dtype=object),
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n), ["s", "m", "l", "xl"]),
            "member": rng.random(n) < 0.5,
            "fixed": rng.normal(size=n),
        }
    )
    frame.loc[rng.random(n) < 0.1, "income"] = np.nan
    frame.loc[rng.random(n) < 0.1, "high"] = np.nan
    return frame


def facts_of(frame: pd.DataFrame) -> dict[str, Facts]:
    found = {}
    for name in frame.columns:
        kind = frame[name].dtype
        if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
            values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            values = values[np.isfinite(values)]
            whole = bool((values == np.floor(values)).all())
            found[name] = Facts(values.min(), values.max(), float(values.std()), whole)
    return found


RULES = Constraints(
    mutable=("age", "low", "high", "income", "visits", "rooms", "city", "size", "member"),
    bounds={"age": (20, 80), "income": (0.0, None), "low": (None, 90.0)},
    integers=("rooms",),
    categories={"city": ("Ulm", "Kiel"), "size": ("m", "xl"), "member": (True, False)},
    relations=("low <= high", "visits < age"),
)


def scattered(space: RowSpace, seed: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = np.arange(len(space))
    points = space.clean + rng.normal(size=space.clean.shape) * reach
    points[:, len(space.numbers) :] = rng.integers(-1, 5, (len(rows), len(space.names)))
    return rows, points


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("columns", [None, 3])
def test_ten_thousand_rows_keep_every_constraint(norm: Norm, columns: int | None) -> None:
    frame = people(10_000)
    rules = RULES.model_copy(update={"columns": columns})
    space = RowSpace(frame, rules, facts_of(frame), norm)
    for seed, reach in ((0, 0.3), (1, 30.0)):
        rows, points = scattered(space, seed, reach)
        allowed = space.allowed(rows, points)
        changed = space.rows(rows, allowed)
        assert breaches(frame, changed, rules).sum() == 0
        assert (changed.dtypes == frame.dtypes).all()
        moves = (space.moves(rows, allowed) > 0).sum(axis=1)
        assert moves.max() > 2 and (columns is None or moves.max() == columns)
        # The rows say the same as the points: nothing is lost on the way.
        own = np.zeros((len(frame), len(space.numbers)))
        for at, name in enumerate(space.numbers):
            before, after = (
                one[name].to_numpy(dtype=np.float64, na_value=np.nan) for one in (frame, changed)
            )
            own[:, at] = np.nan_to_num(np.abs(after - before)) / space.spread[at]
        np.testing.assert_array_equal(own, space.moves(rows, allowed)[:, : len(space.numbers)])
        again = space.allowed(rows, allowed)
        assert (space.rows(rows, again).equals(changed)) or columns is not None
        assert breaches(frame, space.rows(rows, again), rules).sum() == 0


columns_of = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, min_size=1)
kinds = st.sampled_from(["int8", "int64", "float32", "float64", "Int32", "Float64"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_row_breaks_what_is_declared(data: Any) -> None:
    n = data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from([1e-3, 1.0, 40.0]))
    columns = {}
    for name in "abc":
        kind = data.draw(kinds)
        values = pd.Series(np.round(rng.normal(size=n) * scale, 2))
        columns[name] = (values.round() if "nt" in kind else values).astype(kind)
    frame = pd.DataFrame(columns)
    mutable = tuple(data.draw(columns_of))
    ends = sorted(data.draw(st.lists(st.floats(-50, 50), min_size=2, max_size=2)))
    rules = Constraints(
        mutable=mutable,
        bounds={mutable[0]: (ends[0], ends[1])},
        integers=tuple(data.draw(st.lists(st.sampled_from(mutable), unique=True))),
        relations=tuple(
            data.draw(
                st.lists(
                    st.sampled_from(["a <= b", "b < c", "c >= a", "a > c", "a<=a"]), max_size=3
                )
            )
        ),
        columns=data.draw(st.none() | st.integers(1, 3)),
    )
    facts = {name: Facts(-60.0, 60.0, float(scale), False) for name in "abc"}
    space = RowSpace(frame, rules, facts, data.draw(st.sampled_from(NORMS)))
    rows, points = scattered(
        space, int(rng.integers(1 << 30)), data.draw(st.sampled_from([0.1, 9.0]))
    )
    changed = space.rows(rows, space.allowed(rows, points))
    assert breaches(frame, changed, rules).sum() == 0
    assert (changed.dtypes == frame.dtypes).all()
    stays = space.allowed(rows, space.clean)
    assert space.rows(rows, stays).equals(frame)
    assert (space.distance(rows, stays) == 0).all()


@pytest.mark.parametrize(
    ("column", "value"),
    [("fixed", 9.0), ("age", 81), ("low", 1000.0), ("rooms", 2.5), ("city", "Rom"), ("size", "s")],
)
def test_the_second_opinion_sees_a_breach(column: str, value: Any) -> None:
    frame = people(20)
    frame = frame[(frame["age"] < 70) & (frame["size"] == "l") & frame["high"].notna()]
    frame = frame.reset_index(drop=True)
    changed = frame.copy()
    changed.loc[0, column] = value
    found = breaches(frame, changed, RULES)
    assert found[0] >= 1 and found[1:].sum() == 0


def grown(norm: Norm, *, gaps: bool, seed: int) -> tuple[pd.DataFrame, Any, np.ndarray, RowSpace]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"x": rng.normal(0, 3, 150), "k": rng.integers(0, 8, 150), "z": rng.uniform(0, 1, 150)}
    )
    y = ((frame["x"] > 1) ^ (frame["k"] > 4) ^ (frame["z"] > 0.7)).to_numpy().astype(np.int64)
    if gaps:
        frame.loc[rng.random(150) < 0.2, "z"] = np.nan
    model = DecisionTreeClassifier(max_depth=5, random_state=seed).fit(frame, y)
    rules = Constraints(bounds={"k": (0, 7), "z": (0.0, 0.9)})
    return frame, model, model.predict(frame), RowSpace(frame, rules, facts_of(frame), norm)


def brute(predict: Any, trees: list[Any], space: RowSpace, labels: np.ndarray) -> np.ndarray:
    """Returns the least distances by trying every cell that thresholds make, column by column."""
    least = []
    facts = dict(zip(space.numbers, space.spread, strict=True))
    for at in range(len(space)):
        row = space.frame.iloc[at]
        choices = []
        for place, name in enumerate(space.frame.columns):
            own = float(row[name])
            found = [own]
            if np.isfinite(own):
                for tree in trees:
                    for edge in tree.threshold[tree.feature == place]:
                        if name == "k":
                            found += [np.floor(edge), np.floor(edge) + 1]
                            continue
                        near = np.float32(edge)
                        found += [
                            float(np.nextafter(near, np.float32(side))) for side in (-1e9, 1e9)
                        ]
                        found.append(float(near))
                column = space.numbers.index(name)
                low, high = space.least[at, column], space.most[at, column]
                found = sorted({one for one in found if low <= one <= high})
            choices.append(found)
        cells = pd.DataFrame(list(itertools.product(*choices)), columns=space.frame.columns)
        wrong = cells[predict(cells) != labels[at]]
        moves = np.stack([(wrong[n] - row[n]).abs().fillna(0) / facts[n] for n in wrong.columns], 1)
        size = moves.max(axis=1) if space.norm == "linf" else np.linalg.norm(moves, axis=1)
        least.append(size.min() if len(size) else np.inf)
    return np.array(least)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("gaps", [False, True])
def test_a_trees_distances_are_those_of_all_its_cells(norm: Norm, gaps: bool) -> None:
    frame, model, labels, space = grown(norm, gaps=gaps, seed=3)
    tree = read_tree(model, list(frame.columns), lambda shares: shares)
    points, found = nearest_leaves(tree, space, labels)
    some = np.arange(0, 150, 5)
    small = RowSpace(frame.iloc[some].reset_index(drop=True), Constraints(
        bounds={"k": (0, 7), "z": (0.0, 0.9)}), facts_of(frame), norm)  # fmt: skip
    expected = brute(model.predict, [model.tree_], small, labels[some])
    np.testing.assert_allclose(found[some], expected, rtol=1e-6, atol=1e-7)
    reached = np.isfinite(found)
    assert reached.mean() > 0.9
    # What it names is allowed, lies there, and is of another class.
    rows = np.flatnonzero(reached)
    allowed = space.allowed(rows, points[rows])
    np.testing.assert_allclose(space.distance(rows, allowed), found[rows], rtol=1e-6, atol=1e-7)
    assert (model.predict(space.rows(rows, allowed)) != labels[rows]).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_search_comes_near_what_brute_force_finds_in_a_forest(norm: Norm) -> None:
    frame, _, _, _ = grown(norm, gaps=False, seed=5)
    y = ((frame["x"] > 1) ^ (frame["k"] > 4)).to_numpy().astype(np.int64)
    model = RandomForestClassifier(3, max_depth=3, random_state=0).fit(frame, y)
    part = frame.iloc[::6].reset_index(drop=True)
    labels = model.predict(part)
    rules = Constraints(bounds={"k": (0, 7)})
    space = RowSpace(part, rules, facts_of(frame), norm)

    def answer(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        shares = model.predict_proba(space.rows(rows, points))
        own = shares[np.arange(len(rows)), labels[rows]]
        return np.asarray(1 - 2 * own)

    expected = brute(model.predict, [one.tree_ for one in model.estimators_], space, labels)
    radii = np.linspace(0.02, 3.0, 60)
    questions = BudgetedQuestions(space, answer, radii, 1000)
    ids = [f"id{row}" for row in range(len(part))]
    given = Search(
        questions=questions, ids=ids, draws=Draws(0, "s"), radii=radii, targets=np.zeros(len(part))
    )  # fmt: skip
    greedy(given)
    seen = np.isfinite(questions.distance)
    assert seen.mean() >= np.isfinite(expected).mean() - 0.1
    assert (questions.distance[seen] >= expected[seen] * (1 - 1e-6) - 1e-7).all()
    assert np.median(questions.distance[seen] / np.maximum(expected[seen], 1e-6)) < 1.25


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", PLANNED)
def test_each_attack_on_tables_solves_what_is_known(attack: str, norm: Norm) -> None:
    (result,) = self_tested([attack], norm)
    assert result.passed, result.reason


MODEL = """
import torch


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[-1.0, 1.0, 0.5], [1.0, -1.0, -0.5]]))
            self.layer.bias.zero_()

    def encode(self, frame):
        columns = frame[["x", "k", "z"]].to_numpy(dtype="float32")
        return torch.from_numpy(columns) - torch.tensor([0.0, 3.5, 0.5])

    def forward(self, encoded):
        return self.layer(encoded)


def linear():
    return Linear()
"""


def folder_of(tmp_path: Path) -> Path:
    frame, _, _, _ = grown("linf", gaps=False, seed=3)
    score = frame["x"] - (frame["k"] - 3.5) - 0.5 * (frame["z"] - 0.5)
    frame.assign(y=np.where(score > 0, "yes", "no")).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "nets.py").write_text(MODEL, encoding="utf-8")
    return tmp_path


def run_of(folder: Path, out: str, rules: Any, batch: int = 10, only: str = "", **more: Any) -> Run:
    rows = pd.read_csv(folder / "rows.csv")
    tree = DecisionTreeClassifier(max_depth=5, random_state=0).fit(rows[["x", "k", "z"]], rows["y"])
    models = {"tree": tree, "net": f"torch:{folder}/nets.py:linear"}
    settings = {"constraints": rules, "eps": (0.3, 1.0), "queries": 80, **more}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cb.run(
            models={name: model for name, model in models.items() if only in name},
            data=f"csv:{folder}/rows.csv?target=y", suites=["adversarial"], out=folder / out,
            workers=0, cache=False,
            settings={f"adversarial.{key}": value for key, value in settings.items()},
            defaults={"limit": 10, "replicates": 100, "batch_size": batch},
        )  # fmt: skip


def records(run: Run, model: str, scenario: str) -> pd.DataFrame:
    (file,) = [f for f in run.cells.values() if (f.model, f.scenario) == (model, scenario)]
    return run.cell_records(file.cell).frame().sort_values("id").reset_index(drop=True)


RUN_RULES = {"bounds": {"k": [0, 7]}, "columns": 2}


def test_a_run_attacks_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path)
    run = run_of(folder, "whole", RUN_RULES)
    assert verify(run) == []
    found = {(f.model, f.scenario): f for f in run.cells.values() if f.suite == "adversarial"}
    names = {"inputs/test", "worst-case-linf"} | {
        f"table-{one}-linf" for one in ("greedy", "hopskipjump", "restore")
    }
    assert {s for m, s in found if m == "tree"} == names | {"exact-tree-linf"}
    assert {s for m, s in found if m == "net"} == names | {"table-gradient-linf"}
    assert {file.status for file in found.values()} == {Status.OK}
    codes = {one.code for file in found.values() for one in file.findings}
    assert codes <= {"labels-beat-scores"}
    exact, search = (records(run, "tree", f"{one}-linf") for one in ("exact-tree", "table-greedy"))
    assert (exact["level"] <= search["level"]).all()
    assert exact["changed"].max() <= 2 and search["changed"].max() <= 2
    assert (exact["queries"] <= 1).all() and search["queries"].max() <= 80
    assert (search["forwards"] == search["queries"] + (search["prediction"] >= 0)).all()
    parts = records(run, "net", "table-gradient-linf")
    assert parts["backwards"].sum() > 0
    again = run_of(folder, "small-batches", RUN_RULES, batch=4, only="tree")
    for scenario in ("table-greedy-linf", "table-hopskipjump-linf"):
        pd.testing.assert_frame_equal(
            records(run, "tree", scenario), records(again, "tree", scenario)
        )
    # Planted: a search that takes no moves back where too many columns changed.
    monkeypatch.setattr(RowSpace, "_fewer", lambda self, rows, raw, codes, most: (raw, codes))
    broken = run_of(folder, "broken", RUN_RULES, eps=(1.0,), queries=40, only="net")
    (file,) = [
        f for f in broken.cells.values()
        if (f.model, f.scenario) == ("net", "table-hopskipjump-linf")
    ]  # fmt: skip
    assert "constraints-broken" in {one.code for one in file.findings}
    assert str(file.verdict) == "invalid"


def test_tables_are_left_alone_where_nothing_is_declared(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    run = run_of(folder, "none", None, eps=0.5)
    assert [file for file in run.cells.values() if file.suite == "adversarial"] == []


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"mutable": ["x", "kk"]}, r"constraints.mutable: unknown column 'kk'; did you mean 'k'\?"),
        ({"relations": ["x <= w"]}, "constraints.relations: unknown column 'w'"),
        ({"relations": ["x ~ z"]}, "expected 'COLUMN <= COLUMN', got 'x ~ z'"),
        ({"bounds": {"k": [7, 0]}}, "'k' has 7 and 0"),
        ({"mutable": ["x"], "integers": ["k"]}, "integers: 'k' is not among the mutable columns"),
        ({"categories": {"x": ["a"]}}, "expected a column of categories, 'x' holds float"),
        ({"columns": 0}, "greater than or equal to 1"),
    ],
)
def test_constraints_that_are_refused_before_anything_runs(
    tmp_path: Path, rules: Any, told: str
) -> None:
    folder = folder_of(tmp_path)
    with pytest.raises(InputError, match=told):
        run_of(folder, "refused", rules)
    assert not (folder / "refused").exists()


def test_radii_of_tables_may_be_larger_than_the_box_of_pixels() -> None:
    assert ThreatModel(norm="linf", eps=(2.0,), unit="spreads").as_parameters()["unit"] == "spreads"
    assert "unit" not in ThreatModel(norm="linf", eps=(0.5,)).as_parameters()
    with pytest.raises(ValueError, match="pixels lie in"):
        ThreatModel(norm="linf", eps=(2.0,))


def small_space(norm: Norm, spread: float = 1.0) -> RowSpace:
    """One row of two numbers of unlike spread, and a category."""
    frame = pd.DataFrame({"a": [1.0], "b": [6.0], "c": ["x"]})
    rules = Constraints(categories={"c": ("x", "y")}, bounds={"a": (0.5, 9.0)})
    return RowSpace(
        frame, rules, {"a": Facts(0, 9, spread, False), "b": Facts(0, 9, 2.0, False)}, norm
    )


def test_what_differs_in_one_column_is_exact() -> None:
    space, rows = small_space("linf"), np.array([0])
    numbers = np.full((1, 2, 3), 0.25, dtype=np.float32)
    asked: list[np.ndarray] = []

    def answer(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        asked.append(points)
        return points[:, 0] - 3.0 + points[:, 1] / 8

    x = space.clean.copy()
    found = _neighbours(space, rows, x, np.array([1.0]), numbers)[0]
    low, high = np.array([0.5, 3 - INWARDS]), np.array([1 + INWARDS, 3 + INWARDS])
    expected = [
        [value if at == column else x[0, at] for at in range(3)]
        for column in range(2)
        for value in (
            low[column], high[column], low[column] + (x[0, column] - low[column]) / 4,
            x[0, column] + (high[column] - x[0, column]) / 4, x[0, column],
        )
    ]  # fmt: skip
    expected += [[1.0, 3.0, code] for code in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    questions = BudgetedQuestions(space, answer, np.array([1.0]), 100)
    tried = _Tried.of(questions, space, rows, x=x, radius=np.array([1.0]), numbers=numbers)
    # Neither the row itself, nor its own category, is asked about.
    assert len(asked[0]) == 9 == questions.queries[0]
    chosen, top = tried.best(np.array([-1.625]))
    np.testing.assert_allclose(chosen[0], [1 + INWARDS, 3 + INWARDS, 0])  # both at once
    np.testing.assert_allclose(top, 1 + INWARDS - 3 + (3 + INWARDS) / 8)


def test_what_helps_in_each_column_goes_the_steepest_way_in_l2() -> None:
    space, rows = small_space("l2", 3.0), np.array([0])
    x, radius = space.clean.copy(), np.array([0.4])
    points = np.array([[[0.4, 3.0, 0.0], [0.25, 2.9, 0.0]]])
    tried = _Tried(None, space, rows, x, radius, points, np.zeros((1, 2)))  # type: ignore[arg-type]
    both = tried._together(np.array([[0.6, 0.4]]))
    # A coordinate of "a" is 4, and its spread 3: of "b" both are 2.
    slope = np.array([0.6 / (0.15 / 0.75), -0.4 / 0.1])
    step = 0.4 * INWARDS * slope / np.hypot(*slope) * [0.75, 1]
    np.testing.assert_allclose(both[0], [0.25 + step[0], 3 + step[1], 0.0], rtol=1e-9)


def test_whole_numbers_end_where_floats_do() -> None:
    ends = np.array([-(2.0**53), 2.0**53, 2.0**53 + 2, -(2.0**53) - 2, 0.6])
    np.testing.assert_array_equal(
        _cast(ends, np.dtype(np.int64)), [-(2.0**53), 2.0**53, np.nan, np.nan, 1.0]
    )
    np.testing.assert_array_equal(
        _cast(np.array([127.0, 128.0]), np.dtype(np.int8)), [127.0, np.nan]
    )
