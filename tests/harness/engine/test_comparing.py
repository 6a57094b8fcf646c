"""Comparing runs from their records: what belongs together, what is refused and why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crucibench as cb
from crucibench.comparing.cell_pairs import NO_FORM, TIMED_APART
from crucibench.comparing.results import Comparison
from crucibench.comparing.runs import compare_runs
from crucibench.contracts.verdict import Status
from crucibench.engine.packing import pack_run
from crucibench.report.leaderboard import leaderboard
from crucibench.store.cells import read_cell, write_cell
from crucibench.store.manifest import write_manifest
from crucibench.store.run import Run
from crucibench.util.errors import InputError

pytestmark = pytest.mark.slow

MODEL = """
import numpy as np


def scores(batch):
    lead = np.tanh(batch["x"].to_numpy() + {shift} * np.cos(37 * batch["x"].to_numpy()))
    return np.stack([(1 - lead) / 2, (1 + lead) / 2], axis=1)
"""


def frame(n: int = 160, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n).round(6)
    y = np.where(x + rng.normal(0, 0.7, n) > 0, "yes", "no")
    return pd.DataFrame({"x": x, "sex": rng.choice(["f", "m"], n), "y": y})


def evaluate(
    folder: Path, name: str, data: pd.DataFrame, *, shift: float = 0.0, called: str = "people",
    suites: Sequence[str] = ("accuracy",), **options: Any,
) -> Run:  # fmt: skip
    place = folder / name
    place.mkdir()
    (place / "models.py").write_text(MODEL.format(shift=shift), encoding="utf-8")
    data.to_csv(place / "people.csv", index=False)
    groups = [column for column in data.columns if column.startswith("s")]
    return cb.run(
        models={"m": f"python:{place / 'models.py'}:scores"},
        data=f"{called}=csv:{place / 'people.csv'}",
        data_options={"target": "y", "features": ["x"], "groups": groups},
        suites=suites, out=place / "out", defaults={"replicates": 100, **options},
    )  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Returns the baseline of most tests, which only read it."""
    return evaluate(tmp_path_factory.mktemp("base"), "base", frame())


SUITES = ("accuracy", "sample")


@pytest.fixture
def finished(run_spec: Any, made: list[Run]) -> Run:
    """Returns a run of the sample models, made once; tests only read it."""
    if not made:
        made.append(run_spec(suites=SUITES, out="finished"))
    return made[0]


def refusal(found: Comparison, cell: str) -> tuple[str, str]:
    (one,) = [entry for entry in found.refused if entry.cell.endswith(cell)]
    return one.field, one.reason


def numbers(found: Comparison) -> dict[str, Any]:
    return {str(one.address): one for one in found.differences}


def test_a_run_equals_itself_and_swapped_runs_flip_signs(base: Run, tmp_path: Path) -> None:
    first = base
    same = evaluate(tmp_path, "two", frame())
    found = compare_runs(first, same)
    assert found.differences and not found.refused
    for one in found.differences:
        assert one.delta == 0.0, one
        assert one.p in {1.0, None} and (one.p is not None) == one.identical

    other = evaluate(tmp_path, "three", frame(), shift=1.0)
    forth, back = numbers(compare_runs(first, other)), numbers(compare_runs(other, first))
    assert forth.keys() == back.keys()
    for address, one in forth.items():
        swapped = back[address]
        assert one.delta == pytest.approx(-swapped.delta, abs=1e-12)
        if one.interval is not None:
            assert one.interval.lower == pytest.approx(-swapped.interval.upper, abs=1e-9)
        if one.flips is not None:
            assert set(one.flips.lost) == set(swapped.flips.gained)
    top = forth["m:accuracy/clean/top-1"]
    assert top.delta < 0 and len(top.flips.lost) > len(top.flips.gained)
    assert top.gain == top.delta and forth["m:accuracy/clean/log-loss"].gain < 0
    rows = first.metrics()
    stored = rows[(rows.metric == "top-1")].value.item()
    assert top.baseline == pytest.approx(stored, abs=1e-12)


def test_p_values_are_corrected_over_the_comparison(base: Run, tmp_path: Path) -> None:
    first, second = base, evaluate(tmp_path, "b", frame(), shift=0.6)
    found = compare_runs(first, second)
    alone = compare_runs(first, second, metrics=["*/top-1"])
    (one,) = alone.differences
    assert str(one.address) == "m:accuracy/clean/top-1" and one.p_adjusted == one.p
    assert numbers(found)[str(one.address)].p == one.p
    assert numbers(found)[str(one.address)].p_adjusted > one.p
    # Headline numbers come first and are corrected among themselves alone.
    tested = [d for d in found.differences if d.p is not None and not d.address.group]
    primary = [d for d in tested if d.primary]
    assert tested[: len(primary)] == primary and one.address in {d.address for d in primary}
    for family in (primary, tested[len(primary) :]):
        least = min(family, key=lambda d: d.p or 0.0)
        assert least.p_adjusted == pytest.approx(min(1.0, len(family) * (least.p or 0.0)))
    narrow = compare_runs(first, second, metrics=["m:accuracy/*/top-1"], level=0.5).differences[0]
    assert narrow.interval is not None and one.interval is not None
    assert narrow.interval.upper - narrow.interval.lower < one.interval.upper - one.interval.lower


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("other data", "data.counts"),
        ("one sample", "data.ids_digest"),
        ("one target", "data"),
    ],
)
def test_other_data_are_refused_and_the_field_is_named(
    change: str, field: str, base: Run, tmp_path: Path
) -> None:
    data = frame()
    if change == "other data":
        data = frame(150, seed=1)
    elif change == "one sample":
        data.loc[7, "x"] += 1
    else:
        data.loc[7, "y"] = "no" if data.loc[7, "y"] == "yes" else "yes"
    found = compare_runs(base, evaluate(tmp_path, "b", data))
    named, reason = refusal(found, "accuracy/clean")
    assert named == field and f"{field} is " in reason and " and " in reason
    assert not found.differences and found.incomparable == found.refused


@pytest.mark.parametrize("change", ["none", "another group", "a group's value"])
def test_data_are_known_by_content(change: str, tmp_path: Path) -> None:
    data = frame().drop(columns="sex") if change == "none" else frame()
    if change == "another group":
        data = data.rename(columns={"sex": "ssex"})
    elif change == "a group's value":
        data.loc[7, "sex"] = "x"
    suites = ["accuracy", "bias"]
    base = evaluate(tmp_path, "a", frame(), suites=suites)
    other = evaluate(tmp_path, "b", data, shift=0.6, called="folk", suites=suites)
    # The name and the groups of a data set move no number but those of groups.
    found = compare_runs(base, other)
    assert numbers(found)["m:accuracy/clean/top-1"].n == 160
    assert {one.address.suite for one in found.differences} == {"accuracy"}
    if change != "none":
        field, reason = refusal(found, "bias/groups")
        named = "groups is ['sex'] and ['ssex']" if change == "another group" else "groups is '"
        assert field == "groups" and named in reason
    (board,) = leaderboard([base, other]).boards
    apart = {one.column.place.partition("/")[0] for one in board.apart}
    assert board.data == "people" and apart <= {"bias"}
    top = [line.entries["accuracy/clean/top-1"].number for line in board.lines]
    assert [one.run for one in top if one is not None] == [base.id, other.id]
    # A pack has no groups, and seals what it has by the data alone.
    packed = cb.load(pack_run(base, tmp_path / "a.cbz"))
    delta = numbers(compare_runs(packed, other))["m:accuracy/clean/top-1"].delta
    assert delta == numbers(found)["m:accuracy/clean/top-1"].delta


def test_the_common_samples_can_be_compared(base: Run, tmp_path: Path) -> None:
    data, first = frame(), base
    second = evaluate(tmp_path, "b", data.iloc[::-1].iloc[:120], shift=1.0)
    found = compare_runs(first, second, intersect=True)
    top = numbers(found)["m:accuracy/clean/top-1"]
    assert top.n == 120 and "120 common samples" in found.notes[0]
    assert "40 of the baseline's and 0 of the candidate's" in found.notes[0]
    ids = set(second.samples("people", "test").ids)
    assert {*top.flips.lost, *top.flips.gained} <= ids
    alone = second.metrics()
    stored = alone[(alone.metric == "log-loss")].value.item()
    assert numbers(found)["m:accuracy/clean/log-loss"].candidate == pytest.approx(stored)

    data.loc[3, "y"] = "no" if data.loc[3, "y"] == "yes" else "yes"
    relabelled = compare_runs(first, evaluate(tmp_path, "c", data), intersect=True)
    assert refusal(relabelled, "accuracy/clean")[0] == "targets"
    assert "targets differ on 1 of 160" in relabelled.refused[0].reason


@pytest.mark.parametrize(
    ("change", "cell", "field"),
    [
        ({"settings": {"sample.sigmas": [0.1, 0.4], "sample.reference": "b"}}, "sample/noise",
         "scenario.parameters.sigmas"),
        ({"defaults": {"seed": 1}}, "sample/noise", "seed"),
        ({"data": "stripes:200"}, "sample/noise", "data.counts"),
    ],
)  # fmt: skip
def test_other_parameters_and_seeds_are_refused(
    change: dict[str, Any], cell: str, field: str, finished: Run, run_spec: Any
) -> None:
    found = compare_runs(finished, run_spec(out="two", suites=SUITES, **change))
    refused = [one for one in found.refused if one.cell == f"a:{cell}"]
    assert refused[0].field == field and f"{field} is " in refused[0].reason
    if field != "data.counts":
        # Where nothing is drawn and no parameter differs, the seed keeps nobody apart.
        assert numbers(found)["a:accuracy/clean/top-1"].delta == 0.0


def test_timings_of_different_runs_are_refused(finished: Run, run_spec: Any) -> None:
    found = compare_runs(finished, run_spec(out="two"))
    field, reason = refusal(found, "a:sample/rounds")
    assert field == "" and reason == TIMED_APART


def test_points_pair_and_models_of_one_run_are_compared(finished: Run) -> None:
    run = finished
    found = compare_runs(run, run, models={"b": "a"})
    rows = run.metrics().set_index(["model", "metric", "point"]).value
    for point in ("sigma=0.1", "sigma=0.3"):
        one = numbers(found)[f"b:sample/noise[{point}]/accuracy"]
        assert one.baseline == rows["a", "accuracy", point]
        assert one.candidate == rows["b", "accuracy", point]
        assert one.flips is not None and one.n == 300
    assert numbers(found)["b:sample/search/broken"].n == 150
    agreement = numbers(found)["b:sample/agreement/agreement"]
    assert agreement.delta is not None and agreement.interval is None
    assert agreement.reason == NO_FORM
    timed = numbers(found)["b:sample/rounds/mean-time"]
    assert timed.n == 6 and timed.interval is not None, "interleaved rounds pair"
    a, b = (
        run.records(cell.cell).seconds
        for name in ("a", "b")
        for cell in run.cells.values()
        if (cell.model, cell.scenario) == (name, "rounds")
    )
    assert timed.delta == pytest.approx((b - a).mean())
    assert found.refused == []
    with pytest.raises(InputError, match="compared with itself needs two models"):
        compare_runs(run, run)
    with pytest.raises(InputError, match="'c'"):
        compare_runs(run, run, models={"c": "a"})


def test_other_versions_hardware_and_failures_are_told(run_spec: Any, tmp_path: Path) -> None:
    first, second = run_spec(out="one"), run_spec(out="two")

    def edit(name: str, **changes: Any) -> None:
        path = next((tmp_path / "two").glob(f"*/cells/a.*{name}*/cell.json"))
        file = read_cell(path)
        if "comparison" in changes:
            changes["comparison"] = {**file.comparison, **changes["comparison"]}
        write_cell(path, file.model_copy(update=changes))

    scenario = first.cells[next(c for c in first.cells if "noise" in c)].comparison["scenario"]
    edit("sample-noise", version=2, comparison={"scenario": {**scenario, "version": 2}})
    edit("sample-rounds", comparison={"hardware": {"cpu": "another"}})
    edit("sample-search", status=Status.FAILED, reason="out of memory")
    write_manifest(second.layout, "0.1.0")
    found = compare_runs(first, Run(second.root))
    assert refusal(found, "a:sample/noise")[0] == "scenario.version"
    assert refusal(found, "a:sample/rounds")[0].startswith("hardware")
    assert refusal(found, "a:sample/search") == ("", "the candidate's cell failed: out of memory")
    both = compare_runs(Run(second.root), Run(second.root), models={"a": "a"})
    assert (
        "version 2 of the scenario and version 1 is installed" in refusal(both, "sample/noise")[1]
    )


def test_a_scenario_without_a_partner_is_no_mistake(run_spec: Any) -> None:
    found = compare_runs(run_spec(suites=("accuracy",)), run_spec(), models={"a": "a"})
    assert {entry.field for entry in found.refused} == {""}
    assert any("the baseline has no sample/noise" in entry.reason for entry in found.refused)
    assert any("the candidate has no accuracy/clean" in entry.reason for entry in found.refused)


def test_models_of_other_names_need_to_be_told(run_spec: Any) -> None:
    one = run_spec(models={"a": "nearest:0"}, suites=("accuracy",))
    other = run_spec(models={"c": "nearest:1.5"}, suites=("accuracy",))
    assert numbers(compare_runs(one, other))["c:accuracy/clean/top-1"].delta is not None
    several = run_spec(models={"d": "nearest:0", "e": "nearest:1"}, suites=("accuracy",))
    with pytest.raises(InputError, match="no model of the same name"):
        compare_runs(one, several)


def test_it_needs_no_torch_and_no_data_package(tmp_path: Path) -> None:
    run = evaluate(tmp_path, "a", frame())
    script = (
        "import sys\n"
        "for name in ('torch', 'datasets', 'foolbox', 'fairlearn'):\n"
        "    sys.modules[name] = None\n"
        "from crucibench.comparing.runs import compare_runs\n"
        "from crucibench.engine.packing import pack_run\n"
        "from crucibench.store.find import load\n"
        "from pathlib import Path\n"
        "run = load(sys.argv[1])\n"
        "pack = load(pack_run(run, Path(sys.argv[1]).parent / 'base.cbz'))\n"
        "print(len(compare_runs(pack, run).differences))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
