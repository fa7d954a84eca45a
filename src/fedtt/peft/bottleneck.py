"""Houlsby's bottleneck adapter as a PEFT tuner (arXiv 1902.00751)."""

from torch import Tensor, nn

from fedtt.peft.bottleneck_config import BottleneckAdapterConfig
from fedtt.peft.dense_by_client import dense_linear
from fedtt.peft.kinds import ParameterKind
from fedtt.peft.register import register_adapter
from fedtt.peft.residual_adapter import AdapterSettings, ResidualAdapterLayer
from fedtt.peft.residual_tuner import ResidualAdapterModel
from fedtt.peft.tt_layer_shapes import known_width


class DenseLinear(nn.Linear):
    """``x W^T + b`` in the dtype of ``x``, as :class:`fedtt.peft.TTLinear` computes.

    ``W`` starts at standard deviation ``1 / sqrt(inputs)``, or at zero; ``b`` starts at zero. Like
    it, it takes the ``W (K, N, M)`` and ``b (K, N)`` of ``K`` clients through
    ``torch.func.functional_call``.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool, zero: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        nn.init.normal_(self.weight, std=0.0 if zero else in_features**-0.5)
        if bias:
            nn.init.zeros_(self.bias)

    @staticmethod
    def kind_of(name: str) -> ParameterKind:
        """Kind of the parameter called ``name``."""
        return ParameterKind.BIASES if name == "bias" else ParameterKind.ADAPTER

    def forward(self, x: Tensor) -> Tensor:
        """``x (..., in_features) -> (..., out_features)``."""
        bias: Tensor | None = self.bias
        return dense_linear(x, self.weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


class BottleneckAdapterLayer(ResidualAdapterLayer):
    """``h -> h + scaling * Up(dropout(activation(Down(h))))`` with dense Down and Up."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")


class BottleneckAdapterModel(ResidualAdapterModel):
    """PEFT's tuner for :class:`BottleneckAdapterConfig`; made by ``get_peft_model``."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckAdapterLayer

    def _check_fits(
        self,
        peft_config: BottleneckAdapterConfig,  # noqa: ARG002 (the tuners' common signature)
        module: nn.Module,
        name: str,
    ) -> None:
        known_width(module, name=name)

    def layer_around(
        self,
        config: BottleneckAdapterConfig,  # noqa: ARG002 (the tuners' common signature)
        target: nn.Module,
        name: str,  # noqa: ARG002
    ) -> BottleneckAdapterLayer:
        """The layer of a targeted projection."""
        return BottleneckAdapterLayer(target)

    def add_to(
        self,
        layer: BottleneckAdapterLayer,
        adapter_name: str,
        config: BottleneckAdapterConfig,
        name: str,
    ) -> None:
        """Add Down and Up, as wide as what ``layer`` returns."""
        width, bias = known_width(layer, name=name), config.bias
        layer.attach_adapter(
            adapter_name,
            down=DenseLinear(width, config.bottleneck, bias=bias, zero=False),
            up=DenseLinear(config.bottleneck, width, bias=bias, zero=config.init_weights),
            settings=AdapterSettings.of(config),
        )


register_adapter("BOTTLENECK_ADAPTER", config=BottleneckAdapterConfig, model=BottleneckAdapterModel)
