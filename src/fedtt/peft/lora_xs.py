"""LoRA-XS as a PEFT tuner: layer and model (arXiv 2405.17604)."""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from fedtt.errors import ModelError
from fedtt.peft.added_layer_tuner import AddedLayerModel
from fedtt.peft.anatomy import LORA_TARGETS, model_type_of
from fedtt.peft.dense_by_client import dense_linear
from fedtt.peft.kinds import ParameterKind
from fedtt.peft.layer_widths import describe_candidates
from fedtt.peft.lora_xs_config import LoRAXSConfig
from fedtt.peft.mixed_batch import rows_of_adapters
from fedtt.peft.offload import compute_device, weight_of
from fedtt.peft.register import register_adapter
from fedtt.peft.singular import singular_factors

GAUSSIAN_STD = 1e-5


class LoRAXSLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A linear layer, ``nn.Linear`` or ``Conv1D``, to which ``scaling * U_r S_r R V_r^T`` is added.

    ``R`` of an adapter is the parameter ``lora_xs_core[name] (r, r)``. ``V_r^T`` and ``U_r S_r``
    are buffers that no state dict holds: they are computed when the adapter is added, from the
    base weight as it is then.

    ``torch.func.functional_call`` may put the cores ``(K, r, r)`` of ``K`` clients in place of
    ``R``; the rows of ``x`` are then ``(K * b, ...)``, those of a client contiguous.
    """

    adapter_layer_names = ("lora_xs_core",)
    other_param_names = ("lora_xs_v", "lora_xs_us", "scaling", "dropout")
    active_adapters: list[str]
    added_kind = ParameterKind.LORA_XS
    stacks_clients = True

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_xs_core = nn.ParameterDict()
        self.lora_xs_v = BufferDict(persistent=False)
        self.lora_xs_us = BufferDict(persistent=False)
        self.scaling: dict[str, float] = {}
        self.dropout: dict[str, float] = {}
        self.merged_adapters: list[str] = []

    def add_adapter(self, adapter_name: str, config: LoRAXSConfig) -> None:
        """Add the adapter that ``config`` describes.

        Raises:
            ShapeError: a rank larger than the smaller side of the layer.
        """
        self.scaling[adapter_name] = config.alpha / config.r
        self.dropout[adapter_name] = config.dropout
        weight = self._matrix()
        down, up = singular_factors(weight, rank=config.r)
        core = torch.zeros(config.r, config.r)
        if config.init == "gaussian":
            nn.init.normal_(core, std=GAUSSIAN_STD)
        self.lora_xs_v[adapter_name], self.lora_xs_us[adapter_name] = down, up
        self.lora_xs_core[adapter_name] = nn.Parameter(core)
        self._move_adapter_to_device_of_base_layer(adapter_name)

    def forward(
        self, x: Tensor, *args: Any, adapter_names: Sequence[str] | None = None, **kwargs: Any
    ) -> Tensor:
        """``x (..., in) -> (..., out)``; disabled, it unmerges and is the base layer.

        ``adapter_names`` has one a row. Raises :class:`ModelError` for it on merged weights.
        """
        if self.disable_adapters and self.merged:
            self.unmerge()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return self._not_mixed(result, adapter_names)
        if adapter_names is not None:
            result = result.clone()
            for name, rows in rows_of_adapters(adapter_names, x).items():
                if name in self.lora_xs_core:
                    result[rows] += self._added(name, x[rows]).to(result.dtype)
            return result
        for name in self.active_adapters:
            if name in self.lora_xs_core:
                result = result + self._added(name, x).to(result.dtype)
        return result

    def _not_mixed(self, result: Tensor, adapter_names: Sequence[str] | None) -> Tensor:
        """``result`` of the base weight, unless rows want adapters that are merged into it."""
        if adapter_names is not None and self.merged:
            raise ModelError(
                "merged adapters cannot be told apart by row",
                where="adapter_names",
                got=f"{', '.join(self.merged_adapters)} merged",
                fix="call unmerge_adapter() first",
            )
        return result

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """What the adapter adds to the weight, in the layout of the base layer's weight."""
        v, us = self.lora_xs_v[adapter_name], self.lora_xs_us[adapter_name]
        delta: Tensor = self.scaling[adapter_name] * (us @ self.lora_xs_core[adapter_name] @ v)
        return delta.T if self._is_transposed() else delta

    def merge(self, safe_merge: bool = False, adapter_names: Any = None) -> None:  # noqa: FBT001, FBT002 (PEFT's signature)
        """Add the (active) adapters to the base weight, exactly. Changes the base layer.

        Raises:
            ModelError: with ``safe_merge``, a sum that is not finite; the weight is as it was.
        """
        for name in check_adapters_to_merge(self, adapter_names):
            if name not in self.lora_xs_core:
                continue
            weight = self._linear().weight
            merged = weight.data + self.get_delta_weight(name).to(weight.dtype)
            if safe_merge and not bool(torch.isfinite(merged).all()):
                raise ModelError("merging gives weights that are not finite", where=name)
            weight.data = merged
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take the merged adapters out of the base weight again, up to rounding."""
        while self.merged_adapters:
            weight = self._linear().weight
            weight.data -= self.get_delta_weight(self.merged_adapters.pop()).to(weight.dtype)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:  # noqa: ARG002 (PEFT's signature)
        """Whether PEFT may turn :meth:`get_delta_weight` into LoRA: yes."""
        return True

    def _linear(self) -> Any:
        """The innermost base layer, an ``nn.Linear`` or a ``Conv1D``."""
        return BaseTunerLayer.get_base_layer(self)

    def _is_transposed(self) -> bool:
        """Whether the base layer keeps its weight as ``(in, out)``."""
        return isinstance(self._linear(), Conv1D)

    def _added(self, name: str, x: Tensor) -> Tensor:
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


class LoRAXSModel(AddedLayerModel):
    """PEFT's tuner for :class:`LoRAXSConfig`; made by ``get_peft_model``."""

    prefix = "lora_xs_"
    tuner_layer_cls = LoRAXSLayer
    target_module_mapping = LORA_TARGETS

    def _prepare_adapter_config(
        self, peft_config: LoRAXSConfig, model_config: dict[str, Any]
    ) -> LoRAXSConfig:
        known = model_config.get("model_type") in self.target_module_mapping
        if peft_config.target_modules is None and not known:
            raise ModelError(
                "LoRA has no default target modules for this architecture",
                where=f"{type(self.model).__name__}, model_type {model_type_of(self.model)}",
                got=f"linear layers as wide as the model: {describe_candidates(self.model)}",
                fix='name the linear layers to adapt: LoRAXSConfig(target_modules=["...", "..."])',
            )
        prepared: LoRAXSConfig = super()._prepare_adapter_config(peft_config, model_config)
        return prepared

    def layer_around(
        self,
        config: LoRAXSConfig,  # noqa: ARG002 (the tuners' common signature)
        target: nn.Module,
        name: str,
    ) -> LoRAXSLayer:
        """The layer of a linear layer. Raises :class:`ModelError` for anything else."""
        if not isinstance(target, nn.Linear | Conv1D):
            raise ModelError(
                "LoRA-XS adapts linear layers only",
                where=name,
                got=type(target).__name__,
                expected="nn.Linear or transformers' Conv1D",
                fix="name other target_modules",
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
