"""TT cores: their check, and their initialization by the spread of the dense matrix."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fedtt.errors import ConfigError, ShapeError
from fedtt.tt.shapes import TTShape


def core_std(shape: TTShape, std: float) -> float:
    """Standard deviation of each core's entries that gives the dense matrix ``std``.

    A dense entry is a sum over ``R = prod(inner ranks)`` index paths of products of ``d``
    independent core entries: ``std^2 = R * s^(2 d)``, so ``s = (std / sqrt(R))^(1 / d)``.

    Raises:
        ConfigError: ``std`` not positive and finite.
    """
    if not (std > 0 and math.isfinite(std)):
        raise ConfigError(
            "the standard deviation of a dense matrix must be positive and finite",
            where="TT initialization",
            got=std,
            fix="to start from a zero matrix, zero one core after initialization",
        )
    return math.exp((math.log(std) - 0.5 * sum(map(math.log, shape.ranks))) / shape.num_cores)


def init_cores(
    shape: TTShape,
    *,
    std: float,
    generator: torch.Generator | None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> list[Float[Tensor, "_left _mode _right"]]:
    """Draw Gaussian cores whose dense matrix has zero mean and the standard deviation ``std``.

    Drawn where the generator lives and at least in float32, then moved: one seed gives one start,
    whatever ``device`` is, and up to rounding whatever the low-precision ``dtype`` is.

    Raises:
        ConfigError: ``std`` not positive and finite.
    """
    scale = core_std(shape, std)
    target = torch.get_default_device() if device is None else torch.device(device)
    source = target if generator is None else generator.device
    precision = torch.promote_types(dtype, torch.float32)
    return [
        torch.randn(core_shape, generator=generator, dtype=precision, device=source)
        .mul_(scale)
        .to(device=target, dtype=dtype)
        for core_shape in shape.core_shapes
    ]


def check_cores(cores: Sequence[Tensor], *, where: str) -> int | None:
    """Check that ``cores`` form a train; return the number of clients ``K``, or ``None``.

    Cores are all ``(r_{j-1}, k_j, r_j)`` or all ``(K, r_{j-1}, k_j, r_j)``.

    Raises:
        ShapeError: no cores, a wrong number of dimensions, or neighbours that do not fit.
    """
    shapes = [core.shape for core in cores]
    dims = len(shapes[0]) if shapes else 0
    left = 1
    for shape in shapes:
        if len(shape) != dims or dims not in (3, 4) or shape[-3] != left:
            break
        if dims == 4 and shape[0] != shapes[0][0]:
            break
        left = shape[-1]
    else:
        if left == 1 and shapes:
            return shapes[0][0] if dims == 4 else None
    raise ShapeError(
        "the cores do not form a tensor train",
        where=where,
        got=[tuple(shape) for shape in shapes],
        expected="cores (r0, k1, r1), (r1, k2, r2), ... with r0 = rd = 1, and the same leading "
        "client dimension on all cores or on none",
    )
