"""The script that publishes the demo for results/reference, on a run of the tests."""

from __future__ import annotations

import gzip
import json
import re
import runpy
import shutil
from pathlib import Path

import pytest

from crucibench.store.layout import Layout
from crucibench.store.manifest import write_manifest

SCRIPT = Path(__file__).parents[3] / "examples" / "publish_reference.py"


def test_the_reference_site_is_packed_and_its_links_hold(finished: Path, tmp_path: Path) -> None:
    old = tmp_path / "site" / "runs" / "old.html"
    old.parent.mkdir(parents=True)
    old.write_text("of a run before", encoding="utf-8")
    runpy.run_path(str(SCRIPT))["publish"](finished, tmp_path)
    assert (tmp_path / "leaderboard.md").read_text(encoding="utf-8").startswith("# Leaderboard")
    assert not old.exists()
    (packed,) = (tmp_path / "site" / "runs").glob("*.csv*")
    assert packed.suffix == ".gz"
    assert packed.read_bytes()[4:8] == bytes(4)  # no date: equal tables are equal files
    assert gzip.decompress(packed.read_bytes()).startswith(b"model,data,suite,scenario,point")
    (page,) = (tmp_path / "site" / "runs").glob("*.html")
    linked = set(re.findall(r'href="([^"]+\.csv[^"]*)"', page.read_text(encoding="utf-8")))
    assert linked == {packed.name}


def test_a_run_of_an_older_scenario_is_not_published(finished: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(finished, tmp_path / finished.name))
    for path in old.glob("cells/*accuracy-clean*/cell.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": 0}))
    changed = tmp_path / "changed"
    publish = runpy.run_path(str(SCRIPT))["publish"]
    with pytest.raises(SystemExit, match="crucibench verify ended with exit code"):
        publish(old, changed)
    write_manifest(Layout(old), "0.1.0")
    with pytest.raises(SystemExit):
        publish(old, changed)
    assert not changed.exists()


def test_what_can_not_be_read_is_named(finished: Path, tmp_path: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    board = {"left_out": ["Left out, Accuracy: version 0"], "numbers": []}
    number = {"model": "a", "address": "s/c/m", "reason": "left out: version 0", "verdict": ""}
    for one in (board, {"left_out": [], "numbers": [number]}):
        script["publish"].__globals__["crucibench"] = lambda *words, one=one: json.dumps(
            {"boards": [one]}
        )
        with pytest.raises(SystemExit, match=r"is not published, run the demo anew: .*version 0"):
            script["publish"](finished, tmp_path / "to")
    assert not (tmp_path / "to").exists()
