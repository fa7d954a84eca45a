"""Metrics of a global model: per client, their mean, and over all examples together."""

from collections.abc import Callable, Mapping

from fedtt import params as p
from fedtt.data import TokenizedTexts
from fedtt.engine.build import Federation
from fedtt.engine.evaluation import judge
from fedtt.metrics import POOLED, mean_over_clients
from fedtt.params import Params
from fedtt.tasks import join_outcomes

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
    batches. ``pooled`` adds each metric over the examples of all clients together.
    ``before_batch(client_id)`` may raise to stop early. Raises :class:`DivergenceError` naming the
    client where the model's outputs are not finite.
    """
    p.write_params(federation.model, params)
    task = federation.task
    outcomes = judge(federation.model, task, data, batch_size=batch_size, before_batch=before_batch)
    metrics = mean_over_clients({c: task.metrics(found) for c, found in outcomes.items()})
    if pooled:
        for name, value in task.metrics(join_outcomes(list(outcomes.values()))).items():
            metrics[name][POOLED] = value
    return metrics
