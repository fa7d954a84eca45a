"""A run: its directory, its events, its records, its result."""

from fedtt.engine.build_example_plan import plan_examples
from fedtt.experiment.begun_run import BegunRun, begin_new, take_up_run
from fedtt.experiment.classify import PredictedNumber, Prediction, answer_columns, predict_texts
from fedtt.experiment.directory import (
    RunDirectory,
    check_same_config,
    create_named_run,
    create_run,
    open_run,
)
from fedtt.experiment.events import (
    BaselineRoundDone,
    Evaluated,
    Event,
    Notify,
    RoundDone,
    RunDone,
    RunPrepared,
    SiteNews,
    StepDone,
    TrackerLost,
    TrainingDone,
    Waiting,
)
from fedtt.experiment.generated_text import Sampling, generate_text
from fedtt.experiment.helper_processes import call_helpers, help_experiment
from fedtt.experiment.opened_run import evaluate_run
from fedtt.experiment.privacy_plan import plan_privacy
from fedtt.experiment.private_examples import examples_of
from fedtt.experiment.private_run import check_secret_kept
from fedtt.experiment.run_in_process import run_experiment
from fedtt.experiment.sites import run_with_sites

__all__ = [
    "BaselineRoundDone",
    "BegunRun",
    "Evaluated",
    "Event",
    "Notify",
    "PredictedNumber",
    "Prediction",
    "RoundDone",
    "RunDirectory",
    "RunDone",
    "RunPrepared",
    "Sampling",
    "SiteNews",
    "StepDone",
    "TrackerLost",
    "TrainingDone",
    "Waiting",
    "answer_columns",
    "begin_new",
    "call_helpers",
    "check_same_config",
    "check_secret_kept",
    "create_named_run",
    "create_run",
    "evaluate_run",
    "examples_of",
    "generate_text",
    "help_experiment",
    "open_run",
    "plan_examples",
    "plan_privacy",
    "predict_texts",
    "run_experiment",
    "run_with_sites",
    "take_up_run",
]
