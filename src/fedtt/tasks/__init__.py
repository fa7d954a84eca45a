"""What a model learns, and how that is measured."""

from fedtt.federated.local.client import Batch
from fedtt.tasks.classification import classification
from fedtt.tasks.generation import generation
from fedtt.tasks.inputs import TaskInputs
from fedtt.tasks.label_words import label_words
from fedtt.tasks.language_modeling import language_modeling
from fedtt.tasks.regression import regression
from fedtt.tasks.task import Outcomes, Task, join_outcomes, log_prior

__all__ = [
    "Batch",
    "Outcomes",
    "Task",
    "TaskInputs",
    "classification",
    "generation",
    "join_outcomes",
    "label_words",
    "language_modeling",
    "log_prior",
    "regression",
]
