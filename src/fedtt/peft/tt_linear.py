"""A linear layer whose matrix is a tensor train."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedtt.errors import ShapeError
from fedtt.peft.kinds import ParameterKind
from fedtt.peft.shared_contraction import shared_sides
from fedtt.tt import TTShape, check_input, init_cores, tt_linear, tt_sides


class TTLinear(nn.Module):
    """``x W + b`` with ``W (M, N)`` held as cores, the direct parameters ``core_0``, ``core_1``...

    ``std`` is the standard deviation of the entries of ``W`` at the start, drawn from torch's
    global generator. ``zero_last_core`` starts from ``W = 0`` instead; then only the last core has
    a gradient until it has moved. The bias starts at zero.

    ``torch.func.functional_call`` may put the cores ``(K, r, k, r')`` and the biases ``(K, N)`` of
    ``K`` clients in place of its own, also of some cores only (the clients share the others): see
    :func:`fedtt.tt.tt_linear` for the rows of ``x``.
    """

    bias: nn.Parameter | None

    def __init__(
        self, shape: TTShape, *, std: float, bias: bool = False, zero_last_core: bool = False
    ) -> None:
        super().__init__()
        self.shape = shape
        cores = init_cores(shape, std=std, generator=None)
        if zero_last_core:
            cores[-1].zero_()
        for index, core in enumerate(cores):
            self.register_parameter(f"core_{index}", nn.Parameter(core))
        self.register_parameter(
            "bias", nn.Parameter(torch.zeros(shape.out_features)) if bias else None
        )

    @property
    def cores(self) -> list[Float[Tensor, "*clients _left _mode _right"]]:
        """The cores in the order of the train; if one is of ``K`` clients, so are they all."""
        cores = [getattr(self, f"core_{index}") for index in range(self.shape.num_cores)]
        clients = next((core.shape[0] for core in cores if core.ndim == 4), None)
        if clients is None:
            return cores
        return [c if c.ndim == 4 else c.expand(clients, *c.shape) for c in cores]

    @property
    def split(self) -> int:
        """Number of cores that carry input modes."""
        return self.shape.split

    @staticmethod
    def kind_of(name: str) -> ParameterKind:
        """Kind of the parameter called ``name``."""
        return ParameterKind.BIASES if name == "bias" else ParameterKind.CORES

    def sides(
        self, x: Float[Tensor, "*rows M"]
    ) -> tuple[Float[Tensor, "*clients M r"], Float[Tensor, "*clients r N"]]:
        """``L`` and ``R`` of ``x W = (x L) R``; raises like :meth:`forward`."""
        shared = shared_sides(self, x.dtype)
        if shared is None:
            return tt_sides(x, self.cores, split=self.split)
        left, _ = shared
        check_input(x, self.shape.in_modes, clients=left.shape[0] if left.ndim == 3 else None)
        return shared

    def forward(self, x: Float[Tensor, "*rows M"]) -> Float[Tensor, "*rows N"]:
        """``x W + b``, in the dtype of ``x``.

        Raises:
            ShapeError: an ``x`` that does not fit the modes or the number of clients.
        """
        product = tt_linear(x, self.cores, split=self.split)
        return product if self.bias is None else add_bias(product, self.bias)

    def extra_repr(self) -> str:
        """Modes and ranks, for ``print(model)``."""
        return f"in_modes={self.shape.in_modes}, out_modes={self.shape.out_modes}, " + (
            f"ranks={self.shape.ranks}, bias={self.bias is not None}"
        )


def add_bias(
    x: Float[Tensor, "*rows N"], bias: Float[Tensor, "*clients N"]
) -> Float[Tensor, "*rows N"]:
    """``x + bias``; with ``bias (K, N)`` every client's rows meet its own bias.

    Raises:
        ShapeError: ``K`` does not divide the first dimension of ``x``.
    """
    bias = bias.to(x.dtype)
    if bias.ndim == 1:
        return x + bias
    clients = bias.shape[0]
    if x.ndim < 2 or x.shape[0] % clients:
        raise ShapeError(
            f"the rows of {clients} clients must be equally many",
            where="add_bias",
            got=tuple(x.shape),
            expected=f"a first dimension that {clients} divides",
            fix="stack one batch of the same size a client",
        )
    return (x.reshape(clients, -1, x.shape[-1]) + bias.unsqueeze(1)).reshape(x.shape)
