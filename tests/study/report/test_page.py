"""The report in a real browser: nothing cut off, nothing fetched, no fault that axe-core finds."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.study.analysis.planned import hypothesis
from tests.study.report.studies import Scores, noisy, study
from tests.study.test_ui import CHROMIUM_FLAGS
from tests.trainables.evaluation.toys import parallel

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.ui]

AXE = Path(__file__).parents[3] / ".axe/node_modules/axe-core/axe.min.js"
ELEVEN = ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"]

# Elements whose text is wider or higher than they are, though nothing lets it be moved.
CLIPPED = """
() => [...document.querySelectorAll('h1,h2,h3,p,li,summary,pre,.card,td,th')].filter(e => {
  const style = getComputedStyle(e);
  if (style.position === 'absolute' || !e.offsetParent) return false;
  const wide = e.scrollWidth > e.clientWidth + 1 && style.display !== 'inline';
  return wide && e.clientWidth > 0 && style.overflowX !== 'auto';
}).map(e => e.outerHTML.slice(0, 120))
"""
# Text of a drawing that reaches beyond its frame.
OUTSIDE = """
() => [...document.querySelectorAll('svg text')].filter(e => {
  const box = e.getBoundingClientRect(), frame = e.ownerSVGElement.getBoundingClientRect();
  return box.left < frame.left - 1 || box.right > frame.right + 1
    || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
}).map(e => e.textContent)
"""
WIDE = "() => [document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
SMALLEST = """
() => Math.min(...[...document.querySelectorAll('svg text')].map(
  e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a study of eleven languages with long names, a failure and a late mark."""
    root, toy = tmp_path_factory.mktemp("root"), parallel(ELEVEN, 8, 10)
    arms: dict[Any, Sequence[Scores]] = {
        level: [
            None if (level, seed) == (0.75, 2) else noisy(toy, 10 * place + seed, 1 + place)
            for seed in range(5)
        ]
        for place, level in enumerate((0, 0.25, 0.5, 0.75, 1))
    }
    declared = [
        hypothesis(
            name="hybrid batches beat batches of one language in multilingual retrieval",
            better={"alpha": 0.5},
            than=[{"alpha": 0}, {"alpha": 0.25}],
        ),
        hypothesis(name="less rank distance", metric="rank_distance", margin=1.0),
    ]
    name = "a-study-with-a-name-that-is-much-longer-than-a-telephone-is-wide-and-has-no-blank"
    made = study(root, toy, arms, declared, name=name, space="mixing_ratio")
    made.note("planning", mark="post hoc: margins changed after results", late=["h"])
    made.write()
    return root / "reports" / name / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium that was installed on this machine."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def opened(browser: Browser, report: Path, width: int, scheme: str) -> tuple[Page, list[str]]:
    """The report in a window, and every address that it asks for."""
    colours: Literal["dark", "light"] = "dark" if scheme == "dark" else "light"
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=colours, bypass_csp=True
    )
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    if scheme == "print":
        page.emulate_media(media="print", color_scheme="dark")
    return page, asked


SIGHTS = [(width, scheme) for width in (390, 1280) for scheme in ("light", "dark")]


@pytest.mark.parametrize(("width", "scheme"), [*SIGHTS, (700, "print")])
def test_everything_can_be_read(
    browser: Browser, report: Path, width: int, scheme: str, tmp_path: Path
) -> None:
    page, asked = opened(browser, report, width, scheme)
    page.screenshot(path=tmp_path / f"{width}-{scheme}.png", full_page=True)
    whole, window = page.evaluate(WIDE)
    assert whole <= window
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(SMALLEST) >= 8.5
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme != "dark")
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), SIGHTS)
def test_axe_finds_no_serious_fault(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    if not AXE.exists():
        pytest.skip("no axe-core (make axe installs it from npm)")
    page, _ = opened(browser, report, width, scheme)
    page.evaluate("() => document.querySelectorAll('details').forEach(e => { e.open = true })")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    faults = [
        (fault["id"], fault["impact"], fault["nodes"][0]["html"][:200], len(fault["nodes"]))
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert faults == []
    assert len(found["passes"]) > 10
    page.context.close()


def test_it_can_be_read_with_keys_alone(browser: Browser, report: Path) -> None:
    page, _ = opened(browser, report, 390, "light")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the answer"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "main"
    levels = page.evaluate("() => [...document.querySelectorAll('h1,h2,h3')].map(e => e.tagName)")
    assert levels.count("H1") == 1
    assert all(b <= f"H{int(a[1]) + 1}" for a, b in itertools.pairwise(levels))
    moved = "e => { e.scrollLeft = 0; e.focus(); return e.scrollWidth > e.clientWidth }"
    table = page.locator("section > .scroll").first
    assert table.evaluate(moved)
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.activeElement.scrollLeft > 0")
    page.context.close()


def test_it_can_be_printed(browser: Browser, report: Path) -> None:
    page, _ = opened(browser, report, 1280, "dark")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.context.close()
