from __future__ import annotations

from pathlib import Path
from typing import Any

from crucibench.comparing.results import Comparison
from crucibench.comparing.runs import compare_runs
from crucibench.engine.packing import compared_columns, pack_run
from crucibench.store.find import load


def seen(found: Comparison) -> list[tuple[Any, ...]]:
    assert not found.incomparable, found.refused
    return [
        (str(d.address), d.baseline, d.candidate, d.interval, d.p, d.n)
        for d in found.differences
        if d.address.scenario != "rounds"  # timings pair within one run alone
    ]


def test_limits_and_stages_survive_packing(run_spec: Any, tmp_path: Path) -> None:
    run = run_spec()
    path = pack_run(run, tmp_path / "sample.cbz")
    pairs = {"b": "a"}
    expected = seen(compare_runs(run, run, models=pairs))
    assert any(entry[0] == "b:sample/search/broken" and entry[-1] == 150 for entry in expected)
    assert seen(compare_runs(load(path), run, models=pairs)) == expected
    assert seen(compare_runs(run, load(path), models=pairs)) == expected
    assert seen(compare_runs(load(path), load(path), models=pairs)) == expected


def test_only_what_comparing_reads_is_kept(run_spec: Any) -> None:
    run = run_spec(suites=("accuracy", "sample"))
    kept = compared_columns(run)
    cells = {
        f"{run.cells[c].model}:{run.cells[c].suite}/{run.cells[c].scenario}" for c in kept.vectors
    }
    assert "a:sample/noise" in cells and "a:pass/test" in cells
    assert "a:sample/rounds" not in cells and "a:sample/agreement" not in cells
    scores = {c: v for c, v in kept.vectors.items() if "pass-test" in c}
    assert all("scores" in columns for columns in scores.values())
    assert [(role, limit) for _, role, limit in kept.limits] == [("test", 150)]
