"""One trial: fine-tune a multilingual dual encoder and evaluate it exactly.

Nothing here knows of studies, Ray, Optuna or MLflow.
"""
