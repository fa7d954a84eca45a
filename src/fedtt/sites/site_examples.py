"""Example-level privacy at a site: its own secret, its own noise, its own account of epsilon."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtt.config import ExamplePrivacyConfig, RunConfig
from fedtt.engine.build import Federation
from fedtt.engine.build_example_plan import ExamplePlan, digest_of_settings, plan_examples
from fedtt.errors import ConfigError, SitesError
from fedtt.federated.privacy.example_privacy import ExamplePrivacy
from fedtt.federated.privacy.keystream import secret_streams
from fedtt.kept_secret import kept_secret
from fedtt.sites.epsilon_ledger import EpsilonLedger, Spent

SECRET = "privacy-secret"


@dataclass(frozen=True, kw_only=True)
class SpendingLimit:
    """The most that the site's owner lets all runs together spend, whatever a server says."""

    epsilon: float
    delta: float


def check_limit(config: RunConfig, limit: SpendingLimit | None) -> None:
    """Raise :class:`ConfigError` where a site that has a limit is to train without noise, or to
    measure: which examples are held out is the server's to say, and another run's are others.
    """
    if limit is None:
        return
    if config.privacy.example is None:
        raise ConfigError(
            "the server's configuration hides no examples, and this site wants them hidden",
            where="--max-epsilon",
            got="no [privacy.example]",
            expected=f"epsilon of at most {limit.epsilon:g}",
            fix="a server whose configuration has [privacy.example]; or leave --max-epsilon out",
        )
    measured = config.evaluation
    if measured.every or measured.test:
        raise ConfigError(
            "this site measures nothing: a score has no noise, and tells of examples",
            where="--max-epsilon",
            got=f"evaluation.every = {measured.every}, evaluation.test = "
            f"{str(measured.test).lower()} in the server's configuration",
            fix="a server whose configuration has evaluation.every = 0 and evaluation.test = "
            "false; or leave --max-epsilon out",
        )


@dataclass(frozen=True, kw_only=True)
class SiteExamples:
    """What a site that takes part in such a run has.

    ``shared``: its clients have parts of one data set. Else it is one client's, under any name.
    """

    run_id: str
    settings: str
    section: ExamplePrivacyConfig
    batch_size: int
    plan: ExamplePlan
    ledger: EpsilonLedger
    secret: bytes
    limit: SpendingLimit | None
    shared: bool

    def privacy(self) -> ExamplePrivacy:
        """What hides the examples of the site's clients.

        A task is told from others by the secret too: with another one, its noise is another.
        """
        own = hashlib.blake2b(self.secret, digest_size=16, person=b"fedtt site id").hexdigest()
        return ExamplePrivacy(
            run=f"{self.run_id} {own}",
            settings=self.settings,
            clipping_norm=self.section.clipping_norm,
            noise_multipliers=self.plan.noise_multipliers,
            batch_size=self.batch_size,
            streams=secret_streams(self.secret),
            spend=self._spend,
        )

    def told(self, clients: Sequence[str]) -> str:
        """What a round's line says of epsilon so far, in this run."""
        spent = max(self._epsilon(client, 0, run=self.run_id) for client in clients)
        return f"epsilon {spent:.3f} (delta {self.section.delta:g})"

    def _spend(self, client: str, task: str) -> None:
        """Raises :class:`SitesError` where the task would spend more than there is."""
        with self.ledger.held():
            if not self.ledger.is_last(client, task):
                self._spend_more(client, task)

    def _spend_more(self, client: str, task: str) -> None:
        budget, target = self.plan.budgets[client], self.section.target_epsilon
        if target is not None:
            after = self._epsilon(client, budget.steps, run=self.run_id)
            _check(after, target, whose="the run's", delta=self.section.delta)
        if self.limit is not None:
            after = self._epsilon(client, budget.steps, run=None)
            _check(after, self.limit.epsilon, whose="this site's own", delta=self.limit.delta)
        self.ledger.add(self._cost(client, budget.steps), task=task)

    def _epsilon(self, client: str, steps: int, *, run: str | None) -> float:
        """After so many more steps, in that run or in all runs."""
        delta = self.section.delta
        if run is None and self.limit is not None:
            delta = self.limit.delta
        accountant = self.plan.budgets[client].accounting.accountant
        return self.ledger.epsilon(
            self._cost(client, steps),
            accountant=accountant,
            delta=delta,
            run=run,
            client=client if self.shared else None,
        )

    def _cost(self, client: str, steps: int) -> Spent:
        budget = self.plan.budgets[client]
        return Spent(
            client=client,
            run=self.run_id,
            noise_multiplier=budget.noise_multiplier,
            examples=budget.accounting.population,
            expected=budget.accounting.expected,
            steps=steps,
        )


def open_site_examples(
    config: RunConfig,
    federation: Federation,
    *,
    folder: Path | None,
    run_id: str,
    clients: Sequence[str],
    limit: SpendingLimit | None,
    shared: bool,
) -> SiteExamples | None:
    """None where nothing is guaranteed. Raises :class:`SitesError` without a ``folder`` to keep it
    in, :class:`ConfigError` for an epsilon that this site's examples do not reach.
    """
    section = config.privacy.example
    if section is None:
        return None
    if folder is None:
        raise SitesError(
            "example-level privacy needs a folder for the site's secret, and for what is spent",
            where="--state",
            fix="give --state DIR, the same one at every start; with --keys it is that folder",
        )
    train = federation.splits["train"]
    plan = plan_examples(config, examples={client: len(train[client]) for client in clients})
    assert plan is not None  # a client has examples
    folder.mkdir(parents=True, exist_ok=True)
    return SiteExamples(
        run_id=run_id,
        settings=digest_of_settings(config),
        section=section,
        batch_size=config.client.batch_size,
        plan=plan,
        ledger=EpsilonLedger(folder),
        secret=kept_secret(
            folder / SECRET,
            whose="the site's",
            fix="bring the file back, or move it away: another one is drawn",
        ),
        limit=limit,
        shared=shared,
    )


def _check(epsilon: float, most: float, *, whose: str, delta: float) -> None:
    if epsilon > most:
        raise SitesError(
            f"{whose} privacy budget is spent: this site trains no further",
            where="privacy.example",
            got=f"epsilon {epsilon:.4g} at delta {delta:g} with one more round",
            expected=f"at most {most:g}",
        )
