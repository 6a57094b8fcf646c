"""The script that publishes runs for results/reference, on a run of the tests."""

from __future__ import annotations

import hashlib
import json
import lzma
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
    runpy.run_path(str(SCRIPT))["publish"]([finished], tmp_path)
    assert len(list((tmp_path / "cards").rglob("README.md"))) == 2
    assert not old.exists()
    (packed,) = (tmp_path / "site" / "runs").glob("*.csv*")
    assert packed.suffix == ".xz"
    assert lzma.decompress(packed.read_bytes()).startswith(b"model,data,suite,scenario,point")
    (page,) = (tmp_path / "site" / "runs").glob("*.html")
    linked = set(re.findall(r'href="([^"]+\.csv[^"]*)"', page.read_text(encoding="utf-8")))
    assert linked == {packed.name}
    told = (tmp_path / "bundles" / "README.md").read_text(encoding="utf-8")
    (kept,) = (tmp_path / "bundles").glob("*.zip")
    assert hashlib.sha256(kept.read_bytes()).hexdigest() in told
    for name in re.findall(r"\]\(([^)]+)\)", told):
        assert (tmp_path / "bundles" / name).is_file()


def test_a_run_of_an_older_scenario_is_not_published(
    finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = Path(shutil.copytree(finished, tmp_path / finished.name))
    for path in old.glob("cells/*accuracy-clean*/cell.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": 0}))
    changed = tmp_path / "changed"
    publish = runpy.run_path(str(SCRIPT))["publish"]
    for why in ("not as its manifest says", "accuracy/clean is version 0 in the run"):
        with pytest.raises(SystemExit, match="crucibench publish ended with exit code"):
            publish([old], changed)
        assert why in capfd.readouterr().err
        assert not changed.exists()
        write_manifest(Layout(old), "0.1.0")
