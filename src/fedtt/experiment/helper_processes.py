"""The processes beside the one that leads a run: what they are told, and that they fit."""

from collections.abc import Callable, Mapping
from typing import Any

from fedtt.config import RunConfig, parse_config
from fedtt.engine.between_processes import help_leader
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.build_checks import check_kept_here, check_secret_here
from fedtt.engine.client_state import ClientStates
from fedtt.engine.client_work import StepHook
from fedtt.engine.inprocess import LocalClients, local_clients
from fedtt.engine.processes import LEADER, Message, Processes
from fedtt.engine.token_budget import auto_max_tokens
from fedtt.errors import ConfigError, FedttError, InterruptedRunError
from fedtt.experiment.description import check_unchanged, describe
from fedtt.federated.privacy.example_privacy import ExamplePrivacy
from fedtt.federated.types import ServerState

ShouldStop = Callable[[], bool]


def clients_here(
    config: RunConfig,
    federation: Federation,
    state: ServerState,
    *,
    after_step: StepHook,
    kept: ClientStates | None = None,
    private: ExamplePrivacy | None = None,
) -> LocalClients:
    """The clients of the run as this process trains them."""
    return local_clients(
        federation,
        state=state,
        seed=config.seed,
        max_tokens=_max_tokens(config, federation),
        after_step=after_step,
        kept=kept,
        private=private,
    )


def call_helpers(processes: Processes, config: RunConfig) -> None:
    """Tell every helper what the run is; each then builds its own federation.

    Raises :class:`ConfigError` for a model that is told to lie on devices of its own.
    """
    check_kept_here(config, elsewhere=f"{processes.size} processes")
    check_secret_here(config, elsewhere=f"{processes.size} processes")
    indexed = config.model.device.partition(":")[2]
    if config.model.device_map is not None or indexed:
        raise ConfigError(
            "several processes cannot hold the model on the same devices",
            where="model.device_map" if config.model.device_map is not None else "model.device",
            got=config.model.device_map or config.model.device,
            fix='device = "auto" gives every process a GPU of its own; or run a single process',
        )
    processes.send_all(Message(content={"config": config.model_dump(mode="json")}))


def check_helpers(processes: Processes, description: Mapping[str, Any]) -> None:
    """Wait until every helper is ready.

    Raises :class:`RunError` for one whose data or base model differ from ``description``, and
    :class:`FedttError` with what kept one from building them.
    """
    for rank in range(1, processes.size):
        ready = processes.receive(source=rank).content
        if "error" in ready:
            raise FedttError(f"process {rank}: {ready['error']}")
        check_unchanged(description, ready, where=f"process {rank}, beside process {LEADER}")


def help_experiment(processes: Processes, *, should_stop: ShouldStop = lambda: False) -> None:
    """Take part in the run that the leading process runs, until it ends.

    Raises :class:`FedttError` where the leader is gone before that, and whatever building the
    federation raises.
    """
    config = parse_config(processes.receive(source=LEADER).content["config"], where="the leader")
    try:
        federation = build_federation(config)
    except FedttError as error:
        processes.send(Message(content={"error": str(error)}), to=LEADER)
        raise
    processes.send(Message(content=describe(federation, config)), to=LEADER)

    def stop_if_asked() -> None:
        if should_stop():
            raise InterruptedRunError("stopped on request", where=f"process {processes.rank}")

    help_leader(
        processes,
        federation,
        start_clients=lambda state: clients_here(
            config, federation, state, after_step=lambda *_: stop_if_asked()
        ),
        before_batch=lambda _: stop_if_asked(),
    )


def _max_tokens(config: RunConfig, federation: Federation) -> int | None:
    """The budget of clients that train together; None: one by one."""
    cohort = config.cohort
    # Clients that keep their optimizers' state have taken different numbers of steps.
    if cohort.batched == "off" or config.client.optimizer_state == "kept":
        return None
    if cohort.max_tokens == "auto":
        return auto_max_tokens(federation.model, model_class=federation.task.model_class)
    return cohort.max_tokens
