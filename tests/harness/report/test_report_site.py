"""The static site: every link leads somewhere, nothing is loaded, names do no harm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import pytest

from crucibench.report.leaderboard import leaderboard
from crucibench.report.site import write_site
from crucibench.report.site.links import data_page, model_page, number_link, run_page
from crucibench.spec.notes import Notes
from crucibench.store.run import Run
from crucibench.util.errors import InputError

TOP1 = "accuracy/clean/top-1"


class _Page(HTMLParser):
    """Gathers links, ids and tags of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"href", "src"} and value is not None:
                self.links.append(value)
            elif name == "id" and value is not None:
                self.ids.append(value)
            elif name.startswith("on"):
                self.handlers.append(name)


@pytest.mark.parametrize("name", ["showcase", "hostile"])
def test_every_link_is_relative_and_leads_somewhere(sites: Mapping[str, Path], name: str) -> None:
    root = sites[name]
    pages = {path: _Page(path) for path in root.rglob("*.html")}
    assert len(pages) > 4
    followed = 0
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            assert not re.match(r"[a-z]+:|//|/", link) or link == "data:,", link
            if link == "data:,":
                continue
            place, anchor = urldefrag(link)
            target = (path.parent / place).resolve() if place else path
            assert target.is_file(), (path, link)
            assert target.is_relative_to(root), link
            if anchor and anchor != "main":
                assert anchor in pages[target].ids, (path, link)
            followed += 1
    assert followed > 50


@pytest.mark.parametrize("name", ["showcase", "hostile"])
def test_names_do_no_harm(sites: Mapping[str, Path], name: str) -> None:
    for path in sites[name].rglob("*"):
        assert re.fullmatch(r"[a-z0-9.-]+", path.name), path
        if path.suffix == ".html":
            page = _Page(path)
            assert page.tags.count("script") == 1 and not page.handlers
            assert not {"img", "iframe", "b"} & set(page.tags)
            text = path.read_text(encoding="utf-8")
            assert "\u202e" not in text and "x" * 2000 not in text
        elif path.suffix == ".csv":
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not line.startswith(("=", "@", "\t"))


def test_numbers_have_permalinks_by_digest(sites: Mapping[str, Path], showcase_run: Run) -> None:
    root = sites["showcase"]
    (board, _) = leaderboard([showcase_run]).boards
    number = board.lines[0].entries[TOP1].number
    assert number is not None
    place, anchor = urldefrag(number_link(number, showcase_run))
    text = (root / place).read_text(encoding="utf-8")
    (row,) = re.findall(rf'<tr id="{anchor}">.*?</tr>', text, re.DOTALL)
    assert "cnn" in row and TOP1 in row
    assert showcase_run.manifest["digest"][:16] in place
    index = (root / "index.html").read_text(encoding="utf-8")
    assert f'href="{place}#{anchor}"' in index
    for page in (
        run_page(showcase_run),
        model_page("cnn"),
        data_page(showcase_run.cards["digits"]),
    ):
        assert page in index


def test_a_site_tells_nothing_that_opens_packs(
    sites: Mapping[str, Path], showcase_run: Run
) -> None:
    whole = "".join(
        path.read_text(encoding="utf-8") for path in sites["showcase"].rglob("*") if path.is_file()
    )
    for card in showcase_run.cards.values():
        assert card.fingerprint not in whole
    # A failure's own words may quote a sample.
    assert "could not convert string" not in whole
    assert "the run itself says why" in whole


def test_equal_runs_make_equal_sites(showcase_run: Run, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_site([showcase_run, showcase_run], tmp_path / folder, ranked=False)
    first, second = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    )
    assert first == second


def test_a_model_has_its_history(
    two_models: Callable[..., Run], tmp_path: Path, builder: Callable[[str], Any]
) -> None:
    runs = []
    for position, hits in enumerate((150, 160, 171)):
        run = two_models(f"run{position}", {"cnn": hits}, fingerprints={"cnn": {"w": str(hits)}})
        event = {"time": 1_700_000_000 + 86_400 * position, "event": "started"}
        run.layout.events.write_text(json.dumps(event) + "\n", encoding="utf-8")
        runs.append(Run(run.root))
    notes = Notes.model_validate({"rows": [{"model": "cnn", "run": "run0", "withdrawn": "leak"}]})
    write_site(runs, tmp_path / "site", ranked=False, notes=notes)
    page = (tmp_path / "site" / model_page("cnn")).read_text(encoding="utf-8")
    (picture,) = re.findall(r'<svg class="plot".*?</svg>', page, re.DOTALL)
    assert picture.count("<circle") == 3 and picture.count('stroke-opacity="0.6"') == 3
    assert "days since 2023-11-14 22:13" in picture
    assert "3 values of Accuracy, from 75.0 [68.6, 80.5] on 2023-11-14 to 85.5" in page
    # Newest first, one run a row.
    assert re.findall(r"<bdi>(run\d)</bdi>", page) == ["run2", "run1", "run0"]
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert '<tr class="retired">' in index and "leak" in index


def test_a_site_needs_runs_and_a_folder(showcase_run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one run"):
        write_site([], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder"):
        write_site([showcase_run], tmp_path / "file")


def test_the_notes_on_single_numbers_are_folded_away(sites: Mapping[str, Path]) -> None:
    text = (sites["showcase"] / "index.html").read_text(encoding="utf-8")
    folded = re.findall(r"<details>\n<summary>What to know of single numbers \((\d+)\)", text)
    assert folded and all(int(count) > 0 for count in folded)
    for page in _Page(sites["showcase"] / "index.html").links:
        assert page != "index.html", "the index links to its parts, not to itself"
    for path in sites["showcase"].glob("*/*.html"):
        assert "../index.html" in _Page(path).links, path
