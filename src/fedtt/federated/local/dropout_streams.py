"""Dropout of many clients in one forward, every client's masks from its own random stream."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fedtt.seeds import random_stream

# Of each function that drops out: the position of its probability, its name, and its default.
_PROBABILITY: Mapping[Callable[..., Any], tuple[int, str, float]] = {
    functional.dropout: (1, "p", 0.5),
    functional.dropout1d: (1, "p", 0.5),
    functional.dropout2d: (1, "p", 0.5),
    functional.dropout3d: (1, "p", 0.5),
    functional.alpha_dropout: (1, "p", 0.5),
    functional.feature_alpha_dropout: (1, "p", 0.5),
    torch.dropout: (1, "p", 0.5),
    functional.scaled_dot_product_attention: (4, "dropout_p", 0.0),
}


class ClientStreams(TorchFunctionMode):
    """Inside, a function that drops out is called once a client, each time in its own stream.

    A client's masks are then those that it would draw alone, bit for bit, whatever the device:
    its rows are the same tensor and its stream is in the same state. ``rows_of`` names the clients
    whose rows, equally many and contiguous, make up the batch of the next forward; they must be
    of the shape that they have when the client trains alone.

    The streams advance; torch's global random state is left as it was.
    """

    def __init__(self, seeds: Sequence[int], *, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self._states = [_seeded(seed, device) for seed in seeds]
        self._clients: Sequence[int] = ()

    def rows_of(self, clients: Sequence[int]) -> "ClientStreams":
        """The mode, for a batch of these clients' rows. Changes it."""
        self._clients = tuple(clients)
        return self

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """``func``, client by client where it draws random numbers."""
        named = dict(kwargs or {})
        if func not in _PROBABILITY or not _drops(func, args, named):
            return func(*args, **named)
        named.pop("inplace", None)  # of a part of a tensor autograd has none
        return self._by_client(func, args, named)

    def _by_client(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor:
        # The input, or the query, has the rows; whatever else has as many goes with them.
        first = args[0] if args else kwargs.get("input", kwargs.get("query"))
        rows = first.shape[0] // len(self._clients)

        def part(value: Any, index: int) -> Any:
            is_rows = isinstance(value, Tensor) and value.ndim and len(value) == len(first)
            return value[index * rows : (index + 1) * rows] if is_rows else value

        outputs, outside = [], read_state(self._device)
        for index, client in enumerate(self._clients):
            write_state(self._states[client], self._device)
            own = {key: part(value, index) for key, value in kwargs.items()}
            outputs.append(func(*(part(value, index) for value in args), **own))
            self._states[client] = read_state(self._device)
        write_state(outside, self._device)
        return torch.cat(outputs)


def read_state(device: torch.device) -> Tensor:
    """State of the device's random number generator."""
    if device.type == "cpu":
        return torch.get_rng_state()
    state: Tensor = torch.get_device_module(device).get_rng_state(device)
    return state


def write_state(state: Tensor, device: torch.device) -> None:
    """Put the device's random number generator into that state."""
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)


def moves_random_state(forward: Callable[[], Any], *, device: torch.device) -> bool:
    """Whether ``forward`` draws random numbers from torch's own generators. Leaves them as before.

    Looked at from outside, so that no kind of dropout has to be known by name.
    """
    with random_stream(0):
        before = read_state(device), torch.get_rng_state()
        forward()
        after = read_state(device), torch.get_rng_state()
    return not all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def _seeded(seed: int, device: torch.device) -> Tensor:
    with random_stream(seed):
        return read_state(device)


def _drops(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    position, name, default = _PROBABILITY[func]
    rate = args[position] if len(args) > position else kwargs.get(name, default)
    # The attention function has no such argument: its callers pass 0 when they do not train.
    training = args[2] if position == 1 and len(args) > 2 else kwargs.get("training", True)
    return bool(rate) and bool(training)
