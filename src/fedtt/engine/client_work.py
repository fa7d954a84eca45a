"""One client's part in a round, as the process that does it sees it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from peft import PeftModel

from fedtt import params as p
from fedtt.data import TokenizedTexts, collate, epoch_steps, step_batches
from fedtt.engine.client_state import ClientStates
from fedtt.engine.token_budget import FEWEST_TOKENS
from fedtt.federated.local.alone import LossFunction, train_locally
from fedtt.federated.local.client import Batch, LocalClient, Loss
from fedtt.federated.local.client import StepHook as ClientHook
from fedtt.federated.local.needed_logits import LogitLoss, needed_logits
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.privacy.example_privacy import ExamplePrivacy
from fedtt.federated.round import ClientTask
from fedtt.federated.subspace import Projection
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.update import encode_update
from fedtt.params import Params
from fedtt.seeds import derive_seed
from fedtt.tasks.task import ClientLoss

StepHook = Callable[[ClientTask, int, int, float], None]


@dataclass(frozen=True, kw_only=True)
class SharedByClients:
    """What all clients of a process share; ``model`` is the one mutable thing.

    A client's batches and dropout depend on ``seed``, the round and the client alone.
    ``after_step(task, step, steps, loss)`` is called after every local step. ``kept`` is what every
    client's optimizer goes on from, which training replaces; None: optimizers start afresh.
    With ``private``, that is what hides each example, and a step's examples go through the model by
    at most ``part_tokens``; ``unsent`` is then a digest of what the model is beside what is sent.
    """

    model: PeftModel
    train: Mapping[str, TokenizedTexts]
    loss: ClientLoss
    training: LocalTraining
    pad_token_id: int
    seed: int
    after_step: StepHook | None
    kept: ClientStates | None = None
    private: ExamplePrivacy | None = None
    part_tokens: int = FEWEST_TOKENS
    unsent: str = ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A task that is understood: from where, what, on which examples, for how many steps."""

    task: ClientTask
    start: Params
    trained: frozenset[str]
    data: TokenizedTexts
    steps: int

    @property
    def where(self) -> str:
        """Round and client, for messages."""
        return f"round {self.task.round_index}, client {self.task.client_id}"

    @property
    def projection(self) -> Projection | None:
        """How the numbers that train move the parameters, where the method has a subspace."""
        if self.task.subspace is None:
            return None
        specs = p.structure_of(p.select(self.start, self.trained))
        return self.task.subspace.projection(specs, self.task.round_index)


def work_of(
    shared: SharedByClients, task: ClientTask, *, start: Params, trained: frozenset[str]
) -> Work:
    """What the task asks of its client, which starts from ``start``."""
    data, training = shared.train[task.client_id], shared.training
    steps = training.steps or epoch_steps(len(data), training.batch_size, training.epochs)
    return Work(task=task, start=start, trained=trained, data=data, steps=steps)


def train_alone(shared: SharedByClients, work: Work) -> bytes:
    """The client's local steps, and its reply."""
    device = next(shared.model.parameters()).device
    client = local_client(
        shared,
        work,
        loss=loss_function(shared.loss(work.data)),
        batches=({k: v.to(device) for k, v in batch.items()} for batch in batches_of(shared, work)),
    )
    update = train_locally(
        shared.model,
        client,
        trained=work.trained,
        learning_rate=work.task.learning_rate,
        training=shared.training,
        projection=work.projection,
    )
    if shared.kept is not None:
        shared.kept[work.task.client_id] = update.kept
    return reply_to(shared, work, update)


def local_client(
    shared: SharedByClients, work: Work, *, loss: Loss, batches: Iterator[Batch]
) -> LocalClient[Loss]:
    """The client as its training sees it."""
    return LocalClient(
        start=work.start,
        batches=batches,
        num_examples=len(work.data),
        dropout_seed=dropout_seed(shared, work),
        where=work.where,
        loss=loss,
        after_step=hook_of(shared, work),
        kept=None if shared.kept is None else shared.kept.get(work.task.client_id, {}),
    )


def reply_to(shared: SharedByClients, work: Work, update: ClientUpdate) -> bytes:
    """The uplink payload, in the sizes that the client knows."""
    task = work.task
    narrowed = replace(update, delta=p.narrow(update.delta, task.answer(work.trained)))
    seed = codec_seed(shared.seed, round_index=task.round_index, client_id=task.client_id)
    return encode_update(narrowed, codec=task.codec, seed=seed)


def batches_of(shared: SharedByClients, work: Work) -> Iterator[Batch]:
    """The client's batches in this round, on the CPU."""
    order = step_batches(
        work.data.lengths,
        batch_size=shared.training.batch_size,
        steps=work.steps,
        seed=derive_seed(shared.seed, "batches", work.task.round_index, work.task.client_id),
        shared_seed=derive_seed(shared.seed, "lengths", work.task.round_index),
    )
    return (collate(work.data, indices, pad_token_id=shared.pad_token_id) for indices in order)


def codec_seed(seed: int, *, round_index: int, client_id: str) -> int:
    """Of the chance in which the codec rounds the client's update of this round."""
    return derive_seed(seed, "codec", round_index, client_id)


def dropout_seed(shared: SharedByClients, work: Work) -> int:
    """Of the client's dropout in this round."""
    return derive_seed(shared.seed, "dropout", work.task.round_index, work.task.client_id)


def loss_function(loss: LogitLoss) -> LossFunction:
    """``loss`` of the logits that the model has for a batch."""
    return lambda model, batch: loss.of(*needed_logits(model, batch, positions=loss.positions))


def hook_of(shared: SharedByClients, work: Work) -> ClientHook | None:
    """The hook of the process, for this client's steps."""
    hook = shared.after_step
    return hook and (lambda step, loss: hook(work.task, step, work.steps, loss))
