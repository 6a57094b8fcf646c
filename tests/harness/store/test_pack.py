"""Packs: what goes in, what stays out, and that they compare as the run does."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import crucibench as cb
from crucibench.comparing.results import Comparison
from crucibench.comparing.runs import compare_runs
from crucibench.contracts.metric import MetricInfo
from crucibench.engine.packing import pack_run
from crucibench.engine.score.rescore import rescore
from crucibench.integrity.verify import verify
from crucibench.store.find import find_run, load
from crucibench.store.pack import open_pack
from crucibench.store.run import Run
from crucibench.store.seal import Seal
from crucibench.util.errors import InputError, UnreadableError


@pytest.fixture(scope="module")
def pack(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_run(run, tmp_path_factory.mktemp("packs") / "baseline.cbz")


def seen(found: Comparison) -> list[tuple[Any, ...]]:
    assert not found.incomparable, found.refused
    return [
        (str(d.address), d.baseline, d.candidate, d.interval, d.p, d.p_adjusted, d.method, d.n)
        for d in found.differences
    ]


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_pack_compares_as_its_run_does(run: Run, pack: Path) -> None:
    pairs = {"b": "a"}
    asked = ["*accuracy/*"]
    expected = seen(compare_runs(run, run, models=pairs, metrics=asked))
    assert len(expected) > 20
    assert any("80 clusters" in entry[6] for entry in expected)
    for first, second in ((load(pack), run), (run, load(pack)), (load(pack), load(pack))):
        assert seen(compare_runs(first, second, models=pairs, metrics=asked)) == expected
    flips = [
        compare_runs(first, run, models=pairs, metrics=["*/top-1"]).differences[0].flips
        for first in (run, load(pack))
    ]
    assert flips[0] is not None and flips[1] is not None
    assert flips[0].gained.tolist() == flips[1].gained.tolist()
    changed = [*flips[0].gained, *flips[0].lost]
    assert changed and all(name.startswith("customer-") for name in changed)


def test_a_pack_reads_as_a_run(run: Run, pack: Path, tmp_path: Path) -> None:
    opened = find_run(str(pack), tmp_path)
    assert opened.packed and not run.packed
    assert opened.id == run.id and opened.finished and opened.exit_code == run.exit_code
    assert opened.spec["models"] == run.spec["models"]
    assert opened.metrics().equals(run.metrics())
    assert {c: f.verdict for c, f in opened.cells.items()} == {
        c: f.verdict for c, f in run.cells.items()
    }
    assert opened.environment == run.environment
    assert verify(opened) == []
    with pytest.raises(InputError, match="a pack is not scored again"):
        rescore(opened)
    with pytest.raises(InputError, match="a pack is not packed again"):
        pack_run(opened, tmp_path / "again.cbz")


def test_equal_runs_make_equal_bytes(run: Run, pack: Path, tmp_path: Path) -> None:
    assert pack_run(run, tmp_path / "again.cbz").read_bytes() == pack.read_bytes()
    assert pack.stat().st_size < 100_000


def test_every_flipped_byte_is_found(pack: Path, tmp_path: Path) -> None:
    content = pack.read_bytes()
    damaged = tmp_path / "damaged.cbz"
    rng = np.random.default_rng(1)
    for position in {0, len(content) - 1, *rng.integers(0, len(content), 60).tolist()}:
        changed = bytearray(content)
        changed[position] ^= 1
        damaged.write_bytes(changed)
        with pytest.raises(UnreadableError):
            open_pack(damaged)
    for text in (b"", b"no pack at all", content[:-100], content[: len(content) // 2]):
        damaged.write_bytes(text)
        with pytest.raises(UnreadableError, match="expected a whole pack"):
            load(damaged)


def test_a_file_outside_of_the_pack_is_not_written(pack: Path, tmp_path: Path) -> None:
    import hashlib
    import json

    from crucibench.store.archive import _archive

    files = contents(pack)
    manifest = json.loads(files.pop("manifest.json"))
    files["../evil.txt"] = b"x"
    manifest["files"]["../evil.txt"] = hashlib.sha256(b"x").hexdigest()
    files["manifest.json"] = json.dumps(manifest).encode()
    evil = tmp_path / "evil.cbz"
    evil.write_bytes(_archive("pack", files))
    with pytest.raises(UnreadableError, match="expected files inside the run"):
        load(evil)


def test_nothing_of_the_samples_is_in_clear(run: Run, pack: Path) -> None:
    """No id, name, cluster, group, input or digest by which guessed content could be told."""
    files = contents(pack)
    samples = run.samples("people", "test")
    secret = {*samples.ids, *(samples.keys if samples.keys is not None else ()), *samples.clusters}
    card = run.cards["people"]
    secret |= {card.fingerprint, *card.ids_digest.values()}
    secret |= set(run.spec["resolved"]["digests"]["data.people"].values())
    assert len(secret) > 300
    text = ""
    for name, content in files.items():
        if name.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(content))
            assert not [c for c in table.column_names if c.startswith("group:") or c == "key"]
            own = table.to_pandas().to_csv()
            # The numbers of groups have their names; nowhere stands which sample is of which.
            assert name == "metrics.parquet" or not re.search(r"\b(wo)?man\b", own), name
            text += own
        else:
            text += content.decode()
    assert not {entry for entry in secret if entry in text}
    assert "secret about" not in text and "probes" not in "".join(files)
    train = [name for name in files if "pass-train" in name and name.endswith(".parquet")]
    assert not train, "what comparing does not read stays out"
    sealed = load(pack).samples("people", "test")
    assert (sealed.targets == samples.targets).all()
    assert not set(sealed.ids) & set(samples.ids)
    assert all(re.fullmatch(r"[0-9a-f]{32}(-\d+)?", identity) for identity in sealed.ids)


def test_groups_are_there_if_asked_for_or_with_the_run_at_hand(
    run: Run, pack: Path, tmp_path: Path
) -> None:
    whole = load(pack_run(run, tmp_path / "groups.cbz", with_groups=True))
    groups = run.samples("people", "test").groups["sex"].tolist()
    assert whole.samples("people", "test").groups["sex"].tolist() == groups
    assert not len(load(pack).samples("people", "test").groups.columns)
    opened = open_pack(pack).opened(run)
    assert opened.samples("people", "test").groups["sex"].tolist() == groups
    assert (
        opened.samples("people", "test").ids.tolist() == run.samples("people", "test").ids.tolist()
    )


def test_other_data_are_refused(run: Run, pack: Path, tmp_path: Path) -> None:
    place = tmp_path / "other"
    place.mkdir()
    frame = pd.read_csv(run.spec["data"][0]["uri"].removeprefix("csv:"))
    frame.loc[3, "x"] += 1
    frame.to_csv(place / "people.csv", index=False)
    other = cb.run(
        models=run_models(run), data=f"people=csv:{place / 'people.csv'}",
        data_options={
            "target": "y", "groups": ["sex"], "cluster": "household", "id": "name",
            "features": ["x", "note"],
        },
        suites=["accuracy"], out=place / "out", defaults={"replicates": 100},
    )  # fmt: skip
    found = compare_runs(load(pack), other)
    refused = [entry.field for entry in found.refused if "accuracy" in entry.cell]
    assert refused == ["data.ids_digest"] * 2
    again = load(pack_run(other, tmp_path / "other.cbz"))
    assert len(compare_runs(load(pack), again).incomparable) == 2


def run_models(run: Run) -> dict[str, str]:
    return {entry["name"]: entry["uri"] for entry in run.spec["models"]}


def test_a_pack_of_an_older_metric_is_scored_again(
    run: Run, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a pack may be of an older definition; comparing makes both sides anew."""
    from dataclasses import replace

    from crucibench_suites.accuracy.scenario import Clean

    newer: tuple[MetricInfo, ...] = tuple(
        replace(metric, version=metric.version + 1) if metric.id == "log-loss" else metric
        for metric in Clean.metrics
    )
    monkeypatch.setattr(Clean, "metrics", newer)
    losses = property(lambda view: np.full(len(view), 0.125))
    monkeypatch.setattr("crucibench.tasks.classification.view.ClassView.loss", losses)
    old = load(pack)
    assert (old.metrics().query("metric == 'log-loss'").value != 0.125).all()
    (found,) = compare_runs(old, run, models={"a": "a"}, metrics=["*/log-loss"]).differences
    assert (found.baseline, found.candidate, found.delta) == (0.125, 0.125, 0.0)


def test_seals_depend_on_the_data_and_keep_copies_together() -> None:
    one, other = Seal("f" * 64), Seal("e" * 64)
    identity = "0123456789abcdef" * 2
    assert one.identity(identity) == Seal("f" * 64).identity(identity) != identity
    assert one.identity(identity) != other.identity(identity)
    assert one.identity(f"{identity}-2") == f"{one.identity(identity)}-2"
    assert one.data != other.data and "f" * 32 not in one.data
