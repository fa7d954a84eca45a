"""Metrics of every client, and their mean."""

from collections.abc import Iterable, Mapping

import numpy as np

from fedtt.errors import DataError

MEAN = "mean"  # over clients, unweighted
POOLED = "pooled"  # over the examples of all clients together


def mean_over_clients(
    per_client: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """``{metric: {"mean": m, client_id: value, ...}}``, the mean first.

    ``m`` is the unweighted mean over clients: every silo counts the same, whatever its size.

    Raises:
        DataError: there is no client, a client has a reserved id, or the clients do not all have
            the same metrics.
    """
    if not per_client:
        raise DataError(
            "no client was evaluated, so there is no mean",
            where="mean_over_clients",
            got="0 clients",
            expected="at least one",
            fix="evaluate at least one client",
        )
    check_client_ids(per_client)
    first_id, first = next(iter(per_client.items()))
    for client_id, metrics in per_client.items():
        if metrics.keys() != first.keys():
            raise DataError(
                "clients report different metrics",
                where=f"client {client_id!r}",
                got=sorted(metrics),
                expected=f"{sorted(first)}, as client {first_id!r}",
                fix="compute the same metrics for every client",
            )
    table: dict[str, dict[str, float]] = {}
    for name in first:
        values = {client_id: float(metrics[name]) for client_id, metrics in per_client.items()}
        table[name] = {MEAN: float(np.mean(list(values.values()))), **values}
    return table


def check_client_ids(client_ids: Iterable[str]) -> None:
    """Raise :class:`DataError` for an id that stands for something else in metric tables."""
    for client_id in client_ids:
        if client_id in (MEAN, POOLED):
            raise DataError(
                "a client has a reserved id",
                where=f"client {client_id!r}",
                expected=f"any name but {MEAN!r} and {POOLED!r}, which head columns of the result",
                fix="rename the client",
            )
