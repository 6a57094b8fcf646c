"""From end to end: shifted data of one's own as tables, images and texts; the shortcut is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

import crucibench as cb
import crucibench_adapters
from crucibench.contracts.verdict import Status
from crucibench_suites.shift import drift_scoring

pytestmark = pytest.mark.slow

DEMO = Path(crucibench_adapters.__file__).parent / "demo"


@pytest.fixture(autouse=True, scope="module")
def _fewer_permutations() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift_scoring, "PERMUTATIONS", 999)
        yield


def run(out: Path, models: dict[str, Any], home: str, **settings: Any) -> cb.Run:
    """Runs the suite, without perturbations of texts and tables."""
    settings = {"texts": [], "tables": []} | settings
    done = cb.run(
        models=models, data=home, suites=["shift"], out=out, workers=0, cache=False,
        settings={f"shift.{key}": value for key, value in settings.items()},
    )  # fmt: skip
    told = {name: cell.reason for name, cell in done.cells.items() if cell.status is not Status.OK}
    assert not told
    return done


def value(done: cb.Run, scenario: str, metric: str, group: str = "", model: str = "m") -> Any:
    rows = done.metrics()
    found = rows[
        (rows.suite == "shift") & (rows.scenario == scenario) & (rows.metric == metric)
        & (rows.group == group) & (rows.model == model)
    ]  # fmt: skip
    return found["value"].item()


def drifting(done: cb.Run, place: str) -> set[str]:
    (cell,) = [c for c in done.cells.values() if c.scenario == f"drift/{place}"]
    table = done.table(cell.cell, "drift")
    assert table is not None
    return set(table[table.drift == "yes"].column)


def codes(done: cb.Run, scenario: str) -> set[str]:
    return {
        finding.code
        for cell in done.cells.values()
        if cell.scenario == scenario
        for finding in cell.findings
    }


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> cb.Run:
    """A table with groups; last week's, without labels; another place's; one that overlaps."""
    folder = tmp_path_factory.mktemp("claims")
    rng = np.random.default_rng(0)

    def table(n: int, shift: float = 0.0, odd: str = "f") -> pd.DataFrame:
        frame = pd.DataFrame(
            {
                "age": rng.normal(size=n).round(3), "pay": (rng.normal(size=n) + shift).round(3),
                "sex": np.where(rng.random(n) < 0.5, "f", "m"),
            }
        )  # fmt: skip
        noise = np.where(frame.sex == odd, 1.5, 0.2) * rng.normal(size=n)
        frame["y"] = np.where(frame.age + frame.pay + noise > 0, "yes", "no")
        return frame

    home = table(600)
    home.to_csv(folder / "home.csv", index=False)
    week = table(300, shift=0.8).drop(columns="y")
    week.to_csv(folder / "week.csv", index=False)
    table(300, shift=0.8).to_csv(folder / "other.csv", index=False)
    pd.concat([home.iloc[:40], table(160)]).to_csv(folder / "old.csv", index=False)
    columns = ["age", "pay"]
    model = LogisticRegression().fit(home[columns], home.y)
    return run(
        folder / "out", {"m": model}, f"csv:{folder}/home.csv?target=y&groups=sex&features=age,pay",
        data={name: f"csv:{folder}/{name}.csv" for name in ("week", "other", "old")},
    )  # fmt: skip


def test_a_table(claims: cb.Run) -> None:
    drop = value(claims, "data/other", "top-1-home-minus-here")
    assert drop == pytest.approx(
        value(claims, "subpopulations", "top-1") - value(claims, "data/other", "top-1")
    )
    # Pay went up by 0.8 of its spread: the one column that drifts, and what it makes of the model.
    for place in ("week", "other"):
        assert "pay" in drifting(claims, place)
        assert not drifting(claims, place) & {"age", "sex"}
    assert drifting(claims, "old") == set()


def test_without_labels(claims: cb.Run) -> None:
    assert pd.isna(value(claims, "data/week", "top-1"))
    assert 0.5 < value(claims, "data/week", "estimated-top-1-average-confidence") < 1.0
    scenarios = {cell.scenario for cell in claims.cells.values()}
    assert "subpopulations/other" in scenarios and "subpopulations/week" not in scenarios


def test_groups_of_a_table(claims: cb.Run) -> None:
    worst = value(claims, "subpopulations", "worst-group-top-1", "sex")
    assert worst == value(claims, "subpopulations", "top-1", "sex=f")
    assert worst < value(claims, "subpopulations", "top-1", "sex=m") - 0.05


def test_what_overlaps(claims: cb.Run) -> None:
    assert "duplicates-between-test-and-shifted" in codes(claims, "data/old")
    assert codes(claims, "data/other") == set()


def test_the_records_hold_no_category_s_name(claims: cb.Run) -> None:
    for cell in claims.cells.values():
        if cell.scenario.startswith("inputs/"):
            records = claims.records(cell.cell)
            assert {name for name in records if name.startswith("input:")} == {
                "input:age", "input:pay",
            }  # fmt: skip


def test_regression(tmp_path: Path) -> None:
    frame = load_diabetes(as_frame=True).frame.astype(float)
    home, away = frame.iloc[:300], frame.iloc[300:].copy()
    home.to_csv(tmp_path / "home.csv", index=False)
    away["target"] += 200
    away.to_csv(tmp_path / "away.csv", index=False)
    away.drop(columns="target").to_csv(tmp_path / "bare.csv", index=False)
    model = LinearRegression().fit(home.drop(columns="target"), home.target)
    done = run(
        tmp_path / "out", {"m": model}, f"csv:{tmp_path}/home.csv?target=target",
        data={name: f"csv:{tmp_path}/{name}.csv" for name in ("away", "bare")},
    )  # fmt: skip
    rise = value(done, "data/away", "mae-here-minus-home")
    assert 100 < rise < 200
    assert pd.isna(value(done, "data/bare", "mae"))
    assert value(done, "drift/bare", "drifted") == value(done, "drift/away", "drifted")


def test_images_in_arrays(tmp_path: Path) -> None:
    loaded = load_digits()
    images = (loaded.images * 15).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    first, second = order[:900], order[900:]
    np.savez(tmp_path / "home.npz", X=images[first], y=loaded.target[first])
    brighter = (images[second].astype(int) + 30).clip(0, 255).astype(np.uint8)
    np.savez(tmp_path / "camera.npz", X=brighter, y=loaded.target[second])
    np.savez(tmp_path / "same.npz", X=images[second], y=loaded.target[second])
    done = run(
        tmp_path / "out",
        {"m": f"torch:{DEMO}/models.py:cnn?weights={DEMO}/cnn.safetensors"},
        f"npz:{tmp_path}/home.npz", corruptions=[],
        data={name: f"npz:{tmp_path}/{name}.npz" for name in ("camera", "same")},
    )  # fmt: skip
    assert drifting(done, "same") == set()
    assert {"brightness", "darkest", "features (MMD)"} <= drifting(done, "camera")
    assert value(done, "data/camera", "top-1-home-minus-here") > -0.02
    assert value(done, "data/same", "top-1") > 0.95


def test_texts(tmp_path: Path) -> None:
    good, bad = ["good", "fine", "lovely"], ["bad", "dull", "poor"]
    rng = np.random.default_rng(0)

    def texts(n: int, tail: str) -> pd.DataFrame:
        said = rng.integers(0, 2, n)
        rows = [
            f"The {rng.integers(0, 10**6)} was {(good, bad)[k][rng.integers(0, 3)]}{tail}"
            for k in said
        ]
        return pd.DataFrame({"text": rows, "y": np.array(["up", "down"])[said]})

    home = texts(200, ".")
    home.to_csv(tmp_path / "home.csv", index=False)
    texts(150, ", as I said at length to everybody there!!!").to_csv(
        tmp_path / "long.csv", index=False
    )
    model = make_pipeline(CountVectorizer(token_pattern="[a-z]+"), LogisticRegression())
    model.fit(home.text, home.y)
    done = run(
        tmp_path / "out", {"m": model}, f"csv:{tmp_path}/home.csv?target=y&input=text",
        data={"long": f"csv:{tmp_path}/long.csv"},
    )  # fmt: skip
    assert {"characters", "words", "punctuation"} <= drifting(done, "long")
    assert value(done, "data/long", "top-1") > 0.9


def test_the_shortcut_is_found_where_the_average_hides_it(tmp_path: Path) -> None:
    done = run(
        tmp_path / "out",
        {
            name: f"torch:{DEMO}/models.py:shapes_cnn?weights={DEMO}/shapes-{name}.safetensors"
            for name in ("shortcut", "untied")
        },
        "synthetic:shapes?spurious=colour&strength=0.95&test_strength=0.95&n=1500&train=1",
        corruptions=[],
    )

    def of(model: str, metric: str, group: str = "") -> float:
        return float(value(done, "subpopulations", metric, group, model))

    assert of("untied", "top-1") - of("shortcut", "top-1") <= 0.02
    worst = [of(name, "worst-group-top-1", "shortcut") for name in ("untied", "shortcut")]
    assert worst[0] - worst[1] >= 0.2
    assert of("untied", "worst-group-top-1") - of("shortcut", "worst-group-top-1") >= 0.2
    rows = done.metrics()
    row = rows[
        (rows.model == "shortcut") & (rows.metric == "worst-group-top-1")
        & (rows.group == "shortcut")
    ]  # fmt: skip
    assert "it is shortcut=fails" in row.method.item()
