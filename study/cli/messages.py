"""Messages before a study runs, with its results, and at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.text import Text

from study.analysis.caveats import converted_offsets
from study.analysis.conclusion import conclude
from study.analysis.contrasts import contrasts_of
from study.analysis.results import by_cell
from study.analysis.words import converted_words
from study.cli.tables import tables
from study.console import count_of, decoded, marked, typed
from study.report.report import write_report
from study.search.budget import advice
from study.search.history import history_of
from study.search.pruning import pruned_lines, pruning_of
from study.search.summary import outcome
from study.spaces.grid import size
from study.spaces.optimize import SearchPlan
from study.state.plan import Plan, trial_label
from study.state.record import Record
from study.state.rungs import Rung
from trainables.data import catalog
from trainables.errors import redacted
from trainables.storage.paths import AnyPath

if TYPE_CHECKING:
    from study.driver.driver import Driver


def announce(console: Console, plan: Plan, missing: Mapping[str, str]) -> None:
    """Print what a study will compare, on which data, and what that can and cannot show.

    Args:
        console: Console to print on.
        plan: Plan to run.
        missing: Where to get missing data and checkpoints, by name.
    """
    console.print(marked(plan.name, f": {plan.question}", "bold"))
    for line in _intention(plan):
        console.print(line)
    for what, why in missing.items():
        console.print(marked("not at hand:", f" {what}: {why}"))


def results_of(
    plan: Plan, record: Record, root: AnyPath, results: dict[str, dict[str, Any]]
) -> Iterator[RenderableType]:
    """Yield the tables of a study, its answer, its pruned trials and remarks."""
    early = stopped(plan, record, results)
    yield from tables(plan, by_cell(plan, results, early))
    yield from conclude(plan, record, root, results)
    yield from _stopped_early(plan, early)
    yield from _remarks(plan, results)


def tell_end(driver: Driver, root: str) -> int:
    """Write the report and print results, outcome and the next command.

    Args:
        driver: Driver that ran the study.
        root: Root as typed, for the printed commands.

    Returns:
        Exit code: 0 if all trials are done, 1 if some failed, 130 if some are left.
    """
    console, plan, record = driver.console, driver.plan, driver.record
    counts = driver.counts()
    for line in results_of(plan, record, driver.root, driver.results):
        console.print(line)
    if driver.results:
        place = write_report(plan, record, driver.root, driver.results)
        console.print(f"Report: {place / 'report.html'}", soft_wrap=True)
    left = counts["planned"] + counts["running"]
    if plan.search is not None:
        observed = driver.observations()
        history = history_of(plan, observed.results, observed.ended, observed.reached)
        for line in outcome(plan, history, driver.results, driver.over):
            console.print(line)
    if left or (plan.search is not None and not driver.over):
        console.print(
            f"interrupted with {count_of(left, 'trial') if left else 'further trials'} left; "
            f"resume with\n  {resume_command()}",
            soft_wrap=True,
        )
        return 130
    if counts["failed"]:
        status = typed(["python", "-m", "study", "status", plan.name, "--root", root])
        advised = f" {status} says why; add --retry failed to run them again"
        label = f"{count_of(counts['failed'], 'trial')} failed:"
        console.print(marked(label, advised, "red"), soft_wrap=True)
        return 1
    return 0


def resume_command() -> str:
    """Return the command line of this process without secrets in URLs, to be typed again."""
    program = sys.argv[:1] if sys.argv[0].endswith("run.py") else ["-m", "study"]
    return typed(map(redacted, map(decoded, ["python", *program, *sys.argv[1:]])))


def stopped(
    plan: Plan, record: Record, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Rung]:
    """Select the pruned trials of a plan that have no result, by digest."""
    return {d: rung for d, rung in record.pruned.items() if d in plan.specs and d not in results}


def _intention(plan: Plan) -> Iterator[str | Text]:
    specs = list(plan.specs.values())
    test, also = specs[0].test, specs[0].also or ()
    encoders = sorted({spec.encoder.name for spec in specs})
    part = f" ({test.part})" if test.part else ""
    further = f", and on {', '.join(ref.name for ref in also)}" if also else ""
    yield (
        f"{count_of(len(plan.cells), 'cell')}, {count_of(len(specs), 'trial')}; "
        f"tested on {test.name}{part}{further} with {', '.join(encoders)}."
    )
    if plan.search is not None:
        yield from _search(plan.search)
    if plan.tuned:
        yield (
            f"Each arm answers with its best {' and '.join(plan.tuned)} by {plan.primary} on the "
            "validation benchmark."
        )
    if test.instead_of:
        yield marked(
            f"{test.name} stands in for {test.instead_of}:",
            " no public benchmark of that name is known, and there are no own files of one "
            "(docs/data.md).",
        )
    for ref in (test, *also):
        if limits := catalog.source(ref.name).cannot:
            yield f"{ref.name}: {limits}"
    sources = {spec.train.name for spec in specs if spec.train is not None}
    for ref in (test, *also):
        if ref.left_out is not None:
            number, total = ref.left_out
            yield marked(
                "Left out of the evaluation:",
                f" {number:,} of the {total:,} queries of {ref.name}, because the training data "
                "hold their questions.",
            )
        elif ref.name in sources and not catalog.is_embedded(ref.name):
            known = "" if catalog.has_pictures(ref.name) else ", but they share no question"
            yield f"Not zero-shot: training and test are parts of one source, {ref.name}{known}."
    for hypothesis in plan.hypotheses:
        for contrast in contrasts_of(plan, hypothesis):
            if contrast.problem:
                yield marked("will not be known:", f" {contrast.what}: {contrast.problem}")


def _search(search: SearchPlan) -> Iterator[str | Text]:
    """Describe a search, and advise a better choice if there is one."""
    points = size(search.ranges)
    grid = "" if points == float("inf") else f" of {points:g} points"
    aims = ", ".join(f"{o.direction} {o.metric}" for o in search.objectives)
    limits = "".join(f", {constraint}" for constraint in search.constraints)
    confirm = search.confirm
    then = f"; then the best {confirm.top} on {confirm.seeds} fresh seeds" if confirm.top else ""
    yield (
        f"Search by {search.sampler} over {', '.join(search.ranges)}{grid}: {aims}{limits} on the "
        f"validation benchmark, up to {search.trials} trials{then}."
    )
    if better := advice(search):
        yield marked("advice:", f" {better}")


def _stopped_early(plan: Plan, rungs: Mapping[str, Rung]) -> list[str]:
    """Format pruned trials, apart from all others because they have no result."""
    pruning = pruning_of(plan)
    seeds = {t.digest: t.seed for cell in plan.cells for t in cell.trials}
    labels = plan.labels
    pairs = [
        (trial_label(labels[digest], seeds[digest]), rung)
        for digest, rung in rungs.items()
        if digest in labels
    ]
    return pruned_lines(pairs, pruning.metric if pruning else plan.primary)


def _remarks(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> Iterator[Text]:
    """Warn of changed memory layouts, converted offsets and truncated texts.

    The answer prints its own caveats.
    """
    changed = [digest for digest, result in results.items() if result.get("layout_changed")]
    if changed:
        labels = plan.labels
        names = sorted({labels[digest] for digest in changed})
        yield marked(
            "layout changed:",
            f" {count_of(len(changed), 'trial')} ran with smaller micro-batches after running out "
            f"of memory, in {', '.join(names)}",
        )
    converted = converted_words(converted_offsets(plan, results))
    yield from (marked("mind:", f" {line}") for line in converted)
    yield from _unread(plan, results)


def _unread(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> Iterator[Text]:
    """Warn of truncated texts, once per encoder and benchmark."""
    pairs: set[tuple[str, str]] = set()
    for digest, result in results.items():
        spec = plan.specs[digest]
        for role, counts in result["counts"].items():
            name = spec.test.name if role == "test" else role
            if role == "validation" or (spec.encoder.name, name) in pairs:
                continue
            pairs.add((spec.encoder.name, name))
            shares = (
                _share_cut(counts, "passages", "truncated/passages/", "encoded/passages/"),
                _share_cut(counts, "answers", "answers/cut/", "answers/"),
            )
            if lost := " and ".join(filter(None, shares)):
                yield marked(
                    "cut off:",
                    f" {spec.encoder.name} reads {spec.encoder.max_passage_tokens} tokens of a "
                    f"passage of {name}, and loses the end of {lost}",
                )


def _share_cut(counts: Mapping[str, int], what: str, cut: str, total: str) -> str:
    """Format the share of truncated texts; empty if none.

    `cut` and `total` are the prefixes, before the language, of their keys in `counts`.
    """
    numbers = {name.removeprefix(cut): n for name, n in counts.items() if name.startswith(cut)}
    number = sum(numbers.values())
    whole = sum(counts.get(f"{total}{language}", 0) for language in numbers)
    share = f"{number / whole:.1%}" if whole else f"{number}"
    return f"{share} of {what}" if number else ""
