"""From the ``[data]`` section to the clients' examples; loads neither torch nor a model."""

from fedtt.config import DataConfig
from fedtt.data import (
    FederatedData,
    RawData,
    load_sentiment_silos,
    load_text_file,
    split_clients,
)


def build_data(config: DataConfig) -> FederatedData:
    """The clients' examples, split. Raises :class:`DataError`."""
    return split_clients(
        _load_raw(config),
        seed=config.split_seed,
        validation=config.validation,
        test=config.test,
    )


def _load_raw(config: DataConfig) -> RawData:
    if config.path is None:
        return load_sentiment_silos()
    return load_text_file(
        config.path,
        text_column=config.text_column,
        label_column=config.label_column,
        client_column=config.client_column,
        label_names=config.label_names,
    )
