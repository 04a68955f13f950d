"""The one place that holds an answer's sentences: a file beside this one.

After a change of words that is meant, `WRITE_WORDS=1 pytest tests/study/analysis/test_words.py`
writes the file anew; read what changed before it is committed.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

from study.analysis.answer import Answer, Finding, Selection
from study.analysis.caveats import ExecutionGroup, Mixture, Tied
from study.analysis.comparison import Comparison, Lacking, unknown
from study.analysis.conclusion import as_values, from_values
from study.analysis.contrasts import Contrast
from study.analysis.exploration import BestLevel, Decomposition, Exploration, Level, Part
from study.analysis.verdicts import Judgement
from study.analysis.words import REMARKS, converted_words, words
from trainables.storage.atomic import seal, unseal

SNAPSHOT = Path(__file__).parent / "words.txt"

EFFECT = Comparison(
    what="alpha=0.5 minus alpha=0",
    per="",
    by_seed=dict.fromkeys(range(5), 0.02),
    effect=0.02,
    interval=(0.012, 0.028),
    bootstrap=(0.011, 0.029),
    p=0.0004,
    p_equivalent=0.9,
    clusters=240,
    detectable=0.009,
    seeds_needed=7,
    note="",
    lacking=(),
)


def finding(name: str, judgement: Judgement, *comparisons: Comparison, metric: str) -> Finding:
    return Finding(name, metric, 0.01, "a reason", comparisons, judgement, post_hoc=False)


def every() -> Answer:
    """An answer with everything that an answer can say."""
    small = replace(EFFECT, clusters=20)
    ranks = replace(EFFECT, effect=-3.25, interval=(-4.5, -2.0), detectable=1.5)
    point = replace(
        unknown(Contrast(EFFECT.what, {}), "one seed: an effect without uncertainty"),
        by_seed={3: 0.01},
        effect=0.01,
        clusters=240,
        lacking=(Lacking("alpha=0", (2, 6)), Lacking("untrained", ()), Lacking("b", (), "map/t2i")),
    )
    nothing = unknown(Contrast("alpha=1 minus alpha=0", {}), "no seed has a result in all cells")
    findings = (
        finding("large", Judgement("supported", 0.0008, 1, 0, "large"), EFFECT, metric="map/multi"),
        replace(
            finding(
                "late",
                Judgement("undecided", 0.06, 0.2, 0, "uncorrected"),
                small,
                replace(small, what="alpha=0.5 minus alpha=1", detectable=0.02),
                replace(small, detectable=0.02, seeds_needed=None),
                metric="map/mono",
            ),
            post_hoc=True,
        ),
        finding(
            "ranks", Judgement("contradicted", 0.002, 1, 0, "maybe small"), ranks,
            metric="rank_distance",
        ),
        finding(
            "inside", Judgement("equivalent", 0.04, 0.01, 0, "significant"), EFFECT,
            metric="map/cross",
        ),
        finding("few", Judgement("undecided", 0.1, 1, 0, "few seeds"),
                replace(EFFECT, by_seed={0: 0.02, 1: 0.02}), metric="map/cross"),
        finding(
            "unknown", Judgement("undecided", None, None, 0, "no interval"), point, nothing,
            metric="map/t2i",
        ),
    )  # fmt: skip
    best = BestLevel(
        factor="batch_size",
        metric="map/multi",
        levels=(Level(8, 0.4, 0.01), Level(16, 0.5, 0.3), Level(32, 0.51, 0.69)),
        averaged=("alpha",),
        seeds=3,
        clusters=48,
        note="",
        at_edge=True,
    )
    parts = (Part("alpha", 0.9, 0.02), Part("residual", 0.094, 0.094), Part("seed", 0.006, 0.01))
    exploration = Exploration(
        (best, BestLevel("alpha", "map/multi", (), (), 0, 0, "fewer than two seeds")),
        "",
        Decomposition("map/multi", parts, trials=18, filled=2, distinct=16),
    )
    tie = Tied("d" * 20, "alpha=0.5, seed 1", "map/multi", 0.41234, 0.4, 0.42)
    return Answer(
        study="s",
        question="Which mixing ratio?",
        findings=findings,
        trials=20,
        with_result=18,
        fixed={"benchmark": "toy", "steps": 10, "languages": None},
        marks=("post hoc: margins changed after results",),
        selected=Selection("map/multi", {"alpha=0.5": {"learning_rate": 0.001}}),
        exploration=exploration,
        tied=(tie,) * 7,
        mixed=Mixture((ExecutionGroup(("torch 2.13.0",), 17), ExecutionGroup((), 1)), 1),
    )


def bare() -> Answer:
    """An answer with as little as there can be."""
    variance = Decomposition("map/multi", (Part("alpha", 1.0, None),), 2, 0, 2)
    return Answer(
        "bare",
        "Which?",
        (),
        0,
        0,
        {},
        (),
        exploration=Exploration((), "none", variance),
    )


def test_the_words_are_these() -> None:
    sections = [words(every()), words(bare()), converted_words({"squad": 12})]
    text = "\n\n".join("\n".join(lines) for lines in sections) + "\n"
    if os.environ.get("WRITE_WORDS"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8")


def test_the_snapshot_has_every_remark() -> None:
    assert {one.judgement.remark for one in every().findings} | {""} == set(REMARKS)


def test_an_answer_comes_back_from_its_values() -> None:
    for answer in (every(), bare()):
        again = from_values(unseal(seal(as_values(answer))))
        assert again == answer
        assert again is not None
        assert asdict(again) == asdict(answer)
