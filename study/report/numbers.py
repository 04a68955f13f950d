"""Every number of a study as lines of CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

from study.analysis.answer import Answer
from study.report.material import Material
from trainables.evaluation.metric_names import MEANS

HEADER = (
    *("kind", "name", "digest", "seed", "benchmark", "part"),
    *("metric", "setting", "language", "statistic", "value"),
)

FORMULAS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""With one of these a formula begins, for one spreadsheet or another."""

MOST_LINES = 500_000
"""From here on trials give their means over languages only; `result.json` of each has all."""

Line = tuple[Any, ...]


def to_csv(material: Material) -> str:
    """Hypotheses, then means of cells, then every trial's metrics, counts, training, execution."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    for line in [*_hypotheses(material.answer), *_cells(material), *_trials(material)]:
        value = line[-1]
        if isinstance(value, (int, float)) and math.isfinite(value):
            writer.writerow(map(_inert, line))
    return file.getvalue()


def _inert(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, as OWASP says; numbers stay numbers."""
    begins = isinstance(cell, str) and cell.startswith(tuple(FORMULAS))
    return f"'{cell}" if begins else cell


def named(metric: str) -> tuple[str, str, str, str]:
    """Benchmark (empty for the test's own), measure, setting and language of a metric's name."""
    benchmark, _, rest = metric.rpartition(":")
    measure, *parts = rest.split("/")
    if not parts:
        return benchmark, measure, "", ""
    if parts[0] in MEANS or measure.startswith("map_"):
        return benchmark, measure, parts[0], "/".join(parts[1:])
    return benchmark, measure, "", "/".join(parts)


def _hypotheses(answer: Answer) -> Iterator[Line]:
    for finding in answer.findings:
        _, measure, setting, language = named(finding.metric)
        for one in finding.comparisons:
            low, high = one.interval or (None, None)
            first, last = one.bootstrap or (None, None)
            facts = {
                "effect": one.effect,
                "interval low": low,
                "interval high": high,
                "bootstrap low": first,
                "bootstrap high": last,
                "p": one.p,
                "p of a difference beyond the margin": one.p_equivalent,
                "corrected p": finding.judgement.p,
                "corrected p of a difference beyond the margin": finding.judgement.p_equivalent,
                "margin": finding.margin,
                "clusters": one.clusters,
                "detectable": one.detectable,
                "seeds needed": one.seeds_needed,
            }
            name = f"{finding.hypothesis}: {one.what}"
            place = ("hypothesis", name, "", "", "", "", measure, setting, language)
            yield from ((*place, key, value) for key, value in facts.items())
            for seed, value in one.by_seed.items():
                yield "hypothesis", name, "", seed, *place[4:], "effect of the seed", value


def _cells(material: Material) -> Iterator[Line]:
    """Means over languages, by cell over its seeds, as the tables have them."""
    for cell in material.cells:
        names = dict.fromkeys(name for result in cell.results for name in result["metrics"])
        for metric in names:
            benchmark, measure, setting, language = named(metric)
            summary = cell.summary(metric)
            if language or summary is None:
                continue
            test = material.plan.specs[cell.cell.trials[0].digest].test.name
            place = "cell", cell.cell.label, "", "", benchmark or test, "test"
            facts = (*summary, len(cell.values(metric)))
            for key, value in zip(("mean", "standard deviation", "n"), facts, strict=True):
                yield *place, measure, setting, "", key, value


def _trials(material: Material) -> Iterator[Line]:
    brief = sum(len(r["metrics"]) for r in material.results.values()) > MOST_LINES
    for cell in material.plan.cells:
        for trial in cell.trials:
            if (result := material.results.get(trial.digest)) is None:
                continue
            head = "trial", cell.label, trial.digest, trial.seed
            test = material.plan.specs[trial.digest].test.name
            for part in ("metrics", "validation"):
                for metric, value in result[part].items():
                    benchmark, *rest = named(metric)
                    if not (brief and rest[2]):
                        role = "test" if part == "metrics" else part
                        yield *head, benchmark or test, role, *rest, "mean", value
            for role, counts in ({} if brief else result["counts"]).items():
                for key, value in counts.items():
                    yield *head, test if role == "test" else role, "counts", key, "", "", "n", value
            for tie in (one for one in material.answer.tied if one.trial == trial.digest):
                benchmark, *rest = named(tie.metric)
                where = (*head, benchmark or test, "test", *rest)
                yield *where, "worst of ties", tie.worst
                yield *where, "best of ties", tie.best
            environment = material.environments.get(trial.digest, {})
            costs = {"seconds": environment.get("seconds")} | dict(result["training"])
            for key, value in costs.items():
                yield *head, "", "training", key, "", "", "value", value
