"""One step of DP-SGD: a sum over examples in which none counts for more than another, and noise.

Abadi et al. 2016 (arXiv 1607.00133), with a fixed denominator::

    gradient = (sum of clipped gradients + N(0, (noise multiplier * clipping norm)^2)) / expected

``expected`` is how many examples a batch has on average, never how many it has: a batch of none is
a step of noise alone.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedtt.federated.privacy.fixed_point import GRID, MARGIN, gaussian_steps
from fedtt.federated.privacy.keystream import Stream, Streams
from fedtt.federated.privacy.samplings import POISSON


@dataclass(frozen=True, kw_only=True)
class ExampleMechanism:
    """What a client's batches are, and what becomes of its examples' gradients, in one task.

    ``streams`` are of that task alone: asked for something else, a client draws other noise, or
    the difference of two answers would tell what the noise hides.
    """

    clipping_norm: float
    noise_multiplier: float
    examples: int
    batch_size: int
    streams: Streams

    @property
    def expected(self) -> int:
        """Examples of a batch, on average."""
        return min(self.batch_size, self.examples)

    def batch(self, step: int) -> np.ndarray:
        """The examples of that step, each with probability ``expected / examples``, by itself."""
        drawn = POISSON.draw(self.streams("batch", step), self.examples, self.expected)
        return np.array(drawn, dtype=np.int64)

    def dropout_seed(self) -> int:
        """Of what else may draw in a forward; dropout is refused before (``check_no_dropout``)."""
        return int(self.streams("dropout").words(1)[0]) >> 1

    def release(self, total: Tensor, *, step: int) -> Tensor:
        """The noisy mean ``(d,)``, in float32, of the sum that :func:`clipped_sum` found."""
        noise = gaussian_steps(
            self._noise(step), total.numel(), deviation=self.noise_multiplier * GRID
        )
        noisy = total + torch.from_numpy(noise).to(total.device)
        return (noisy.double() * (self.clipping_norm / GRID / self.expected)).float()

    def _noise(self, step: int) -> Stream:
        return self.streams("noise", step)


def clipped_sum(rows: Tensor, *, clipping_norm: float) -> Tensor:
    """The sum over examples of their gradients ``(b, d)``, in steps of ``clipping_norm / GRID``.

    Each is cut to ``clipping_norm`` where it is longer, and towards zero to whole steps: in whole
    numbers ``(d,)`` nobody changes the sum by more than ``GRID``, and the order does not matter. A
    gradient that is not finite counts as none.
    """
    wide = rows.double()
    norms = torch.linalg.vector_norm(wide, dim=1)  # (b,)
    factor = GRID / (norms * (1 + MARGIN)).clamp(min=clipping_norm)
    finite = torch.isfinite(norms)
    steps = torch.where(finite[:, None], wide * factor[:, None], 0.0).trunc().long()
    return steps.sum(dim=0)


def streams_of_task(streams: Streams, parts: Iterable[bytes]) -> Streams:
    """The streams of one task of a client, told from all others by everything that it is made of.

    The very same task draws the same again, and answers with the same bits.
    """
    name = digest_of(parts)
    return lambda *path: streams("example", name, *path)


def digest_of(parts: Iterable[bytes]) -> str:
    """SHA-256 of the parts and of where each of them ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def bytes_of(tensors: Mapping[str, Tensor]) -> Iterable[bytes]:
    """Names and values, for :func:`digest_of`."""
    for name in sorted(tensors):
        yield name.encode()
        yield tensors[name].detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
