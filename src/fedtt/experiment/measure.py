"""Metrics of a global model: per client, their mean, and over all examples together."""

from collections.abc import Callable, Mapping

import numpy as np

from fedtt import params as p
from fedtt.data import TokenizedTexts
from fedtt.engine.build import Federation
from fedtt.engine.evaluation import Predictions, predict
from fedtt.metrics import POOLED, classification_metrics, mean_over_clients
from fedtt.params import Params

Metrics = dict[str, dict[str, float]]


def measure(
    federation: Federation,
    params: Params,
    data: Mapping[str, TokenizedTexts],
    *,
    batch_size: int,
    pooled: bool = False,
    before_batch: Callable[[str], None] | None = None,
) -> Metrics:
    """Metric -> ``mean`` over clients (unweighted) and one value a client, by its id.

    Writes ``params`` into the federation's model, which sees the examples of all clients in common
    batches. ``pooled`` adds each metric over the examples
    of all clients together. ``before_batch(client_id)`` may raise to stop early. Raises
    :class:`DivergenceError` naming the client where the model's outputs are not finite.
    """
    p.write_params(federation.model, params)
    outputs = predict(
        federation.model,
        data,
        batch_size=batch_size,
        pad_token_id=int(federation.tokenizer.pad_token_id),
        before_batch=before_batch,
    )
    values = {c: _metrics(outputs[c], data[c]) for c in outputs}
    metrics = mean_over_clients(values)
    if pooled:
        for name, value in _pooled(outputs, data).items():
            metrics[name][POOLED] = value
    return metrics


def _metrics(output: Predictions, data: TokenizedTexts) -> dict[str, float]:
    return {**classification_metrics(output.classes, data.labels), "loss": output.loss}


def _pooled(
    outputs: Mapping[str, Predictions], data: Mapping[str, TokenizedTexts]
) -> dict[str, float]:
    classes = np.concatenate([outputs[c].classes for c in outputs])
    labels = np.concatenate([data[c].labels for c in outputs])
    weights = [len(data[c]) for c in outputs]
    loss = float(np.average([outputs[c].loss for c in outputs], weights=weights))
    return {**classification_metrics(classes, labels), "loss": loss}
