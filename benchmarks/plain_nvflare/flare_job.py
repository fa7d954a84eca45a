"""NVFLARE's FedAvg over three sites of its own deployment on one machine ("proof of concept")."""

import os
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import PocEnv

from fedtt.config import load_config
from fedtt.engine.build import build_federation
from fedtt.federated.wire.flat import flatten

SITES = 3


def main() -> None:
    """Run it to its end."""
    config = load_config(Path(os.environ["PLAIN_JOB"]))
    start = Path(os.environ["PLAIN_RESULT"]) / "start.npy"
    np.save(start, flatten(build_federation(config).initial.params))
    recipe = NumpyFedAvgRecipe(
        name="fedtt",
        initial_ckpt=str(start),
        min_clients=SITES,
        num_rounds=config.rounds,
        train_script=str(Path(__file__).with_name("flare_site.py")),
    )
    environment = PocEnv(num_clients=SITES)
    try:
        recipe.execute(environment).get_result()
    finally:
        environment.stop(clean_up=True)


if __name__ == "__main__":
    main()
