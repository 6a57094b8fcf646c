"""Damage is found, and healed by the same command or refused in a sentence: never another number.

`verify` says of a finished run that it is not sound, and of an unfinished one that it is not
finished. The command that made the run, given again, makes it what it was.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.api import compare as compare_runs
from crucibench.api import verify
from crucibench.engine.listener import Listener
from crucibench.engine.plan.plan import PlannedCell
from crucibench.store.journal import Journal
from crucibench.store.tables import read_frame, write_frame
from crucibench.util.doors import StorageError
from crucibench.util.errors import UnreadableError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"),
        reason="forks a process full of libraries and asks /proc about its files",
    ),
]

Damage = Callable[[Path], None]


def one(root: Path, pattern: str) -> Path:
    """Returns the first of the files of some name in cells that are not timed."""
    found = sorted(root.glob(pattern))
    assert found, f"{pattern}: none in {root}"
    return next((path for path in found if "rounds" not in str(path)), found[0])


def flipped(pattern: str, seed: int = 0) -> Damage:
    """A bit is another."""

    def damage(root: Path) -> None:
        path = one(root, pattern)
        content = bytearray(path.read_bytes())
        draw = random.Random(f"{pattern} {seed}")
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(7)
        path.write_bytes(content)

    return damage


def cut(pattern: str, share: float = 0.6) -> Damage:
    """The end is missing."""

    def damage(root: Path) -> None:
        path = one(root, pattern)
        os.truncate(path, int(path.stat().st_size * share))

    return damage


def gone(pattern: str) -> Damage:
    """A file or folder is not there."""

    def damage(root: Path) -> None:
        path = one(root, pattern)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def edited(pattern: str, edit: Callable[[pd.DataFrame], None]) -> Damage:
    """Somebody wrote another table in its place, with all that makes it look right."""

    def damage(root: Path) -> None:
        path = one(root, pattern)
        frame = read_frame(path)
        edit(frame)
        write_frame(path, frame)

    return damage


def better(frame: pd.DataFrame) -> None:
    frame["value"] = np.minimum(frame["value"] + 0.05, 1.0)


def flattered(frame: pd.DataFrame) -> None:
    frame["prediction"] = 1 - frame["prediction"]


def relabelled(frame: pd.DataFrame) -> None:
    frame["target"] = 1 - frame["target"]


def praised(root: Path) -> None:
    """Somebody has changed what a cell says of itself."""
    path = one(root, "cells/*noise*/cell.json")
    cell = json.loads(path.read_text(encoding="utf-8"))
    cell["n"] = 4000
    path.write_text(json.dumps(cell), encoding="utf-8")


def stray(source: str, name: str) -> Damage:
    """A file too many, which looks as if it belonged there."""

    def damage(root: Path) -> None:
        path = one(root, source)
        shutil.copy(path, path.with_name(name))

    return damage


def vouched(root: Path) -> None:
    """Somebody has changed the digest of all digests."""
    path = root / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["digest"] = "0" * 64
    path.write_text(json.dumps(manifest), encoding="utf-8")


def stray_cell(root: Path) -> None:
    cell = one(root, "cells/*noise*/cell.json").parent
    shutil.copytree(cell, cell.with_name("a.stripes.sample-noise.00000000"))


SHARD = "cells/*noise*/records-00-00001.parquet"
ANYWHERE: dict[str, Damage] = {
    "shard cut": cut(SHARD),
    "shard emptied": cut(SHARD, 0),
    "shard gone": gone(SHARD),
    "shard edited": edited(SHARD, flattered),
    "shard of a pass edited": edited("cells/*pass*/records-00-00000.parquet", flattered),
    "shard of a stage gone": gone("cells/*search*/records-00-00001.parquet"),
    "probe cut": cut("cells/*pass*/probes-*.parquet"),
    "probe gone": gone("cells/*pass*/probes-*.parquet"),
    "journal gone": gone("cells/*noise*/.journal"),
    "journal cut": cut("cells/*noise*/.journal"),
    "cell gone": gone("cells/*noise*"),
    "sample table cut": cut("samples/*/test.parquet"),
    "sample table gone": gone("samples/*/test.parquet"),
    "sample table edited": edited("samples/*/test.parquet", relabelled),
    "card gone": gone("samples/*/card.json"),
    "card cut": cut("samples/*/card.json"),
    "models cut": cut("environment/models.json"),
    "spec cut": cut("spec.yaml"),
    "stray shard": stray(SHARD, "records-00-00099.parquet"),
    "stray stage": stray(SHARD, "records-07-00000.parquet"),
    "stray probe": stray("cells/*pass*/probes-*.parquet", "probes-stray.parquet"),
    "stray cell": stray_cell,
    "stray role": stray("samples/*/test.parquet", "train.parquet"),
    **{f"shard flipped {n}": flipped(SHARD, n) for n in range(3)},
    **{f"journal flipped {n}": flipped("cells/*noise*/.journal", n) for n in range(2)},
    **{f"sample table flipped {n}": flipped("samples/*/test.parquet", n) for n in range(2)},
    **{f"card flipped {n}": flipped("samples/*/card.json", n) for n in range(2)},
    **{f"spec flipped {n}": flipped("spec.yaml", n) for n in range(2)},
}
FINISHED: dict[str, Damage] = {
    "metrics edited": edited("metrics.parquet", better),
    "metrics cut": cut("metrics.parquet"),
    "metrics gone": gone("metrics.parquet"),
    "cell file cut": cut("cells/*noise*/cell.json"),
    "cell file gone": gone("cells/*noise*/cell.json"),
    "cell file edited": praised,
    "derived records edited": edited(
        "cells/*agreement*/records-*.parquet",
        lambda frame: frame.__setitem__("agree", ~frame["agree"]),
    ),
    "derived records gone": gone("cells/*agreement*/records-*.parquet"),
    "stray derived records": stray(
        "cells/*agreement*/records-*.parquet", "records-00-00001.parquet"
    ),
    "timed records cut": cut("cells/*rounds*/records-*.parquet"),
    "manifest cut": cut("manifest.json"),
    "manifest edited": vouched,
    **{f"metrics flipped {n}": flipped("metrics.parquet", n) for n in range(2)},
    **{f"cell file flipped {n}": flipped("cells/*noise*/cell.json", n) for n in range(3)},
    **{f"manifest flipped {n}": flipped("manifest.json", n) for n in range(3)},
}


class Runs:
    """A finished run, and one that was killed while most of it was done; to be copied."""

    def __init__(self, mortal: Any, contents: Any, folder: Path) -> None:
        self.folders = {"finished": folder / "finished", "killed": folder / "killed"}
        done = mortal.attempt(self.folders["finished"])
        assert done["code"] == 0
        self.name = Path(done["run"]).name
        self.steps: list[str] = done["steps"]
        self.contents = contents(Path(done["run"]))
        cells = [at for at, kind in enumerate(self.steps) if kind.endswith("of cell.json")]
        assert mortal.attempt(self.folders["killed"], step=cells[-1])["code"] == -9

    def copy(self, which: str, folder: Path) -> Path:
        shutil.copytree(self.folders[which], folder, dirs_exist_ok=True)
        return folder / "out" / self.name


@pytest.fixture(scope="module")
def runs(mortal: Any, contents: Any, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(mortal, contents, tmp_path_factory.mktemp("runs"))


def found_by_verify(root: Path) -> list[str]:
    try:
        return verify(root)
    except UnreadableError as error:
        return [str(error)]


def is_one_sentence(text: str) -> bool:
    return bool(text) and "\n" not in text and "Traceback" not in text


RESUMED = {
    "shard cut", "shard edited", "journal cut", "cell gone", "sample table edited", "spec cut",
    "metrics edited",
}  # fmt: skip
"""After which the run is given again in the first tier too; it takes a second for each."""


def resumed(names: Iterable[str]) -> list[Any]:
    return [
        name if name in RESUMED else pytest.param(name, marks=pytest.mark.thorough)
        for name in names
    ]


@pytest.mark.parametrize("what", [*ANYWHERE, *FINISHED])
def test_verify_finds_it(runs: Runs, tmp_path: Path, with_plugin: Path, what: str) -> None:
    root = runs.copy("finished", tmp_path)
    (ANYWHERE | FINISHED)[what](root)
    found = found_by_verify(root)
    assert all(is_one_sentence(sentence) for sentence in found)
    # The journal is no part of the results: it only helps to resume.
    assert found or what.startswith("journal"), "verify finds it sound"


@pytest.mark.parametrize("what", resumed([*ANYWHERE, *FINISHED]))
def test_a_finished_run(
    mortal: Any, contents: Any, runs: Runs, tmp_path: Path, with_plugin: Path, what: str
) -> None:
    root = runs.copy("finished", tmp_path)
    (ANYWHERE | FINISHED)[what](root)
    done = mortal.attempt(tmp_path)
    if done["code"]:
        assert done["code"] == 2 and is_one_sentence(done["refused"]), done
        return
    assert contents(root) == runs.contents
    assert found_by_verify(root) == []


@pytest.mark.parametrize("what", resumed(ANYWHERE))
def test_an_unfinished_run(
    mortal: Any, contents: Any, runs: Runs, tmp_path: Path, with_plugin: Path, what: str
) -> None:
    root = runs.copy("killed", tmp_path)
    ANYWHERE[what](root)
    (found,) = found_by_verify(root)
    assert "it was not finished" in found or "there is no run" in found
    done = mortal.attempt(tmp_path)
    assert done["code"] == 0, done
    assert contents(root) == runs.contents
    assert found_by_verify(root) == []


# -- a disk that refuses ---------------------------------------------------------------------------


class Disk:
    """A small file system of its own, mounted while a test runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.filler = folder / "filler"

    def mount(self, options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)],
            check=True, capture_output=True,
        )  # fmt: skip

    def remount(self, options: str) -> None:
        subprocess.run(
            ["mount", "-o", f"remount,{options}", str(self.folder)], check=True, capture_output=True
        )

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    found = Disk(tmp_path / "disk")
    found.folder.mkdir()
    try:
        found.mount("size=8m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield found
    found.unmount()


def steps_of(steps: list[str], what: str) -> list[int]:
    return [at for at, kind in enumerate(steps) if kind == what]


WHERE = {
    "before anything": lambda steps: 0,
    "among the samples": lambda steps: steps_of(steps, "after the replacement of card.json")[0],
    "among the records": lambda steps: steps_of(steps, "after the replacement of records")[17],
    "at a journal": lambda steps: steps_of(steps, "after the replacement of records")[30] - 1,
    "in the midst of a stage": lambda steps: steps_of(steps, "torn carry")[-1],
    "among the scores": lambda steps: steps_of(steps, "before the removal of keep.npy")[0],
    "before the metric rows": lambda steps: steps_of(
        steps, "before the replacement of metrics.parquet"
    )[0] - 5,
    "before the manifest": lambda steps: steps_of(
        steps, "after the replacement of metrics.parquet"
    )[0],
}  # fmt: skip


@pytest.mark.parametrize(
    "where",
    [
        where
        if where in {"among the records", "before the manifest"}
        else pytest.param(where, marks=pytest.mark.thorough)
        for where in WHERE
    ],
)
def test_a_full_disk_ends_the_run_and_room_resumes_it(
    mortal: Any, contents: Any, runs: Runs, disk: Disk, tmp_path: Path, where: str
) -> None:
    folder, scratch = disk.folder / "run", str(tmp_path)
    step = WHERE[where](runs.steps)
    stopped = mortal.attempt(folder, step=step, full=str(disk.filler), scratch=scratch)
    assert stopped["code"] == 74, stopped
    assert stopped["refused"].startswith("No space left on device: /"), stopped
    assert is_one_sentence(stopped["refused"])
    root = folder / "out" / runs.name
    assert not (root / "manifest.json").is_file()
    again = mortal.attempt(folder, scratch=scratch)
    assert again["code"] == 74, f"there is still no room: {again}"
    disk.filler.unlink()
    assert mortal.attempt(folder, scratch=scratch)["code"] == 0
    assert contents(root) == runs.contents


@pytest.mark.parametrize("where", ["among the records", "before the manifest"])
def test_a_quota_ends_the_run_too(
    mortal: Any, contents: Any, runs: Runs, tmp_path: Path, where: str
) -> None:
    stopped = mortal.attempt(tmp_path, step=WHERE[where](runs.steps), full="")
    assert stopped["code"] == 74
    assert stopped["refused"].startswith("File too large: /")
    assert is_one_sentence(stopped["refused"])
    assert mortal.attempt(tmp_path)["code"] == 0
    assert contents(tmp_path / "out" / runs.name) == runs.contents


def test_a_read_only_disk_is_refused(mortal: Any, contents: Any, runs: Runs, disk: Disk) -> None:
    for which in runs.folders:
        root = runs.copy(which, disk.folder / which)
        disk.remount("ro")
        refused = mortal.attempt(disk.folder / which)
        assert refused["code"] == 2
        assert refused["refused"].endswith("can't write there: permission denied")
        disk.remount("rw")
        assert mortal.attempt(disk.folder / which)["code"] == 0
        assert contents(root) == runs.contents


def test_a_read_only_run_is_read_or_refused(
    mortal: Any, contents: Any, runs: Runs, disk: Disk, tmp_path: Path
) -> None:
    for which in runs.folders:
        root = runs.copy(which, disk.folder / which)
        (tmp_path / which / "out").mkdir(parents=True)
        (tmp_path / which / "out" / runs.name).symlink_to(root)
    disk.remount("ro")
    assert mortal.attempt(tmp_path / "finished")["steps"] == []
    refused = mortal.attempt(tmp_path / "killed")
    assert refused["code"] == 74
    assert refused["refused"].startswith("Read-only file system: /")
    disk.remount("rw")
    assert mortal.attempt(tmp_path / "killed")["code"] == 0
    assert contents(disk.folder / "killed" / "out" / runs.name) == runs.contents


@pytest.mark.thorough
def test_the_command_tells_of_a_full_disk_in_one_sentence(
    mortal: Any, sample_plugin: Path, contents: Any, runs: Runs, disk: Disk, tmp_path: Path
) -> None:
    disk.remount("size=128k")  # enough to begin; a worker is the first to find it full
    (tmp_path / "spec.yaml").write_text(
        json.dumps({**mortal.spec, "defaults": mortal.defaults}), encoding="utf-8"
    )
    command = [
        *(sys.executable, "-m", "crucibench", "run", "spec.yaml", "--out", str(disk.folder)),
        *("--suite", "sample", "--set", "sample.reference=b", "--no-cache", "--quiet"),
    ]
    settings = {
        "PYTHONPATH": str(sample_plugin), "CRUCIBENCH_CACHE": str(tmp_path / "scratch"),
        "CRUCIBENCH_WORKERS": "1", "TMPDIR": str(tmp_path),
    }  # fmt: skip

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    full = run()
    assert full.returncode == 74, full.stderr
    assert full.stdout == ""
    (told,) = full.stderr.splitlines()
    assert told.startswith(f"error: No space left on device: {disk.folder}")
    assert list(disk.folder.rglob("records-*.parquet")), "nothing was collected"
    disk.remount("size=8m")
    assert run().returncode == 0
    assert contents(disk.folder / runs.name)["metrics.parquet"] == runs.contents["metrics.parquet"]


# -- what is left of an earlier attempt must be of the same model and the same question -----------


class Stop(Listener):
    """Interrupts once so many samples of a scenario are done."""

    def __init__(self, scenario: str, after: int) -> None:
        self.scenario, self.left = scenario, after

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        if cell.scenario.name == self.scenario:
            self.left -= samples
            if self.left < 0:
                raise KeyboardInterrupt


@pytest.mark.parametrize(
    "damage", [cut, *(pytest.param(one, marks=pytest.mark.thorough) for one in (gone, flipped))]
)
def test_a_model_that_nobody_knows_again_begins_anew(
    run_spec: Any, monkeypatch: pytest.MonkeyPatch, contents: Any, damage: Any, tmp_path: Path
) -> None:
    """Without its first answers, its shards can't be told from those of another."""
    setting = {"models": {"a": "nearest:0"}, "data": "stripes:40", "defaults": {"batch_size": 2}}
    run_spec(out="warm", **setting)
    from crucibench_sample.adapter import NearestMean  # type: ignore[import-not-found]

    monkeypatch.setattr(NearestMean, "fingerprint", lambda self: None)
    with monkeypatch.context() as earlier, pytest.raises(KeyboardInterrupt):
        earlier.setattr(NearestMean, "_predict", _reversed(NearestMean._predict))
        run_spec(out="cut", listener=Stop("noise", 20), **setting)
    (root,) = (tmp_path / "cut").iterdir()
    assert len(list(root.glob("cells/*noise*/records-*.parquet"))) > 3
    damage("cells/*noise*/probes-same-model.parquet")(root)
    for cell in root.glob("cells/*pass*"):
        shutil.rmtree(cell)  # it would say that the model has changed, which is another story
    resumed = run_spec(out="cut", **setting)
    assert contents(resumed.root) == contents(run_spec(out="whole", **setting).root)


def _reversed(honest: Any) -> Any:
    def predict(self: Any, batch: Any, want: Any) -> Any:
        outputs = honest(self, batch, want)
        return type(outputs)(scores=-outputs.scores)

    return predict


def test_a_stage_meets_those_that_the_stage_before_it_leaves_now(
    run_spec: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An accelerator may answer a lost shard in another way: later shards are of others then."""
    setting = {"models": {"b": "nearest:5"}, "data": "stripes:60", "defaults": {"batch_size": 4}}
    setting["settings"] = {}
    with pytest.raises(KeyboardInterrupt):
        run_spec(listener=Stop("search", 70), **setting)
    (root,) = (tmp_path / "out").iterdir()
    assert len(list(root.glob("cells/*search*/records-01-*.parquet"))) > 2
    gone("cells/*search*/records-00-00002.parquet")(root)
    from crucibench_sample.suite import Search

    honest = Search.run

    def unlike(self: Any, stage: str, work: Any, context: Any) -> Any:
        columns = honest(self, stage, work, context)
        return columns | {"broken": ~columns["broken"]} if stage == "weak" else columns

    monkeypatch.setattr(Search, "run", unlike)
    resumed = run_spec(**setting)
    (cell,) = [name for name, file in resumed.cells.items() if file.scenario == "search"]
    records = resumed.records(cell)
    left = None
    for stage in ("weak", "strong", "strongest"):
        now = records[records.stage == stage]
        assert left is None or sorted(now.id) == sorted(left)
        left = list(now.id[~now.broken])
    assert verify(resumed) == []


@pytest.mark.parametrize("status", ["from the cache", "skipped"])
def test_strangers_are_no_part_of_a_cell_that_was_not_collected_here(
    run_spec: Any, monkeypatch: pytest.MonkeyPatch, contents: Any, tmp_path: Path, status: str
) -> None:
    setting = {"data": "stripes:40", "cache": True}
    whole = run_spec(out="whole", **setting)
    if status == "skipped":
        from crucibench_sample.adapter import NearestMean

        fewer = NearestMean.capabilities - {"any-input"}
        monkeypatch.setattr(NearestMean, "capabilities", fewer)
        whole = run_spec(out="less", **setting)
    (cell,) = [
        name for name, file in whole.cells.items()
        if (file.model, file.scenario) == ("a", "noise")
    ]  # fmt: skip
    shard = next((tmp_path / "whole").glob(f"*/cells/{cell}/records-*.parquet"))
    folder = tmp_path / "cut" / whole.id / "cells" / cell
    folder.mkdir(parents=True)
    digests = [part.digest for part in (whole.cells[cell].identity, whole.cells[cell].numerics)]
    Journal(folder, digests)
    shutil.copy(shard, folder / "records-05-00000.parquet")
    assert contents(run_spec(out="cut", **setting).root) == contents(whole.root)
    assert not (folder / "records-05-00000.parquet").exists()


def test_what_a_failed_cell_keeps_for_later_is_no_result(
    run_spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_spec(out="warm", data="stripes:40")
    from crucibench_sample.suite import Search

    honest = Search.run

    def run(self: Any, stage: str, work: Any, context: Any) -> Any:
        if stage == "strong":
            raise RuntimeError("not that")
        return honest(self, stage, work, context)

    monkeypatch.setattr(Search, "run", run)
    failed = run_spec(data="stripes:40")
    assert list(failed.root.glob("cells/*search*/.stage-01/keep.npy"))
    assert not [name for name in failed.manifest["files"] if "/." in name]
    assert verify(failed) == []


@pytest.mark.parametrize(
    "where", ["worker.worker", "worker.timed", "score.score", "worker.selection"]
)
def test_a_disk_that_refuses_ends_the_run_and_no_cell(
    run_spec: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    """Even if there is room enough to say that the cell has failed."""
    setting = {"data": "stripes:40", "retries": 3}
    module = importlib.import_module(f"crucibench.engine.{where}")
    name = "storing" if where.endswith("selection") else "write_table"
    with monkeypatch.context() as refusing:
        refusing.setattr(module, name, _refuse)
        with pytest.raises(StorageError, match=r"^No space left on device: \S+$"):
            run_spec(**setting)
    files = [json.loads(path.read_bytes()) for path in tmp_path.glob("out/*/cells/*/cell.json")]
    assert {file["status"] for file in files} <= {"ok"}
    assert run_spec(**setting).exit_code == 0


def _refuse(path: Path, *content: Any) -> Any:
    raise StorageError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.parametrize("which", ["baseline", "candidate"])
def test_a_damaged_run_is_not_compared(
    runs: Runs, tmp_path: Path, with_plugin: Path, which: str
) -> None:
    sound = runs.copy("finished", tmp_path / "sound")
    damaged = runs.copy("finished", tmp_path / "damaged")
    edited("cells/*noise*/records-00-00001.parquet", flattered)(damaged)
    pair = {"baseline": sound, "candidate": sound, which: damaged}
    with pytest.raises(UnreadableError, match=r"is not as its manifest says: cells/\S+ \("):
        compare_runs(**pair)
    unfinished = runs.copy("killed", tmp_path / "killed")
    with pytest.raises(UnreadableError, match="it was not finished"):
        compare_runs(**{**pair, which: unfinished})
    assert compare_runs(sound, runs.copy("finished", tmp_path / "twin")).differences
