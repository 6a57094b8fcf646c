from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from crucibench.store import manifest
from crucibench.store.layout import Layout
from crucibench.store.manifest import changed, remember, write_manifest
from crucibench.util.errors import UnreadableError

CELL = "cells/a.b.c"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "run")
    folder = layout.root / CELL
    folder.mkdir(parents=True)
    layout.spec.write_text("schema_version: 1\n")
    layout.metrics.write_bytes(b"numbers")
    for number in range(1000):
        (folder / f"records-00-{number:05d}.parquet").write_bytes(b"%d" % number)
    write_manifest(layout, "0")
    settle(layout)
    remember(layout)
    return layout


def settle(layout: Layout) -> None:
    """Sets all times an hour back: what is written from now on is in another tick."""
    for path in layout.root.rglob("*"):
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 3600 * 10**9))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were hashed, as they are hashed."""
    names: list[str] = []
    honest = manifest.file_digest

    def counting(path: Path) -> str:
        names.append(path.name)
        return honest(path)

    monkeypatch.setattr(manifest, "file_digest", counting)
    return names


def test_nothing_is_hashed_where_nothing_changed(layout: Layout, hashed: list[str]) -> None:
    begun = time.perf_counter()
    assert changed(layout) == []
    took = time.perf_counter() - begun
    assert hashed == ["manifest.json"]
    assert took < 5, "1,000 files took seconds"  # generous: a busy machine must not fail it


def test_a_touched_file_is_hashed_and_found_to_be_the_same(
    layout: Layout, hashed: list[str]
) -> None:
    os.utime(layout.spec)
    assert changed(layout) == []
    assert hashed == ["manifest.json", "spec.yaml"]


def test_changes_are_named(layout: Layout) -> None:
    folder = layout.root / CELL
    (folder / "records-00-00007.parquet").unlink()
    (folder / "records-00-00008.parquet").write_bytes(b"9")  # of the same size
    (folder / "records-00-00009.parquet").write_bytes(b"longer")
    layout.metrics.write_bytes(b"forgery")
    (folder / "extra.parquet").write_bytes(b"")
    (folder / ".hidden").write_bytes(b"")
    (folder / "timing.json").write_bytes(b"{}")
    assert changed(layout) == [
        f"{CELL}/extra.parquet",
        *(f"{CELL}/records-00-0000{number}.parquet" for number in (7, 8, 9)),
        "metrics.parquet",
    ]


def test_a_file_rewritten_in_the_same_tick_is_hashed(layout: Layout) -> None:
    shard = layout.root / CELL / "records-00-00003.parquet"
    tick = (layout.root / ".stats.json").stat().st_mtime_ns
    os.utime(shard, ns=(tick, tick))
    remember(layout)
    os.utime(layout.root / ".stats.json", ns=(tick, tick))
    shard.write_bytes(b"4")
    os.utime(shard, ns=(tick, tick))
    assert changed(layout) == [f"{CELL}/{shard.name}"]


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"manifest": 1, "files": {"a": 2}}'])
def test_without_readable_statistics_everything_is_hashed(
    layout: Layout, hashed: list[str], content: str | None
) -> None:
    if content is None:
        (layout.root / ".stats.json").unlink()
    else:
        (layout.root / ".stats.json").write_text(content)
    assert changed(layout) == []
    assert len(set(hashed) - {"manifest.json"}) == 1002


def test_statistics_of_another_manifest_do_not_count(layout: Layout) -> None:
    """A manifest that was edited, alone, is held against the files."""
    text = layout.manifest.read_text()
    first = next(line for line in text.splitlines() if "spec.yaml" in line)
    layout.manifest.write_text(text.replace(first, '    "spec.yaml": "0"'))
    assert changed(layout) == ["spec.yaml"]


def test_an_unfinished_run_has_no_statistics(layout: Layout) -> None:
    layout.manifest.unlink()
    for call in (changed, remember):
        with pytest.raises(UnreadableError, match="was not finished"):
            call(layout)
