from __future__ import annotations

import csv
import io
import json
import os
import re
import statistics
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from study.report.sections.published import PUBLISHED
from tests.study.analysis.planned import hypothesis
from tests.study.report.studies import (
    PARALLEL,
    PARTLY,
    Scores,
    Study,
    noisy,
    partly_parallel,
    questions_in_two_languages,
    study,
)
from tests.trainables.evaluation.toys import parallel

MANY = parallel(["de", "en", "fr"], 12, 12)


def arms(
    seeds: int, gain: float = 3.0, keep: Callable[[int, int], bool] = lambda level, seed: True
) -> dict[int, Sequence[Scores]]:
    """Levels 0 and 1, of which the second is better by `gain`."""
    return {
        level: [
            noisy(MANY, 10 * level + seed, 1 + gain * level) if keep(level, seed) else None
            for seed in range(seeds)
        ]
        for level in (0, 1)
    }


def honest(made: Study) -> dict[str, str]:
    """The report, in which no number may be one that is none."""
    files = made.write()
    for name, text in files.items():
        shown = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
        # a failed trial's own reason may be nan
        shown = shown.replace("nan: the loss of step 3 is nan", "")
        assert not re.search(r"(?<!\w)(nan|NaN|[Ii]nf|Infinity|None(?! found))(?!\w)", shown), name
    return files


def test_figures_of_a_parallel_benchmark_by_hand(tmp_path: Path) -> None:
    made = study(tmp_path, questions_in_two_languages(), {0: [PARALLEL], 1: [PARALLEL]})
    [first, second] = made.table("cells")
    assert first[:2] == ["alpha=0", 1]
    means = [one["mean"] for one in first[2:]]
    multi = ((1 + 1 / 2) / 2 + (7 / 12 + 5 / 6) / 2) / 2
    assert means == pytest.approx([3 / 4, (3 / 4 + 1) / 2, multi, 3 / 2])
    assert second[2:] == first[2:]
    pairs = made.table("pairs/alpha=0")
    assert pairs[0] == ["de", pytest.approx(3 / 4), pytest.approx(3 / 4)]
    assert pairs[1] == ["en", pytest.approx(1), pytest.approx(3 / 4)]
    by_language = {row[0]: row[1] for row in made.table("bias/rank_distance")}
    assert by_language == {"de": 3 / 2, "en": 3 / 2}
    # in the pool, de's candidates stand at 1 and 2 for German, 3 and 3 for English queries
    ranks = {row[0]: row[1] for row in made.table("bias/mean_rank")}
    assert ranks == {"de": ((1 + 2) / 2 + (3 + 3) / 2) / 2, "en": ((2 + 4) / 2 + (2 + 1) / 2) / 2}
    text = made.write()["report.html"]
    for value in (*means[:3],):
        assert f"{value:.4f}" in text
    assert f"{means[3]:.1f}" in text


def test_figures_of_a_partly_parallel_benchmark_by_hand(tmp_path: Path) -> None:
    made = study(tmp_path, partly_parallel(), {0: [PARTLY], 1: [PARTLY]})
    [first, _] = made.table("cells")
    mono = ((1 + 1 / 2 + 1 / 3) / 3 + 1) / 2
    multi = ((3 / 4 + 1 / 2 + 1 / 3) / 3 + 3 / 4) / 2
    assert [one["mean"] for one in first[2:]] == pytest.approx([mono, (1 + 1 / 3) / 2, multi, 3])


def test_every_number_is_in_the_csv(tmp_path: Path) -> None:
    made = study(tmp_path, MANY, arms(2))
    lines = list(csv.DictReader(io.StringIO(made.write()["report.csv"])))
    digest = made.plan.cells[0].trials[1].digest
    of_trial = {
        (line["metric"], line["setting"], line["language"]): float(line["value"])
        for line in lines
        if line["digest"] == digest and line["part"] == "test"
    }
    from study.state.committed import committed_results

    metrics = committed_results(tmp_path, [digest])[digest]["metrics"]
    assert len(of_trial) == len(metrics)
    assert of_trial["map", "cross", "de-fr"] == metrics["map/cross/de-fr"]
    assert of_trial["map", "multi", ""] == metrics["map/multi"]
    assert of_trial["rank_distance", "", "fr"] == metrics["rank_distance/fr"]
    of_cell = {
        line["statistic"]: float(line["value"])
        for line in lines
        if line["kind"] == "cell"
        and line["name"] == made.plan.cells[0].label
        and (line["metric"], line["setting"], line["part"]) == ("map", "multi", "test")
    }
    seeds = committed_results(tmp_path, [trial.digest for trial in made.plan.cells[0].trials])
    values = [result["metrics"]["map/multi"] for result in seeds.values()]
    assert of_cell["mean"] == pytest.approx(statistics.fmean(values))
    assert of_cell["standard deviation"] == pytest.approx(statistics.stdev(values))
    assert of_cell["n"] == 2
    told = {line["statistic"]: line["value"] for line in lines if line["kind"] == "hypothesis"}
    answer = json.loads((tmp_path / "reports" / "by-hand" / "answer.json").read_bytes())
    [one] = answer["findings"][0]["comparisons"]
    assert float(told["effect"]) == one["effect"]
    assert float(told["interval high"]) == one["interval"][1]


def test_an_effect_of_five_seeds_is_supported_and_drawn(tmp_path: Path) -> None:
    files = honest(study(tmp_path, MANY, arms(5)))
    assert '<span class="verdict">✓ supported</span>' in files["report.html"]
    assert "### h: supported (at least as large as matters)" in files["report.md"]
    titles = re.findall(r'<svg [^>]*aria-label="([^".]*)', files["report.html"])
    for start in ("Differences in map", "map/mono over alpha", "map of alpha=1", "map, alpha=1"):
        assert any(title.startswith(start) for title in titles), (start, titles)
    for title in ("Rank distance by query language", "Parallel coordinates"):
        assert title in titles


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "\x9b31m", "\u202egnirts"])
def test_no_report_holds_what_a_terminal_would_obey(tmp_path: Path, text: str) -> None:
    made = study(tmp_path, MANY, arms(2), question=f"Why {text}[/b]?")
    for name, content in made.write().items():
        assert text[0] not in content, name


def test_one_seed(tmp_path: Path) -> None:
    files = honest(study(tmp_path, MANY, arms(1)))
    assert "? undecided" in files["report.html"]
    assert "Every arm has the one seed 0" in files["report.html"]
    assert "one seed: an effect without uncertainty" in files["report.html"]


def test_one_trial(tmp_path: Path) -> None:
    files = honest(study(tmp_path, MANY, arms(1, keep=lambda level, seed: level == 1)))
    assert "1 of 2 planned trials have a result. 1 failed" in files["report.html"]
    assert "no seed has a result in all of its cells" in files["report.html"]


def test_all_failed(tmp_path: Path) -> None:
    made = study(tmp_path, MANY, arms(3, keep=lambda level, seed: False))
    files = honest(made)
    assert "0 of 6 planned trials have a result. 6 failed" in files["report.html"]
    assert "No trial has a result, so nothing can be said" in files["report.html"]
    assert "? undecided" in files["report.html"]
    assert [row[3] for row in made.table("failures")] == ["nan: the loss of step 3 is nan"] * 6


def test_all_equal(tmp_path: Path) -> None:
    files = honest(study(tmp_path, MANY, {level: [noisy(MANY, 1, 1)] * 5 for level in (0, 1)}))
    assert "the difference is the same in every seed and cluster" in files["report.html"]
    assert "? undecided" in files["report.html"]


def test_seeds_missing_in_one_arm(tmp_path: Path) -> None:
    made = study(tmp_path, MANY, arms(7, keep=lambda level, seed: level == 0 or seed not in (2, 6)))
    files = honest(made)
    assert "alpha=1 lacks seeds 2, 6" in files["report.html"]
    [row] = made.table("comparisons")
    assert row[-2] == 5
    assert [cell[:2] for cell in made.table("cells")] == [["alpha=0", 7], ["alpha=1", 5]]


def test_no_hypothesis(tmp_path: Path) -> None:
    files = honest(study(tmp_path, MANY, arms(2), []))
    assert "No hypothesis was declared, so nothing is decided." in files["report.html"]


def test_a_factor_without_order_is_a_dot_plot(tmp_path: Path) -> None:
    tables: dict[str, Sequence[Scores]] = {
        name: [noisy(MANY, 10 * place + seed, place) for seed in range(2)]
        for place, name in enumerate(("X-X", "X-Y", "hybrid"))
    }
    declared = hypothesis(better={"sampling": "X-Y"}, than={"sampling": "X-X"})
    files = honest(study(tmp_path, MANY, tables, [declared], "sampling"))
    assert 'aria-label="map/mono of the arms.' in files["report.html"]


def test_what_changed_late_is_marked_beside_the_answer(tmp_path: Path) -> None:
    made = study(tmp_path, MANY, arms(2))
    assert "post hoc" not in made.write()["report.html"]
    made.note("planning", mark="interim look: seeds were added after results")
    assert "<li>interim look: seeds were added after results</li>" in made.write()["report.html"]
    made.note("planning", mark="post hoc: margins changed", late=["h"])
    files = made.write()
    answer = files["report.html"].partition('id="comparison-of-the-cells"')[0]
    for text in ("interim look: seeds were added", "post hoc: margins changed"):
        assert text in answer
        assert text in files["report.md"].partition("## Comparison")[0]
    assert '<span class="mark6">post hoc</span>' in answer
    assert "### h [post hoc]: undecided" in files["report.md"]


def test_it_is_written_again_only_when_something_changed(tmp_path: Path) -> None:
    made = study(tmp_path, MANY, arms(2))
    made.write()
    page = tmp_path / "reports" / "by-hand" / "report.html"
    before = page.stat()
    made.write()
    assert os.path.samestat(page.stat(), before)
    page.write_text("changed by hand")
    assert made.write()["report.html"] != "changed by hand"
    before = page.stat()
    made.note("planning", mark="interim look: seeds were added after results")
    made.write()
    assert not os.path.samestat(page.stat(), before)
    page.unlink()
    assert "<h1>" in made.write()["report.html"]


def test_nothing_to_do_imports_nothing_that_draws_or_infers(tmp_path: Path) -> None:
    import subprocess
    import sys

    study(tmp_path, MANY, arms(2)).write()
    code = (
        "import sys; from study.cli.report import report; "
        f"report('by-hand', {str(tmp_path)!r}); "
        "print(*({'scipy', 'torch', 'ray', 'mlflow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


class Links(HTMLParser):
    """Every element, and everything that could be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "srcset", "action", "data", "xlink:href", "poster"):
                self.fetched.append(value or "")


def test_nothing_is_fetched_and_what_users_wrote_is_text(tmp_path: Path) -> None:
    nasty = '<script src="http://evil.example/x.js">alert(1)</script> & "quoted"'
    declared = [hypothesis(name=nasty)]
    made = study(tmp_path, MANY, arms(2), declared, question=f"Why {nasty}?")
    page = made.write()["report.html"]
    parser = Links()
    parser.feed(page)
    assert "script" not in parser.elements
    assert all(value.startswith(("#", "data:,")) for value in parser.fetched), parser.fetched
    assert not re.search(r"url\(|@import|http-equiv=.(?!Content-Security)", page)
    assert "&lt;script src=" in page
    assert "<script" not in made.write()["report.md"].replace(r"\<script", "")


def test_published_means_stand_beside_those_of_the_same_question_only(tmp_path: Path) -> None:
    made = study(tmp_path / "a", MANY, arms(2), space="mixing_ratio", test="xquad_r")
    rows = made.table("published")
    ours = [row[:3] for row in rows if row[2].startswith("this study")]
    assert ours == [
        [f"{sampling}, embedded/small", "xquad_r", "this study, mean of 2 seeds"]
        for sampling in ("X-Y", "X-X")
    ]
    theirs = [row for row in rows if row[2] == "published, single run"]
    assert len(theirs) == sum(map(len, PUBLISHED.values()))
    assert ["X-X, XLM-R", "xquad_r", "published, single run", 0.7918, 0.6737, 0.5479, 410.2] in rows
    assert "single run" in made.write()["report.html"]
    other = study(tmp_path / "b", MANY, arms(2), space="mixing_ratio")
    assert "They are about other data than this study" in other.write()["report.html"]
    asks_else = study(tmp_path / "c", MANY, arms(2), space="batch_size")
    assert "2408.10536" not in asks_else.write()["report.html"]
