"""A study as MLflow shows it: one experiment a space, a parent run a study, a child run a trial.

The only package that imports MLflow. The view is filled from plain values by a thread of its own,
so that a slow or dead server costs the study nothing, and writing the same trial twice changes
nothing: whatever is missing can be filled in later from the trial folders.
"""

from study.tracking.charts import view_key
from study.tracking.store import default_uri, studies
from study.tracking.tracker import Tracker
from study.tracking.values import StudyInfo, StudyRuns, TrialView, metric_name

__all__ = [
    "StudyInfo",
    "StudyRuns",
    "Tracker",
    "TrialView",
    "default_uri",
    "metric_name",
    "studies",
    "view_key",
]
