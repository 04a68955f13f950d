"""The answer of a study: every declared hypothesis with its verdict and uncertainty."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.analysis.caveats import Executions, Mixture, Tied, coinciding
from study.analysis.comparison import Comparison, Lacking, compare, unknown
from study.analysis.contrasts import (
    ByTrial,
    Contrast,
    Stored,
    by_trial,
    contrasts_of,
    expects_less,
    paired,
)
from study.analysis.exploration import Exploration
from study.analysis.inference import LEVEL, RESAMPLES
from study.analysis.results import arm_label, language_groups
from study.analysis.scores import Scores, stored_scores
from study.analysis.verdicts import Evidence, Judgement, Verdict, judge
from study.state.committed import each_committed
from study.state.plan import Cell, Plan
from trainables.errors import UserError
from trainables.spec import Spec
from trainables.storage.paths import AnyPath


@dataclass(frozen=True)
class Finding:
    """A hypothesis with its comparisons and verdict.

    Attributes:
        hypothesis: Name of the hypothesis.
        metric: Name of the metric.
        margin: Smallest difference that matters, in units of the metric.
        why: Justification of the margin.
        comparisons: One, or one for each cell that must be beaten.
        judgement: The verdict with corrected p-values.
        post_hoc: Whether it was added or changed after results existed (law 6).
    """

    hypothesis: str
    metric: str
    margin: float
    why: str
    comparisons: tuple[Comparison, ...]
    judgement: Judgement
    post_hoc: bool

    @property
    def verdict(self) -> Verdict:
        """Supported, contradicted, equivalent or undecided."""
        return self.judgement.verdict

    @property
    def decisive(self) -> Comparison:
        """The comparison that the p-value of the difference belongs to."""
        return self.comparisons[self.judgement.decisive]


@dataclass(frozen=True)
class Selection:
    """Tuned values with which each arm answers.

    Attributes:
        metric: Metric of the validation benchmark by which they were selected.
        arms: Label of an arm to its tuned settings and their values.
    """

    metric: str
    arms: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """The answer of a study as fields; `words` turns them into text.

    Attributes:
        study: Name of the study.
        question: The question of its space.
        findings: One for each declared hypothesis; together they are the corrected family.
        trials: Number of trials that the hypotheses need.
        with_result: Number of those that have a result.
        fixed: Settings that all compared trials share.
        marks: What was changed after results existed (law 6), from the journal.
        selected: Selection of tuned values; None if nothing was tuned.
        exploration: Analyses beyond the hypotheses; None if they were not made.
        tied: Values that depend on the order of equal scores.
        mixed: Differences between the executions of the trials; None if there are none.
    """

    study: str
    question: str
    findings: tuple[Finding, ...]
    trials: int
    with_result: int
    fixed: Mapping[str, Any]
    marks: tuple[str, ...]
    selected: Selection | None = None
    exploration: Exploration | None = None
    tied: tuple[Tied, ...] = ()
    mixed: Mixture | None = None


def stored(plan: Plan, root: AnyPath) -> dict[str, dict[str, Scores]]:
    """Read the scores of all committed trials that the plan's hypotheses need.

    Raises:
        UserError: A committed file of ranks cannot be read.
    """
    metrics = list(dict.fromkeys(str(h["metric"]) for h in plan.hypotheses))
    groups = language_groups(plan)

    def read(digest: str) -> dict[str, Scores]:
        return stored_scores(root, digest, metrics, groups)

    return each_committed(root, needed(plan), read)


def needed(plan: Plan) -> list[str]:
    """Return digests of the trials that the plan's hypotheses compare."""
    asking = (
        contrast for hypothesis in plan.hypotheses for contrast in contrasts_of(plan, hypothesis)
    )
    labels = {label for contrast in asking for label in contrast.coefficients}
    digests = (t.digest for cell in plan.cells if cell.label in labels for t in cell.trials)
    return list(dict.fromkeys(digests))


def answer(
    plan: Plan,
    scores: Stored,
    resamples: int = RESAMPLES,
    marks: Sequence[str] = (),
    late: Collection[str] = (),
    waiting: Sequence[Cell] = (),
    computed: Executions | None = None,
) -> Answer:
    """Judge a plan's hypotheses.

    Args:
        plan: Plan with frozen hypotheses, whose cells are those that answer and `waiting`.
        scores: Scores from `stored`; trials without a result are absent.
        resamples: Resamples of the bootstrap.
        marks: What was changed after results existed, in words.
        late: Names of hypotheses declared or changed after results existed.
        waiting: Cells of arms that have no answering cell yet; comparisons with them are unknown.
        computed: Execution of each trial; arms without a common execution are not compared.
    """
    unanswered = {cell.label: arm_label(plan, cell) for cell in waiting}
    level = LEVEL / max(1, 2 * len(plan.hypotheses))
    compared = [
        [
            unknown(contrast, problem)
            if (
                problem := contrast.problem
                or _unanswered(plan, contrast, unanswered)
                or coinciding(plan, contrast.coefficients, computed or {})
            )
            else _compared(plan, hypothesis, contrast, scores, level, resamples)
            for contrast in contrasts_of(plan, hypothesis)
        ]
        for hypothesis in plan.hypotheses
    ]
    family = [
        _evidence(comparisons, expects_less(hypothesis))
        for hypothesis, comparisons in zip(plan.hypotheses, compared, strict=True)
    ]
    judgements = judge(family, [h["margin"] for h in plan.hypotheses])
    findings = tuple(
        Finding(
            *(h["name"], h["metric"], h["margin"], h["why"]),
            tuple(comparisons),
            judgement,
            h["name"] in late,
        )
        for h, comparisons, judgement in zip(plan.hypotheses, compared, judgements, strict=True)
    )
    trials = needed(plan)
    with_result = sum(digest in scores for digest in trials)
    sizes = len(trials), with_result
    return Answer(plan.name, plan.question, findings, *sizes, held_fixed(plan), tuple(marks))


def held_fixed(plan: Plan) -> dict[str, Any]:
    """Return settings that all compared trials share, as recorded in their specs.

    Settings derived from a factor, such as the steps of equal examples, are left out, and so are
    those without effect, such as the batch size of untrained encoders.
    """
    cells = [cell for cell in plan.cells if cell.is_arm] or plan.cells
    digests = [trial.digest for cell in cells for trial in cell.trials]
    specs = [plan.specs[digest] for digest in digests if digest in plan.specs]
    if not specs:  # nothing is planned yet
        return dict(plan.settings)
    fixed = {}
    for key, value in plan.settings.items():
        distinct = (
            {repr(getattr(spec, key)) for spec in specs} if key in Spec.model_fields else {""}
        )
        if len(distinct) == 1 and distinct != {"None"}:
            fixed[key] = value
    if not any(spec.steps for spec in specs):
        fixed.pop("control", None)
    return fixed


def _compared(
    plan: Plan,
    hypothesis: Mapping[str, Any],
    contrast: Contrast,
    scores: Stored,
    level: float,
    resamples: int,
) -> Comparison:
    metric = hypothesis["metric"]
    cells = [cell for cell in plan.cells if cell.label in contrast.coefficients]
    trials = by_trial(cells, scores, metric)
    try:
        pairs = paired(trials, contrast.coefficients)
    except UserError as error:
        return unknown(contrast, str(error))
    lacking = _lacking(cells, trials, scores, metric)
    if pairs is None:
        note = "no seed has a result in all of its cells"
        return unknown(contrast, note if lacking else f"{note}; none is planned", lacking)
    return compare(contrast, pairs, lacking, hypothesis["margin"], level, resamples)


def _unanswered(plan: Plan, contrast: Contrast, waiting: Mapping[str, str]) -> str:
    """Return which arms of a contrast have no answering cell; empty if all have one."""
    arms = [arm for label, arm in waiting.items() if label in contrast.coefficients]
    lacking = (
        f"results on the validation benchmark, so that no {' and '.join(plan.tuned)} is chosen"
    )
    return f"{', '.join(arms)} lack{'' if len(arms) > 1 else 's'} {lacking}" if arms else ""


def _lacking(cells: list[Cell], trials: ByTrial, scores: Stored, metric: str) -> list[Lacking]:
    """List cells some of whose trials cannot be compared, with the seeds or metric they lack."""
    gaps = []
    for cell in cells:
        absent = [t for t in cell.trials if t.seed not in trials[cell.label]]
        if any(t.digest in scores for t in absent):
            gaps.append(Lacking(cell.label, (), metric))
        elif absent:
            seeds = tuple(t.seed for t in absent if t.seed is not None)
            gaps.append(Lacking(cell.label, seeds))
    return gaps


def _evidence(comparisons: list[Comparison], less: bool) -> list[Evidence] | None:
    """Return comparisons in the declared direction; None unless all have an interval."""
    gathered = []
    for comparison in comparisons:
        if (
            comparison.effect is None
            or comparison.interval is None
            or comparison.p is None
            or comparison.p_equivalent is None
        ):
            return None
        sign = -1 if less else 1
        low, high = sorted(sign * bound for bound in comparison.interval)
        evidence = Evidence(
            sign * comparison.effect,
            low,
            high,
            comparison.p,
            comparison.p_equivalent,
            len(comparison.by_seed),
        )
        gathered.append(evidence)
    return gathered
