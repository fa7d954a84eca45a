"""The steps of a run that are the same wherever its clients are."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.engine.build_method import build_secure_sum
from fedtt.engine.processes import Processes
from fedtt.engine.write_adapter import write_adapter
from fedtt.errors import DivergenceError, SitesError
from fedtt.experiment.description import check_unchanged, describe, is_data_at_sites
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.events import Notify, RoundDone, RunDone, RunPrepared, SiteNews
from fedtt.experiment.fan_out import fan_out
from fedtt.experiment.helper_processes import check_helpers
from fedtt.experiment.measure import Metrics
from fedtt.experiment.privacy_plan import PrivacyPlan
from fedtt.experiment.private_examples import PrivateExamples, open_examples
from fedtt.experiment.private_run import PrivateRun, open_privacy
from fedtt.experiment.run_files import Record, round_record
from fedtt.federated.aggregate.trimmed_mean import without_defense
from fedtt.federated.aggregate.update_limits import NO_LIMITS
from fedtt.federated.cohort import Cohorts
from fedtt.federated.failures import MOST_FAILURES, left_out
from fedtt.federated.learning_rate import learning_rate_at
from fedtt.federated.round import CallClients, run_round
from fedtt.federated.types import RoundReport, ServerState
from fedtt.federated.wire.plain import PLAIN

if TYPE_CHECKING:
    from fedtt.federated.secure.secure_round import CallSum, SecureSum

ShouldStop = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every part of a run needs."""

    config: RunConfig
    federation: Federation
    directory: RunDirectory
    notify: Notify
    should_stop: ShouldStop = lambda: False
    processes: Processes | None = None
    privacy: PrivateRun | None = None
    examples: PrivateExamples | None = None
    secure: "SecureSum | None" = None

    @property
    def rounds(self) -> int:
        """How many there will be: those that were asked for, within the privacy budgets."""
        asked = self.config.rounds
        of_clients = asked if self.plan is None else self.plan.rounds
        of_examples = asked if self.examples is None else self.examples.rounds
        return min(of_clients, of_examples)

    @property
    def plan(self) -> PrivacyPlan | None:
        """What is guaranteed to the clients, if anything is."""
        return None if self.privacy is None else self.privacy.plan


@contextmanager
def running(run: Run) -> Iterator[Run]:
    """The run, held by this process, with its trackers opened, until the block ends."""
    with (
        run.directory.locked(),
        fan_out(run.config, run.directory, run.notify) as notify,
    ):
        population = len(run.federation.population)
        privacy = open_privacy(run.config, run.directory, population=population)
        run = replace(run, notify=notify, privacy=privacy, secure=build_secure_sum(run.config))
        examples = open_examples(
            run.config, run.directory, run.federation, cohorts=_all_cohorts(run)
        )
        yield replace(run, examples=examples)


def end(run: Run, summary: dict[str, Any]) -> None:
    """Save the result, and tell of it."""
    run.directory.save_summary(summary)
    run.notify(RunDone(summary=summary))


@contextmanager
def naming_saved_state(run: Run) -> Iterator[None]:
    """A divergence inside the block also says which state was saved last."""
    try:
        yield
    except DivergenceError as error:
        saved = run.directory.load_state(expected=structure_of_run(run)).next_round
        raise DivergenceError(
            f"{error}\n  last saved state: {run.directory.state_path} (after {saved} rounds)"
        ) from error


def take_up(run: Run, *, alone: bool) -> tuple[ServerState, list[Record]]:
    """The state to go on from and the records before it, once everything is known to fit.

    ``alone``: every client will also be trained alone.
    """
    directory, federation = run.directory, run.federation
    description = describe(federation, run.config)
    check_unchanged(directory.data() or {}, description, where=str(directory.path))
    if run.processes is not None:
        check_helpers(run.processes, description)
    directory.baselines()  # damaged ones are refused now, not after the last round
    notes = directory.notes()
    state = _first_state(run)
    records = directory.forget_rounds_from(state.next_round)
    directory.save_data(description)
    save_adapter(run, state)
    run.notify(
        RunPrepared(
            rounds=run.rounds,
            next_round=state.next_round,
            clients=federation.population,
            cohort_size=run.config.cohort.size or len(federation.population),
            alone=alone,
            exchanged_parameters=federation.exchanged_parameters,
            sent_bytes=sum(r["uplink_bytes"] + r["downlink_bytes"] for r in records),
            notes=(*federation.notes, *notes),
            privacy=(
                *(() if run.plan is None else run.plan.notes),
                *(() if run.examples is None else run.examples.notes),
                *_notes_of_sum(run, at_sites=bool(is_data_at_sites(description))),
            ),
        )
    )
    return state, records


def one_round(
    run: Run,
    state: ServerState,
    call_clients: CallClients,
    *,
    alone: str | None = None,
    call_sum: "CallSum | None" = None,
) -> tuple[ServerState, RoundReport]:
    """The next state, by :func:`run_round` with the run's method, cohorts and learning rate.

    With ``alone``, of that client trained by itself: nobody drops out, there is nobody to defend
    against, and nothing travels that a codec could change. A secure sum is carried by ``call_sum``;
    without it, the clients of ``call_clients`` are summed in this process.
    """
    method, cohorts = run.federation.method, cohorts_of(run, state)
    if alone is not None:
        aggregation = without_defense(method.aggregation)
        method = replace(method, aggregation=aggregation, codec=PLAIN, limits=NO_LIMITS)
        cohorts = replace(cohorts, only=alone, dropout_rate=0.0)
    elif run.secure is not None:
        from fedtt.federated.secure.secure_round import run_secure_round
        from fedtt.federated.secure.sum_here import SumHere

        return run_secure_round(
            state,
            method=method,
            cohorts=cohorts,
            learning_rate=learning_rate_of(run.config, state.next_round),
            call_sum=call_sum or SumHere(call_clients=call_clients),
            secure=run.secure,
        )
    return run_round(
        state,
        method=method,
        cohorts=cohorts,
        learning_rate=learning_rate_of(run.config, state.next_round),
        call_clients=call_clients,
        privacy=run.privacy.mechanism if run.privacy is not None else None,
    )


def _notes_of_sum(run: Run, *, at_sites: bool) -> Iterator[str]:
    """What is to be said of a secure sum before the first round."""
    if run.secure is not None:
        clients = run.config.cohort.size or len(run.federation.population)
        learns = (
            f"the sum of at least {run.secure.threshold_of(clients)} of a round's {clients} clients"
        )
        said = (
            f"secure aggregation: the server learns {learns}, and no update of one."
            if at_sites
            else f"secure aggregation, simulated: it adds up {learns}, and hides no update from "
            "whoever runs this, as it would between sites."
        )
        yield f"{said} docs/privacy.md says what it holds for."


def cohorts_of(run: Run, state: ServerState) -> Cohorts:
    """Who is called in which round of the run, from that state on."""
    cohorts = replace(_all_cohorts(run), left_out=left_out(state.failures))
    return cohorts if run.examples is None else replace(cohorts, draw=run.examples.calls.positions)


def _all_cohorts(run: Run) -> Cohorts:
    """As if nobody had a budget, and nobody had failed."""
    return Cohorts(
        population=run.federation.population,
        cohort_size=run.config.cohort.size,
        dropout_rate=run.config.cohort.dropout,
        seed=run.config.seed,
        draw=run.privacy.mechanism.positions if run.privacy is not None else None,
    )


def check_enough_left(run: Run, state: ServerState, *, fewest: int, of: str) -> None:
    """Raise :class:`SitesError` where too few clients may still be called; ``of`` says of what."""
    gone, population = left_out(state.failures), run.federation.population
    named = left_out_of(run, state)
    if not gone:
        return
    fewest = max(
        fewest,
        run.federation.method.limited_aggregation.fewest,
        0 if run.secure is None else run.secure.threshold_of(cohorts_of(run, state).size),
    )
    if len(population) - len(gone) < fewest:
        raise SitesError(
            "too few clients are left: the others failed again and again",
            where=f"round {state.next_round}",
            got="; ".join(f"{name}: {why}" for name, why in list(named.items())[:5]),
            expected=f"{fewest} of {len(population)} ({of})",
            fix="mend those clients, and start a new run",
        )


def left_out_of(run: Run, state: ServerState) -> dict[str, str]:
    """Who is not called any more, and why; of a private run without names."""
    gone = left_out(state.failures)
    if run.privacy is None:
        return gone
    return {str(number): reason for number, reason in enumerate(gone.values())}


def finish_round(
    run: Run,
    before: ServerState,
    state: ServerState,
    report: RoundReport,
    validation: Metrics | None,
    *,
    seconds: float,
    residuals: Mapping[str, p.Params] | None = None,
    examples: Mapping[str, int] | None = None,
) -> Record:
    """Save the round's record and the state after it, with what clients of this process owe; the
    record. ``before`` is the state that the round began with, and ``examples`` what sites have.
    """
    record = round_record(
        report,
        validation,
        learning_rate=learning_rate_of(run.config, report.round_index),
        seconds=seconds,
        privacy=None if run.plan is None else run.plan.of_round(before),
        examples=_spent_on_examples(run, state.next_round, known=examples or {}),
    )
    # The record first: a crash between the two leaves a record too many, which is dropped on
    # resuming, never one too few.
    run.directory.append_round(record)
    run.directory.save_state(state, residuals=residuals)
    save_adapter(run, state)
    run.notify(RoundDone(record=record, rounds=run.rounds))
    names = zip(left_out(state.failures), left_out_of(run, state).items(), strict=True)
    for client, (name, reason) in names:
        if client not in left_out(before.failures):
            what = f"left out from now on, after {MOST_FAILURES} failures alike: {reason}"
            run.notify(SiteNews(site=name, what=what))
    return record


def _spent_on_examples(run: Run, rounds: int, *, known: Mapping[str, int]) -> dict[str, Any] | None:
    """What the record says of it: nothing yet where no site has said how many examples it has."""
    if run.examples is None:
        return None
    return run.examples.spent(rounds, examples=known) or {}


def result_of_examples(
    run: Run, rounds: int, *, known: Mapping[str, int] | None = None
) -> dict[str, Any] | None:
    """What the summary says of example-level privacy; ``known`` are the examples of sites."""
    if run.examples is None:
        return None
    return run.examples.result(rounds, examples=known or {})


def learning_rate_of(config: RunConfig, round_index: int) -> float:
    """The clients' learning rate in a round."""
    return learning_rate_at(
        round_index,
        rounds=config.rounds,
        base=config.client.learning_rate,
        decay=config.client.decay,
        warmup_rounds=config.client.warmup_rounds,
    )


def measures_before(config: RunConfig) -> bool:
    """Whether the test split is measured with what the run starts from."""
    return config.evaluation.test and config.evaluation.before


def is_validation_due(run: Run, next_round: int) -> bool:
    """Whether the state before round ``next_round`` is to be validated."""
    every = run.config.evaluation.every
    return bool(every) and (next_round % every == 0 or next_round == run.rounds)


def structure_of_run(run: Run) -> p.Structure:
    """What the run's state holds."""
    return p.structure_of(run.federation.initial.params)


def save_adapter(run: Run, state: ServerState) -> None:
    """Write the global adapter. Writes ``state`` into the federation's model."""
    model, method = run.federation.model, run.federation.method
    p.write_params(model, state.params)

    run.directory.save_adapter(
        lambda path: write_adapter(model, method, path, exchanged=state.params.keys())
    )


def _first_state(run: Run) -> ServerState:
    # Records without a state are a damaged run, not a new one.
    if not run.directory.state_path.exists() and not run.directory.rounds():
        initial = run.federation.initial
        if run.privacy is not None:
            initial = run.privacy.first(initial)
        if run.examples is not None:
            initial = run.examples.first(initial)
        run.directory.save_state(initial)
    return run.directory.load_state(expected=structure_of_run(run))
