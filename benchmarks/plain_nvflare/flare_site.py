"""A site of NVFLARE: loads data and model once, then trains whenever it is sent weights.

NVFLARE runs this in a process of the site's that lives as long as the job. The weights travel as
one vector. Writes when each came, and how long the training took.
"""

import json
import os
import time
from pathlib import Path

import nvflare.client as flare
import torch
from nvflare.app_common.np.constants import NPConstants
from plain_round import train_plainly

from fedtt.config import load_config
from fedtt.engine.build import build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.federated.wire.flat import flatten, unflatten
from fedtt.params import structure_of


def main() -> None:
    """Until the server has no more rounds."""
    torch.set_num_threads(1)
    flare.init()
    config = load_config(Path(os.environ["PLAIN_JOB"]))
    federation = build_federation(config)
    structure = structure_of(federation.initial.params)
    site = int(flare.get_site_name().rpartition("-")[2]) - 1
    call = local_clients(federation, state=federation.initial, seed=config.seed)
    log = Path(os.environ["PLAIN_RESULT"]) / f"{site}.jsonl"
    while flare.is_running():
        asked = flare.receive()
        received = time.time()
        new, _, seconds = train_plainly(
            federation,
            call,
            unflatten(asked.params[NPConstants.NUMPY_KEY], structure),
            config=config,
            client=site,
            round_index=asked.current_round,
        )
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"received": received, "seconds": seconds}) + "\n")
        flare.send(flare.FLModel(params={NPConstants.NUMPY_KEY: flatten(new)}))


if __name__ == "__main__":
    main()
