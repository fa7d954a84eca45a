"""Metrics of one client by task, and their mean over clients."""

from fedtt.metrics.class_metrics import classification_metrics
from fedtt.metrics.clients import MEAN, POOLED, check_client_ids, mean_over_clients
from fedtt.metrics.official import METRICS, official_metrics
from fedtt.metrics.score import ACCURACY, CONSTANT, Score
from fedtt.metrics.scored import Scored

__all__ = [
    "ACCURACY",
    "CONSTANT",
    "MEAN",
    "METRICS",
    "POOLED",
    "Score",
    "Scored",
    "check_client_ids",
    "classification_metrics",
    "mean_over_clients",
    "official_metrics",
]
