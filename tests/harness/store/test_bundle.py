"""Bundles: what goes in, what stays out, and that they are checked as the run is."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crucibench.comparing.runs import compare_runs
from crucibench.engine.packing import pack_run
from crucibench.integrity.verify import verify
from crucibench.report.bundle import make_bundle
from crucibench.report.leaderboard import leaderboard
from crucibench.report.leaderboard_text import csv
from crucibench.store.archive import write_archive
from crucibench.store.bundle import BundleRun, bundle_files, manifest_of
from crucibench.store.find import find_run, load
from crucibench.store.redaction import Disclosure, parquet, redacted_table
from crucibench.store.run import Run
from crucibench.store.tables import write_frame
from crucibench.util.errors import InputError, UnreadableError


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "evidence.zip"
    make_bundle(run, path, Disclosure())
    return path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def opened(path: Path) -> BundleRun:
    found = load(path)
    assert isinstance(found, BundleRun)
    return found


def test_a_bundle_reads_and_compares_as_its_run_does(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    found = find_run(str(bundle), tmp_path)
    assert found.id == run.id and found.packed and found.digest == run.digest
    assert found.metrics().equals(run.metrics())
    assert found.dates == run.dates and found.dates.started is not None
    assert csv(leaderboard([found])) == csv(leaderboard([run]))
    ours, theirs = (leaderboard([one], ranked=True).boards[0].ranks for one in (found, run))
    assert ours is not None and theirs is not None
    place = "accuracy/clean/top-1"
    assert ours.spans[place] == theirs.spans[place]
    assert any("left out of the file" in why for why in ours.unranked.values())
    expected = compare_runs(run, run, models={"b": "a"}, metrics=["*accuracy/*"])
    other = compare_runs(found, run, models={"b": "a"}, metrics=["*accuracy/*"])
    assert len(expected.differences) > 10
    assert [repr(d) for d in other.differences if d.flips is None] == [
        repr(d) for d in expected.differences if d.flips is None
    ]
    # With a pack of the same data too.
    pack = load(pack_run(run, tmp_path / "p.cbz"))
    both = compare_runs(pack, found, models={"b": "a"}, metrics=["*/top-1"])
    assert [str(one.address) for one in both.differences] == ["b:accuracy/clean/top-1"]
    assert [one.cell for one in both.refused] == ["b:bias/groups"]
    for make in (make_bundle, lambda *args: pack_run(*args[:2])):
        with pytest.raises(InputError, match="again: copy it"):
            make(found, tmp_path / "again.zip", Disclosure())


def test_nothing_of_the_samples_is_in_clear_unless_asked_for(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    def text(path: Path) -> str:
        return "".join(
            pq.read_table(io.BytesIO(content)).to_pandas().to_csv()
            if name.endswith(".parquet") else content.decode()
            for name, content in contents(path).items()
        )  # fmt: skip

    def columns(path: Path) -> set[str]:
        return {
            f"{name}:{column}"
            for name, content in contents(path).items() if name.startswith("samples/")
            and name.endswith(".parquet")
            for column in pq.read_schema(io.BytesIO(content)).names
        }  # fmt: skip

    whole = text(bundle)
    for secret in ("secret about", "customer-", "Household-", "Ada said no"):
        assert secret not in whole
    assert "samples/people/test.parquet:target" in columns(bundle)
    assert not {one for one in columns(bundle) if "group:" in one or one.endswith(":key")}
    # Nowhere stands, sample by sample, which group each is of.
    for name, content in contents(bundle).items():
        if name.endswith(".parquet") and not name.startswith(("metrics", "tables")):
            table = pq.read_table(io.BytesIO(content))
            for column in table.column_names:
                assert not {"woman", "man"} & set(map(str, table[column].to_pylist())), name
    account = opened(bundle).account
    assert account["withheld"]["samples/people/test.parquet"] == [
        "group:sex", "key", "cluster (names)",
    ]  # fmt: skip
    kept = tmp_path / "kept.zip"
    make_bundle(run, kept, Disclosure(inputs=True, groups=True))
    assert "samples/people/test.parquet:group:sex" in columns(kept)
    assert "customer-7" in text(kept)
    assert verify(load(kept)) == []
    assert opened(kept).verification["from_the_bundle"] == []


def test_a_bundle_is_verified_from_its_own_records(run: Run, bundle: Path) -> None:
    found = opened(bundle)
    assert verify(found) == []
    known = found.verification["from_the_bundle"]
    cells = {cell for cell, file in run.cells.items() if file.suite == "bias"}
    assert known and all(any(cell in sentence for cell in cells) for sentence in known), (
        "without the groups, bias can't be scored again, and all else can"
    )
    assert str(found.root) not in json.dumps(known)
    assert any("column 'sex' is not there" in sentence for sentence in known)


def _forged(bundle: Path, path: Path, changed: dict[str, bytes]) -> Path:
    """Writes a bundle whose files were changed and hashed again, as a forger would."""
    files = contents(bundle) | changed
    manifest = json.loads(files.pop("manifest.json"))
    run, version = manifest["bundle"]["run"], manifest["crucibench_version"]
    files["manifest.json"] = manifest_of(files, run, version)
    write_archive(path, "bundle", files)
    return path


def test_a_forged_bundle_is_found(bundle: Path, tmp_path: Path) -> None:
    files = contents(bundle)
    table = pq.read_table(io.BytesIO(files["metrics.parquet"]))
    values = table["value"].to_pylist()
    first = next(row for row, metric in enumerate(table["metric"].to_pylist()) if metric == "top-1")
    values[first] += 0.01
    better = table.set_column(table.column_names.index("value"), "value", pa.array(values))
    forged = _forged(bundle, tmp_path / "numbers.zip", {"metrics.parquet": parquet(better)})
    assert any("top-1" in sentence for sentence in verify(load(forged)))
    name = next(name for name in files if "records-" in name and name.endswith(".parquet"))
    records = pq.read_table(io.BytesIO(files[name]))
    forged = _forged(bundle, tmp_path / "records.zip", {name: parquet(records.slice(1))})
    assert any(sentence.startswith(f"{name}: is not that") for sentence in verify(load(forged)))
    environment = files["environment/main.json"].replace(b"python", b"pythons")
    forged = _forged(bundle, tmp_path / "env.zip", {"environment/main.json": environment})
    assert any("environment/main.json" in sentence for sentence in verify(load(forged)))


def test_every_flipped_byte_is_found(bundle: Path, tmp_path: Path) -> None:
    content = bundle.read_bytes()
    damaged = tmp_path / "damaged.zip"
    rng = np.random.default_rng(1)
    for position in {0, len(content) - 1, *rng.integers(0, len(content), 40).tolist()}:
        changed = bytearray(content)
        changed[position] ^= 1
        damaged.write_bytes(changed)
        with pytest.raises(UnreadableError):
            load(damaged)


def test_equal_runs_make_equal_bytes(run: Run, bundle: Path, tmp_path: Path) -> None:
    make_bundle(run, tmp_path / "again.zip", Disclosure())
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_the_account_says_what_an_auditor_asks(run: Run, bundle: Path) -> None:
    files = contents(bundle)
    account = json.loads(files["bundle/bundle.json"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", account["started"])
    assert account["started"] <= account["finished"]
    manifest = json.loads(files["bundle/run-manifest.json"])
    assert manifest["digest"] == run.digest == account["digest"]
    same = [name for name, digest in manifest["files"].items()
            if name in files and hashlib.sha256(files[name]).hexdigest() == digest]  # fmt: skip
    assert set(manifest["files"]) == set(same) | set(account["withheld"]) & set(manifest["files"])
    assert {"log.txt"} == {
        name.rpartition("/")[2] for name in account["withheld"] if name not in manifest["files"]
    }
    assert "spec.yaml" in same and len(same) > len(account["withheld"])
    gaps = json.loads(files["bundle/not-measured.json"])
    assert any("shift" in sentence for sentence in gaps)
    assert json.loads(files["bundle/verification.json"])["of_the_run"]["sound"] is True


def test_an_unsound_run_is_not_bundled(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / run.id
    shutil.copytree(run.root, copy)
    path = next(copy.glob("cells/*/cell.json"))
    path.write_text(path.read_text().replace('"n": 160', '"n": 161'))
    with pytest.raises(UnreadableError, match="is not sound, so no bundle is made"):
        make_bundle(Run(copy), tmp_path / "x.zip", Disclosure())
    assert not (tmp_path / "x.zip").exists()


def test_tables_stay_whose_words_are_published_anyway(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.root, tmp_path / run.id)))
    cell = next(cell for cell, file in copy.cells.items() if file.suite == "bias")
    gaps = copy.table(cell, "gaps")
    assert gaps is not None and "Accuracy difference" in set(gaps["gap"])
    secret = "A secret about customer 7"
    planted = {
        "quoting": pd.DataFrame({"gap": ["Accuracy difference", secret], "value": [0.1, 0.2]}),
        "of-samples": pd.DataFrame({"id": ["x", "y"], "of": ["Accuracy difference", "sex=man"]}),
        "of-groups": pd.DataFrame({"group:sex": ["man", "woman"], "value": [0.1, 0.2]}),
        "named": pd.DataFrame({"group": ["sex=woman", "sex=man"], "value": [0.1, 0.2]}),
    }
    for name, frame in planted.items():
        write_frame(copy.layout.table(cell, name), frame)
    files, withheld = bundle_files(copy, Disclosure())
    there = {name for name in ("gaps", *planted) if f"tables/{cell}/{name}.parquet" in files}
    assert there == {"gaps", "named"}
    assert withheld[f"tables/{cell}/quoting.parquet"] == ["all of it"]
    assert not any(secret.encode() in content for content in files.values())
    with_groups, _ = bundle_files(copy, Disclosure(groups=True))
    assert f"tables/{cell}/of-groups.parquet" in with_groups
    assert f"tables/{cell}/quoting.parquet" not in with_groups


@pytest.mark.parametrize(
    ("column", "stays"),
    [
        (pa.array([0.5, 1.0]), True),
        (pa.array(["yes", "no"]), True),
        (pa.array(["New York", None]), True),
        (pa.array(["Dear Sir, I", "no"]), False),
        (pa.array([b"\x89PNG", None], pa.binary()), False),
        (pa.array([["a"], ["b"]]), False),
        (pa.array([["New York"], []]), True),
        (pa.array([[1.0, 2.0]] * 2, pa.list_(pa.float32(), 2)), True),
        (pa.array(["Dear Sir, I", "no"]).dictionary_encode(), False),
    ],
)
def test_text_is_told_from_labels(column: Any, stays: bool) -> None:
    table = pa.table({"id": ["x y z" * 9, "b"], "c": column, "input:age": [1.0, 2.0]})
    found = redacted_table(parquet(table), Disclosure(), {"New York"})
    assert pq.read_schema(io.BytesIO(found.content)).names == ["id"] + ["c"] * stays
    assert set(found.withheld) == {"input:age"} | ({"c"} if not stays else set())
    assert redacted_table(parquet(table), Disclosure(inputs=True), set()).withheld == ()
