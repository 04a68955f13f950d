"""Export every number of a study as CSV."""

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
"""First characters that spreadsheets take for the start of a formula."""

MOST_LINES = 500_000
"""Above this number of lines, trials have only means over languages; `result.json` has all."""

Line = tuple[Any, ...]


def to_csv(material: Material) -> str:
    """Export hypotheses, means of cells, and every trial's metrics, counts, training and ties."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    for line in [*_hypotheses(material.answer), *_cells(material), *_trials(material)]:
        value = line[-1]
        if isinstance(value, (int, float)) and math.isfinite(value):
            writer.writerow(map(_inert, line))
    return file.getvalue()


def _inert(cell: Any) -> Any:
    """Quote text that a spreadsheet would run as a formula, as OWASP recommends; keep numbers."""
    is_formula = isinstance(cell, str) and cell.startswith(tuple(FORMULAS))
    return f"'{cell}" if is_formula else cell


def named(metric: str) -> tuple[str, str, str, str]:
    """Split a metric's name into benchmark (empty for the test's), measure, setting, language."""
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
        for comparison in finding.comparisons:
            low, high = comparison.interval or (None, None)
            first, last = comparison.bootstrap or (None, None)
            facts = {
                "effect": comparison.effect,
                "interval low": low,
                "interval high": high,
                "bootstrap low": first,
                "bootstrap high": last,
                "p": comparison.p,
                "p of a difference beyond the margin": comparison.p_equivalent,
                "corrected p": finding.judgement.p,
                "corrected p of a difference beyond the margin": finding.judgement.p_equivalent,
                "margin": finding.margin,
                "clusters": comparison.clusters,
                "detectable": comparison.detectable,
                "seeds needed": comparison.seeds_needed,
            }
            name = f"{finding.hypothesis}: {comparison.what}"
            prefix = ("hypothesis", name, "", "", "", "", measure, setting, language)
            yield from ((*prefix, key, value) for key, value in facts.items())
            for seed, value in comparison.by_seed.items():
                yield "hypothesis", name, "", seed, *prefix[4:], "effect of the seed", value


def _cells(material: Material) -> Iterator[Line]:
    """Yield macro means per cell over its seeds, as in the tables."""
    for cell in material.cells:
        names = dict.fromkeys(name for result in cell.results for name in result["metrics"])
        for metric in names:
            benchmark, measure, setting, language = named(metric)
            summary = cell.summary(metric)
            if language or summary is None:
                continue
            test = material.plan.specs[cell.cell.trials[0].digest].test.name
            prefix = "cell", cell.cell.label, "", "", benchmark or test, "test"
            facts = (*summary, len(cell.values(metric)))
            for key, value in zip(("mean", "standard deviation", "n"), facts, strict=True):
                yield *prefix, measure, setting, "", key, value


def _trials(material: Material) -> Iterator[Line]:
    only_macro_means = sum(len(r["metrics"]) for r in material.results.values()) > MOST_LINES
    for cell in material.plan.cells:
        for trial in cell.trials:
            if (result := material.results.get(trial.digest)) is None:
                continue
            head = "trial", cell.label, trial.digest, trial.seed
            test = material.plan.specs[trial.digest].test.name
            for part in ("metrics", "validation"):
                for metric, value in result[part].items():
                    benchmark, *rest = named(metric)
                    if not (only_macro_means and rest[2]):
                        role = "test" if part == "metrics" else part
                        yield *head, benchmark or test, role, *rest, "mean", value
            for role, counts in ({} if only_macro_means else result["counts"]).items():
                for key, value in counts.items():
                    yield *head, test if role == "test" else role, "counts", key, "", "", "n", value
            for tie in (t for t in material.answer.tied if t.trial == trial.digest):
                benchmark, *rest = named(tie.metric)
                where = (*head, benchmark or test, "test", *rest)
                yield *where, "worst of ties", tie.worst
                yield *where, "best of ties", tie.best
            environment = material.environments.get(trial.digest, {})
            costs = {"seconds": environment.get("seconds")} | dict(result["training"])
            for key, value in costs.items():
                yield *head, "", "training", key, "", "", "value", value
