"""The charts that MLflow opens for a study, as a shared view of its pages.

MLflow's pages read such a view, as JSON, from a tag of the experiment named by the link's
`viewStateShareKey`. The format is that of MLflow 3.17's own shared views; keys that a later
version does not know are passed over by it, and the comparison of runs needs none of this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from study.tracking.values import StudyInfo

TAG = "mlflow.sharedViewState."

COMMON = {"metricSectionId": "headline", "deleted": False, "isGenerated": False}
"""Of every chart."""


def view_key(study: str) -> str:
    """The name of a study's view in links: the study's name may hold what a link cannot."""
    return hashlib.sha256(study.encode()).hexdigest()[:16]


def headline(metrics: Iterable[str]) -> list[str]:
    """The metrics shown as bars: mean average precision by setting, and rank distance."""
    names = set(metrics)
    shown = sorted(name for name in names if name.startswith("map/") and name.count("/") == 1)
    return shown + [name for name in ("rank_distance",) if name in names]


def view_state(study: StudyInfo, metrics: Iterable[str]) -> str:
    """JSON of a view with one bar a cell, the mean over its seeds, for each headline metric.

    Of a search instead, without grouping: parallel coordinates over settings and objectives, each
    setting against the objective, and the first two objectives against each other.
    """
    names = list(metrics)
    objectives = [name for name in study.objectives if name in names]
    searching = bool(study.searched and objectives)
    cards = _of_search(study, objectives) if searching else _bars(names)
    section = {
        "uuid": "headline",
        "name": "Search" if searching else "Mean average precision",
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }
    grouping = [{"mode": "param", "groupByData": study.group_by}]
    grouped = {"aggregateFunction": "average", "groupByKeys": grouping}
    quote = '"' if "'" in study.name else "'"
    state = {
        "searchFilter": f"tags.study = {quote}{study.name}{quote}",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "runsHiddenMode": "SHOWALL",
        "groupBy": None if searching else grouped,
        "useGroupedValuesInCharts": not searching,
        "compareRunCharts": [card | COMMON for card in cards],
        "compareRunSections": [section],
        "isAccordionReordered": True,
    }
    return json.dumps(state)


def _bars(metrics: Iterable[str]) -> list[dict[str, object]]:
    return [
        {"type": "BAR", "uuid": f"bar-{name}", "metricKey": name, "runsCountToCompare": 100}
        for name in headline(metrics)
    ]


def _of_search(study: StudyInfo, objectives: list[str]) -> list[dict[str, object]]:
    """Charts of the validation benchmark alone, which chose (law 5)."""
    cards: list[dict[str, object]] = [
        {
            "type": "PARALLEL",
            "uuid": "parallel",
            "selectedParams": list(study.searched),
            "selectedMetrics": objectives,
            "showAllRuns": False,
        }
    ]
    pairs = [((key, "PARAM"), (objectives[0], "METRIC")) for key in study.searched]
    if len(objectives) > 1:
        pairs.append(((objectives[0], "METRIC"), (objectives[1], "METRIC")))
    for across, up in pairs:
        cards.append(
            {
                "type": "SCATTER",
                "uuid": f"scatter-{across[0]}-{up[0]}",
                "xaxis": {"key": across[0], "type": across[1]},
                "yaxis": {"key": up[0], "type": up[1]},
                "runsCountToCompare": 1000,
            }
        )
    return cards
