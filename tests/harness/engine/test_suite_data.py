"""Further data sets of a suite, as roles of the main data set: from the spec to verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crucibench as cb
from crucibench import registry
from crucibench.comparing.runs import compare_runs
from crucibench.contracts.uri import parse_uri
from crucibench.contracts.verdict import Status
from crucibench.engine.ask_again import ask_again
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunPart
from crucibench.engine.packing import pack_run
from crucibench.engine.parts import merge
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.resolve.suites import ResolvedSuiteData
from crucibench.engine.score.rescore import rescore
from crucibench.engine.worker.opening import open_resolved
from crucibench.integrity.verify import verify
from crucibench.store.cells import CellFile
from crucibench.store.manifest import digests
from crucibench.store.pack import open_pack
from crucibench.store.run import Run
from crucibench.util.errors import InputError

DEFAULTS = {"batch_size": 16, "threads": 1, "replicates": 100}
ROLES = ("sample/week.2", "sample/bare", "sample/far/noise")


@pytest.fixture
def run(run_spec: Any, tmp_path: Path) -> Callable[..., Run]:
    """Runs the sample suite with further data; `settings` go on top."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 40)
    wave = np.tile([0.2, 0.8], 4)
    images = np.where(labels[:, None, None] == 1, wave[None, None], wave[None, :, None])
    np.savez(tmp_path / "week2.npz", X=images.astype(np.float32)[:, None], y=labels)
    np.savez(tmp_path / "bare.npz", X=rng.random((20, 1, 12, 10), np.float32))

    def run(settings: dict[str, Any] | None = None, **options: Any) -> Run:
        if settings is None:
            settings = {
                "sample.elsewhere": {"week.2": "npz:week2.npz", "bare": "npz:bare.npz"},
                "sample.outliers": {"noise": "stripes:30"},
            }
        usual: dict[str, Any] = {"models": {"a": "nearest:0"}, "data": "stripes:60"}
        return run_spec(**usual | {"defaults": DEFAULTS, "settings": settings} | options)

    return run


def cell(run: Run, address: str) -> CellFile:
    (found,) = (f for f in run.cells.values() if f"{f.suite}/{f.scenario}" == address)
    return found


def results(run: Run) -> dict[str, str]:
    return {name: value for name, value in digests(run.layout).items() if "rounds" not in name}


def test_they_are_roles_of_the_main_data_set(run: Any) -> None:
    done = run()
    assert {file.status for file in done.cells.values()} == {Status.OK}
    card = done.cards["stripes"]
    assert dict(card.counts) == {"test": 60, **dict(zip(ROLES, (40, 20, 30), strict=True))}
    assert card.unlabelled == ROLES[1:]
    assert list(card.counts) == [*sorted(ROLES), "test"]
    assert set(card.role_fingerprints) == set(ROLES)
    assert list(card.class_counts["sample/far/noise"]) == []
    assert sum(card.class_counts["sample/week.2"]) == 40
    assert (done.samples("stripes", "sample/bare").targets == -1).all()
    assert not done.samples("stripes", "sample/far/noise").labelled
    assert done.samples("stripes", "sample/week.2").labelled
    assert "sample/bare is npz:bare.npz, without labels" in card.notes
    rows = done.metrics()
    accuracy = rows[(rows.metric == "accuracy") & rows.scenario.str.startswith("elsewhere")]
    assert set(accuracy.point) == {"test", "week.2"}
    assert accuracy[accuracy.point == "week.2"].value.item() == 1.0  # stripes without noise
    assert len(done.records(cell(done, "pass/sample/week.2").cell)) == 40
    assert len(done.records(cell(done, "sample/again-far.noise").cell)) == 30
    assert verify(done) == []
    rescore(done)
    assert verify(done) == []


def test_the_main_data_set_keeps_its_identity(run: Any) -> None:
    with_them, without = run(cache=True), run(settings={}, out="other", cache=True)
    assert with_them.id != without.id
    first, second = with_them.cards["stripes"], without.cards["stripes"]
    assert first.fingerprint == second.fingerprint
    for address in ("pass/test", "sample/noise", "sample/search"):
        mine, other = cell(with_them, address), cell(without, address)
        assert mine.identity == other.identity, address
        assert mine.comparison == other.comparison, address
        assert "cached" in (without.layout.events.read_text())
    further = cell(with_them, "pass/sample/bare")
    assert further.comparison["role_fingerprints"] == {
        "sample/bare": first.role_fingerprints["sample/bare"]
    }
    found = compare_runs(without, with_them)
    refused = {one.cell.rpartition(":")[2] for one in found.refused}
    assert not refused & {"sample/noise", "sample/search"}


def test_another_file_is_another_run_and_other_cells(run: Any, tmp_path: Path) -> None:
    first = run()
    images = np.random.default_rng(3).random((20, 1, 12, 10), np.float32)
    np.savez(tmp_path / "bare.npz", X=images)
    second = run()
    assert first.id != second.id
    same = "pass/sample/week.2", "pass/sample/bare"
    equal = [cell(first, one).comparison == cell(second, one).comparison for one in same]
    assert equal == [True, False]


def test_workers_parts_and_resumption_give_the_same_bytes(run: Any, tmp_path: Path) -> None:
    whole = run()
    assert results(run(workers=1, out="worker")) == results(whole)
    again = run()  # finished: nothing is asked
    assert again.layout.events.read_text().count('"started"') == 1
    next(whole.layout.cell(cell(whole, "pass/sample/bare").cell).glob("records-*")).unlink()
    assert results(run()) == results(whole)
    parts = [run(part=RunPart(number, 2), out="parts") for number in (1, 2)]
    merged = merge([part.root for part in parts], tmp_path / "merged")
    assert {k: v for k, v in results(merged).items() if k.startswith(("cells", "samples"))} == {
        k: v for k, v in results(whole).items() if k.startswith(("cells", "samples"))
    }
    assert verify(merged) == []


def test_packs_hold_them(run: Any, tmp_path: Path) -> None:
    done = run()
    pack = pack_run(done, tmp_path / "base.pack")
    opened = open_pack(pack)
    fresh = done.cards["stripes"].role_fingerprints["sample/bare"]
    assert fresh not in (opened.root / "samples/stripes/card.json").read_text()
    found = compare_runs(opened, done)
    assert [one.cell for one in found.refused] == ["a:sample/rounds"]
    assert "sample/again-far.noise" in {
        f"{one.address.suite}/{one.address.scenario}" for one in found.differences
    }


def test_mistakes_are_told_at_once_with_their_paths(run: Any) -> None:
    settings = {
        "sample.elsewhere": {
            "gone": "npz:gone.npz", "odd": "npz:bare.npz?lyout=nchw",
            "what": "nothing", "": "csv:x",
        },
        "sample.outliers": {"what": "nope:x"},
    }  # fmt: skip
    with pytest.raises(InputError) as told:
        run(settings)
    text = str(told.value)
    for part in (
        "suites.sample.elsewhere.gone: ", "suites.sample.elsewhere.odd: ",
        "did you mean 'layout'", "suites.sample.elsewhere.what: 'nothing': expected SCHEME:REST",
        "suites.sample.outliers.what: ", "expected a name that is not empty",
    ):  # fmt: skip
        assert part in text


def test_mistakes_of_content_are_told_at_once(run: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "five.npz", X=np.zeros((4, 1, 8, 8), np.uint8), y=["up", "down"] * 2)
    np.savez(tmp_path / "table.npz", X=np.zeros((4, 3)))
    with pytest.raises(InputError) as told:
        run({"sample.elsewhere": {"five": "npz:five.npz", "table": "npz:table.npz"}})
    text = str(told.value)
    assert "suites.sample.elsewhere.five: classes: target 'target' holds 'down', 'up'" in (
        text.replace("'up', 'down'", "'down', 'up'")
    )
    assert "not among horizontal, vertical, the classes of 'stripes'" in text
    assert "suites.sample.elsewhere.table: its samples are of modality table" in text
    assert run({"sample.outliers": {"five": "npz:five.npz"}}).exit_code == 0  # never read


def test_a_setting_reaches_below_a_key(run: Any) -> None:
    done = run(
        {"sample.elsewhere": {"one": "npz:bare.npz"}, "sample.elsewhere.two": "npz:bare.npz"}
    )
    assert sorted(done.cards["stripes"].role_fingerprints) == ["sample/one", "sample/two"]


def test_a_role_of_the_source_s_own_is_not_overwritten(run_spec: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "def make():\n"
        "    x = np.zeros((4, 1, 8, 8), np.uint8); y = np.array([0, 1, 0, 1])\n"
        "    return {'test': (x, y), 'ood/near/x': (x, y)}\n"
    )
    document = {
        "models": [{"name": "a", "uri": "nearest:0"}],
        "data": [{"name": "d", "uri": "python:own.py:make"}],
    }
    resolved = resolve(document, tmp_path, "spec", Overrides(suites=("accuracy",)))
    clash = ResolvedSuiteData(
        "ood/near/x", parse_uri("stripes:8"), registry.sources().get("stripes"), "ignored", "here"
    )
    data = {"d": replace(resolved.data["d"], suite_data=(clash,))}
    told: list[str] = []
    opened = open_resolved(
        "d", replace(resolved, data=data), tmp_path / "scratch",
        lambda path, error: told.append(f"{path}: {error}"),
    )  # fmt: skip
    assert opened is None
    assert told == ["here: the data set 'd' has a role 'ood/near/x' already"]


def test_a_limit_takes_some_of_each_role(run: Any) -> None:
    done = run(defaults={**DEFAULTS, "limit": 10})
    for role in ROLES:
        assert len(done.records(cell(done, f"pass/{role}").cell)) == 10, role
        assert len(done.samples("stripes", role)) == 10
    assert verify(done) == []


def test_names_that_differ_in_slashes_have_tables_of_their_own(run: Any) -> None:
    done = run(
        {
            "sample.elsewhere": {"far-x": "npz:week2.npz"},
            "sample.outliers": {"x": "npz:bare.npz"},
        }
    )
    assert len(done.samples("stripes", "sample/far-x")) == 40
    assert len(done.samples("stripes", "sample/far/x")) == 20
    assert verify(done) == []


def test_a_live_main_data_set_has_further_ones_by_address(
    with_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    np.savez("bare.npz", X=rng.random((20, 1, 8, 8), np.float32))
    done = cb.run(
        models=["nearest:0"],
        data=(rng.random((30, 1, 8, 8), np.float32), np.tile([0, 1], 15)),
        suites=["sample"],
        settings={"sample.elsewhere.bare": "npz:bare.npz"},
        out=tmp_path / "out",
    )
    assert done.cards["data"].unlabelled == ("sample/bare",)
    assert verify(done) == []
    assert "without labels" in done.layout.report.read_text()


def test_asking_again_opens_them_too(run: Any, tmp_path: Path) -> None:
    done = run()
    assert ask_again(done, scratch=tmp_path / "scratch", listener=Listener()).differences == []
    images = np.random.default_rng(3).random((20, 1, 12, 10), np.float32)
    np.savez(tmp_path / "bare.npz", X=images)
    with pytest.raises(InputError, match=r"stripes:sample/bare\.bare\.npz is not what it was"):
        ask_again(done, scratch=tmp_path / "scratch", listener=Listener())
