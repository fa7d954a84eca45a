"""The processes of one run, started by ``torchrun``, and what they tell each other.

The first process leads; it alone runs rounds, writes files and prints. The others do what it asks.
A message is a JSON value and byte strings, sent as plain tensors: nothing is unpickled.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.distributed as dist

from fedtt.engine.turn import Turn
from fedtt.errors import FedttError
from fedtt.strict_json import parse_json

LEADER = 0
# Nobody waits longer for another process: a local round on a large model may take long.
PATIENCE = timedelta(hours=2)
MAX_HEADER = 2**28
MAX_BLOBS = 2**36  # bytes; more is no message of ours


@dataclass(frozen=True, kw_only=True)
class Message:
    """``content`` is whatever JSON can say; ``blobs`` are bytes beside it."""

    content: Any
    blobs: Sequence[bytes] = ()


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The one process, of number ``rank``, among ``size``; number 0 leads."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this is the one that runs rounds, writes files and prints."""
        return self.rank == LEADER

    @property
    def turn(self) -> Turn:
        """What this process does of work that is dealt out among all."""
        return Turn(rank=self.rank, size=self.size)

    def send(self, message: Message, *, to: int) -> None:
        """Raises :class:`FedttError` where that process is gone."""
        header, body = _pack(message)
        with _watching(to):
            dist.send(header, dst=to)
            dist.send(body, dst=to)

    def send_all(self, message: Message) -> None:
        """To every other process, like :meth:`send`."""
        for rank in range(self.size):
            if rank != self.rank:
                self.send(message, to=rank)

    def receive(self, *, source: int) -> Message:
        """The next message of that process. Raises like :meth:`send`, and for what is none."""
        header = torch.zeros(2, dtype=torch.int64)
        with _watching(source):
            dist.recv(header, src=source)
        described, rest = header.tolist()
        if not (0 < described <= MAX_HEADER and 0 <= rest <= MAX_BLOBS):
            raise _lost(source, f"a message of {described} and {rest} bytes")
        body = torch.zeros(described + rest, dtype=torch.uint8)
        with _watching(source):
            dist.recv(body, src=source)
        return _unpack(body, described, source=source)


def join_processes() -> Processes | None:
    """Join the others where ``torchrun`` started this process with some; None where it is alone.

    With a GPU for every process of a host each has its own. Messages go over gloo in any case:
    they are made, and read, in the memory of the hosts.
    """
    if not dist.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if torch.cuda.is_available() and torch.cuda.device_count() >= here:
        torch.cuda.set_device(local)
    dist.init_process_group("gloo", timeout=PATIENCE)
    return Processes(rank=dist.get_rank(), size=dist.get_world_size())


@contextmanager
def _watching(rank: int) -> Iterator[None]:
    """What torch says of a lost process, as an error that names it."""
    try:
        yield
    except RuntimeError as error:
        raise _lost(rank, str(error).splitlines()[0]) from error


def _lost(rank: int, reason: str) -> FedttError:
    return FedttError(
        "a process of the run is gone",
        where=f"process {rank}",
        got=reason,
        fix="see what it printed; start again with --resume RUN, which goes on from the last "
        "finished round",
    )


def _pack(message: Message) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = [len(blob) for blob in message.blobs]
    described = json.dumps({"content": message.content, "sizes": sizes}).encode()
    body = bytearray().join([described, *message.blobs])
    header = torch.tensor([len(described), sum(sizes)], dtype=torch.int64)
    return header, torch.frombuffer(body, dtype=torch.uint8)


def _unpack(body: torch.Tensor, described: int, *, source: int) -> Message:
    data = body.numpy().data
    try:
        header = parse_json(bytes(data[:described]))
        content, sizes = header["content"], header["sizes"]
    except (ValueError, KeyError, TypeError) as error:
        raise _lost(source, f"a message that cannot be read: {error}") from error
    if min(sizes, default=0) < 0 or sum(sizes) != len(data) - described:
        raise _lost(source, "a message whose parts do not add up")
    ends = [described, *(described + end for end in accumulate(sizes))]
    blobs = [bytes(data[start:end]) for start, end in pairwise(ends)]
    return Message(content=content, blobs=blobs)
