"""LoRA-XS as a PEFT tuner: layer and model (arXiv 2405.17604)."""

import torch
from peft.tuners._buffer_dict import BufferDict
from torch import Tensor, nn
from torch.nn import functional

from fedtt.errors import ModelError
from fedtt.peft.added_matrix import AddedMatrixLayer, AddedMatrixModel, is_linear_in_numbers
from fedtt.peft.dense_by_client import dense_linear
from fedtt.peft.kinds import ParameterKind
from fedtt.peft.lora_xs_config import LoRAXSConfig
from fedtt.peft.offload import compute_device, weight_of
from fedtt.peft.register import register_adapter
from fedtt.peft.singular import singular_factors, unit_columns

GAUSSIAN_STD = 1e-5


class LoRAXSLayer(AddedMatrixLayer):
    """A linear layer, ``nn.Linear`` or ``Conv1D``, to which ``scaling * U_r S_r R V_r^T`` is added.

    ``R`` of an adapter is the parameter ``lora_xs_core[name] (r, r)``. ``V_r^T`` and ``U_r S_r``
    (or ``U_r``) are buffers that no state dict holds: they are computed when the adapter is added,
    from the base weight as it is then.

    ``torch.func.functional_call`` may put the cores ``(K, r, r)`` of ``K`` clients in place of
    ``R``; the rows of ``x`` are then ``(K * b, ...)``, those of a client contiguous.
    """

    adapter_layer_names = ("lora_xs_core",)
    other_param_names = ("lora_xs_v", "lora_xs_us", "scaling", "dropout")
    added_kind = ParameterKind.LORA_XS
    stacks_clients = True

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.lora_xs_core = nn.ParameterDict()
        self.lora_xs_v = BufferDict(persistent=False)
        self.lora_xs_us = BufferDict(persistent=False)
        self.scaling: dict[str, float] = {}
        self.dropout: dict[str, float] = {}

    def add_adapter(self, adapter_name: str, config: LoRAXSConfig) -> None:
        """Add the adapter that ``config`` describes.

        Raises:
            ShapeError: a rank larger than the smaller side of the layer.
        """
        own = config.scaling
        self.scaling[adapter_name] = config.alpha / config.r if own is None else own
        self.dropout[adapter_name] = config.dropout
        weight = self._matrix()
        down, up = singular_factors(weight, rank=config.r)
        if config.frames == "orthonormal":
            up = unit_columns(up)
        core = torch.zeros(config.r, config.r)
        if config.init == "gaussian":
            nn.init.normal_(core, std=GAUSSIAN_STD)
        self.lora_xs_v[adapter_name], self.lora_xs_us[adapter_name] = down, up
        self.lora_xs_core[adapter_name] = nn.Parameter(core)
        self._move_adapter_to_device_of_base_layer(adapter_name)

    def has(self, name: str) -> bool:
        """Whether the adapter of that name changes this layer."""
        return name in self.lora_xs_core

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """What the adapter adds to the weight, in the layout of the base layer's weight."""
        v, us = self.lora_xs_v[adapter_name], self.lora_xs_us[adapter_name]
        delta: Tensor = self.scaling[adapter_name] * (us @ self.lora_xs_core[adapter_name] @ v)
        return delta.T if self._is_transposed() else delta

    def added(self, name: str, x: Tensor) -> Tensor:
        """What the adapter adds to the output, ``x (..., in) -> (..., out)``."""
        core = self.lora_xs_core[name]
        x = functional.dropout(x.to(core.dtype), self.dropout[name], training=self.training)
        inner = functional.linear(x, self.lora_xs_v[name])  # (..., r)
        outer = functional.linear(dense_linear(inner, core), self.lora_xs_us[name])
        return self.scaling[name] * outer

    def _matrix(self) -> Tensor:
        """The base weight ``(out, in)``."""
        base = self._linear()
        weight = weight_of(base)
        return weight.T if self._is_transposed() else weight

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        # PEFT's own also casts to the base dtype, which would round what is kept in float32.
        base = self._linear()
        target = device or compute_device(base) or base.weight.device
        for container in (self.lora_xs_core, self.lora_xs_v, self.lora_xs_us):
            if adapter_name in container and not container[adapter_name].is_meta:
                container[adapter_name] = container[adapter_name].to(target)


class LoRAXSModel(AddedMatrixModel):
    """PEFT's tuner for :class:`LoRAXSConfig`; made by ``get_peft_model``."""

    prefix = "lora_xs_"
    tuner_layer_cls = LoRAXSLayer

    def layer_around(
        self,
        config: LoRAXSConfig,  # noqa: ARG002 (the tuners' common signature)
        target: nn.Module,
        name: str,
    ) -> LoRAXSLayer:
        """The layer of a linear layer. Raises :class:`ModelError` for anything else."""
        self.check_is_called(name)
        if not is_linear_in_numbers(target):
            raise ModelError(
                "LoRA-XS adapts linear layers only, and computes from their weights",
                where=name,
                got=type(target).__name__,
                expected="nn.Linear or transformers' Conv1D, not quantized",
                fix="name other target_modules, or take lora for quantized ones",
            )
        return LoRAXSLayer(target)

    def add_to(
        self,
        layer: LoRAXSLayer,
        adapter_name: str,
        config: LoRAXSConfig,
        name: str,  # noqa: ARG002 (the tuners' common signature)
    ) -> None:
        """Add the factors of the layer's weight and ``R``."""
        layer.add_adapter(adapter_name, config)


register_adapter("LORA_XS", config=LoRAXSConfig, model=LoRAXSModel)
