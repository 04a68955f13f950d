"""Views of a study: in MLflow an experiment a space, a run a study and one a trial; in Optuna rows.

The only package that imports MLflow. A view is filled from plain values by a thread of its own,
so that a slow or dead server costs the study nothing, and writing the same trial twice changes
nothing: whatever is missing can be filled in later from the trial folders.
"""

from study.tracking.delivered import Delivered
from study.tracking.mlflow_storage import MlflowStore, default_uri, studies
from study.tracking.tracker import Store, Tracker
from study.tracking.values import StudyInfo, StudyRuns, TrialView, metric_name

__all__ = [
    "Delivered",
    "MlflowStore",
    "Store",
    "StudyInfo",
    "StudyRuns",
    "Tracker",
    "TrialView",
    "default_uri",
    "metric_name",
    "studies",
]
