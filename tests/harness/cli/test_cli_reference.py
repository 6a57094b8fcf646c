"""The script that publishes the demo for results/reference, on a run of the tests."""

from __future__ import annotations

import gzip
import re
import runpy
from pathlib import Path

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
