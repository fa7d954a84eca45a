"""From ``[data]`` and ``[partition]`` to the clients' examples; loads neither torch nor a model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedtt.config import DataConfig, PartitionConfig, TaskConfig
from fedtt.data import (
    NOTHING,
    ONE_CLASS,
    SILO_LABELS,
    SILOS,
    FederatedData,
    GivenClasses,
    Pool,
    PromptColumns,
    RawData,
    by_owner,
    by_proportions,
    dirichlet,
    find_task,
    hand_out,
    hold,
    iid,
    leave_out_small,
    load_named,
    load_numbers,
    load_prompts,
    load_sentiment_silos,
    load_text_file,
    load_texts,
    name_clients,
    quantity,
    sample_examples,
    split_clients,
    split_pool,
)
from fedtt.data.alike_clients import alike_notes
from fedtt.data.chat_rows import find_chat
from fedtt.data.chats import RefusedChatError
from fedtt.errors import ConfigError, DataError
from fedtt.task_kinds import TASK_KINDS

Parts = Mapping[str, np.ndarray]
CLASSES = TaskConfig()

# Each takes the keys that belong to its kind, by their names.
PARTITIONS: Mapping[str, Callable[..., Parts]] = {
    "iid": lambda pool, **keys: name_clients(iid(len(pool.train), **keys)),
    "dirichlet": lambda pool, **keys: name_clients(dirichlet(pool.labels, **keys)),
    "labels": lambda pool, **keys: name_clients(
        by_proportions(pool.labels, num_classes=len(pool.label_names), **keys)
    ),
    "quantity": lambda pool, **keys: name_clients(quantity(len(pool.train), **keys)),
    # Natural clients are nobody's choice: no seed. The column was read as the client column.
    "column": lambda pool, column, seed, **keys: by_owner(pool.owners, **keys),  # noqa: ARG005
}


def build_data(
    config: DataConfig,
    partition: PartitionConfig | None = None,
    task: TaskConfig = CLASSES,
) -> FederatedData:
    """The clients' examples, split: the data's own clients, or those of the partition.

    With a partition, validation and test are taken from all examples together and shared; only
    train is dealt out. Raises :class:`DataError` and :class:`ConfigError`.
    """
    raw = _load_raw(config, task, client_column=_client_column(config, partition))
    data = _dealt_out(config, partition, raw)
    return replace(data, notes=(*data.notes, *alike_notes(data.client_ids)))


def _dealt_out(
    config: DataConfig, partition: PartitionConfig | None, raw: RawData
) -> FederatedData:
    raw = leave_out_small(raw, config.min_client_examples)
    if config.examples is not None:
        raw = sample_examples(raw, config.examples, seed=config.split_seed)
    if partition is None:
        return split_clients(
            raw, seed=config.split_seed, validation=config.validation, test=config.test
        )
    pool = split_pool(raw, seed=config.split_seed, validation=config.validation, test=config.test)
    data = hand_out(pool, _deal_out(pool, partition))
    if partition.kind != "column":
        return data
    absent = sum(len(texts) > 0 for texts in raw.texts_by_client.values()) - len(data.train)
    note = f"{absent:,} values of {partition.column} have no training example and are no client."
    return replace(data, notes=(*data.notes, note)) if absent else data


def build_site_data(config: DataConfig, task: TaskConfig, *, client_id: str) -> FederatedData:
    """The examples of ``config``'s file, split, as those of one client.

    Raises :class:`DataError` for a file that names several clients: each has a site of its own.
    """
    raw = _load_raw(config, task, client_column=config.client_column)
    if len(raw.texts_by_client) != 1:
        raise DataError(
            "a site holds the data of one client",
            where=str(config.path),
            got=f"{len(raw.texts_by_client)} clients in column {config.client_column!r}",
            expected="a file with the examples of one",
            fix="give every client's examples to a site of its own",
        )
    (texts,) = raw.texts_by_client.values()
    if config.examples is not None:
        raw = sample_examples(raw, config.examples, seed=config.split_seed)
        (texts,) = raw.texts_by_client.values()
    data = split_clients(
        replace(raw, texts_by_client={client_id: texts}),
        seed=config.split_seed,
        validation=config.validation,
        test=config.test,
        whole=False,
    )
    return replace(data, label_cells=raw.label_cells)


def absent_data(
    config: DataConfig, task: TaskConfig, *, client_ids: Sequence[str]
) -> FederatedData:
    """What a server knows of data that lies at its clients: who they are, and the classes.

    Raises :class:`ConfigError` where the classes are in the data only.
    """
    nothing = hold(dict.fromkeys(client_ids, NOTHING))
    return FederatedData(
        name="sites",
        label_names=_known_classes(config, task),
        train=nothing,
        validation=nothing,
        test=nothing,
    )


def _known_classes(config: DataConfig, task: TaskConfig) -> tuple[str, ...]:
    if not task.has_classes:
        return ONE_CLASS
    if config.label_names is not None:
        return config.label_names
    if config.source == SILOS:
        return SILO_LABELS
    if config.source is not None:
        return find_task(config.source).label_names
    raise ConfigError(
        "the server does not see the data, and so not its classes",
        where="data.label_names",
        expected="the names of the classes, in order",
        fix='for example label_names = ["negative", "positive"]',
    )


@contextmanager
def naming_refused_chats(config: DataConfig, task: TaskConfig) -> Iterator[None]:
    """A chat that the model's template refuses in the block is raised with its file and line."""
    try:
        yield
    except RefusedChatError as error:
        paths = [path for path in (config.path, config.test_path) if path is not None]
        for path in paths:
            place = find_chat(path, task.messages or "", error.prompt or "")
            if place is not None:
                raise error.at(place) from error
        raise


def _deal_out(pool: Pool, partition: PartitionConfig) -> Parts:
    keys = partition.model_dump(exclude={"kind"}, exclude_none=True)
    return PARTITIONS[partition.kind](pool, **keys)


def _client_column(config: DataConfig, partition: PartitionConfig | None) -> str:
    if partition is None or partition.column is None:
        return config.client_column
    if config.path is None:
        raise ConfigError(
            "the data has no columns to partition by",
            where="partition.kind",
            got=f"'column', with data.source = {config.source!r}",
            expected="data.path",
            fix="leave [partition] out to have the clients of the source",
        )
    return partition.column


def _load_raw(config: DataConfig, task: TaskConfig, *, client_column: str) -> RawData:
    if config.source is not None and config.source != SILOS:
        return load_named(config.source, directory=config.directory)
    if config.path is None:
        return load_sentiment_silos()
    if not task.has_classes:
        return LOADERS[TASK_KINDS[task.kind].reads](config, task, client_column)
    return load_text_file(
        config.path,
        text_column=config.text_column,
        pair_column=config.pair_column,
        label_column=config.label_column,
        client_column=client_column,
        classes=_given_classes(config),
        test_path=config.test_path,
    )


def _given_classes(config: DataConfig) -> GivenClasses | None:
    if config.label_names is None:
        return None
    return GivenClasses(names=config.label_names, values=config.label_values)


def _load_texts(config: DataConfig, task: TaskConfig, client_column: str) -> RawData:  # noqa: ARG001 (as the other loader)
    return load_texts(
        _file(config),
        text_column=config.text_column,
        client_column=client_column,
        test_path=config.test_path,
    )


def _load_prompts(config: DataConfig, task: TaskConfig, client_column: str) -> RawData:
    return load_prompts(
        _file(config),
        columns=PromptColumns(
            prompt=task.prompt or PromptColumns.prompt,
            completion=task.completion or PromptColumns.completion,
            messages=task.messages,
        ),
        client_column=client_column,
        test_path=config.test_path,
    )


def _file(config: DataConfig) -> Path:
    if config.path is None:
        raise AssertionError("a named source has classes: the configuration says so")
    return config.path


def _load_numbers(config: DataConfig, task: TaskConfig, client_column: str) -> RawData:  # noqa: ARG001 (as the other loaders)
    return load_numbers(
        _file(config),
        text_column=config.text_column,
        pair_column=config.pair_column,
        number_column=config.label_column,
        client_column=client_column,
        test_path=config.test_path,
    )


# what a kind of task reads, where that is no label -> how
LOADERS: Mapping[str, Callable[[DataConfig, TaskConfig, str], RawData]] = {
    "numbers": _load_numbers,
    "nothing": _load_texts,
    "completions": _load_prompts,
}
