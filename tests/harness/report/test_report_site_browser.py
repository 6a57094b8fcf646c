"""The site in a browser: from files alone, on a phone, in the dark, by keyboard, read aloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from crucibench.report.leaderboard import leaderboard
from crucibench.report.site import write_site
from crucibench.report.site.links import data_page, model_page, run_page
from crucibench.report.site.write import leaderboard_page
from crucibench.store.run import Run

pytestmark = [pytest.mark.sockets]


def _pages(root: Path, run: Run) -> list[Path]:
    """The index, and a page of each kind."""
    model = next(iter(run.models))[0]
    parts = [run_page(run), model_page(model), data_page(next(iter(run.cards.values())))]
    return [root / name for name in ("index.html", *parts)]


def _grave(found: Mapping[str, Any]) -> list[Any]:
    return [
        (entry["id"], [node["html"][:200] for node in entry["nodes"][:3]])
        for entry in found["violations"]
        if entry["impact"] in {"moderate", "serious", "critical"}
    ]


@pytest.mark.parametrize("name", ["showcase", "hostile"])
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_pages_open_without_network_errors_or_overflow(
    browser: Any, sites: Mapping[str, Path], name: str, width: int, scheme: str
) -> None:
    root = sites[name]
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: troubles.append(request.url)
            if not request.url.startswith((root.as_uri(), "data:")) else None)  # fmt: skip
    for path in sorted(root.rglob("*.html")):
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        head = "getComputedStyle(document.querySelector('header.head')).maxWidth"
        assert page.evaluate(head) != "none", "the style sheet is there"
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground != "rgb(255, 255, 255)") is (scheme == "dark")
    page.goto(f"{(root / 'index.html').as_uri()}#%")
    assert troubles == [], "an address that is none does no harm either"
    context.close()


def test_axe_finds_nothing_but_would_find_a_planted_fault(
    browser: Any, sites: Mapping[str, Path], showcase_run: Run
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page = browser.new_context().new_page()
    # Contrast takes axe many seconds, and has a test of its own.
    options = {"preload": False, "rules": {"color-contrast": {"enabled": False}}}
    for path in _pages(sites["showcase"], showcase_run):
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        found = axe.Axe().run(page, options=options).response
        assert len(found["passes"]) > 20
        assert _grave(found) == [], path
    page.evaluate("document.querySelector('.sort').removeAttribute('aria-label')")
    found = axe.Axe().run(page, options={"runOnly": ["button-name"], "preload": False}).response
    assert [entry["id"] for entry in found["violations"]] == ["button-name"]
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_ground_differ_enough(
    browser: Any, sites: Mapping[str, Path], scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page = browser.new_context(color_scheme=scheme).new_page()
    page.goto((sites["showcase"] / "index.html").as_uri())
    options = {"runOnly": ["color-contrast"], "preload": False}
    assert _grave(axe.Axe().run(page, options=options).response) == []
    page.context.close()


def test_tables_sort_by_mouse_and_keyboard(
    browser: Any, sites: Mapping[str, Path], showcase_run: Run
) -> None:
    page = browser.new_context().new_page()
    own = sites["showcase"].parent / "leaderboard.html"
    own.write_text(leaderboard_page(leaderboard([showcase_run])), encoding="utf-8")
    for address in ((sites["showcase"] / "index.html").as_uri(), own.as_uri()):
        page.goto(address)
        rows = "[...document.querySelector('table.sorts').querySelectorAll('tbody th')]"
        shown = f"{rows}.map(one => one.textContent.trim())"
        before = page.evaluate(shown)
        assert before == ["cnn", "cnn-robust", "mlp"]
        button = page.locator("table.sorts").first.locator("thead button.sort").nth(1)
        button.click()
        assert page.evaluate(shown) == before, "accuracy, the best first"
        button.focus()
        page.keyboard.press("Enter")
        assert page.evaluate(shown) == before[::-1], "then the worst"
    page.context.close()


def test_a_long_table_is_filtered(
    browser: Any, sites: Mapping[str, Path], showcase_run: Run
) -> None:
    page = browser.new_context().new_page()
    page.goto((sites["showcase"] / run_page(showcase_run)).as_uri())
    section = page.locator("section[aria-labelledby=cells]")
    rows = section.locator("tbody tr:not([hidden])")
    every = rows.count()
    assert every > 8
    section.locator(".filter input").fill("mlp accuracy")
    left = rows.count()
    assert 0 < left < every
    assert all("mlp" in text for text in rows.all_inner_texts())
    assert section.locator(".filter output").text_content() == f"{left} of {every} rows"
    page.context.close()


def test_a_history_is_drawn_within_its_frame(
    browser: Any, two_models: Callable[..., Run], tmp_path: Path
) -> None:
    runs = []
    for position, hits in enumerate((150, 160, 171)):
        run = two_models(f"run{position}", {"cnn": hits}, fingerprints={"cnn": {"w": str(hits)}})
        event = {"time": 1_699_970_000 + 3_600 * position, "event": "started"}
        run.layout.events.write_text(json.dumps(event) + "\n", encoding="utf-8")
        runs.append(Run(run.root))
    write_site(runs, tmp_path / "site", ranked=False)
    page = browser.new_context(viewport={"width": 360, "height": 800}).new_page()
    page.goto((tmp_path / "site" / model_page("cnn")).as_uri())
    picture = page.locator("svg.plot").first
    frame = picture.bounding_box()
    for mark in picture.locator("circle, text").all():
        box = mark.bounding_box()
        assert frame["x"] - 1 <= box["x"]
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
    page.context.close()
