"""A clean run has no difference, and each planted defect gives the sentence that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crucibench.engine.score.rescore import rescore
from crucibench.integrity.verify import verify
from crucibench.store.manifest import read_manifest
from crucibench.store.run import Run
from crucibench.util.atomic import write_json
from crucibench.util.errors import UnreadableError

from .conftest import Planted


def test_a_clean_run_is_sound(planted: Planted) -> None:
    assert planted.found() == []


def test_changed_files_are_named_and_nothing_else_is_said(planted: Planted) -> None:
    flipped = planted.shard("a", "sample/noise")
    content = bytearray(flipped.read_bytes())
    content[len(content) // 3] ^= 1
    flipped.write_bytes(bytes(content))
    cut = planted.shard("a", "pass/test")
    cut.write_bytes(cut.read_bytes()[:-100])
    gone = planted.shard("b", "pass/test", number=1)
    gone.unlink()
    extra = planted.layout.cells / "extra.txt"
    extra.write_text("?")
    relative = {path: path.relative_to(planted.root).as_posix() for path in (flipped, cut, gone)}
    assert planted.found() == sorted(
        [
            f"{relative[flipped]}: its content has changed",
            f"{relative[cut]}: its content has changed",
            f"{relative[gone]}: missing",
            "cells/extra.txt: not in the manifest",
        ]
    )


def test_a_manifest_that_names_other_files_than_its_digest_is_found(planted: Planted) -> None:
    shard = planted.shard("a", "sample/noise")
    shard.unlink()
    manifest = read_manifest(planted.layout)
    del manifest["files"][shard.relative_to(planted.root).as_posix()]
    write_json(planted.layout.manifest, manifest)
    assert planted.found() == ["manifest.json: its digest is not that of the files it names"]


def test_an_unfinished_run_is_unreadable(planted: Planted) -> None:
    planted.layout.manifest.unlink()
    with pytest.raises(UnreadableError, match="was not finished"):
        planted.found()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("spec", "models: []\n", r"^spec\.yaml: 2 mistakes"),
        ("spec", "- 1\n", r"no readable spec: it is no mapping"),
        ("models", "[{}]", r"models.json' can't be read: 0.data: Field required"),
        ("suites", "[", r"suites\.json' can't be read"),
    ],
)
def test_what_can_not_be_read_is_said(planted: Planted, name: str, content: str, said: str) -> None:
    path: Path = getattr(planted.layout, name)
    path.write_text(content)
    planted.seal()
    found = planted.found()
    assert len(found) == 1 and re.search(said, found[0]), found


def test_scoring_again_heals_numbers_that_are_not_what_was_scored(planted: Planted) -> None:
    metrics = planted.layout.metrics
    before = planted.run.metrics()
    metrics.write_bytes(metrics.read_bytes()[:-100])
    assert planted.found()[0].startswith("metrics.parquet: not what was scored")
    with pytest.raises(UnreadableError, match=r"not what was scored; crucibench score .* again"):
        planted.run.metrics()
    rescore(planted.run)
    assert planted.found() == []
    assert planted.run.metrics().equals(before)


def test_verify_imports_nothing_of_the_engine() -> None:
    import subprocess
    import sys

    code = "import crucibench.integrity.verify, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith("crucibench.engine")]


def test_a_run_whose_plug_in_is_gone_says_so_once(planted: Planted, with_plugin: Path) -> None:
    import sys

    from crucibench import registry

    sys.path.remove(str(with_plugin))
    registry.suites.cache_clear()
    try:
        found = verify(Run(planted.root))
    finally:
        sys.path.insert(0, str(with_plugin))
        registry.suites.cache_clear()
    assert len(found) == 1
    assert re.search(r"and 7 more can't be scored again: .*'sample'", found[0]), found
