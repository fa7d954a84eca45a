"""Configuration: frozen values, read from TOML, written back completely."""

from fedtt.config.cells import (
    Cell,
    all_cells,
    cell_config,
    check_cells,
    options_of,
    tuning_cell,
    tuning_config,
)
from fedtt.config.compare import (
    CompareConfig,
    Comparison,
    MethodVariantConfig,
    VariantConfig,
    dump_comparison,
    load_comparison,
)
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
    RunConfig,
    ServerConfig,
)

__all__ = [
    "Cell",
    "ClientConfig",
    "CohortConfig",
    "CompareConfig",
    "Comparison",
    "DataConfig",
    "EvaluationConfig",
    "FedTTConfig",
    "LoRAConfig",
    "MethodConfig",
    "MethodVariantConfig",
    "ModelConfig",
    "RunConfig",
    "ServerConfig",
    "VariantConfig",
    "all_cells",
    "cell_config",
    "check_cells",
    "config_differences",
    "dump_comparison",
    "dump_config",
    "load_comparison",
    "load_config",
    "options_of",
    "parse_config",
    "parse_method",
    "tuning_cell",
    "tuning_config",
]
