"""MLflow: a file store in ``RUN/track/mlflow``, or wherever ``MLFLOW_TRACKING_URI`` says."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedtt.experiment.events import Notify
from fedtt.experiment.tracking.logged_values import Values, parameters
from fedtt.experiment.tracking.tracked_run import environment_defaults, open_tracked

EXPERIMENT = "fedtt"
MOST_PARAMETERS = 100  # in one message
# MLflow asks whether a file store is meant: it is, since a database takes seconds to set up and
# packages that mlflow-skinny does not bring. It tells its makers of its use unless told not to.
SETTINGS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The run waits for a server that does not answer: half a minute, not four.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


@contextmanager
def follow_in_mlflow(path: Path, config: dict[str, Any]) -> Iterator[Notify]:
    """One MLflow run, which goes on when the run does; ``KILLED`` while it has no result."""
    with environment_defaults(SETTINGS):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        tracked = open_tracked(path, "mlflow")
        # A client of its own: the caller may have an MLflow run open, with another place.
        place = os.environ.get("MLFLOW_TRACKING_URI") or tracked.folder.absolute().as_uri()
        client = MlflowClient(tracking_uri=place)
        if tracked.is_new:
            run = client.create_run(_experiment(client), run_name=path.absolute().name)
            tracked.begin(run.info.run_id)
        else:
            client.update_run(tracked.id, status="RUNNING")
        if not tracked.logged:  # again where a kill came between: MLflow takes equal ones
            found = [Param(key, str(value)) for key, value in parameters(config).items()]
            for start in range(0, len(found), MOST_PARAMETERS):
                client.log_batch(tracked.id, params=found[start : start + MOST_PARAMETERS])
        is_heard = True

        def log(values: Values, step: int) -> None:
            nonlocal is_heard
            is_heard = False
            now = int(time.time() * 1000)
            metrics = [Metric(name, value, now, step) for name, value in values.items()]
            client.log_batch(tracked.id, metrics=metrics)
            is_heard = True

        yield tracked.following(log)
        if is_heard:  # else the wait for the server would begin again
            client.set_terminated(tracked.id, status="FINISHED" if tracked.ended else "KILLED")


def _experiment(client: Any) -> str:
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another process was faster
        if found is None:
            raise
        return str(found.experiment_id)
