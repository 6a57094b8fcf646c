import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crucibench.report.format import DASH
from crucibench.report.html import write_views
from crucibench.store.run import Run

pytestmark = [pytest.mark.sockets]


@pytest.fixture(scope="module")
def reports(showcase_run: Run, hostile_run: Run) -> dict[str, Path]:
    return {name: write_views(run)[0] for name, run in
            (("showcase", showcase_run), ("hostile", hostile_run))}  # fmt: skip


def _unfold(page: Any) -> None:
    """Opens all that is folded; what is drawn then may have folds of its own."""
    for _ in range(2):
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        page.wait_for_function("!document.querySelector('details[open] > template')")


def _open(
    browser: Any, report: Path, *, width: int = 1280, scheme: str = "light"
) -> tuple[Any, list[str]]:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: troubles.append(request.url)
            if request.url != report.as_uri() else None)  # fmt: skip
    page.goto(report.as_uri())
    return page, troubles


@pytest.mark.parametrize("name", ["showcase", "hostile"])
@pytest.mark.parametrize("width", [390, 768, 1366, 1920])
def test_opens_without_network_errors_or_overflow(
    browser: Any, reports: Mapping[str, Path], name: str, width: int
) -> None:
    page, troubles = _open(browser, reports[name], width=width)
    _unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # A table that goes on beyond the edge says so.
    cut = "one => one.scrollWidth > one.clientWidth + 1 && !one.classList.contains('wide')"
    assert page.evaluate(f"[...document.querySelectorAll('.scroll')].filter({cut}).length") == 0
    assert page.evaluate("document.querySelectorAll('script[src], img, iframe').length") == 0
    assert troubles == []
    page.context.close()


def test_axe_finds_nothing(browser: Any, reports: Mapping[str, Path]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page, _ = _open(browser, reports["showcase"])
    _unfold(page)
    # Contrast takes axe many seconds, and has a test of its own.
    options = {"preload": False, "rules": {"color-contrast": {"enabled": False}}}
    found = axe.Axe().run(page, options=options).response
    assert len(found["passes"]) > 20
    assert [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found["violations"]
        if one["impact"] in {"moderate", "serious", "critical"}
    ] == []
    page.context.close()


# What WCAG 2.2 AA asks of text, measured on every element that shows some.
_CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgb(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [255, 255, 255, 1];
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own) continue;
    const style = getComputedStyle(element);
    const ink = rgb(element.closest('svg.plot') ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push([element.tagName, element.className, ratio.toFixed(2)].join(' '));
  }
  return [...new Set(faint)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_reads_on_light_and_dark(
    browser: Any, reports: Mapping[str, Path], scheme: str
) -> None:
    page, troubles = _open(browser, reports["showcase"], scheme=scheme)
    _unfold(page)
    assert page.evaluate(_CONTRAST) == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark is (scheme == "dark")
    assert troubles == []
    page.context.close()


def test_headings_descend_one_by_one_and_plots_have_names(
    browser: Any, reports: Mapping[str, Path]
) -> None:
    page, _ = _open(browser, reports["showcase"])
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(one => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    unnamed = (
        "[...document.querySelectorAll('svg')].filter(one => !one.ariaHidden && !one.ariaLabel)"
    )
    assert page.evaluate(f"{unnamed}.length") == 0
    regions = "[...document.querySelectorAll('[role=group]')].filter(one => !one.ariaLabel)"
    assert page.evaluate(f"{regions}.length") == 0
    page.context.close()


def test_a_number_leads_to_its_definition_and_a_finding_to_its_cell(
    browser: Any, reports: Mapping[str, Path]
) -> None:
    page, _ = _open(browser, reports["showcase"])
    page.locator("table.card a.metric").first.click()
    target = page.locator(":target")
    assert "The share of samples whose predicted class is right." in target.inner_text()
    page.locator("a.cell").first.click()
    # The row stands in a folded table: the browser opens it.
    assert page.locator("tr:target").is_visible()
    page.context.close()


def test_data_behind_a_plot_downloads(browser: Any, reports: Mapping[str, Path]) -> None:
    page, _ = _open(browser, reports["showcase"])
    assert page.locator("section.part").count() == 0, "drawn when it is opened"
    _unfold(page)
    with page.expect_download() as found:
        page.locator("section.part figure a.download").first.click()
    assert found.value.suggested_filename.endswith(".csv")
    text = Path(found.value.path()).read_text(encoding="utf-8")
    assert text.startswith("bin_lower,bin_upper,count,mean_confidence,accuracy")
    page.context.close()


def test_prints_the_summary_alone(browser: Any, reports: Mapping[str, Path]) -> None:
    page, _ = _open(browser, reports["showcase"])
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    for part in ("gaps", "provenance", "definitions"):
        assert not page.locator(f"#{part}").is_visible()
    assert page.locator("#decision").is_visible()
    assert page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n") <= 3
    page.context.close()


def _column(table: Any, place: int) -> list[str]:
    return [text.split()[0] for text in table.locator(f"tbody tr > :nth-child({place})")
            .all_inner_texts()]  # fmt: skip


def test_a_table_sorts_by_mouse_and_keyboard_and_returns_to_its_order(
    browser: Any, reports: Mapping[str, Path]
) -> None:
    page, troubles = _open(browser, reports["showcase"])
    table = page.locator("table.card").first
    models = _column(table, 1)
    head = table.locator("thead tr:last-child th").nth(1)
    head.locator("button").click()
    # Of a metric of which more is better, the best stands first.
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in _column(table, 2)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in _column(table, 2)] == sorted(values)
    head.locator("button").press("Space")
    assert head.get_attribute("aria-sort") is None
    assert _column(table, 1) == models
    other = table.locator("thead tr:last-child th").first
    other.locator("button").click()
    assert _column(table, 1) == sorted(models)
    assert page.locator("[aria-sort]").count() == 1
    assert troubles == []
    page.context.close()


def test_what_is_absent_stands_last_whichever_way_a_column_is_sorted(
    browser: Any, reports: Mapping[str, Path]
) -> None:
    page, _ = _open(browser, reports["showcase"])
    table = page.locator("table.card").first
    heads = table.locator("thead tr:last-child th")
    for place in range(1, heads.count()):
        found = _column(table, place + 1)
        if any(text.startswith(DASH) for text in found):
            break
    else:
        raise AssertionError("the showcase has a model without a number")
    for _ in range(2):
        heads.nth(place).locator("button").click()
        assert _column(table, place + 1)[-1].startswith(DASH)
    page.context.close()


def test_a_table_filters_by_words_and_says_how_many_rows_are_left(
    browser: Any, reports: Mapping[str, Path]
) -> None:
    page, troubles = _open(browser, reports["showcase"])
    _unfold(page)
    field = page.get_by_label("Filter rows").first
    line = page.locator(".filter").first
    rows = page.locator(".filter + .scroll tbody").first.locator("tr")
    every = rows.count()
    assert every > 8
    word = rows.nth(3).locator("> *").first.inner_text().split()[0]
    field.fill(word)
    left = [row for row in rows.all() if row.is_visible()]
    assert 0 < len(left) < every
    assert all(word.lower() in row.inner_text().lower() for row in left)
    assert line.locator("output").inner_text() == f"{len(left)} of {every} rows"
    field.fill("no row has this")
    assert not any(row.is_visible() for row in rows.all())
    field.fill("")
    assert all(row.is_visible() for row in rows.all())
    assert line.locator("output").inner_text() == ""
    assert troubles == []
    page.context.close()


def test_without_scripts_every_table_reads_as_it_stands(
    browser: Any, reports: Mapping[str, Path]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(reports["showcase"].as_uri())
    assert page.locator("table.card tbody tr").count() == 6
    assert page.locator("button, input").count() == 0
    context.close()


@pytest.mark.thorough
def test_axe_finds_nothing_serious_but_would_find_a_planted_fault(
    browser: Any, reports: Mapping[str, Path]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page, _ = _open(browser, reports["showcase"])
    _unfold(page)
    # Contrast has a test of its own, in both schemes: axe takes many seconds over it.
    found = axe.Axe().run(page, options={"rules": {"color-contrast": {"enabled": False}}}).response
    assert len(found["passes"]) > 20
    grave = [
        (entry["id"], [node["html"][:200] for node in entry["nodes"][:3]])
        for entry in found["violations"]
        if entry["impact"] in {"serious", "critical"}
    ]
    assert grave == []
    page.evaluate("document.querySelector('.sort').removeAttribute('aria-label')")
    found = axe.Axe().run(page, options={"runOnly": ["button-name"]}).response
    assert [entry["id"] for entry in found["violations"]] == ["button-name"]
    page.context.close()
