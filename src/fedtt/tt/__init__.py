"""Tensor-train mathematics on plain tensors: shapes, initialization, products, rounding."""

from fedtt.tt.contraction import contract_sides, to_dense, tt_linear
from fedtt.tt.cores import core_std, init_cores
from fedtt.tt.modes import balanced_modes
from fedtt.tt.rounding import tt_add, tt_round, tt_scale, tt_svd
from fedtt.tt.shapes import TTShape, tt_shape

__all__ = [
    "TTShape",
    "balanced_modes",
    "contract_sides",
    "core_std",
    "init_cores",
    "to_dense",
    "tt_add",
    "tt_linear",
    "tt_round",
    "tt_scale",
    "tt_shape",
    "tt_svd",
]
