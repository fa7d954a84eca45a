"""One stream of a run's events, to everybody who follows it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from fedtt.config import RunConfig
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.events import Event, Notify, TrackerLost
from fedtt.trackers import TRACKERS


@contextmanager
def fan_out(config: RunConfig, directory: RunDirectory, notify: Notify) -> Iterator[Notify]:
    """What tells ``notify`` and the run's trackers of an event, until the block ends.

    A tracker that fails is told nothing more, and ``notify`` is told that: what follows a run
    never ends it. Raises :class:`ConfigError` for a tracker that nobody has registered.
    """
    openers = {name: TRACKERS[name] for name in config.track.to}
    followers: dict[str, Notify] = {}
    stack = ExitStack()

    def guarded(name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever a stranger's code raises
            followers.pop(name, None)
            notify(TrackerLost(name=name, error=f"{type(error).__name__}: {error}"))

    def opened(name: str) -> None:
        own = ExitStack()
        table = config.model_dump(mode="json")
        followers[name] = own.enter_context(openers[name](directory.path, table))
        stack.callback(guarded, name, own.close)

    def tell(event: Event) -> None:
        notify(event)
        for name, follow in list(followers.items()):
            guarded(name, lambda follow=follow: follow(event))  # type: ignore[misc]

    with stack:
        for name in openers:
            guarded(name, lambda name=name: opened(name))  # type: ignore[misc]
        yield tell
