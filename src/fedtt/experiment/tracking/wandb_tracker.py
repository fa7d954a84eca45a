"""Weights & Biases: offline, in ``RUN/track/wandb``, unless ``WANDB_MODE`` says otherwise."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedtt.experiment.events import Notify
from fedtt.experiment.tracking.logged_values import Values, parameters
from fedtt.experiment.tracking.tracked_run import environment_defaults, open_tracked

PROJECT = "fedtt"
X_AXIS = "round"
# Nothing of this machine, its processes or its terminal goes along.
SETTINGS = {
    "console": "off",
    "disable_git": True,
    "host": "-",
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


@contextmanager
def follow_in_wandb(path: Path, config: dict[str, Any]) -> Iterator[Notify]:
    """One W&B run, by its id; offline, a folder more with every process that works on it."""
    tracked = open_tracked(path, "wandb")
    folder = str(tracked.folder.absolute())
    # Else its log goes to the user's home, and its errors to its makers.
    own = {"WANDB_CACHE_DIR": folder, "WANDB_ERROR_REPORTING": "false"}
    with environment_defaults(own):
        import wandb

        if tracked.is_new:
            tracked.begin()
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=tracked.id,
            name=path.absolute().name,
            dir=folder,
            mode=mode,
            resume="allow",
            reinit="create_new",  # the caller may have a W&B run open
            config=parameters(config),
            settings=wandb.Settings(**SETTINGS),
        )
        run.define_metric(X_AXIS)
        run.define_metric("*", step_metric=X_AXIS)

        def log(values: Values, step: int) -> None:
            # A round has several rows where its validation comes later; rows are counted over all
            # processes, else the second one's would be refused.
            run.log({X_AXIS: step, **values}, step=tracked.rows, commit=True)

        yield tracked.following(log)
        run.finish(exit_code=0 if tracked.ended else 1)
