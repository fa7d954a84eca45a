"""A run whose clients are sites: the same rounds, records and checkpoints, measured by the sites.

What a round began with is measured in it, before training: no message is spent on measuring but
one after the last round. So the validation of a round's outcome is known one round later, and
then put into its record.
"""

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.errors import SitesError
from fedtt.experiment.common_steps import (
    Run,
    check_enough_left,
    cohorts_of,
    end,
    finish_round,
    is_validation_due,
    left_out_of,
    measures_before,
    naming_saved_state,
    one_round,
    result_of_examples,
    running,
    take_up,
)
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.events import Evaluated, Notify, RunDone
from fedtt.experiment.measure import Metrics
from fedtt.experiment.run_files import Record
from fedtt.experiment.run_summary import summarize
from fedtt.federated.failures import left_out
from fedtt.federated.types import RoundReport, ServerState
from fedtt.metrics import mean_over_clients
from fedtt.sites.message_schema import SiteMetrics, Split
from fedtt.sites.server_end import Sites

ATTEMPTS = 3  # at one round, each as long as its deadline
VALIDATION: Split = "validation"
TEST: Split = "test"


def run_with_sites(
    config: RunConfig,
    federation: Federation,
    directory: RunDirectory,
    sites: Sites,
    *,
    notify: Notify,
) -> dict[str, Any]:
    """Run what is left of the run in ``directory`` with the sites; its summary, also saved there.

    The sites stay, until they are told that it is over (``sites.close()``).
    Raises like :func:`run_experiment`, and :class:`SitesError` where too few sites take part.
    """
    asked = Run(
        config=config,
        federation=federation,
        directory=directory,
        notify=notify,
    )
    with running(asked) as run:
        state, records = take_up(run, alone=False)
        finished = directory.summary()
        if state.next_round == run.rounds and finished is not None:
            run.notify(RunDone(summary=finished))
            return finished  # nobody has to come and measure it again
        with naming_saved_state(run):
            state, records = _run_rounds(run, sites, state, records)
        test = _measure_last(run, sites, state, records)
        summary = {"left_out": left_out_of(run, state)} | summarize(
            config,
            federation,
            records=records,
            before=directory.baselines().get("before"),
            alone=None,
            test=test,
            privacy=run.plan,
            examples=result_of_examples(run, len(records), known=sites.num_examples()),
        )
        end(run, summary)
    return summary


def _run_rounds(
    run: Run, sites: Sites, state: ServerState, records: list[Record]
) -> tuple[ServerState, list[Record]]:
    while state.next_round < run.rounds:
        before = state
        state, report, measured, seconds = _try_round(run, sites, state)
        _keep_measured(run, records, measured)
        record = finish_round(
            run,
            before,
            state,
            report,
            None,
            seconds=seconds,
            examples=sites.num_examples(),
        )
        records = [*records, record]
    return state, records


def _try_round(
    run: Run, sites: Sites, state: ServerState
) -> tuple[ServerState, RoundReport, SiteMetrics, float]:
    """A round, again while too few sites answer: it has changed nothing then.

    With what the sites measured, and its seconds, without the wait for sites to join.
    """
    check_enough_left(
        run,
        state,
        fewest=run.config.sites.min_replies or 1,
        of="sites.min_replies, and what the server's aggregation takes",
    )
    for attempt in range(1, ATTEMPTS + 1):
        called = cohorts_of(run, state).answering(state.next_round)
        known = sites.gather(state, called=called)
        carried = sites.round(_splits(run, state))
        started = time.perf_counter()
        try:
            after, report = one_round(run, known, carried, call_sum=carried.summed)
        except SitesError:
            if attempt == ATTEMPTS:
                raise
        else:
            report = _without(report, carried.unsent)
            return after, report, carried.metrics, time.perf_counter() - started
    raise AssertionError("the last attempt returned or raised")


def _without(report: RoundReport, unsent: Collection[str]) -> RoundReport:
    """The report, with no bytes for clients whose site was not there to be sent any.

    The round counts a task as sent once the engine has taken it; only the exchange knows better.
    """
    dropped = {c: 0 if c in unsent else size for c, size in report.dropped.items()}
    return replace(report, dropped=dropped)


def _splits(run: Run, state: ServerState) -> list[Split]:
    """What is to be measured of the state that a round begins with."""
    due = state.next_round > 0 and is_validation_due(run, state.next_round)
    first = measures_before(run.config) and "before" not in run.directory.baselines()
    return [VALIDATION] * due + [TEST] * (first and state.next_round == 0)


def _keep_measured(run: Run, records: list[Record], measured: SiteMetrics) -> None:
    """What the sites found of the state before the round. Changes the last of ``records``."""
    if measured.get(TEST):
        before = mean_over_clients(measured[TEST])
        run.directory.save_baselines({**run.directory.baselines(), "before": before})
        run.notify(Evaluated(what="before", metrics=before))
    if measured.get(VALIDATION):
        validation = mean_over_clients(measured[VALIDATION])
        run.directory.add_validation(records[-1]["round"], validation)
        records[-1] = {**records[-1], "validation": validation}
        run.notify(Evaluated(what="validation", metrics=validation))


def _measure_last(
    run: Run, sites: Sites, state: ServerState, records: list[Record]
) -> Metrics | None:
    """Measure the outcome of the run; the test metrics, None where they are not wanted."""
    wanted: list[Split] = [VALIDATION] * is_validation_due(run, state.next_round)
    wanted += [TEST] * run.config.evaluation.test
    if not wanted:
        return None
    gone = left_out(state.failures)
    called = [client for client in run.federation.population if client not in gone]
    known = sites.gather(state, called=called)
    measured = sites.measure(known, method=run.federation.method, splits=wanted)
    _keep_measured(run, records, {VALIDATION: measured.get(VALIDATION, {})})
    if not run.config.evaluation.test:
        return None
    if not measured[TEST]:
        raise SitesError(
            "no site measured the test split",
            where=str(run.directory.path),
            fix="the rounds are done; fedtt serve --resume RUN measures again",
        )
    test = mean_over_clients(measured[TEST])
    run.notify(Evaluated(what="test", metrics=test))
    return test
