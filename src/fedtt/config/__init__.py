"""Configuration: frozen values, read from TOML, written back completely."""

from fedtt.config.attack_section import AttackConfig
from fedtt.config.cells import (
    Cell,
    all_cells,
    cell_config,
    check_cells,
    is_valid_point,
    options_of,
    tuning_cell,
    tuning_config,
)
from fedtt.config.client_section import ClientConfig
from fedtt.config.cohort_section import CohortConfig
from fedtt.config.compare import (
    CompareConfig,
    Comparison,
    MethodVariantConfig,
    VariantConfig,
    dump_comparison,
    load_comparison,
)
from fedtt.config.data_section import DataConfig
from fedtt.config.evaluation_section import EvaluationConfig
from fedtt.config.method_section import MethodConfig, method_sections
from fedtt.config.model_section import ModelConfig
from fedtt.config.parse import (
    config_differences,
    dump_config,
    load_config,
    override_config,
    parse_config,
    parse_method,
    parse_methods,
)
from fedtt.config.partition_section import PartitionConfig
from fedtt.config.privacy_section import (
    AdaptiveClippingConfig,
    ClientPrivacyConfig,
    ExamplePrivacyConfig,
    PrivacyConfig,
    SecureAggregationConfig,
)
from fedtt.config.schema import RunConfig, TrackConfig
from fedtt.config.server_section import ServerConfig
from fedtt.config.sites_section import SitesConfig
from fedtt.config.task_section import TaskConfig
from fedtt.config.wire_section import WireConfig

__all__ = [
    "AdaptiveClippingConfig",
    "AttackConfig",
    "Cell",
    "ClientConfig",
    "ClientPrivacyConfig",
    "CohortConfig",
    "CompareConfig",
    "Comparison",
    "DataConfig",
    "EvaluationConfig",
    "ExamplePrivacyConfig",
    "MethodConfig",
    "MethodVariantConfig",
    "ModelConfig",
    "PartitionConfig",
    "PrivacyConfig",
    "RunConfig",
    "SecureAggregationConfig",
    "ServerConfig",
    "SitesConfig",
    "TaskConfig",
    "TrackConfig",
    "VariantConfig",
    "WireConfig",
    "all_cells",
    "cell_config",
    "check_cells",
    "config_differences",
    "dump_comparison",
    "dump_config",
    "is_valid_point",
    "load_comparison",
    "load_config",
    "method_sections",
    "options_of",
    "override_config",
    "parse_config",
    "parse_method",
    "parse_methods",
    "tuning_cell",
    "tuning_config",
]
