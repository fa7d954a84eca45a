"""Tensor-train mathematics on plain tensors: shapes, initialization, products, rounding."""

from fedtt.tt.contraction import (
    check_input,
    contract_all_sides,
    contract_sides,
    to_dense,
    tt_linear,
    tt_sides,
)
from fedtt.tt.cores import core_std, init_cores
from fedtt.tt.cross_layer import (
    CrossLayerShape,
    MatrixPlace,
    block_of,
    cross_layer_factors,
    init_cross_layer_cores,
)
from fedtt.tt.gauge import tt_align
from fedtt.tt.modes import balanced_modes
from fedtt.tt.residual import close_residual, open_residual
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
    "CrossLayerShape",
    "MatrixPlace",
    "TTShape",
    "balanced_modes",
    "block_of",
    "check_input",
    "close_residual",
    "contract_all_sides",
    "contract_sides",
    "core_std",
    "cross_layer_factors",
    "init_cores",
    "init_cross_layer_cores",
    "open_residual",
    "to_dense",
    "tt_add",
    "tt_align",
    "tt_compress",
    "tt_distance",
    "tt_linear",
    "tt_round",
    "tt_scale",
    "tt_shape",
    "tt_sides",
    "tt_sum",
    "tt_svd",
]
