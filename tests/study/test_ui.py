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
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from study.commands.ui import MAX_COMPARED, Links, comparison, free_port, links, serving, ui
from study.tracking import StudyInfo, Tracker, TrialView, default_uri
from trainables.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Page

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
                history=[(n, {"train/loss": 3 / (n + 1)}) for n in range(0, 1001, 100)],
            )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    info = StudyInfo("mixing_ratio-demo", "mixing_ratio", "demo", "Which mixing ratio serves both?")
    tracker = Tracker(default_uri(folder), info)
    for trial in trials():
        tracker.record(trial)
    assert tracker.close(120) == [], tracker.problem
    return folder


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a headless Chromium that was installed on this machine."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 2400})
        page.set_default_timeout(SHOW_MS)
        yield page
        browser.close()


def colours(png: bytes) -> int:
    """How many colours a picture has; a chart that was not drawn has next to none."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return len(image.convert("RGB").getcolors(maxcolors=1 << 24) or [])


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[Links]:
    with serving(root, 0, "127.0.0.1") as address:
        [found] = links(root, address)
        yield found


@pytest.mark.slow
@pytest.mark.ui
def test_comparison_shows_parameters_and_map(served: Links, page: Page, tmp_path: Path) -> None:
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
def test_charts_show_the_mean_of_every_cell(served: Links, page: Page, tmp_path: Path) -> None:
    page.goto(served.charts)
    page.get_by_text("Mean average precision").first.wait_for()
    bars = page.locator(".js-plotly-plot .barlayer .point")
    # Three cells in each of three charts: mono, cross and rank distance.
    page.wait_for_function("document.querySelectorAll('.barlayer .point').length >= 9")
    page.screenshot(path=tmp_path / "charts.png")
    assert bars.count() == 9
    shown = set(page.locator(".js-plotly-plot .bartext").all_text_contents())
    for sampling in ("X-X", "hybrid", "X-Y"):
        of_cell = [trial for trial in trials() if trial.params["sampling"] == sampling]
        for metric in ("map/mono", "map/cross", "rank_distance"):
            mean = sum(trial.metrics[metric] for trial in of_cell) / len(of_cell)
            assert f"{mean:.2f}" in shown, (sampling, metric, shown)


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


@pytest.mark.slow
def test_the_server_ends_with_the_command(root: Path) -> None:
    code = "import typer; from study.commands.ui import ui; typer.run(ui)"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, "--root", str(root), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as command:
        assert command.stdout is not None
        address = command.stdout.readline().split()[3]
        printed = [command.stdout.readline().split() for _ in range(4)]
        assert [line[:1] for line in printed] == [[], ["mixing_ratio-demo"], ["charts"], ["runs"]]
        assert all(line[1].startswith(address) for line in printed[2:])
        command.terminate()
        assert command.wait(timeout=60) == 143
    port = int(address.rpartition(":")[2])
    end = time.monotonic() + 10
    while socket.socket().connect_ex(("127.0.0.1", port)) == 0:
        assert time.monotonic() < end, "the server outlived its command"
        time.sleep(0.2)
