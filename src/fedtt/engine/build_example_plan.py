"""What ``[privacy.example]`` comes to: every client's noise, its rounds, and its epsilon.

Each client has its own: by how many examples it has, and how often it takes part. The guarantee of
one does not depend on what another does.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedtt.config import ExamplePrivacyConfig, RunConfig
from fedtt.data import epoch_steps
from fedtt.errors import ConfigError
from fedtt.federated.privacy.accounting import MOST_NOISE, Accounting, most_within

NEIGHBORS = "one training example of a client more or less"
MOST_SIZES = 8  # of clients for which PLDs are worth their seconds
MOST_NAMED = 3
# Where files are; what is in them is told apart by its digest.
PLACES: Mapping[str, set[str] | bool] = {
    "data": {"directory", "path", "test_path"},
    "model": {"name"},
    "track": True,
}


@dataclass(frozen=True, kw_only=True)
class ClientBudget:
    """One client's: the steps of a round, its noise, and the ``most`` rounds it may take part in.

    ``accounting`` counts steps: a batch is a sample of its examples.
    """

    accounting: Accounting
    steps: int
    noise_multiplier: float
    most: int

    def epsilon(self, rounds: int) -> float:
        """After it took part in so many rounds."""
        return self.accounting.epsilon(
            noise_multiplier=self.noise_multiplier, rounds=rounds * self.steps
        )


@dataclass(frozen=True, kw_only=True)
class ExamplePlan:
    """Known before the first round; ``asked`` are all rounds of the run."""

    section: ExamplePrivacyConfig
    budgets: Mapping[str, ClientBudget]
    asked: int

    @property
    def noise_multipliers(self) -> dict[str, float]:
        """By client."""
        return {client: budget.noise_multiplier for client, budget in self.budgets.items()}

    @property
    def limited(self) -> dict[str, int]:
        """The clients whose budget is for less than all rounds, and for how many it is."""
        return {c: budget.most for c, budget in self.budgets.items() if budget.most < self.asked}

    def largest(self, rounds: Mapping[str, int]) -> float:
        """Epsilon of the client that spent most, after each took part in so many rounds."""
        alike = {(self.budgets[client], count) for client, count in rounds.items()}
        return max((budget.epsilon(count) for budget, count in alike), default=0.0)

    def result(self, rounds: Mapping[str, int], *, named: bool) -> dict[str, Any]:
        """What the summary says; each client's own only where clients are ``named``."""
        budget = next(iter(self.budgets.values()))
        result = {
            "level": "example",
            "neighbors": NEIGHBORS,
            "epsilon": self.largest(rounds),
            "delta": self.section.delta,
            "target_epsilon": self.section.target_epsilon,
            "accountant": budget.accounting.accountant,
            "clipping_norm": self.section.clipping_norm,
        }
        if not named:
            return result
        clients = {
            client: {
                "epsilon": self.budgets[client].epsilon(count),
                "noise_multiplier": self.budgets[client].noise_multiplier,
                "rounds": count,
            }
            for client, count in rounds.items()
        }
        return {**result, "clients": clients}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said before the first round."""
        noises = sorted(set(self.noise_multipliers.values()))
        noise = f"{noises[0]:.4g}" + (f" to {noises[-1]:.4g}" if len(noises) > 1 else "")
        spent = self.largest({c: budget.most for c, budget in self.budgets.items()})
        notes = [
            f"example-level differential privacy: epsilon at most {spent:.4g} at delta "
            f"{self.section.delta:g} for every client after {self.asked} rounds ({NEIGHBORS}); "
            f"noise multiplier {noise}, clipping norm {self.section.clipping_norm:g}. "
            "docs/privacy.md says what it holds for.",
        ]
        limited = sorted(self.limited.items(), key=lambda item: item[1])
        if limited:
            first = ", ".join(f"{client} ({most})" for client, most in limited[:MOST_NAMED])
            rest = f" and {len(limited) - MOST_NAMED} more" if len(limited) > MOST_NAMED else ""
            notes.append(
                f"the privacy budget of these clients is for fewer than {self.asked} rounds, after "
                f"which they take no part: {first}{rest}."
            )
        large = [
            c for c, b in self.budgets.items() if b.accounting.population * self.section.delta >= 1
        ]
        if large:
            notes.append(
                f"privacy.example.delta = {self.section.delta:g} is not below 1 over the examples "
                f"of {large[0]}: with that, one of them may be shown whole."
            )
        if self.section.target_epsilon is None and spent > 100:
            notes.append("an epsilon above 100 protects nobody: more noise, or fewer steps.")
        return tuple(notes)


def plan_examples(
    config: RunConfig, *, examples: Mapping[str, int], noises: Mapping[str, float] | None = None
) -> ExamplePlan | None:
    """The plan for clients with so many training examples; None where nothing is guaranteed, and
    where nobody's examples are known.

    ``noises`` are those with which clients of a run have begun.

    Raises :class:`ConfigError` for an epsilon that cannot be reached, with what can be.
    """
    section = config.privacy.example
    if section is None or not examples:
        return None
    accountant = section.accountant
    if accountant is None:
        accountant = "pld" if len(set(examples.values())) <= MOST_SIZES else "rdp"
    begun = noises or {}
    kinds = {client: (count, begun.get(client)) for client, count in examples.items()}
    budgets = {
        kind: _budget(config, section, *kind, accountant=accountant)
        for kind in dict.fromkeys(kinds.values())
    }
    if not any(budget.most for budget in budgets.values()):
        largest = max(budgets.values(), key=lambda budget: budget.accounting.population)
        raise _no_round(largest, section, asked=config.rounds)
    return ExamplePlan(
        section=section,
        budgets={client: budgets[kind] for client, kind in kinds.items()},
        asked=config.rounds,
    )


def digest_of_settings(config: RunConfig) -> str:
    """Of everything in the configuration that may change what a client answers."""
    table = config.model_dump(mode="json", exclude=PLACES)
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _budget(
    config: RunConfig,
    section: ExamplePrivacyConfig,
    examples: int,
    begun: float | None,
    *,
    accountant: str,
) -> ClientBudget:
    client, target = config.client, section.target_epsilon
    steps = client.steps or epoch_steps(examples, client.batch_size, client.epochs or 1)
    accounting = Accounting(
        sampling="poisson",
        accountant=accountant,
        population=examples,
        expected=min(client.batch_size, examples),
        delta=section.delta,
    )
    noise = begun or section.noise_multiplier
    if noise is None:
        assert target is not None  # the section has one of them
        noise = accounting.noise_multiplier(target_epsilon=target, rounds=steps * config.rounds)
        if noise is None:
            raise _unreachable(accounting, section, steps=steps, rounds=config.rounds)
    most = config.rounds
    if target is not None:
        most = most_within(
            lambda rounds: accounting.epsilon(noise_multiplier=noise, rounds=rounds * steps),
            target_epsilon=target,
            most=config.rounds,
        )
    return ClientBudget(accounting=accounting, steps=steps, noise_multiplier=noise, most=most)


def _unreachable(
    accounting: Accounting, section: ExamplePrivacyConfig, *, steps: int, rounds: int
) -> ConfigError:
    reached = accounting.epsilon(noise_multiplier=MOST_NOISE, rounds=rounds * steps)
    return ConfigError(
        "that epsilon cannot be reached",
        where="privacy.example.target_epsilon",
        got=f"{section.target_epsilon:g} at delta {section.delta:g}, for {rounds} rounds of "
        f"{steps} steps with {accounting.expected} of {accounting.population} examples",
        fix=f"they come to {reached:.4g} with the most noise there is (noise multiplier "
        f"{MOST_NOISE:g}); a larger epsilon, fewer steps, smaller batches or more examples",
    )


def _no_round(budget: ClientBudget, section: ExamplePrivacyConfig, *, asked: int) -> ConfigError:
    needed = budget.accounting.noise_multiplier(
        target_epsilon=section.target_epsilon or 0.0, rounds=asked * budget.steps
    )
    all_of_them = f"; all {asked} take noise_multiplier = {needed:.4g}" if needed else ""
    return ConfigError(
        "that epsilon cannot be reached",
        where="privacy.example.target_epsilon",
        got=f"{section.target_epsilon:g} at delta {section.delta:g}, by no client",
        fix=f"with noise multiplier {budget.noise_multiplier:.4g} the first round alone comes to "
        f"{budget.epsilon(1):.4g} for the client with the most examples, "
        f"{budget.accounting.population}{all_of_them}; "
        "or leave noise_multiplier out",
    )
