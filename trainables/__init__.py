"""One trial: fine-tune a multilingual dual encoder and evaluate it exactly.

Modules here do not know studies, Ray, Optuna or MLflow.
"""
