"""The documentation as a site: built without a warning, whole, loading nothing from elsewhere."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


class _Loads(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag in {"script", "img", "iframe"}:
            self.found.append(facts.get("src") or "")
        if tag == "link" and facts.get("rel") in {"stylesheet", "preconnect", "preload"}:
            self.found.append(facts.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_a_page_for_every_file_and_suite(site: Path) -> None:
    for path in (ROOT / "docs").rglob("*.md"):
        assert (site / path.relative_to(ROOT / "docs").with_suffix(".html")).is_file()
    for folder in (ROOT / "suites" / "crucibench_suites").glob("*/README.md"):
        assert (site / "suites" / f"{folder.parent.name}.html").is_file()
    assert not (site / "_site").exists()


def test_every_page_of_the_site_can_be_reached_from_the_first(site: Path) -> None:
    first = (site / "index.html").read_text()
    for page in site.rglob("*.html"):
        name = page.relative_to(site).as_posix()
        if name not in {"404.html", "index.html"}:
            assert f'href="{name}"' in first, name


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loads = [one for page in site.rglob("*.html") for one in _Loads(page.read_text()).found]
    assert len(loads) > 20
    assert [one for one in loads if re.match(r"(https?:)?//", one)] == []


def test_the_examples_of_the_statistics_page_are_right() -> None:
    found = doctest.testfile(str(ROOT / "docs" / "statistics.md"), module_relative=False)
    assert found.attempted >= 5 and found.failed == 0
