"""TensorBoard: event files in ``RUN/track/tensorboard``; ``tensorboard --logdir RUN/track``."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedtt.experiment.events import Notify
from fedtt.experiment.tracking.logged_values import Values, parameters
from fedtt.experiment.tracking.tracked_run import open_tracked

VERSION = "brain.Event:2"  # what TensorBoard looks for at the head of a file


@contextmanager
def follow_in_tensorboard(path: Path, config: dict[str, Any]) -> Iterator[Notify]:
    """An event file more with every process that works on the run."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import hparams

    tracked = open_tracked(path, "tensorboard")
    had_ended = tracked.ended
    # Not SummaryWriter, which writes from another thread, some time later, and puts the machine's
    # name into the file's.
    name = f"events.out.tfevents.{int(time.time())}.{secrets.token_hex(4)}"
    writer = RecordWriter(str(tracked.folder / name))
    writer.write(Event(wall_time=time.time(), file_version=VERSION).SerializeToString())

    def write(summary: Summary, step: int) -> None:
        event = Event(wall_time=time.time(), step=step, summary=summary)
        writer.write(event.SerializeToString())
        writer.flush()

    def log(values: Values, step: int) -> None:
        scalars = [Summary.Value(tag=name, simple_value=x) for name, x in values.items()]
        write(Summary(value=scalars), step)

    # The first of the three, which lists columns, TensorBoard makes by itself where it is missing.
    _, session_start, session_end = hparams(parameters(config), {})
    if tracked.is_new:
        write(session_start, 0)
        tracked.begin()
    yield tracked.following(log)
    if tracked.ended and not had_ended:
        write(session_end, tracked.rounds)
    writer.close()
