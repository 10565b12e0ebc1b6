"""The report in a real browser, at desktop and phone width: what a reader sees, presses, saves and prints."""

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cllora.analysis import Results as Runs
from cllora.analysis import Run
from cllora.analysis import results as read_runs
from cllora.reports import Figure
from cllora.reports.page import page as draw
from cllora.reports.section import in_order
from support.reports import drawn
from support.synthetic import make_study, write_study

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {1280: 900, 390: 844}
SLOW = 120_000
"""Milliseconds that a busy machine is given."""


def cannot(why: str) -> None:
    """Skip, with the reason; where a browser was promised, fail."""
    if os.environ.get("CI_NEEDS_BROWSER") == "1":
        pytest.fail(f"{why}, and CI_NEEDS_BROWSER is 1")
    pytest.skip(f"{why}; the report was not tested in a browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        cannot("there is no chromium on the path")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        cannot("playwright is not installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=SLOW)
        yield started
        started.close()


def failing(run: Run) -> Run:
    """The run with a global loss that swings, and a client that learns nothing."""
    curve, clients = run.tables.curve, run.tables.clients
    curve = curve.assign(loss=curve["loss"] + 0.3 * (curve["round"] % 2))
    worst = clients["change"].where(clients["client"] != 0, 0.3 * (clients["round"] > 0))
    return replace(run, tables=replace(run.tables, curve=curve, clients=clients.assign(change=worst)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    study = make_study((0.1, "iid"), num_seeds=2, rounds=7)
    read = read_runs(write_study(tmp_path_factory.mktemp("runs") / "study", study))
    return replace(read, members=[failing(run) if run.labels["alpha"] == "0.1" else run for run in read.members])


@pytest.fixture(scope="module")
def made(runs: Runs) -> dict[str, Figure]:
    found = {name: drawn(name, runs) for name in in_order()}
    return {name: figure for name, figure in found.items() if figure.measured}


@pytest.fixture(scope="module")
def file(runs: Runs, made: dict[str, Figure], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(draw(runs, made), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=WIDTHS, ids=lambda width: f"{width}px")
def seen(request: pytest.FixtureRequest, browser: Any, file: Path) -> Iterator[Any]:
    """The drawn page at one width; what it complained of, and what it asked a network for, are its `complaints`."""
    width = request.param
    # Without scrolling by and by, during which what is pointed at moves away.
    context = browser.new_context(
        viewport={"width": width, "height": WIDTHS[width]}, color_scheme="light", reduced_motion="reduce"
    )
    context.set_default_timeout(SLOW)
    opened = context.new_page()
    opened.complaints = complaints = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
    opened.goto(file.as_uri(), timeout=SLOW)
    opened.wait_for_selector("html[data-drawn]")
    yield opened
    assert complaints == []
    context.close()


def test_the_page_is_small(file: Path) -> None:
    assert file.stat().st_size < 5_000_000


def test_every_chart_is_drawn_and_the_page_is_no_wider_than_the_screen(seen: Any, made: dict[str, Figure]) -> None:
    sizes = seen.evaluate(
        "[...document.querySelectorAll('.plot')].map((p) => {"
        " const box = p.querySelector('.main-svg')?.getBoundingClientRect();"
        " return box ? [box.width, box.height, p.querySelectorAll('path').length] : [0, 0, 0]; })"
    )
    assert len(sizes) == 1 + sum(len(figure.plots) for figure in made.values())
    assert all(width > 200 and height > 100 and paths > 0 for width, height, paths in sizes)
    assert seen.evaluate("document.documentElement.scrollWidth") <= seen.viewport_size["width"]
    assert seen.locator("#plain").count() == 0
    assert seen.complaints == []


def test_charts_and_tables_say_what_they_are(seen: Any) -> None:
    names = seen.evaluate("[...document.querySelectorAll('.plot')].map((p) => [p.role, p.ariaLabel])")
    assert all(role == "img" and len(label) > 20 for role, label in names)
    assert seen.evaluate("[...document.querySelectorAll('th')].every((th) => ['col', 'row'].includes(th.scope))")


def test_a_key_hides_and_shows_its_series_by_mouse_and_by_keyboard(seen: Any) -> None:
    key = seen.locator("#global_loss .key", has_text="0.1")
    drawn = "document.querySelectorAll('#global_loss .plot .scatterlayer .trace').length"
    before = seen.evaluate(drawn)
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    hidden = before - seen.evaluate(drawn)
    # Per chart: two seeds, their mean and the marks of the swinging loss; one of both charts has a band.
    assert hidden == 2 * 4 + 1
    seen.keyboard.press("Tab")
    seen.keyboard.press("Shift+Tab")
    assert seen.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    seen.keyboard.press("Enter")
    assert (key.get_attribute("aria-pressed"), seen.evaluate(drawn)) == ("true", before)


def test_failures_are_marked_where_they_happen(seen: Any, runs: Runs) -> None:
    assert {"global oscillation", "never learns", "fairness collapse"} <= set(runs.signatures["signature"])
    for section, name in (("global_loss", "global oscillation"), ("fairness", "fairness collapse")):
        assert seen.locator(f"#{section} .key", has_text=name).count() == 1
    assert seen.locator("#signatures .key", has_text="never learns").count() == 1


def test_the_numbers_open_and_values_show_on_hover(seen: Any) -> None:
    details = seen.locator("#effects details")
    assert not seen.locator("#effects table").is_visible()
    details.locator("summary").click()
    assert seen.locator("#effects table").is_visible()
    details.locator("summary").click()
    seen.locator("#effects .scatterlayer .point").first.hover(force=True)
    seen.wait_for_selector("#effects .hovertext")
    assert "against" in seen.locator("#effects .hovertext").first.text_content()


def test_every_table_can_be_saved_whole(seen: Any, made: dict[str, Figure]) -> None:
    assert seen.locator(".csv").count() == sum(len(figure.table) > 0 for figure in made.values())
    for name in ("effects", "client_spread"):
        with seen.expect_download() as saved:
            seen.locator(f"#{name} .csv").click()
        assert saved.value.suggested_filename == f"{name}.csv"
        rows = Path(saved.value.path()).read_bytes()
        assert rows == made[name].table.to_csv(index=False).encode()
        assert len(pd.read_csv(io.BytesIO(rows))) == len(made[name].table)


PALE = """() => {
  const ctx = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  const rgba = (css) => {
    ctx.clearRect(0, 0, 1, 1); ctx.fillStyle = css; ctx.fillRect(0, 0, 1, 1);
    return [...ctx.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (el) => {
    for (; el; el = el.parentElement) {
      const c = rgba(getComputedStyle(el).backgroundColor);
      if (c[3] === 255) return c;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const el of document.querySelectorAll("body *")) {
    const own = [...el.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || ["SCRIPT", "STYLE"].includes(el.tagName) || !el.getClientRects().length) continue;
    const style = getComputedStyle(el);
    const [a, b] = [light(rgba(el.closest("svg") ? style.fill : style.color)), light(behind(el))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${el.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


def test_light_and_dark_follow_the_system_and_the_button_and_have_contrast(seen: Any) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = seen.evaluate(background)
    assert seen.evaluate(PALE) == []
    seen.emulate_media(color_scheme="dark")
    seen.wait_for_function("document.getElementById('theme').textContent === 'Light'")
    assert seen.evaluate(background) != light
    assert seen.evaluate(PALE) == []
    seen.locator("#theme").click()
    assert seen.evaluate(background) == light
    seen.emulate_media(color_scheme="light")


def test_on_paper_short_tables_are_open_and_all_is_light_and_as_wide_as_the_page(seen: Any) -> None:
    seen.emulate_media(media="print", color_scheme="dark")
    seen.evaluate("dispatchEvent(new Event('beforeprint'))")
    rows = [len(details.query_selector_all("tbody tr")) for details in seen.query_selector_all("details[open]")]
    assert rows
    assert max(rows) <= 20
    for details in seen.query_selector_all("details:not([open])"):
        assert len(details.query_selector_all("tbody tr")) > 20
        assert not details.is_visible()
    assert not seen.locator("#theme, nav, .csv").first.is_visible()
    widths = seen.evaluate("[...document.querySelectorAll('.plot .main-svg')].map((s) => s.width.baseVal.value)")
    assert max(widths) <= 680
    assert seen.evaluate(PALE) == []
    seen.evaluate("dispatchEvent(new Event('afterprint'))")
    seen.emulate_media(media="screen", color_scheme="light")
    assert seen.locator("details[open]").count() == 0
