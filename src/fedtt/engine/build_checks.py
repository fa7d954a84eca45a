"""What of a config does not go with its model, method or data: said before compute is spent."""

from collections.abc import Mapping

import torch
from peft import PeftConfig
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from transformers import PretrainedConfig

from fedtt.config import RunConfig
from fedtt.data import FederatedData, Held, TokenizedTexts
from fedtt.engine.cost import MessageCost
from fedtt.engine.positions import text_positions
from fedtt.engine.token_budget import memory_bytes
from fedtt.errors import ConfigError, ModelError
from fedtt.federated.aggregate import MEAN
from fedtt.federated.cohort import check_cohort_size
from fedtt.federated.method import Method
from fedtt.federated.secure.sum_sizes import FEWEST, MOST_CLIENTS, default_threshold
from fedtt.models.configuration import DROPOUT_KEYS
from fedtt.tasks import Task


def check_size(message: MessageCost) -> None:
    """Before the first allocation: every exchanged parameter is a float32 on this machine."""
    needed, memory = 4 * message.total_parameters, memory_bytes(torch.device("cpu"))
    if needed > memory:
        raise ModelError(
            "what the method trains is larger than the memory of this machine",
            where="method",
            got=f"{message.total_parameters:,} parameters, {needed / 2**30:,.0f} GiB",
            expected=f"at most {memory / 2**30:,.0f} GiB",
            fix="a smaller rank, bottleneck or number of tokens",
        )


def check_head(config: RunConfig, message: MessageCost) -> None:
    """A learning rate of the head needs a head that trains."""
    if config.client.head_learning_rate and not message.exchanged_parameters.get("head"):
        raise ConfigError(
            "there is no head for a learning rate of its own",
            where="client.head_learning_rate",
            got=f"task.kind = {config.task.kind!r}, method {config.method.name!r}",
            expected="a method that trains a classification head",
            fix="leave client.head_learning_rate out",
        )


def num_clients(config: RunConfig, data: FederatedData) -> int:
    """How many clients the run has; a site holds the data of one of them."""
    return max(len(data.client_ids), len(config.sites.names or ()))


def check_cohort(config: RunConfig, method: Method, *, population: int) -> None:
    """As many clients a round as there are, and as the aggregation takes."""
    size, fewest = config.cohort.size, method.limited_aggregation.fewest
    check_cohort_size(size, population=population)
    if (size or population) < fewest:
        key, other = "aggregation", MEAN
        if method.aggregation.fewest < fewest:
            key, other = "update_norm", "a number"
        raise ConfigError(
            f"server.{key} = {getattr(config.server, key)!r} takes more clients a round",
            where=f"server.{key}",
            got=f"{size or population} clients a round",
            expected=f"at least {fewest}",
            fix=f"{key} = {other!r}, or more clients a round (cohort.size)".replace("'", '"'),
        )


def check_kept(config: RunConfig, method: Method, *, population: int) -> None:
    """An optimizer's state is kept by silos that take part in every round, of what they train."""
    if config.client.optimizer_state == "fresh":
        return
    reason, got = None, ""
    if config.cohort.size not in (None, population):
        reason = "the moments of clients that are seldom drawn would be of another model"
        got = f"cohort.size {config.cohort.size} of {population}"
    if method.subspace is not None:
        reason = "a subspace's numbers start anew in every round, and their moments with them"
        got = f"method.subspace.size {method.subspace.size}"
    if reason is not None:
        raise ConfigError(
            reason,
            where="client.optimizer_state",
            got=got,
            expected="everyone in every round, and no subspace",
            fix='optimizer_state = "fresh"',
        )


def check_privacy(config: RunConfig, method: Method) -> None:
    """Noise hides a client only where what it can change is bounded."""
    if config.privacy.client is not None and not method.aggregation.linear:
        brings = config.server.aggregation == MEAN
        name = config.method.name if brings else config.server.aggregation
        raise ConfigError(
            f"privacy.client needs the mean of the updates, and {name} makes more of them",
            where="method.name" if brings else "server.aggregation",
            got=name,
            expected="a fixed sum: there, a bound on one client's update bounds what it changes, "
            "and so the noise that hides it",
            fix="a method whose updates are averaged, such as fedtt or lora"
            if brings
            else f"server.aggregation = {MEAN!r}",
        )


def check_no_dropout(config: RunConfig, model: nn.Module, model_config: PretrainedConfig) -> None:
    """Noise hides an example only where it alone decides its gradient: a mask is drawn by its place
    in the batch, and so by which others are there, from a stream of few bits.
    """
    if config.privacy.example is None:
        return
    modules = [m for m in model.modules() if isinstance(m, _DropoutNd)]
    text = model_config.get_text_config()
    rates = [m.p for m in modules] + [getattr(text, key, None) or 0.0 for key in DROPOUT_KEYS]
    if any(rates):
        own = getattr(config.method, "dropout", 0.0)
        raise ConfigError(
            "example-level privacy does not go with dropout",
            where="method.dropout" if own else "model.dropout",
            got=max(rates),
            expected="0.0: one example's mask depends on which others are in its batch, and so "
            "clipping does not bound what it changes",
            fix=f"{'method' if own else 'model'}.dropout = 0.0",
        )


def check_secure_sum(config: RunConfig, method: Method, *, population: int) -> None:
    """A sum is all that the server is to need, of enough clients that all send the same."""
    section, clients = config.privacy.secure_aggregation, config.cohort.size or population
    if section is None:
        return
    where, got, expected, fix = None, "", "", None
    if not method.aggregation.linear:
        brings = config.server.aggregation == MEAN
        where = "method.name" if brings else "server.aggregation"
        got = config.method.name if brings else config.server.aggregation
        reason = f"the server sees the sum of the updates alone, and {got} needs each of them"
        expected = "an aggregation that is a weighted sum"
        fix = "a method whose updates are averaged, such as fedtt or lora" if brings else MEAN
    elif method.client_ranks:
        where, got = "method.client_ranks", f"{list(method.client_ranks)[:5]}"
        reason = "masks cancel between updates of one size, and these clients send different ones"
        expected = "the same rank for all"
    elif not FEWEST <= clients <= MOST_CLIENTS:
        where, got = "privacy.secure_aggregation", f"{clients} clients a round"
        reason = "a cohort of a size that a secure sum does not go with"
        expected = (
            f"{FEWEST} clients (of a sum of two, either knows the other's part) to {MOST_CLIENTS} "
            "(everyone makes shares for everyone)"
        )
    else:
        least, threshold = default_threshold(clients), section.threshold or FEWEST
        if section.threshold is None or least <= threshold <= clients:
            return
        where, got = "privacy.secure_aggregation.threshold", f"{threshold} of {clients} clients"
        reason = "a round has too few clients for this threshold"
        if threshold < least:
            reason = (
                "with two thirds of the clients, a server that tells each otherwise who is there "
                "could read one's update"
            )
        expected = f"{least} to {clients}"
        fix = f"leave it out: {least}; or another cohort.size"
    raise ConfigError(reason, where=where, got=got, expected=expected, fix=fix)


def check_kept_here(config: RunConfig, *, elsewhere: str) -> None:
    """Clients' state is saved with the run by the one process that trains them all."""
    if config.client.optimizer_state == "kept":
        raise ConfigError(
            "optimizers are kept where all clients train in the process that saves the run",
            where="client.optimizer_state",
            got=elsewhere,
            expected="fedtt train in one process",
            fix='optimizer_state = "fresh"',
        )


def check_secret_here(config: RunConfig, *, elsewhere: str) -> None:
    """Noise comes of a secret that is sent to nobody."""
    if config.privacy.example is not None:
        raise ConfigError(
            "clients add their noise where the secret is that it comes of",
            where="privacy.example",
            got=elsewhere,
            expected="fedtt train in one process, or sites, each with a secret of its own",
            fix="start one process, without torchrun",
        )


def checked_max_length(
    config: RunConfig, model_config: PretrainedConfig, adapter: PeftConfig
) -> int:
    """``model.max_length``, which the model has positions for beside what the adapter puts in."""
    positions = text_positions(model_config, adapter)
    if positions is not None and config.model.max_length > positions:
        raise ConfigError(
            "longer texts than the model has positions for",
            where="model.max_length",
            got=config.model.max_length,
            expected=f"at most {positions}, the positions that {config.model.name} has for text",
        )
    return config.model.max_length


def check_room(
    task: Task, splits: Mapping[str, Held[TokenizedTexts]], *, positions: int | None
) -> None:
    """Raise :class:`ConfigError` where an answer may need more positions than the model has."""
    pools = [splits[split].pool for split in ("validation", "test")]
    longest = max((int(p.prompt_lengths.max()) for p in pools if len(p)), default=0)
    if positions is not None and task.max_new_tokens and longest + task.max_new_tokens > positions:
        raise ConfigError(
            "prompts and the tokens to generate are more than the model has positions for",
            where="task.max_new_tokens",
            got=f"a prompt of {longest:,} tokens, and {task.max_new_tokens:,} new ones",
            expected=f"at most {positions:,} together",
            fix="lower task.max_new_tokens, or model.max_length",
        )
