"""A run under differential privacy, opened: its plan, and the mechanism with the run's secret."""

from dataclasses import dataclass, replace

from fedtt.config import RunConfig
from fedtt.errors import RunError
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.privacy_plan import PrivacyPlan, plan_privacy
from fedtt.federated.privacy.client_privacy import NOISE, NORM, ClientPrivacy
from fedtt.federated.privacy.keystream import secret_streams
from fedtt.federated.types import ServerState
from fedtt.run_place import STATE, state_header


@dataclass(frozen=True, kw_only=True)
class PrivateRun:
    """What a private run has beside what every run has."""

    plan: PrivacyPlan
    mechanism: ClientPrivacy

    def first(self, initial: ServerState) -> ServerState:
        """The run's first state."""
        section = self.plan.section
        return replace(
            initial,
            privacy={NOISE: self.plan.noise_multiplier, NORM: section.clipping_norm},
        )


def open_privacy(
    config: RunConfig, directory: RunDirectory, *, population: int
) -> PrivateRun | None:
    """None where nothing is guaranteed.

    Raises :class:`ConfigError` for a budget that cannot be kept, :class:`RunError` for a run that
    has rounds and lost its secret.
    """
    if config.privacy.client is None:
        return None
    plan = plan_privacy(config, population=population, noise_multiplier=_noise_of(directory))
    assert plan is not None  # there is a section
    check_secret_kept(config, directory)
    accounting = plan.accounting
    mechanism = ClientPrivacy(
        sampling=accounting.sampling,
        population=population,
        expected=accounting.expected,
        streams=secret_streams(directory.secret()),
        adaptive=plan.adaptive,
    )
    return PrivateRun(plan=plan, mechanism=mechanism)


def check_secret_kept(config: RunConfig, directory: RunDirectory) -> None:
    """Raise :class:`RunError` for a private run that has rounds and lost its secret."""
    private = config.privacy.is_noisy
    if not private or directory.has_secret:
        return
    if state_header(directory.state_path).get("next_round", 0):
        raise RunError(
            "the secret of a private run is gone: with another one it would not be the same run",
            where=str(directory.secret_path),
            fix="bring the file back, or start a new run, whose epsilon adds to that of this one",
        )


def _noise_of(directory: RunDirectory) -> float | None:
    """The noise that a run has begun with: another version's accounting may ask for another."""
    if not directory.state_path.exists():
        return None
    noise = state_header(directory.state_path).get("privacy", {}).get(NOISE)
    if not isinstance(noise, float) or not noise > 0:
        raise RunError(
            "the saved server state does not say how private it is",
            where=str(directory.path / STATE),
            fix="start a new run with another --run directory, or with --overwrite",
        )
    return noise
