"""Example-level differential privacy of a run, as the clients of a process have it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fedtt.federated.privacy.example_step import ExampleMechanism, digest_of, streams_of_task
from fedtt.federated.privacy.keystream import Streams

# (client, what tells its task from every other): told before any noise is drawn, and may raise.
Spend = Callable[[str, str], None]


@dataclass(frozen=True, kw_only=True)
class ExamplePrivacy:
    """What hides the examples of each client; ``streams`` are of a secret that stays here.

    ``noise_multipliers`` are by client, over ``clipping_norm``. ``run`` tells one run's tasks from
    another's, and ``settings`` are a digest of all that the run is configured with: asked
    otherwise, a client draws other noise, and spends again. ``spend`` hears of every task, and of
    one that is asked for again, again.
    """

    run: str
    settings: str
    clipping_norm: float
    noise_multipliers: Mapping[str, float]
    batch_size: int
    streams: Streams
    spend: Spend = lambda _client, _task: None

    def mechanism(
        self, client_id: str, *, examples: int, task: Iterable[bytes]
    ) -> ExampleMechanism:
        """Of the client's task, which ``task`` describes whole: data, start, settings."""
        noise = self.noise_multipliers[client_id]
        whose = f"{self.run} {client_id} {self.clipping_norm!r} {noise!r} {self.settings}"
        described = [whose.encode(), *task]
        self.spend(client_id, digest_of(described))
        return ExampleMechanism(
            clipping_norm=self.clipping_norm,
            noise_multiplier=noise,
            examples=examples,
            batch_size=self.batch_size,
            streams=streams_of_task(self.streams, described),
        )
