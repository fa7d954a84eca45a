"""Aggregations for LoRA that average the products ``B A``, not the factors one by one.

The mean of products is not the product of means. FlexLoRA takes the best low-rank approximation of
the mean product as the new factors; FedEx-LoRA keeps the mean factors and gives the base weight
what they miss. Whatever is not part of a LoRA pair (the head) is averaged as usual.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from fedtt import params as p
from fedtt.federated.aggregate.aggregation import Aggregate, check_weight
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.parameter_names import LoRAPair, lora_pairs
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class ProductSVD:
    """Factors of the mean product by truncated SVD: FlexLoRA (arXiv 2402.11505).

    ``B = U S`` and ``A = V^T``: A keeps unit rows even where S is zero, so no direction is dead.
    Clients may have trained different ranks, padded with zeros up to the global one. The mean
    product of a layer is kept dense, ``(out, in)`` in float64, whatever the cohort's size.
    """

    linear: ClassVar[bool] = False
    fewest: ClassVar[int] = 1
    mean: WeightedMean = field(default_factory=WeightedMean)
    products: Params = field(default_factory=dict)

    def include(self, delta: Params, *, start: Params, weight: float) -> "ProductSVD":
        """The aggregation with one more client in it."""
        check_weight(weight)
        products = {pair.b: weight * _product(start, delta, pair) for pair in lora_pairs(delta)}
        return ProductSVD(
            mean=self.mean.include(delta, start=start, weight=weight),
            products=p.add(self.products, products) if self.products else products,
        )

    def result(self, *, start: Params) -> Aggregate:
        """The change from the factors in ``start`` to those of the mean product."""
        delta = dict(self.mean.result(start=start).delta)
        for pair in lora_pairs(delta):
            rank = start[pair.a].shape[0]
            left, values, right = torch.linalg.svd(
                self.products[pair.b] / self.mean.weight, full_matrices=False
            )
            new = {pair.a: right[:rank], pair.b: left[:, :rank] * values[:rank]}
            for name, tensor in new.items():
                delta[name] = tensor.to(start[name].dtype) - start[name]
        return Aggregate(delta=delta)


@dataclass(frozen=True, kw_only=True)
class ResidualIntoBase:
    """Mean factors, and the base weight takes the rest: FedEx-LoRA (arXiv 2410.09432).

    The rest, ``scale * (mean(B A) - mean(B) mean(A))``, is handed on as factors of rank
    ``(clients + 1) r``: the clients' own factors stacked, as that paper sends it. ``scale`` is
    LoRA's ``alpha / r``.
    """

    linear: ClassVar[bool] = False
    fewest: ClassVar[int] = 1
    scale: float
    mean: WeightedMean = field(default_factory=WeightedMean)
    factors: tuple[tuple[float, Params], ...] = ()

    def include(self, delta: Params, *, start: Params, weight: float) -> "ResidualIntoBase":
        """The aggregation with one more client in it."""
        names = [name for pair in lora_pairs(delta) for name in (pair.a, pair.b)]
        trained = p.add(p.select(start, names), p.select(delta, names))
        return replace(
            self,
            mean=self.mean.include(delta, start=start, weight=weight),
            factors=(*self.factors, (weight, trained)),
        )

    def result(self, *, start: Params) -> Aggregate:
        """The mean change of the factors, and the factored change of every base weight."""
        delta = self.mean.result(start=start).delta
        factors = {}
        for pair in lora_pairs(delta):
            mean_a, mean_b = (start[name] + delta[name] for name in (pair.a, pair.b))
            shares = [weight / self.mean.weight for weight, _ in self.factors]
            lefts = [
                share * trained[pair.b]
                for share, (_, trained) in zip(shares, self.factors, strict=True)
            ]
            rights = [trained[pair.a] for _, trained in self.factors]
            left = self.scale * torch.cat([*lefts, -mean_b], dim=1)
            right = torch.cat([*rights, mean_a], dim=0)
            dtype = start[pair.base_weight].dtype
            factors[pair.base_weight] = (left.to(dtype), right.to(dtype))
        return Aggregate(delta=delta, factors=factors)


def _product(start: Params, delta: Params, pair: LoRAPair) -> Tensor:
    a, b = (start[name].double() + delta[name].double() for name in (pair.a, pair.b))
    return b @ a
