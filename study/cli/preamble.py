"""What a study is about to compare, on what, and what that can and cannot show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.text import Text

from study.analysis.contrasts import contrasts_of
from study.console import count_of, marked
from study.search.budget import advice
from study.spaces.grid import size
from study.spaces.optimize import SearchPlan
from study.state.plan import Plan
from trainables.data import catalog


def announce(console: Console, plan: Plan, missing: Mapping[str, str]) -> None:
    """Say it before anything runs.

    Args:
        console: Where to.
        plan: What is going to run.
        missing: Data and checkpoints that are not at hand, and where to get them.
    """
    console.print(marked(plan.name, f": {plan.question}", "bold"))
    for line in _lines(plan):
        console.print(line)
    for what, why in missing.items():
        console.print(marked("not at hand:", f" {what}: {why}"))


def _lines(plan: Plan) -> Iterator[str | Text]:
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
        yield from searched(plan.search)
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
            number, of = ref.left_out
            yield marked(
                "Left out of the evaluation:",
                f" {number:,} of the {of:,} queries of {ref.name}, because the training data hold "
                "their questions.",
            )
        elif ref.name in sources and not catalog.is_embedded(ref.name):
            known = "" if catalog.has_pictures(ref.name) else ", but they share no question"
            yield f"Not zero-shot: training and test are parts of one source, {ref.name}{known}."
    for hypothesis in plan.hypotheses:
        for one in contrasts_of(plan, hypothesis):
            if one.problem:
                yield marked("will not be known:", f" {one.what}: {one.problem}")


def searched(search: SearchPlan) -> Iterator[str | Text]:
    """What a search is going to do, and what it would better do."""
    points = size(search.ranges)
    of = "" if points == float("inf") else f" of {points:g} points"
    aims = ", ".join(f"{o.direction} {o.metric}" for o in search.objectives)
    limits = "".join(f", {constraint}" for constraint in search.constraints)
    confirm = search.confirm
    then = f"; then the best {confirm.top} on {confirm.seeds} fresh seeds" if confirm.top else ""
    yield (
        f"Search by {search.sampler} over {', '.join(search.ranges)}{of}: {aims}{limits} on the "
        f"validation benchmark, up to {search.trials} trials{then}."
    )
    if better := advice(search):
        yield marked("advice:", f" {better}")
