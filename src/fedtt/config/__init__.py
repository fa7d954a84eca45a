"""Configuration: frozen values, read from TOML, written back completely."""

from fedtt.config.load import (
    config_differences,
    dump_config,
    load_config,
    parse_config,
    parse_method,
)
from fedtt.config.schema import (
    ClientConfig,
    CohortConfig,
    DataConfig,
    EvaluationConfig,
    FedTTConfig,
    LoRAConfig,
    MethodConfig,
    ModelConfig,
    PartitionConfig,
    RunConfig,
    ServerConfig,
)

__all__ = [
    "ClientConfig",
    "CohortConfig",
    "DataConfig",
    "EvaluationConfig",
    "FedTTConfig",
    "LoRAConfig",
    "MethodConfig",
    "ModelConfig",
    "PartitionConfig",
    "RunConfig",
    "ServerConfig",
    "config_differences",
    "dump_config",
    "load_config",
    "parse_config",
    "parse_method",
]
