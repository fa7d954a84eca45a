"""What a run's ``[privacy]`` comes to: its noise, its rounds within the budget, and its epsilon."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from fedtt.config import ClientPrivacyConfig, RunConfig
from fedtt.errors import ConfigError
from fedtt.federated.privacy.accounting import MOST_NOISE, Accounting
from fedtt.federated.privacy.client_privacy import NOISE, NORM, AdaptiveClipping
from fedtt.federated.privacy.samplings import SAMPLINGS
from fedtt.federated.types import ServerState

COUNT_SHARE = 20  # Andrew et al. 2021: noise of a twentieth of the cohort, on those within


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """Known before the first round. ``rounds`` of the ``asked`` ones are within the budget.

    ``measured``: models are judged by examples that clients may hold.
    """

    section: ClientPrivacyConfig
    accounting: Accounting
    noise_multiplier: float
    rounds: int
    asked: int
    measured: bool
    adaptive: AdaptiveClipping | None

    def epsilon(self, rounds: int) -> float:
        """Of the first so many rounds."""
        return self.accounting.epsilon(noise_multiplier=self.noise_multiplier, rounds=rounds)

    @property
    def stopped(self) -> str | None:
        """Why the run ends before all rounds that were asked for; None where it does not."""
        if self.rounds == self.asked:
            return None
        return (
            f"the privacy budget is for {self.rounds} of {self.asked} rounds: one more would come "
            f"to epsilon {self.epsilon(self.rounds + 1):.4g}, over "
            f"{self.section.target_epsilon:g}"
        )

    def of_round(self, before: ServerState) -> dict[str, float]:
        """What the record of the round that began with that state says."""
        return {
            "epsilon": self.epsilon(before.next_round + 1),
            "delta": self.accounting.delta,
            NOISE: before.privacy[NOISE],
            NORM: before.privacy[NORM],
        }

    def result(self, rounds: int) -> dict[str, Any]:
        """What the summary says after so many rounds."""
        accounting = self.accounting
        return {
            "level": "client",
            "neighbors": SAMPLINGS[accounting.sampling].neighbors,
            "epsilon": self.epsilon(rounds),
            "delta": accounting.delta,
            "target_epsilon": self.section.target_epsilon,
            NOISE: self.noise_multiplier,
            "sampling": accounting.sampling,
            "expected_clients": accounting.expected,
            "accountant": accounting.accountant,
            "stopped": self.stopped if rounds == self.rounds else None,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said before the first round."""
        accounting, section = self.accounting, self.section
        about = "about " if accounting.sampling == "poisson" else ""
        adaptive = f", then by the quantile {self.adaptive.quantile:g}" if self.adaptive else ""
        notes = [
            f"client-level differential privacy: epsilon {self.epsilon(self.rounds):.4g} at delta "
            f"{accounting.delta:g} after {self.rounds} rounds of {about}{accounting.expected} of "
            f"{accounting.population} clients ({SAMPLINGS[accounting.sampling].neighbors}); noise "
            f"multiplier {self.noise_multiplier:.4g}, clipping norm {section.clipping_norm:g}"
            f"{adaptive}. docs/privacy.md says what it holds for.",
        ]
        if self.stopped:
            notes.append(f"{self.stopped}.")
        if accounting.delta >= 1 / accounting.population:
            notes.append(
                f"privacy.client.delta = {accounting.delta:g} is not below 1 / "
                f"{accounting.population} clients: with that, one of them may be shown whole."
            )
        if self.measured:
            notes.append(
                "scores measured on clients' own held-out texts are outside the guarantee: "
                "evaluation.every = 0 and evaluation.test = false switch them off."
            )
        return tuple(notes)


def plan_privacy(
    config: RunConfig, *, population: int, noise_multiplier: float | None = None
) -> PrivacyPlan | None:
    """The plan; None where nothing is guaranteed.

    ``noise_multiplier`` is that of a run that has begun. Raises :class:`ConfigError` for an epsilon
    that cannot be reached, with what can be.
    """
    section = config.privacy.client
    if section is None:
        return None
    sampling = SAMPLINGS[section.sampling]
    accounting = Accounting(
        sampling=section.sampling,
        accountant=section.accountant or sampling.accountants[0],
        population=population,
        expected=config.cohort.size or population,
        delta=section.delta,
    )
    noise = noise_multiplier or section.noise_multiplier
    noise = noise or _noise_for(section.target_epsilon or 0.0, accounting, config.rounds)
    return PrivacyPlan(
        section=section,
        accounting=accounting,
        noise_multiplier=noise,
        rounds=_rounds_within(section.target_epsilon, accounting, noise, config.rounds),
        asked=config.rounds,
        measured=bool(config.evaluation.every) or config.evaluation.test,
        adaptive=_adaptive(section, expected=accounting.expected, noise_multiplier=noise),
    )


def _noise_for(target: float, accounting: Accounting, rounds: int) -> float:
    noise = accounting.noise_multiplier(target_epsilon=target, rounds=rounds)
    if noise is None:
        reached = accounting.epsilon(noise_multiplier=MOST_NOISE, rounds=rounds)
        raise _unreachable(
            target,
            accounting,
            rounds,
            fix=f"{rounds} rounds come to {reached:.4g} with the most noise there is (noise "
            f"multiplier {MOST_NOISE:g}); a larger epsilon, fewer rounds or more clients",
        )
    return noise


def _rounds_within(
    target: float | None, accounting: Accounting, noise_multiplier: float, most: int
) -> int:
    if target is None:
        return most
    spent = partial(accounting.epsilon, noise_multiplier=noise_multiplier)
    rounds = accounting.rounds_within(
        noise_multiplier=noise_multiplier, target_epsilon=target, most=most
    )
    if not rounds:
        needed = accounting.noise_multiplier(target_epsilon=target, rounds=most)
        all_of_them = f"; all {most} take noise_multiplier = {needed:.4g}" if needed else ""
        raise _unreachable(
            target,
            accounting,
            most,
            fix=f"with noise multiplier {noise_multiplier:.4g} the first round alone comes to "
            f"{spent(rounds=1):.4g}{all_of_them}; or leave noise_multiplier out",
        )
    return rounds


def _unreachable(target: float, accounting: Accounting, rounds: int, *, fix: str) -> ConfigError:
    return ConfigError(
        "that epsilon cannot be reached",
        where="privacy.client.target_epsilon",
        got=f"{target:g} at delta {accounting.delta:g}, for {rounds} rounds of "
        f"{accounting.expected} of {accounting.population} clients",
        fix=fix,
    )


def _adaptive(
    section: ClientPrivacyConfig, *, expected: int, noise_multiplier: float
) -> AdaptiveClipping | None:
    chosen = section.adaptive
    if chosen is None:
        return None
    deviation = chosen.clipped_count_stddev or max(expected / COUNT_SHARE, noise_multiplier)
    if 2 * deviation < 1.01 * noise_multiplier:
        raise ConfigError(
            "so little noise on the number of updates within the norm spends the whole budget",
            where="privacy.client.adaptive.clipped_count_stddev",
            got=deviation,
            expected=f"more than half of the noise multiplier, {noise_multiplier / 2:.4g}",
            fix="leave clipped_count_stddev out",
        )
    return AdaptiveClipping(
        quantile=chosen.target_clipped_quantile,
        learning_rate=chosen.clip_norm_lr,
        count_deviation=deviation,
    )
