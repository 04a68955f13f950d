"""The answer of a study: every declared hypothesis with its verdict and its uncertainty."""

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
    """A hypothesis and what the trials say of it.

    Attributes:
        hypothesis: Its name.
        metric: Name of the metric.
        margin: Smallest difference that matters, in its units.
        why: The margin's justification.
        comparisons: One, or one for each cell that must be beaten.
        judgement: The verdict with corrected p.
        post_hoc: It was added or changed after results existed (law 6).
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
        """The comparison that the p is of."""
        return self.comparisons[self.judgement.decisive]


@dataclass(frozen=True)
class Selection:
    """Values of what was tuned with which arms answer.

    Attributes:
        metric: On the validation benchmark, by which they were selected.
        arms: Setting to value, by the label of an arm.
    """

    metric: str
    arms: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What a study answers, as fields; `words` makes text of them.

    Attributes:
        study: Its name.
        question: Of its space.
        findings: One for each declared hypothesis; together they are the corrected family.
        trials: Trials that the hypotheses need.
        with_result: Those of them that have a result.
        fixed: Settings that all compared trials share.
        marks: What was changed after results existed (law 6), as the journal has it.
        selected: What was tuned; None where nothing was.
        exploration: What was looked at beside the hypotheses; None where it was not.
        tied: Values that the order of equal scores decides.
        mixed: What differs between the executions of the trials; None where nothing does.
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
    """Scores of all committed trials that the plan's hypotheses need.

    Raises:
        UserError: A committed file of ranks that cannot be read.
    """
    metrics = list(dict.fromkeys(str(h["metric"]) for h in plan.hypotheses))
    groups = language_groups(plan)

    def read(digest: str) -> dict[str, Scores]:
        return stored_scores(root, digest, metrics, groups)

    return each_committed(root, needed(plan), read)


def needed(plan: Plan) -> list[str]:
    """Digests of the trials that the plan's hypotheses compare."""
    asking = (one for hypothesis in plan.hypotheses for one in contrasts_of(plan, hypothesis))
    labels = {label for one in asking for label in one.coefficients}
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
    """The verdicts on a plan's hypotheses.

    Args:
        plan: With hypotheses as frozen; its cells are those that answer, and `waiting`.
        scores: As `stored` reads them; trials without a result are absent.
        resamples: Of the bootstrap.
        marks: What was changed after results existed, in words.
        late: Names of the hypotheses that were.
        waiting: Cells of arms for which none answers; a comparison that needs one is not known.
        computed: What computed each trial; arms that have nothing of it in common are not compared.
    """
    unanswered = {cell.label: arm_label(plan, cell) for cell in waiting}
    level = LEVEL / max(1, 2 * len(plan.hypotheses))
    compared = [
        [
            unknown(one, problem)
            if (
                problem := one.problem
                or _unanswered(plan, one, unanswered)
                or coinciding(plan, one.coefficients, computed or {})
            )
            else _compared(plan, hypothesis, one, scores, level, resamples)
            for one in contrasts_of(plan, hypothesis)
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
    """Settings that all compared trials share, as their specs have them.

    Left out are those that follow from a factor, such as the steps of equal examples, and those
    without effect, such as the batch size of encoders that are not trained.
    """
    cells = [cell for cell in plan.cells if cell.is_arm] or plan.cells
    digests = [trial.digest for cell in cells for trial in cell.trials]
    specs = [plan.specs[digest] for digest in digests if digest in plan.specs]
    if not specs:  # nothing is planned yet
        return dict(plan.settings)
    fixed = {}
    for key, value in plan.settings.items():
        own = {repr(getattr(spec, key)) for spec in specs} if key in Spec.model_fields else {""}
        if len(own) == 1 and own != {"None"}:
            fixed[key] = value
    if not any(spec.steps for spec in specs):
        fixed.pop("control", None)
    return fixed


def _compared(
    plan: Plan,
    hypothesis: Mapping[str, Any],
    one: Contrast,
    scores: Stored,
    level: float,
    resamples: int,
) -> Comparison:
    metric = hypothesis["metric"]
    cells = [cell for cell in plan.cells if cell.label in one.coefficients]
    trials = by_trial(cells, scores, metric)
    try:
        pairs = paired(trials, one.coefficients)
    except UserError as error:
        return unknown(one, str(error))
    lacking = _lacking(cells, trials, scores, metric)
    if pairs is None:
        note = "no seed has a result in all of its cells"
        return unknown(one, note if lacking else f"{note}; none is planned", lacking)
    return compare(one, pairs, lacking, hypothesis["margin"], level, resamples)


def _unanswered(plan: Plan, one: Contrast, waiting: Mapping[str, str]) -> str:
    """Why a contrast has arms for which no cell answers; empty where it has none."""
    arms = [arm for label, arm in waiting.items() if label in one.coefficients]
    lacking = (
        f"results on the validation benchmark, so that no {' and '.join(plan.tuned)} is chosen"
    )
    return f"{', '.join(arms)} lack{'' if len(arms) > 1 else 's'} {lacking}" if arms else ""


def _lacking(cells: list[Cell], trials: ByTrial, scores: Stored, metric: str) -> list[Lacking]:
    """Cells some of whose trials cannot be compared, with their seeds or the metric they lack."""
    each = []
    for cell in cells:
        absent = [t for t in cell.trials if t.seed not in trials[cell.label]]
        if any(t.digest in scores for t in absent):
            each.append(Lacking(cell.label, (), metric))
        elif absent:
            seeds = tuple(t.seed for t in absent if t.seed is not None)
            each.append(Lacking(cell.label, seeds))
    return each


def _evidence(comparisons: list[Comparison], less: bool) -> list[Evidence] | None:
    """The comparisons in the declared direction; None unless all have an interval."""
    gathered = []
    for one in comparisons:
        if one.effect is None or one.interval is None or one.p is None or one.p_equivalent is None:
            return None
        sign = -1 if less else 1
        low, high = sorted(sign * bound for bound in one.interval)
        evidence = Evidence(sign * one.effect, low, high, one.p, one.p_equivalent, len(one.by_seed))
        gathered.append(evidence)
    return gathered
