"""Tensor-train mathematics on plain tensors: shapes, initialization, products, rounding."""

from fedtt.tt.contraction import contract_sides, to_dense, tt_linear
from fedtt.tt.cores import core_std, init_cores
from fedtt.tt.gauge import tt_align
from fedtt.tt.modes import balanced_modes
from fedtt.tt.rounding import (
    tt_add,
    tt_compress,
    tt_distance,
    tt_round,
    tt_scale,
    tt_sum,
    tt_svd,
)
from fedtt.tt.shapes import TTShape, tt_shape

__all__ = [
    "TTShape",
    "balanced_modes",
    "contract_sides",
    "core_std",
    "init_cores",
    "to_dense",
    "tt_add",
    "tt_align",
    "tt_compress",
    "tt_distance",
    "tt_linear",
    "tt_round",
    "tt_scale",
    "tt_shape",
    "tt_sum",
    "tt_svd",
]
