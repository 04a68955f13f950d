"""Sections on the limits of the figures and on how to reproduce each of them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, fields
from typing import Any

from study.analysis.caveats import Tied, converted_offsets
from study.analysis.words import converted_words
from study.console import count_of, typed
from study.report.document import Block, Code, Column, Section, Table, Text, Value
from study.report.material import Material

SHOWN_TRIALS = 200
"""Maximum number of rows of a table of trials; report.csv has all."""

SHOWN = ("source/", "dropped/", "repeated/", "unread", "ties/")
"""Prefixes of counts that report what was left out, or evaluated differently."""

PARTS = (
    ("passages cut off", "truncated/passages/", "encoded/passages/"),
    ("queries cut off", "truncated/queries/", "encoded/queries/"),
    ("answers cut off", "answers/cut/", "answers/"),
)

TOY = (
    "The benchmark is an embedded world: languages made by a program. It is a toy, and no evidence "
    "about human languages."
)


def validity(material: Material) -> Section:
    """Compose contamination, truncation, masking, dropped data, changed layouts and failures."""
    blocks: list[Block] = []
    if "synthetic" in {spec.test.name for spec in material.plan.specs.values()}:
        blocks.append(Text(TOY))
    converted = converted_offsets(material.plan, material.results)
    blocks += [Text(line) for line in converted_words(converted)]
    blocks += [_contamination(material), _cut_off(material), _masked(material)]
    blocks += [_dropped(material), *_tied(material), Text(_layout(material)), *_failures(material)]
    return Section("Validity", tuple(blocks))


def reproduction(material: Material) -> Section:
    """Compose the digest behind every number, the commands, and the environments."""
    first = next(iter(material.results), next(iter(material.plan.specs), ""))
    name, root = material.plan.name, material.root
    text = (
        "Every number comes from committed trials, whose files carry checksums. A trial is named "
        "by the digest of its complete description. This runs the first that has a result again "
        "and compares every number and rank; any digest of the table below will do:"
    )
    study = ("python", "-m", "study")
    commands = "\n".join(
        typed([*study, *arguments, "--root", str(root)])
        for arguments in (("reproduce", first or "DIGEST"), ("report", name))
    )
    trials = [(cell, trial) for cell in material.plan.cells for trial in cell.trials]
    rows = tuple(
        (
            trial.digest,
            cell.label,
            str(trial.seed) if trial.seed is not None else None,
            _state(material, trial.digest),
        )
        for cell, trial in trials[:SHOWN_TRIALS]
    )
    omitted = len(trials) - len(rows)
    columns = tuple(map(Column, ("digest", "cell", "seed", "state")))
    note = f"{omitted} more trials are in report.csv." if omitted else ""
    table = Table("trials", "Trials behind the figures", columns, rows, note)
    blocks: tuple[Block, ...] = (Text(text), Code(commands), *_environments(material), table)
    return Section("How to reproduce each number", blocks)


def _contamination(material: Material) -> Table:
    """Tabulate the evaluation's contamination by training data, by verdict (law 8)."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for digest, result in material.results.items():
        spec = material.plan.specs[digest]
        claim = result["zero_shot"]
        for benchmark, benchmark_claim in {spec.test.name: claim, **claim.get("also", {})}.items():
            counts[benchmark, spec.encoder.name, *_claim(benchmark_claim)] += 1
    rows = tuple((*facts, count) for facts, count in sorted(counts.items()))
    columns = (
        *(Column("benchmark"), Column("encoder"), Column("verdict")),
        *(Column("what was found, what was not seen"), Column("trials")),
    )
    caption = "Contamination: is the evaluation new to the trials?"
    note = "“None found by these methods” is no proof: translations and paraphrases stay unseen."
    return Table("contamination", caption, columns, rows, note)


def _claim(claim: Mapping[str, Any]) -> tuple[str, str]:
    remarks = [
        f"{finding['method']}: {finding['found']} of {finding['of']}"
        for finding in claim.get("findings", ())
        if finding["found"]
    ]
    if claim.get("blind"):
        remarks.append(f"not seen: {', '.join(claim['blind'])}")
    if claim.get("pretraining"):
        remarks.append(str(claim["pretraining"]))
    if claim.get("same_source"):
        remarks.append("training and test are parts of one source")
    return str(claim.get("verdict", "not checked")), "; ".join(remarks)


def _cut_off(material: Material) -> Block:
    """Tabulate the shares of texts that each encoder truncates, by language."""
    shares: dict[tuple[str, str, str, str], float] = {}
    for digest, result in material.results.items():
        spec = material.plan.specs[digest]
        for role, counts in result["counts"].items():
            benchmark = spec.test.name if role == "test" else role
            for kind, prefix, total_prefix in PARTS:
                for key in counts:
                    language = key.removeprefix(prefix)
                    if role != "validation" and key.startswith(prefix):
                        texts = counts.get(f"{total_prefix}{language}", 0)
                        share = counts[key] / texts if texts else 0.0
                        shares[benchmark, spec.encoder.name, kind, language] = share
    if not any(shares.values()):
        return Text("Cut off: no text of the evaluation is longer than what the encoder reads.")
    rows = tuple((*labels, 100 * share) for labels, share in sorted(shares.items()) if share)
    columns = (
        *(Column("benchmark"), Column("encoder"), Column("what"), Column("language")),
        Column("%", 1),
    )
    return Table("cut_off", "Texts that the encoder does not read to their end", columns, rows)


def _masked(material: Material) -> Block:
    """Tabulate the share of in-batch negatives masked because they answer the query."""
    rows: list[tuple[Value, ...]] = []
    for arm in material.arms:
        known = [r["training"].get("masked_fraction") for r in arm.results]
        values = [100 * value for value in known if value is not None]
        if values:
            rows.append((material.name(arm.cell), statistics.fmean(values), max(values)))
    if not rows:
        return Text("Masked: no trained trial has a result.")
    caption = "In-batch negatives masked because they answer the query, in % of all"
    columns = (Column("arm"), Column("mean", 3), Column("largest", 3))
    return Table("masked", caption, columns, tuple(rows))


def _dropped(material: Material) -> Block:
    """Tabulate what was not evaluated, queries of equal text, and ties."""
    dropped: dict[tuple[str, str], int] = {}
    for digest, result in material.results.items():
        test = material.plan.specs[digest].test.name
        for role, counts in result["counts"].items():
            benchmark = test if role == "test" else role
            for key, count in counts.items():
                if role != "validation" and key.startswith(SHOWN):
                    labels = benchmark, key
                    dropped[labels] = max(dropped.get(labels, 0), count)
    rows = tuple((*labels, count) for labels, count in sorted(dropped.items()) if count)
    if not rows:
        return Text("Dropped: nothing was left out of the benchmarks, and no scores were tied.")
    columns = (Column("benchmark"), Column("what"), Column("most in a trial"))
    return Table(
        "dropped",
        "Left out of the evaluation, remarks on the source's files, and tied scores",
        columns,
        rows,
    )


def _tied(material: Material) -> list[Block]:
    """Tabulate the range of values under other orders of tied scores."""
    if not material.answer.tied:
        return []
    columns = tuple(Column(field.name) for field in fields(Tied))
    rows = tuple(astuple(tie) for tie in material.answer.tied[:SHOWN_TRIALS])
    return [Table("tied", "Values that the order of equal scores decides", columns, rows)]


def _layout(material: Material) -> str:
    changed = [digest for digest, r in material.results.items() if r.get("layout_changed")]
    if not changed:
        return "Layout: every trial ran with the memory layout that was planned."
    labels = material.plan.labels
    names = ", ".join(sorted({labels[digest] for digest in changed}))
    return (
        f"Layout changed: {count_of(len(changed), 'trial')} ran with smaller micro-batches after "
        f"running out of memory, so that their last digits may differ: {names}."
    )


def _failures(material: Material) -> list[Block]:
    """Tabulate the failed trials with their reasons."""
    if not material.failures:
        return [Text("Failures: no trial failed.")]
    labels = material.plan.labels
    seeds = {t.digest: t.seed for cell in material.plan.cells for t in cell.trials}
    rows = tuple(
        (digest, labels[digest], _seed(seeds[digest]), why)
        for digest, why in list(material.failures.items())[:SHOWN_TRIALS]
        if digest in labels
    )
    columns = tuple(map(Column, ("digest", "cell", "seed", "reason")))
    return [Table("failures", "Trials that failed", columns, rows)]


def _seed(seed: int | None) -> str | None:
    return None if seed is None else str(seed)


def _state(material: Material, digest: str) -> str:
    if digest in material.results:
        return "complete"
    return "failed" if digest in material.failures else "no result yet"


def _environments(material: Material) -> list[Block]:
    """Tabulate each combination of versions and machine."""
    counts: Counter[tuple[str, ...]] = Counter()
    for digest, environment in material.environments.items():
        execution = material.results[digest]["execution"]
        versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
        computed = f"{execution.get('device')}, {execution.get('precision')}"
        threads = f"threads {execution.get('threads')}"
        if (ranks := execution.get("ranks", 1)) > 1:
            threads += f", ranks {ranks}"
        if (nodes := execution.get("nodes", 1)) > 1:
            threads += f" on {nodes} machines"
        machine = environment.get("platform", "")
        python = f"Python {environment.get('python')}"
        counts[f"{python}, {versions}", machine, f"{computed}, {threads}"] += 1
    if not counts:
        return []
    columns = (Column("versions"), Column("platform"), Column("computed on"), Column("trials"))
    rows: list[tuple[Value, ...]] = [(*facts, count) for facts, count in sorted(counts.items())]
    return [Table("environments", "What the trials were made with", columns, tuple(rows))]
