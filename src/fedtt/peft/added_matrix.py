"""What adapters that add a matrix to a linear layer's weight do alike: they can be merged."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from fedtt.errors import ModelError
from fedtt.peft.added_layer import AddedLayer
from fedtt.peft.added_layer_tuner import AddedLayerModel
from fedtt.peft.anatomy import LORA_TARGETS, model_type_of
from fedtt.peft.layer_widths import describe_candidates
from fedtt.peft.mixed_batch import rows_of_adapters


class AddedMatrixLayer(AddedLayer):
    """A linear layer whose output gets ``x D`` for every active adapter that it has.

    A subclass says which adapters it has, what one adds to an output, and what to the weight.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.merged_adapters: list[str] = []

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether the adapter of that name changes this layer."""

    @abstractmethod
    def added(self, name: str, x: Tensor) -> Tensor:
        """What the adapter adds to the output, ``x (..., in) -> (..., out)``."""

    @abstractmethod
    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """What the adapter adds to the weight, in the layout of the base layer's weight."""

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
                if self.has(name):
                    result[rows] += self.added(name, x[rows]).to(result.dtype)
            return result
        for name in self.active_adapters:
            if self.has(name):
                result = result + self.added(name, x).to(result.dtype)
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

    def merge(self, safe_merge: bool = False, adapter_names: Any = None) -> None:  # noqa: FBT001, FBT002 (PEFT's signature)
        """Add the (active) adapters to the base weight, exactly. Changes the base layer.

        Raises:
            ModelError: a weight that is not there in numbers; with ``safe_merge``, a sum that is
                not finite. The weight is as it was.
        """
        for name in check_adapters_to_merge(self, adapter_names):
            if not self.has(name):
                continue
            weight = self._weight_to_merge_into()
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

    def _weight_to_merge_into(self) -> Tensor:
        base = self._linear()
        if is_linear_in_numbers(base):
            weight: Tensor = base.weight
            return weight
        raise ModelError(
            "nothing can be merged into quantized weights",
            where="merge",
            got=type(base).__name__,
            expected="nn.Linear or transformers' Conv1D, with weights that are numbers",
            fix="load the adapter over the base model in full precision, and merge it there",
        )

    def _linear(self) -> Any:
        """The innermost base layer."""
        return BaseTunerLayer.get_base_layer(self)

    def _is_transposed(self) -> bool:
        """Whether the base layer keeps its weight as ``(in, out)``."""
        return isinstance(self._linear(), Conv1D)


def is_linear_in_numbers(module: nn.Module) -> bool:
    """Whether it is a linear layer of torch's or transformers' with a weight that is no codes."""
    return isinstance(module, nn.Linear | Conv1D) and torch.is_floating_point(module.weight)


class AddedMatrixModel(AddedLayerModel):
    """A tuner whose layers are :class:`AddedMatrixLayer`; by default it goes where LoRA goes."""

    target_module_mapping: Mapping[str, list[str] | str] = LORA_TARGETS

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        known = model_config.get("model_type") in self.target_module_mapping
        if peft_config.target_modules is None and not known:
            raise ModelError(
                "LoRA has no default target modules for this architecture",
                where=f"{type(self.model).__name__}, model_type {model_type_of(self.model)}",
                got=f"linear layers as wide as the model: {describe_candidates(self.model)}",
                fix="name the linear layers to adapt: "
                f'{type(peft_config).__name__}(target_modules=["...", "..."])',
            )
        return super()._prepare_adapter_config(peft_config, model_config)

    def check_is_called(self, name: str) -> None:
        """Raise :class:`ModelError` for a layer whose weight its parent uses without calling it."""
        parent = self.model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, nn.MultiheadAttention):
            raise ModelError(
                "torch's own attention reads the weight of this layer and never calls it",
                where=name,
                got="nn.MultiheadAttention",
                expected="a layer that its parent calls",
                fix="name other target_modules",
            )
