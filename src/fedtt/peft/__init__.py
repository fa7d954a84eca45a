"""Adapters as PEFT tuners. Importing this package registers those that PEFT lacks with it."""

from fedtt.peft.adapt import adapt, load_adapted
from fedtt.peft.added_layer import AddedLayer, merge_refusal, present
from fedtt.peft.added_layer_tuner import AddedLayerModel
from fedtt.peft.added_matrix import AddedMatrixLayer, AddedMatrixModel
from fedtt.peft.also_train import BIASES, also_trained, save_also_trained, train_also
from fedtt.peft.baselines import (
    bitfit_config,
    full_config,
    head_config,
    ia3_config,
    p_tuning_config,
    prefix_config,
    prompt_config,
    vera_config,
)
from fedtt.peft.bottleneck import BottleneckAdapterLayer, BottleneckAdapterModel, DenseLinear
from fedtt.peft.bottleneck_config import BottleneckAdapterConfig
from fedtt.peft.exchanged import count_by_kind, exchanged_parameters, sum_by_kind
from fedtt.peft.full import FullConfig, FullModel
from fedtt.peft.kinds import ParameterKind
from fedtt.peft.lora_xs import LoRAXSLayer, LoRAXSModel
from fedtt.peft.lora_xs_config import LoRAXSConfig
from fedtt.peft.metatt import CrossLayerTrain, MetaTTLayer, MetaTTModel
from fedtt.peft.metatt_config import MetaTTConfig
from fedtt.peft.options_of_peft import peft_config_from_table
from fedtt.peft.peft_type import peft_type
from fedtt.peft.precision import keep_in_float32
from fedtt.peft.recomputing import recomputes_activations
from fedtt.peft.register import register_adapter
from fedtt.peft.sizes import want_of_memory_explained
from fedtt.peft.stacked import can_batch, stacked_forwards
from fedtt.peft.traits import Traits, traits_of
from fedtt.peft.tt_adapter import TTAdapterModel
from fedtt.peft.tt_adapter_config import TTAdapterConfig
from fedtt.peft.tt_adapter_layer import TTAdapterLayer, TTDenseLayer, contracted_together
from fedtt.peft.tt_linear import TTLinear

__all__ = [
    "BIASES",
    "AddedLayer",
    "AddedLayerModel",
    "AddedMatrixLayer",
    "AddedMatrixModel",
    "BottleneckAdapterConfig",
    "BottleneckAdapterLayer",
    "BottleneckAdapterModel",
    "CrossLayerTrain",
    "DenseLinear",
    "FullConfig",
    "FullModel",
    "LoRAXSConfig",
    "LoRAXSLayer",
    "LoRAXSModel",
    "MetaTTConfig",
    "MetaTTLayer",
    "MetaTTModel",
    "ParameterKind",
    "TTAdapterConfig",
    "TTAdapterLayer",
    "TTAdapterModel",
    "TTDenseLayer",
    "TTLinear",
    "Traits",
    "adapt",
    "also_trained",
    "bitfit_config",
    "can_batch",
    "contracted_together",
    "count_by_kind",
    "exchanged_parameters",
    "full_config",
    "head_config",
    "ia3_config",
    "keep_in_float32",
    "load_adapted",
    "merge_refusal",
    "p_tuning_config",
    "peft_config_from_table",
    "peft_type",
    "prefix_config",
    "present",
    "prompt_config",
    "recomputes_activations",
    "register_adapter",
    "save_also_trained",
    "stacked_forwards",
    "sum_by_kind",
    "train_also",
    "traits_of",
    "vera_config",
    "want_of_memory_explained",
]
