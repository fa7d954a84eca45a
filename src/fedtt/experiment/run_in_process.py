"""A run from start, or from where it stopped, to its summary.

Rounds, validation, records and checkpoints; then every client alone, as a baseline; then the test
split, once, unless ``evaluation.test`` is off. Every step is a function of the config and the saved
state, so a resumed run ends with the same bits as an uninterrupted one. The adapter is written with
every state, so what lies on disk is always one model, however the process ends.
"""

import time
from typing import Any

from fedtt.config import RunConfig
from fedtt.engine.between_processes import keep_waiting, spread_clients, stop_helpers
from fedtt.engine.build import Federation
from fedtt.engine.client_state import ClientStateFiles, ClientStates
from fedtt.engine.error_feedback import RememberingClients
from fedtt.engine.processes import Processes
from fedtt.errors import InterruptedRunError
from fedtt.experiment.attacked_run import open_attack
from fedtt.experiment.common_steps import (
    Run,
    ShouldStop,
    check_enough_left,
    end,
    finish_round,
    is_validation_due,
    left_out_of,
    measures_before,
    naming_saved_state,
    one_round,
    result_of_examples,
    running,
    structure_of_run,
    take_up,
)
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.events import BaselineRoundDone, Evaluated, Notify, StepDone, TrainingDone
from fedtt.experiment.helper_processes import clients_here
from fedtt.experiment.measure import Metrics, Portion, measure
from fedtt.experiment.run_files import Record
from fedtt.experiment.run_summary import summarize
from fedtt.federated.local.kept_moments import moments_structure
from fedtt.federated.round import CallClients, ClientTask
from fedtt.federated.types import ServerState
from fedtt.metrics import MEAN, mean_over_clients

MAX_ALONE_BY_DEFAULT = 10


def run_experiment(
    config: RunConfig,
    federation: Federation,
    directory: RunDirectory,
    *,
    notify: Notify,
    should_stop: ShouldStop = lambda: False,
    processes: Processes | None = None,
) -> dict[str, Any]:
    """Run what is left of the run in ``directory``; the summary, which is also saved there.

    ``should_stop`` is asked after every local step and before every batch of a measurement. Where
    there are ``processes``, this one leads, and the others run :func:`help_experiment`. Raises
    :class:`InterruptedRunError` once it says yes; :class:`DivergenceError` naming the place and the
    last saved state; :class:`RunError` if another process runs the run, a file of it is damaged or
    cannot be written, or data or base model changed. The last finished round is then on disk.
    """
    asked = Run(
        config=config,
        federation=federation,
        directory=directory,
        notify=notify,
        should_stop=should_stop,
        processes=processes,
    )
    with running(asked) as run:
        state, records = take_up(run, alone=_wants_alone(run))
        with naming_saved_state(run):
            before = _measure_before(run) if measures_before(config) else None
            state, records = _run_rounds(run, state, records)
            alone = _measure_alone(run)
            test = _measure_test(run, state) if config.evaluation.test else None
        gone = left_out_of(run, state)
        summary = ({"left_out": gone} if gone else {}) | summarize(
            config,
            federation,
            records=records,
            before=before,
            alone=alone,
            test=test,
            privacy=run.plan,
            examples=result_of_examples(run, len(records)),
        )
        end(run, summary)
    # Not after an error, when a helper may be waiting to be heard itself: it notices the end.
    if processes is not None:
        stop_helpers(processes)
    return summary


def _run_rounds(
    run: Run, state: ServerState, records: list[Record]
) -> tuple[ServerState, list[Record]]:
    files = _client_state_files(run)
    kept = files.load(state.next_round) if files is not None else None
    call_clients, residuals = _clients(run, state, alone=False, kept=kept), None
    attack = open_attack(run, state.next_round)
    if attack is not None:
        call_clients = attack.around(call_clients)
    if run.federation.method.error_feedback:
        residuals = run.directory.load_residuals(expected=structure_of_run(run))
        call_clients = RememberingClients(
            clients=call_clients, residuals=residuals, seed=run.config.seed
        )
    while state.next_round < run.rounds:
        check_enough_left(run, state, fewest=1, of="what the server's aggregation takes")
        started, before = time.perf_counter(), state
        state, report = one_round(run, state, call_clients)
        validation = _validate(run, state)
        if files is not None and kept is not None:
            files.save(state.next_round, kept)
        if attack is not None:
            attack.save(state.next_round)
        record = finish_round(
            run,
            before,
            state,
            report,
            validation,
            seconds=time.perf_counter() - started,
            residuals=residuals,
        )
        if files is not None:
            files.forget_all_but(state.next_round)
        if attack is not None:
            attack.forget_all_but(state.next_round)
        records = [*records, record]
    validations = [record["validation"] for record in records if record["validation"]]
    run.notify(TrainingDone(rounds=run.rounds, validation=validations[-1] if validations else None))
    return state, records


def _client_state_files(run: Run) -> ClientStateFiles | None:
    """Where the clients' optimizers are kept; None where they start afresh."""
    if run.config.client.optimizer_state == "fresh":
        return None
    whole = structure_of_run(run)
    pretrained = run.federation.method.pretrained(whole)
    return ClientStateFiles(
        run=run.directory.path,
        clients=run.federation.population,
        structure=moments_structure({n: s for n, s in whole.items() if n not in pretrained}),
    )


def _clients(
    run: Run, state: ServerState, *, alone: bool, kept: ClientStates | None
) -> CallClients:
    def after_step(task: ClientTask, step: int, steps: int, loss: float) -> None:
        done = StepDone(
            round_index=task.round_index,
            client_id=task.client_id,
            step=step,
            steps=steps,
            loss=loss,
            alone=alone,
        )
        # Else nobody hears who takes part, and how it does.
        if run.privacy is None and run.examples is None and run.secure is None:
            run.notify(done)
        _stop_if_asked(run, where=f"round {task.round_index}, client {task.client_id}, step {step}")

    local = clients_here(
        run.config,
        run.federation,
        state,
        after_step=after_step,
        kept=kept,
        private=None if run.examples is None else run.examples.privacy(),
    )
    if alone or run.federation.hostile is not None or kept is not None:
        # One client, a simulation, or all of them in every round: nobody can be left out.
        here: CallClients = local
    else:
        here = local.or_failures
    if run.processes is None or alone:  # one client a round: there is nothing to deal out
        return here
    return spread_clients(run.processes, local, state)


def _stop_if_asked(run: Run, *, where: str) -> None:
    if run.should_stop():
        raise InterruptedRunError(
            "stopped on request",
            where=where,
            fix=f"fedtt train --resume {run.directory.path} goes on from the last finished round",
        )


def _validate(run: Run, state: ServerState) -> Metrics | None:
    if not is_validation_due(run, state.next_round):
        return None
    return _measure(run, state, Portion(split="validation"), pooled=True)


def _measure_before(run: Run) -> Metrics:
    baselines = run.directory.baselines()
    if "before" not in baselines:
        before = _measure(run, run.federation.initial, Portion(split="test"))
        run.directory.save_baselines({**baselines, "before": before})
        run.notify(Evaluated(what="before", metrics=before))
        return before
    saved: Metrics = baselines["before"]
    return saved


def _measure_test(run: Run, state: ServerState) -> Metrics:
    test = _measure(run, state, Portion(split="test"))
    run.notify(Evaluated(what="test", metrics=test))
    return test


def _measure(
    run: Run,
    state: ServerState,
    what: Portion,
    *,
    pooled: bool = False,
) -> Metrics:
    return measure(
        run.federation,
        state.params,
        what,
        processes=run.processes,
        batch_size=run.config.evaluation.batch_size,
        pooled=pooled,
        before_batch=lambda client_id: _stop_if_asked(run, where=f"measuring client {client_id}"),
    )


def _measure_alone(run: Run) -> Metrics | None:
    """Every client trained alone: the same start, rounds, steps and batches, nobody to average."""
    if not _wants_alone(run):
        return None
    population = run.federation.population
    for number, client_id in enumerate(population, start=1):
        baselines = run.directory.baselines()
        done = baselines.get("alone", {})
        if client_id in done:
            continue
        state = run.federation.initial
        fresh: ClientStates | None = None if _client_state_files(run) is None else {}
        call_clients = _clients(run, state, alone=True, kept=fresh)
        while state.next_round < run.config.rounds:
            if run.processes is not None:
                keep_waiting(run.processes)
            started = time.perf_counter()
            state, report = one_round(run, state, call_clients, alone=client_id)
            run.notify(
                BaselineRoundDone(
                    client_id=client_id,
                    number=number,
                    clients=len(population),
                    round_index=report.round_index,
                    rounds=run.config.rounds,
                    loss=report.loss,
                    seconds=time.perf_counter() - started,
                )
            )
        metrics = _measure(run, state, Portion(split="test", client_id=client_id))
        done = {**done, client_id: {name: values[MEAN] for name, values in metrics.items()}}
        run.directory.save_baselines({**baselines, "alone": done})
    alone = mean_over_clients(run.directory.baselines()["alone"])
    run.notify(Evaluated(what="alone", metrics=alone))
    return alone


def _wants_alone(run: Run) -> bool:
    population = len(run.federation.population)
    private = run.privacy is not None or run.examples is not None
    if private or run.config.attack is not None:
        return False
    everyone = run.config.cohort.size in (None, population)
    wanted = run.config.evaluation.alone
    by_default = everyone and population <= MAX_ALONE_BY_DEFAULT and run.config.evaluation.test
    return by_default if wanted is None else wanted
