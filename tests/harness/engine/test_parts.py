"""A run in parts, merged, is the run that one machine would have made."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.api import verify
from crucibench.engine.options import RunPart
from crucibench.engine.parts import assign, merge
from crucibench.store.find import find_run, load
from crucibench.store.layout import Layout
from crucibench.store.manifest import digests, write_manifest
from crucibench.store.run import Run
from crucibench.util.errors import InputError, NotComparableError, UnreadableError

TIMED = "sample-rounds"
DEFAULTS = {"batch_size": 8}


def results(run: Run) -> dict[str, str]:
    return {name: value for name, value in digests(run.layout).items() if TIMED not in name}


def rows(run: Run) -> Any:
    frame = run.metrics()
    return frame[frame.scenario != "rounds"].reset_index(drop=True)


@pytest.fixture
def parts(run_spec: Any, made: list[Path]) -> list[Path]:
    """Returns the folders of three parts, made once; tests only read them."""
    if not made:
        made += [
            run_spec(out=f"machine-{number}", defaults=DEFAULTS, part=RunPart(number, 3)).root
            for number in (1, 2, 3)
        ]
    return made


def test_merged_parts_are_the_whole_run(run_spec: Any, parts: list[Path], tmp_path: Path) -> None:
    whole = run_spec(out="whole", defaults=DEFAULTS)
    merged = merge(parts[::-1], tmp_path / "whole-too")
    assert merged.id == whole.id
    assert results(merged) == results(whole)
    assert rows(merged).equals(rows(whole))
    assert verify(merged) == []
    again = merged.layout.manifest.stat().st_mtime_ns
    assert merge(parts, tmp_path / "whole-too").layout.manifest.stat().st_mtime_ns == again
    timing = json.loads(next(merged.root.glob("cells/a.*noise*/timing.json")).read_text())
    assert timing["forwards"] >= 300 * 2 and timing["tasks"] > 3


def test_the_work_is_shared_out(parts: list[Path]) -> None:
    shards = [
        {(path.parent.name, path.name) for path in part.rglob("records-*.parquet")}
        for part in parts
    ]
    split = [{one for one in found if "sample-noise" in one[0]} for found in shards]
    assert all(split) and not (split[0] & split[1] or split[1] & split[2] or split[0] & split[2])
    searched = [{cell for cell, _ in found if "sample-search" in cell} for found in shards]
    assert sum(map(len, searched)) == 2, "a cell with stages is done by one part"
    timed = [{cell for cell, _ in found if TIMED in cell} for found in shards]
    assert sorted(map(len, timed)) == [0, 0, 2], "a cohort is timed on one machine"


def test_a_part_is_no_run(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="is a part of a run: crucibench merge"):
        load(parts[0])
    with pytest.raises(InputError, match="there is no run in"):
        find_run("latest", parts[0].parent)


def test_parts_that_do_not_make_a_run_are_refused(
    run_spec: Any, parts: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    other = run_spec(out="other", defaults={"seed": 1}, part=RunPart(1, 3)).root
    whole = run_spec(out="whole", defaults=DEFAULTS).root
    for given, message in (
        ([parts[0], parts[2]], "of 3 parts, these are missing: 2"),
        ([*parts, parts[0]], "part 1 of 3 is given twice"),
        ([other, *parts], "expected the parts of one run"),
        ([whole], "it is a whole run"),
        ([tmp_path / "nothing"], "there is no run in it"),
    ):
        with pytest.raises(InputError, match=message):
            merge(given, out)
    assert not out.exists()


def test_parts_that_differ_are_refused_with_the_field(parts: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(parts[1], damaged)
    shard = next(damaged.rglob("records-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UnreadableError, match=f"is damaged: .*{shard.name}"):
        merge([parts[0], damaged, parts[2]], tmp_path / "merged")


def test_a_model_that_answers_the_fixed_probe_otherwise_is_refused(
    parts: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(parts[1], other)
    path = other / "environment" / "part.json"
    account = json.loads(path.read_text())
    cells = account["cells"].values()
    asked = [cell["probe"] for cell in cells if cell.get("probe")]
    assert asked
    for probe in asked:
        size = np.prod(probe["answers"]["shape"], dtype=int)
        probe["answers"]["float64"] = base64.b64encode(np.full(size, 9.0).tobytes()).decode()
    path.write_text(json.dumps(account))
    write_manifest(Layout(other), "0.1.0")
    with pytest.raises(NotComparableError, match="part 1 of 3 and part 2 of 3 had other answers"):
        merge([parts[0], other, parts[2]], tmp_path / "merged")


def test_parts_of_other_versions_are_refused(
    run_spec: Any, parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench.engine.worker import environment

    honest = environment.package_version
    monkeypatch.setattr(
        environment, "package_version",
        lambda name: "0.0.1" if name == "scipy" else honest(name),
    )  # fmt: skip
    other = run_spec(out="old", defaults=DEFAULTS, part=RunPart(2, 3)).root
    with pytest.raises(NotComparableError, match=r"part 1 of 3 and part 2 of 3 differ in versions"):
        merge([parts[0], other, parts[2]], tmp_path / "merged")


def test_every_cell_is_done_however_many_parts(run_spec: Any) -> None:
    from crucibench.engine.plan.plan import make_plan
    from crucibench.engine.resolve.resolve import offline

    run = run_spec(defaults=DEFAULTS)
    plan = make_plan(offline(run.spec), run.models, run.cards)
    for of in (1, 2, 5, 40):
        assigned = [assign(plan, RunPart(number + 1, of)) for number in range(of)]
        mapped = {cell.id for cell in plan if cell.scenario.name != "agreement"}
        assert {cell.id for one in assigned for cell in one[0]} >= mapped
        for cell in plan:
            if any(cell.id in one[1] for one in assigned):
                done = [
                    shard
                    for number, one in enumerate(assigned)
                    for shard in range(-1, 9)
                    if cell.id in one[1] and RunPart(number + 1, of).has(cell, shard)
                ]
                assert set(done) <= set(range(-1, 9)) and len(done) == len(set(done))
