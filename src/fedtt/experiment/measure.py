"""Metrics of a global model: per client, their mean, and over all examples together."""

from collections.abc import Callable
from dataclasses import dataclass

from fedtt import params as p
from fedtt.attacks import BACKDOOR_SUCCESS
from fedtt.engine.between_processes import judge_between
from fedtt.engine.build import Federation
from fedtt.engine.evaluation import join_judged, judge
from fedtt.engine.hostile_clients import TRIGGERED
from fedtt.engine.processes import Processes
from fedtt.metrics import ACCURACY, POOLED, mean_over_clients
from fedtt.params import Params
from fedtt.tasks import join_outcomes

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What is to be measured: a whole split, or of it what measures one client."""

    split: str
    client_id: str | None = None


def measure(
    federation: Federation,
    params: Params,
    what: Portion,
    *,
    batch_size: int,
    pooled: bool = False,
    processes: Processes | None = None,
    before_batch: Callable[[str], None] | None = None,
) -> Metrics:
    """Metric -> ``mean`` over clients (unweighted) and one value a client, by its id.

    Writes ``params`` into the federation's
    model, which sees the examples of all clients in common batches; where there are helpers, they
    take their share. ``pooled`` adds each metric over the examples of all clients together.
    ``before_batch(client_id)`` may raise to stop early. Raises :class:`DivergenceError` naming the
    client where the model's outputs are not finite.

    Where a backdoor is tried on the split there is one metric more: of the texts of other classes,
    the share that gets the target's class once the trigger is in them.
    """

    def of(portion: Portion) -> Metrics:
        p.write_params(federation.model, params)
        task, data = federation.task, federation.held(portion.split, portion.client_id)
        if processes is None:
            outcomes = judge(
                federation.model, task, data, batch_size=batch_size, before_batch=before_batch
            )
        else:
            shares = judge_between(
                processes,
                federation,
                params,
                split=portion.split,
                client_id=portion.client_id,
                batch_size=batch_size,
                before_batch=before_batch,
            )
            outcomes = join_judged(shares, sizes={name: len(texts) for name, texts in data.items()})
        metrics = mean_over_clients({c: task.metrics(found) for c, found in outcomes.items()})
        if pooled:
            for name, value in task.metrics(join_outcomes(list(outcomes.values()))).items():
                metrics[name][POOLED] = value
        return metrics

    metrics, triggered = of(what), TRIGGERED.format(what.split)
    if triggered not in federation.splits or what.client_id is not None:
        return metrics
    return {**metrics, BACKDOOR_SUCCESS: of(Portion(split=triggered))[ACCURACY.name]}
