"""The pages of measured results: all are listed, and what is quoted of them stands in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference"
_LINK = re.compile(r"\]\(((?:[\w-]+/)*evidence/([\w-]+)\.md)\)")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e-\d+)?")
_COUNTED = {"20", "15"}
"""Rows of a table, which no page writes out."""


def _quotes(page: Path) -> list[tuple[Path, str]]:
    """Returns the page of results behind each row that links to one, and what the row says."""
    rows = []
    for line in page.read_text(encoding="utf-8").splitlines():
        link = _LINK.search(line) if line.startswith("|") else None
        if link:
            rows.append((page.parent / link[1], line.replace(link[0], "")))
    return rows


@pytest.mark.parametrize("page", [ROOT / "README.md", REFERENCE / "README.md"])
def test_every_figure_that_is_quoted_stands_in_its_page(page: Path) -> None:
    quotes = _quotes(page)
    assert len(quotes) >= 6
    for source, finding in quotes:
        told = source.read_text(encoding="utf-8")
        figures = set(_NUMBER.findall(told))
        quoted = set(_NUMBER.findall(finding))
        assert quoted - figures <= _COUNTED, (source.name, quoted - figures)


def test_every_page_of_results_is_listed_once() -> None:
    listed = [source.name for source, _ in _quotes(REFERENCE / "README.md")]
    assert sorted(listed) == sorted(path.name for path in (REFERENCE / "evidence").iterdir())


def test_pages_are_named_as_their_scripts() -> None:
    scripts = {path.stem.replace("_", "-") for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    pages = {path.stem for path in (REFERENCE / "evidence").glob("*.md")}
    assert pages - scripts == {"ood-detectors-memory"}
    # Nothing has run on a GPU yet.
    assert scripts - pages <= {"gpu", "release-check"}
