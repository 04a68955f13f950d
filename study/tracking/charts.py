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


def view_key(study: str) -> str:
    """The name of a study's view in links: the study's name may hold what a link cannot."""
    return hashlib.sha256(study.encode()).hexdigest()[:16]


def headline(metrics: Iterable[str]) -> list[str]:
    """The metrics shown as bars: mean average precision by setting, and rank distance."""
    names = set(metrics)
    shown = sorted(name for name in names if name.startswith("map/") and name.count("/") == 1)
    return shown + [name for name in ("rank_distance",) if name in names]


def view_state(study: StudyInfo, metrics: Iterable[str]) -> str:
    """JSON of a view with one bar a cell, the mean over its seeds, for each headline metric."""
    bars = [
        {
            "type": "BAR",
            "uuid": f"bar-{name}",
            "metricKey": name,
            "runsCountToCompare": 100,
            "metricSectionId": "headline",
            "deleted": False,
            "isGenerated": False,
        }
        for name in headline(metrics)
    ]
    section = {
        "uuid": "headline",
        "name": "Mean average precision",
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }
    grouping = [{"mode": "param", "groupByData": study.group_by}]
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
        "groupBy": {"aggregateFunction": "average", "groupByKeys": grouping},
        "useGroupedValuesInCharts": True,
        "compareRunCharts": bars,
        "compareRunSections": [section],
        "isAccordionReordered": True,
    }
    return json.dumps(state)
