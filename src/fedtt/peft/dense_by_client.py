"""Dense layers on plain tensors, whose weights may be those of one client or of ``K``."""

from jaxtyping import Float
from torch import Tensor, bmm
from torch.nn import functional

from fedtt.errors import ShapeError
from fedtt.peft.tt_linear import add_bias
from fedtt.wide_products import linear


def dense_linear(
    x: Float[Tensor, "*rows M"],
    weight: Float[Tensor, "*clients N M"],
    bias: Float[Tensor, "*bias_clients N"] | None = None,
) -> Float[Tensor, "*rows N"]:
    """``x W^T + b``; with ``W (K, N, M)`` or ``b (K, N)`` every client's rows meet its own.

    ``x`` is then ``(K * b, ..., M)``, the rows of a client contiguous. Weight and bias may have the
    leading dimension independently: BitFit trains biases beside a weight that all clients share.

    Raises:
        ShapeError: ``K`` does not divide the first dimension of ``x``.
    """
    if weight.ndim == 3:
        rows = _rows_by_client(x, weight.shape[0])
        product = bmm(rows, weight.mT).reshape(*x.shape[:-1], weight.shape[1])
    elif bias is None or bias.ndim == 1:
        return linear(x, weight, bias)
    else:
        product = linear(x, weight)
    return product if bias is None else add_bias(product, bias)


def dense_layer_norm(
    x: Float[Tensor, "*rows M"],
    weight: Float[Tensor, "*clients M"] | None,
    bias: Float[Tensor, "*bias_clients M"] | None,
    *,
    eps: float,
) -> Float[Tensor, "*rows M"]:
    """Layer normalization over the last dimension, scale and shift as in :func:`dense_linear`.

    Raises:
        ShapeError: ``K`` does not divide the first dimension of ``x``.
    """
    normal = functional.layer_norm(x, x.shape[-1:], None, None, eps)
    if weight is not None and weight.ndim == 2:
        rows = _rows_by_client(normal, weight.shape[0])
        normal = (rows * weight.unsqueeze(1).to(x.dtype)).reshape(x.shape)
    elif weight is not None:
        normal = normal * weight.to(x.dtype)
    return normal if bias is None else add_bias(normal, bias)


def _rows_by_client(x: Tensor, clients: int) -> Tensor:
    """``(K * b, ..., M) -> (K, b * ..., M)``."""
    if x.ndim < 2 or x.shape[0] % clients:
        raise ShapeError(
            f"the rows of {clients} clients must be equally many",
            where="dense layer",
            got=tuple(x.shape),
            expected=f"a first dimension that {clients} divides",
            fix="stack one batch of the same size a client",
        )
    return x.reshape(clients, -1, x.shape[-1])
