"""A run under example-level differential privacy: its plan, its secret, and who was called when."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.engine.build_example_plan import (
    ClientBudget,
    ExamplePlan,
    digest_of_settings,
    plan_examples,
)
from fedtt.errors import ConfigError
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.private_run import check_secret_kept
from fedtt.federated.cohort import Cohorts
from fedtt.federated.privacy.client_privacy import NOISE
from fedtt.federated.privacy.example_privacy import ExamplePrivacy
from fedtt.federated.privacy.keystream import secret_streams
from fedtt.federated.secure.sum_sizes import default_threshold
from fedtt.federated.types import ServerState
from fedtt.run_place import state_header

OF_SITES = (
    "example-level differential privacy: every site hides its own examples by noise of its own, "
    "and keeps its own account of epsilon; what is said of it here follows from the number of "
    "examples that the site tells. docs/privacy.md says what it holds for.",
)


class Calls:
    """Who is called in which round: nobody in more than its ``most`` rounds.

    Whoever was called may have drawn its noise, and so has spent its budget, heard or not. Looks
    back at all earlier rounds, and remembers them. A round takes ``fewest``, if given.
    """

    def __init__(self, cohorts: Cohorts, *, most: Mapping[str, int], fewest: int = 0) -> None:
        self._cohorts, self._most, self._fewest = cohorts, most, fewest
        self._called: list[Sequence[int]] = []
        self._spent: Counter[str] = Counter()
        self._counted: tuple[int, Counter[str]] = (0, Counter())  # of the first so many rounds

    def positions(self, round_index: int) -> Sequence[int]:
        """As :meth:`Cohorts.positions`, without those whose budget is spent."""
        while len(self._called) <= round_index:
            number = len(self._called)
            left = [p for p in self._cohorts.positions(number) if self._has_left(p)]
            self._called.append(left)
            self._spent.update(self._answering(number))
        return self._called[round_index]

    def counts(self, rounds: int) -> dict[str, int]:
        """In how many of the first so many rounds each client was called."""
        before, counts = self._counted
        if before > rounds:
            before, counts = 0, Counter()
        for number in range(before, rounds):
            self.positions(number)
            counts.update(self._answering(number))
        self._counted = (rounds, counts)
        return {client: counts[client] for client in self._cohorts.population}

    def check_first(self, budgets: Mapping[str, ClientBudget]) -> None:
        """Raise :class:`ConfigError` where too few clients have budget for the first round, with
        the epsilon for which enough had.
        """
        fewest, called = self._fewest, self._cohorts.positions(0)
        left = self.positions(0)
        if not self._most or len(called) < fewest or len(left) >= fewest:
            return
        names = [self._cohorts.population[position] for position in called]
        needed = sorted(budgets[name].epsilon(1) for name in names)[fewest - 1]
        raise ConfigError(
            "the budgets leave too few clients for the first round",
            where="privacy.example.target_epsilon",
            got=f"{len(left)} of {len(called)} clients can take part",
            expected=f"{fewest}",
            fix=f"with this noise, target_epsilon = {needed:.4g} or more leaves enough for one "
            "round; or leave noise_multiplier out, and it is chosen for all rounds",
        )

    def last(self, rounds: int) -> int:
        """How many of so many rounds there are until nobody, or too few, have anything left."""
        if not self._most:
            return rounds
        if self._fewest:
            few = (r for r in range(rounds) if len(self.positions(r)) < self._fewest)
            return next(few, rounds)
        return max((r + 1 for r in range(rounds) if len(self.positions(r))), default=0)

    def _answering(self, number: int) -> list[str]:
        names = (self._cohorts.population[position] for position in self._called[number])
        return [name for name in names if not self._cohorts.drops_out(name, number)]

    def _has_left(self, position: int) -> bool:
        client_id = self._cohorts.population[position]
        return client_id not in self._most or self._spent[client_id] < self._most[client_id]


@dataclass(frozen=True, kw_only=True)
class PrivateExamples:
    """What such a run has beside what every run has.

    ``plan`` is None where sites have the data: each has its own. ``named``: records name clients.
    """

    config: RunConfig
    directory: RunDirectory
    calls: Calls
    plan: ExamplePlan | None
    named: bool

    @cached_property
    def rounds(self) -> int:
        """How many there are until every client's budget is spent."""
        return self.calls.last(self.config.rounds)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said before the first round."""
        return OF_SITES if self.plan is None else self.plan.notes

    def privacy(self) -> ExamplePrivacy:
        """What hides the examples of the clients of this process, by the run's secret."""
        assert self.plan is not None  # clients of this process have their data here
        return ExamplePrivacy(
            run=self.directory.run_id(),
            settings=digest_of_settings(self.config),
            clipping_norm=self.plan.section.clipping_norm,
            noise_multipliers=self.plan.noise_multipliers,
            batch_size=self.config.client.batch_size,
            streams=secret_streams(self.directory.secret()),
        )

    def first(self, initial: ServerState) -> ServerState:
        """The run's first state, which remembers every client's noise."""
        noises = {} if self.plan is None else self.plan.noise_multipliers
        kept = {_noise_of(client): noise for client, noise in noises.items()}
        return replace(initial, privacy={**initial.privacy, **kept})

    def spent(self, rounds: int, *, examples: Mapping[str, int]) -> dict[str, Any] | None:
        """What the record says after so many rounds; None where no site said how many examples
        it has.
        """
        plan = self._plan_for(examples)
        if plan is None:
            return None
        counts = self._counts(rounds, plan)
        spent = {"epsilon": plan.largest(counts), "delta": plan.section.delta}
        if not self.named:
            return spent
        own = {client: plan.budgets[client].epsilon(count) for client, count in counts.items()}
        return {**spent, "clients": own}

    def result(self, rounds: int, *, examples: Mapping[str, int]) -> dict[str, Any] | None:
        """What the summary says after so many rounds."""
        plan = self._plan_for(examples)
        if plan is None:
            return None
        stopped = None
        if rounds == self.rounds < self.config.rounds:
            stopped = f"after {rounds} of {self.config.rounds} rounds no client's budget is left"
            if self.config.privacy.secure_aggregation is not None:
                stopped = (
                    f"after {rounds} of {self.config.rounds} rounds fewer clients have budget left "
                    "than a secure sum takes"
                )
        result = plan.result(self._counts(rounds, plan), named=self.named)
        return {**result, "stopped": stopped}

    def _plan_for(self, examples: Mapping[str, int]) -> ExamplePlan | None:
        if self.plan is not None:
            return self.plan
        return plan_examples(self.config, examples=examples) if examples else None

    def _counts(self, rounds: int, plan: ExamplePlan) -> dict[str, int]:
        """Where nobody is named, as if everyone had been called in every round."""
        counts = self.calls.counts(rounds)
        known = {client: counts[client] for client in plan.budgets}
        if self.named:
            return known
        return {client: min(rounds, plan.budgets[client].most) for client in known}


def open_examples(
    config: RunConfig, directory: RunDirectory, federation: Federation, *, cohorts: Cohorts
) -> PrivateExamples | None:
    """None where nothing is guaranteed. Raises :class:`ConfigError` for a budget too small."""
    if config.privacy.example is None:
        return None
    check_secret_kept(config, directory)
    plan = plan_examples(config, examples=examples_of(federation), noises=_kept_noises(directory))
    return PrivateExamples(
        config=config,
        directory=directory,
        calls=Calls(
            cohorts, most={} if plan is None else plan.limited, fewest=_fewest(config, cohorts)
        ),
        plan=plan,
        named=config.privacy.client is None,
    )


def calls_within(plan: ExamplePlan | None, config: RunConfig, *, cohorts: Cohorts) -> Calls:
    """Who is called when. Raises :class:`ConfigError` where too few could be in the first round."""
    most = {} if plan is None else plan.limited
    calls = Calls(cohorts, most=most, fewest=_fewest(config, cohorts))
    calls.check_first({} if plan is None else plan.budgets)
    return calls


def _fewest(config: RunConfig, cohorts: Cohorts) -> int:
    """Clients that a round takes: a secure sum of fewer than its threshold is none."""
    section = config.privacy.secure_aggregation
    return 0 if section is None else section.threshold or default_threshold(cohorts.size)


def examples_of(federation: Federation) -> dict[str, int]:
    """Training examples by client, of those whose data are here."""
    train = federation.splits["train"]
    return {client: len(train[client]) for client in train.parts.names if len(train[client])}


def _noise_of(client: str) -> str:
    return f"{NOISE}/{client}"


def _kept_noises(directory: RunDirectory) -> dict[str, float]:
    """The noise that a run has begun with: another version's accounting may ask for another."""
    if not directory.state_path.exists():
        return {}
    kept = state_header(directory.state_path).get("privacy", {})
    return {
        name.partition("/")[2]: noise
        for name, noise in kept.items()
        if name.startswith(_noise_of("")) and isinstance(noise, float) and noise > 0
    }
