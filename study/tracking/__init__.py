"""Views of a study in MLflow and Optuna.

In MLflow a space is an experiment, a study a parent run and a trial a child run; in an Optuna
storage a trial is a row. This is the only package that imports MLflow. Each view has a thread that
writes plain values, so a slow or dead server does not hold up the study. Writing a trial twice
changes nothing, so gaps can be filled later from the trial folders.
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
