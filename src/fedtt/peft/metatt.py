"""The cross-layer train as a PEFT tuner: one train beside all targeted layers of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional

from fedtt.peft.added_matrix import AddedMatrixLayer, AddedMatrixModel
from fedtt.peft.dense_by_client import dense_linear
from fedtt.peft.kinds import ParameterKind
from fedtt.peft.metatt_config import MetaTTConfig
from fedtt.peft.metatt_places import train_over, widths_of
from fedtt.peft.modules_of_type import modules_of_type
from fedtt.peft.register import register_adapter
from fedtt.tt import CrossLayerShape, MatrixPlace, cross_layer_factors, init_cross_layer_cores


class CrossLayerTrain(nn.Module):
    """The cores of a train, the direct parameters ``core_0`` ... ``core_3``."""

    core_0: nn.Parameter
    core_1: nn.Parameter
    core_2: nn.Parameter
    core_3: nn.Parameter

    def __init__(self, shape: CrossLayerShape, *, zero: bool) -> None:
        super().__init__()
        self.shape = shape
        for index, core in enumerate(init_cross_layer_cores(shape, zero=zero)):
            self.register_parameter(f"core_{index}", nn.Parameter(core))

    def factors(self, place: MatrixPlace, like: Tensor) -> tuple[Tensor, Tensor]:
        """The two factors of a matrix, in the dtype of ``like`` and where it is."""
        cores = [self.core_0, self.core_1, self.core_2, self.core_3]
        return cross_layer_factors([core.to(like) for core in cores], place)

    def extra_repr(self) -> str:
        """Modes and ranks, for ``print(model)``."""
        return f"modes={self.shape.modes}, ranks={self.shape.ranks}"


@dataclass(frozen=True, kw_only=True)
class TrainUse:
    """What a layer takes of an adapter's train, which lies in another layer as a rule."""

    train: CrossLayerTrain
    place: MatrixPlace
    scaling: float
    dropout: float


class MetaTTLayer(AddedMatrixLayer):
    """A linear layer to which ``scaling * A G_layer G_projection B`` of a shared train is added.

    The train of an adapter lies in the first layer that it adapts, ``metatt_cores[name]``, and
    nowhere else: it has one name, is saved, moved, frozen and deleted once, as PEFT does it with
    what is in a layer. The other layers hold it without being its parents.
    """

    adapter_layer_names = ("metatt_cores",)
    other_param_names = ("metatt_uses",)
    added_kind = ParameterKind.CORES
    stacks_clients = True
    metatt_cores: nn.ModuleDict

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.metatt_uses: dict[str, TrainUse] = {}

    def has(self, name: str) -> bool:
        """Whether the adapter of that name changes this layer."""
        return name in self.metatt_uses

    def added(self, name: str, x: Tensor) -> Tensor:
        """What the adapter adds to the output, ``x (..., in) -> (..., out)``."""
        use = self.metatt_uses[name]
        left, right = use.train.factors(use.place, x)
        inner = functional.dropout(x, use.dropout, training=self.training)
        return dense_linear(dense_linear(inner, left.mT), use.scaling * right.mT)

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """What the adapter adds to the weight, in float32 and the layout of that weight."""
        use = self.metatt_uses[adapter_name]
        left, right = use.train.factors(use.place, use.train.core_0)
        delta = use.scaling * left @ right
        return delta if self._is_transposed() else delta.T


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A new train, and where in it every targeted layer has its matrix."""

    train: CrossLayerTrain
    places: Mapping[str, MatrixPlace]


class MetaTTModel(AddedMatrixModel):
    """PEFT's tuner for :class:`MetaTTConfig`; made by ``get_peft_model``."""

    prefix = "metatt_"
    tuner_layer_cls = MetaTTLayer
    # Of the adapter that is being put in, once its first layer has been met.
    _planned: "_Planned | None"

    def inject_adapter(
        self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any
    ) -> None:
        """Put the adapter into ``model``, which it changes; see PEFT for the arguments."""
        self._planned = None
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        self._planned = None

    def layer_around(
        self,
        config: MetaTTConfig,  # noqa: ARG002 (the tuners' common signature)
        target: nn.Module,
        name: str,  # noqa: ARG002
    ) -> MetaTTLayer:
        """The layer of any linear layer; :meth:`add_to` has checked all of them."""
        return MetaTTLayer(target)

    def add_to(
        self, layer: MetaTTLayer, adapter_name: str, config: MetaTTConfig, name: str
    ) -> None:
        """Let the layer use the adapter's train, which the first one makes and keeps."""
        planned = self._planned
        if planned is None:
            shape, places = self._plan(config)
            planned = _Planned(
                train=CrossLayerTrain(shape, zero=config.init_weights), places=places
            )
            layer.attach(adapter_name, {"metatt_cores": planned.train})
            self._planned = planned
        layer.metatt_uses[adapter_name] = TrainUse(
            train=planned.train,
            place=planned.places[name],
            scaling=config.scaling,
            dropout=config.dropout,
        )

    def _plan(self, config: MetaTTConfig) -> tuple[CrossLayerShape, dict[str, MatrixPlace]]:
        """The train over all that ``config`` targets; raises before any layer is changed."""
        # Of a layer that has an adapter already, not what is inside it.
        inside = tuple(f"{name}." for name, _ in modules_of_type(self.model, BaseTunerLayer))
        widths = {}
        for name, module in self.model.named_modules():
            if name and not name.startswith(inside) and self._targets(config, name):
                self.check_is_called(name)
                widths[name] = widths_of(base_layer_of(module), name=name)
        return train_over(widths, ranks=config.ranks, complete=config.complete)

    def _targets(self, config: MetaTTConfig, name: str) -> bool:
        return bool(self._check_target_module_exists(config, name))


def base_layer_of(module: nn.Module) -> nn.Module:
    """What is inside all wrappers of tuners around a layer, or the layer itself."""
    if not isinstance(module, BaseTunerLayer):
        return module
    base: nn.Module = module.get_base_layer()
    return base


register_adapter("METATT", config=MetaTTConfig, model=MetaTTModel)
