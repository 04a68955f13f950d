"""MLflow's pages in a real browser: the comparison of a study's runs is there to be seen."""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from study.cli.ui import (
    MAX_COMPARED,
    Link,
    comparison,
    free_port,
    links,
    serving,
    ui,
)
from study.report.charts.heatmap import heatmap_page
from study.tracking import MlflowStore, StudyInfo, Tracker, TrialView, default_uri
from trainables.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LANGUAGES = ("l1", "l2", "l3")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOW_MS = 60_000


def trials() -> Iterator[TrialView]:
    """Nine trials as the demo of the mixing ratio leaves them: three samplings, three seeds."""
    means = {"X-X": (1.0, 0.90, 0.28, 420), "hybrid": (0.5, 0.86, 0.42, 212)}
    means["X-Y"] = (0.0, 0.64, 0.50, 125)
    for number, (sampling, (alpha, mono, cross, distance)) in enumerate(means.items()):
        for seed in range(3):
            draw = random.Random(f"{sampling} {seed}")
            metrics = {
                "map/mono": mono + draw.gauss(0, 0.01),
                "map/cross": cross + draw.gauss(0, 0.01),
                "rank_distance": distance + draw.gauss(0, 9),
            }
            metrics |= {f"map/mono/{name}": mono + draw.gauss(0, 0.03) for name in LANGUAGES}
            for one, other in permutations(LANGUAGES, 2):
                metrics[f"map/cross/{one}-{other}"] = cross + draw.gauss(0, 0.03)
            page = heatmap_page(f"{sampling} seed={seed}", metrics)
            assert page is not None
            yield TrialView(
                digest=f"{number * 3 + seed:020x}",
                name=f"{sampling} seed={seed}",
                state="complete",
                reason="",
                params={
                    "cell": sampling,
                    "sampling": sampling,
                    "alpha": alpha,
                    "batch_size": 32,
                    "steps": 1000,
                },
                seed=seed,
                metrics=metrics,
                artifacts={"heatmap.html": page},
                datasets={"train": ("toy:train", "ab" * 32), "test": ("toy:test", "ab" * 32)},
                history=[(n, {"train/loss": 3 / (n + 1)}) for n in range(0, 1001, 100)],
            )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    info = StudyInfo("mixing_ratio-demo", "mixing_ratio", "demo", "Which mixing ratio serves both?")
    tracker = Tracker(partial(MlflowStore, default_uri(folder), info))
    for trial in trials():
        tracker.record(trial)
    assert tracker.close(120) == [], tracker.problem
    return folder


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


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that knows nothing of others: MLflow keeps what was last looked at."""
    context = browser.new_context(viewport={"width": 1500, "height": 2400})
    page = context.new_page()
    page.set_default_timeout(SHOW_MS)
    yield page
    context.close()


def colours(png: bytes) -> int:
    """How many colours a picture has; a chart that was not drawn has next to none."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return len(image.convert("RGB").getcolors(maxcolors=1 << 24) or [])


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[Link]:
    with serving(root, 0, "127.0.0.1") as address:
        [found] = links(root, address)
        yield found


@pytest.mark.slow
@pytest.mark.ui
def test_comparison_shows_parameters_and_map(served: Link, page: Page, tmp_path: Path) -> None:
    page.goto(served.runs)
    page.get_by_text("Comparing 9 Runs from 1 Experiment").wait_for()
    plot = page.locator(".js-plotly-plot").first
    plot.locator(".axis-title").first.wait_for()
    page.get_by_role("link", name="map/cross", exact=True).wait_for()
    # Lines are painted on a canvas after the axes are in the page.
    page.wait_for_timeout(2000)
    page.screenshot(path=tmp_path / "runs.png")
    axes = plot.locator(".axis-title").all_text_contents()
    assert {"sampling", "alpha", "map/mono"} <= set(axes), axes
    assert colours(plot.screenshot()) > 500
    text = page.locator("body").inner_text()
    for trial in trials():
        assert trial.name in text
    rows = [row.split() for row in page.locator("tr").all_inner_texts()]
    samplings = next(row for row in rows if row[:1] == ["sampling"])
    assert set(samplings[1:]) == {"X-X", "hybrid", "X-Y"}


@pytest.mark.slow
@pytest.mark.ui
def test_a_study_is_found_by_its_name(served: Link, page: Page, tmp_path: Path) -> None:
    address = served.runs.partition("/#/")[0]
    page.goto(f"{address}/#/experiments/1/runs")
    page.get_by_text("matching runs").wait_for()
    search = page.get_by_test_id("search-box")
    search.fill("tags.study = 'mixing_ratio-demo' and params.sampling = 'hybrid'")
    search.press("Enter")
    # the three trials, and MLflow adds the study that they belong to
    page.wait_for_function("document.body.innerText.includes('4 matching runs')")
    page.get_by_role("link", name="mixing_ratio-demo").wait_for()
    page.screenshot(path=tmp_path / "filter.png")
    search.fill("tags.study = 'another'")
    search.press("Enter")
    page.wait_for_function("document.body.innerText.includes('0 matching runs')")


@pytest.mark.slow
@pytest.mark.ui
def test_a_metric_is_charted_against_the_mixing_ratio(
    served: Link, page: Page, tmp_path: Path
) -> None:
    page.goto(served.runs)
    page.get_by_role("tab", name="Scatter Plot").click()
    for axis, name in (("X-axis:", "alpha"), ("Y-axis:", "map/cross")):
        page.get_by_label(axis).click()
        page.get_by_role("option", name=name, exact=True).click()
    plot = page.locator(".js-plotly-plot:visible").first
    plot.locator(".ytitle", has_text="map/cross").wait_for()
    page.screenshot(path=tmp_path / "scatter.png")
    assert plot.locator(".xtitle").text_content() == "alpha"
    points = plot.evaluate("plot => plot.data[0].x.map((x, i) => [+x, +plot.data[0].y[i]])")
    expected = [(trial.params["alpha"], trial.metrics["map/cross"]) for trial in trials()]
    drawn = zip(sorted(map(tuple, points)), sorted(expected), strict=True)
    assert all(one == pytest.approx(other) for one, other in drawn)
    assert colours(plot.screenshot()) > 20


@pytest.mark.slow
@pytest.mark.ui
def test_a_heatmap_is_opened(served: Link, page: Page, tmp_path: Path) -> None:
    address, run = served.runs.partition("/#/")[0], served.runs.split("%22")[1]
    page.goto(f"{address}/#/experiments/1/runs/{run}/artifacts")
    page.get_by_text("heatmap.html").first.click()
    shown = page.frame_locator("iframe")
    shown.get_by_role("img").wait_for()
    page.screenshot(path=tmp_path / "heatmap.png")
    assert shown.locator("rect").count() == len(LANGUAGES) ** 2
    assert colours(page.locator("iframe").screenshot()) > 20
    page.goto(f"{address}/#/experiments/1/runs/{run}")
    page.get_by_text("toy:train").wait_for()


def test_a_missing_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no MLflow store .*track NAME.*--root DIR"):
        ui(str(tmp_path), port=0)


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match="Take another port, or --port 0"):
            free_port("127.0.0.1", other.getsockname()[1])


def test_any_free_port() -> None:
    assert free_port("127.0.0.1", 0) > 0


def test_a_comparison_stays_readable() -> None:
    link = comparison("http://127.0.0.1:5000", "7", tuple(f"{n:032x}" for n in range(500)))
    assert link.endswith("&experiments=%5B%227%22%5D")
    assert link.count("%2C") == MAX_COMPARED - 1


@pytest.mark.slow
def test_a_broken_store_is_reported_with_the_log(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database " * 100)
    with (
        pytest.raises(UserError, match=r"(?s)did not start; .*mlflow-ui.log ends with:.*database"),
        serving(tmp_path, 0, "127.0.0.1"),
    ):
        pass


def test_optuna_s_dashboard_is_refused_where_it_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.cli.ui.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed.*pip install '.\[dashboard"):
        ui(str(tmp_path), port=0, optuna=True)
    monkeypatch.setattr("study.cli.ui.find_spec", lambda name: "found")
    with pytest.raises(UserError, match=r"no rows of Optuna \(optuna.db\) here"):
        ui(str(tmp_path), port=0, optuna=True)


def group(leader: int) -> list[int]:
    """Processes of the server that this process has started: those of its session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[3] == str(leader):
                found.append(int(folder.name))
    return found


def megabytes(processes: list[int]) -> float:
    """What they take of the memory, shared pages counted once."""
    lines = [(Path("/proc") / str(n) / "smaps_rollup").read_text() for n in processes]
    return sum(int(text.split("\nPss:")[1].split()[0]) for text in lines) / 1e3


@pytest.mark.slow
def test_the_whole_server_is_small_and_ends(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    launch = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(launch(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    with serving(root, 0, "127.0.0.1") as address:
        links(root, address)
        processes = group(started[0].pid)
        assert len(processes) >= 2
        assert megabytes(processes) < 600
    end = time.monotonic() + 10
    while group(started[0].pid):
        assert time.monotonic() < end, "a process of the server outlived it"
        time.sleep(0.1)


@pytest.mark.slow
def test_the_server_ends_with_the_command(root: Path) -> None:
    code = "import typer; from study.cli.ui import ui; typer.run(ui)"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, "--root", str(root), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as command:
        assert command.stdout is not None
        address = command.stdout.readline().split()[3]
        printed = [command.stdout.readline().split() for _ in range(3)]
        assert [line[:1] for line in printed] == [[], ["mixing_ratio-demo"], ["runs"]]
        assert all(line[1].startswith(address) for line in printed[2:])
        command.terminate()
        assert command.wait(timeout=60) == 143
    port = int(address.rpartition(":")[2])
    end = time.monotonic() + 10
    while socket.socket().connect_ex(("127.0.0.1", port)) == 0:
        assert time.monotonic() < end, "the server outlived its command"
        time.sleep(0.2)
