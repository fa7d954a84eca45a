"""From the ``[method]``, ``[server]`` and ``[wire]`` sections to a method."""

from dataclasses import replace
from typing import TYPE_CHECKING

from fedtt.config import MethodConfig, RunConfig, ServerConfig, WireConfig
from fedtt.config.server_section import MEDIAN_NORM
from fedtt.errors import ConfigError
from fedtt.federated.aggregate import AGGREGATIONS, MEAN
from fedtt.federated.aggregate.aggregation import WEIGHTINGS
from fedtt.federated.aggregate.update_limits import UpdateLimits
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.method import Method
from fedtt.federated.schedules.everything import all_parameters
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.subspace import Subspace
from fedtt.federated.wire.codec import CODECS, Codec, CodecOptions
from fedtt.federated.wire.deflated import Deflated
from fedtt.federated.wire.plain import PLAIN
from fedtt.methods import Setting, method_entry
from fedtt.models import PEFT_TASK_TYPES

if TYPE_CHECKING:
    from fedtt.federated.secure.secure_round import SecureSum


def build_method(
    config: MethodConfig,
    *,
    task: str,
    server: ServerConfig | None = None,
    wire: WireConfig | None = None,
    seed: int = 0,
) -> Method:
    """The method that a ``[method]`` section describes, for a model of that task.

    ``seed`` is the run's: a subspace is drawn from it. Raises :class:`ConfigError` for a server or
    a subspace that does not go with the method.
    """
    server, wire = server or ServerConfig(), wire or WireConfig()
    entry = method_entry(config.name)
    setting = Setting(
        name=config.name,
        reference=entry.reference or config.name,
        task_type=PEFT_TASK_TYPES[task],
        weighting=WEIGHTINGS[server.weighting],
        server=_server_step(server),
    )
    method = replace(
        entry.build(config, setting),
        codec=build_codec(wire),
        downlink=build_downlink(wire),
        error_feedback=wire.error_feedback,
        also_train=frozenset(config.also_train),
        limits=_limits(server),
    )
    _check_downlink(method)
    method = _in_subspace(method, config, server, seed=seed)
    return _with_chosen_aggregation(method, server)


def _in_subspace(
    method: Method, config: MethodConfig, server: ServerConfig, *, seed: int
) -> Method:
    section = config.subspace
    if section is None:
        return method
    if method.aggregation != WeightedMean() or method.client_ranks or method.shifts_base:
        raise ConfigError(
            f"{method.name} makes more of its clients' parameters than their mean, "
            "and in a subspace only a few numbers travel",
            where="method.subspace",
            expected="a method whose updates are averaged, such as lora or fedtt",
            fix="leave subspace out, or choose another method",
        )
    if server.optimizer != "fedavg" and (section.redraw or method.schedule is not all_parameters):
        raise ConfigError(
            "the server's momentum belongs to one subspace, and each draw is another one",
            where="method.subspace.redraw",
            got=f"redraw {section.redraw}, schedule {method.schedule.__name__}, "
            f"server.optimizer {server.optimizer!r}",
            expected="server.optimizer 'fedavg', or redraw 0 and everything trained in every round",
        )
    subspace = Subspace(
        size=section.size, redraw=section.redraw, balance=section.balance, seed=seed
    )
    return replace(method, subspace=subspace)


def build_secure_sum(config: RunConfig) -> "SecureSum | None":
    """How the run sums; None where updates are not summed securely.

    Raises :class:`ConfigError` where the package of its extra is not installed.
    """
    section = config.privacy.secure_aggregation
    if section is None:
        return None
    from fedtt.federated.secure.secure_round import SecureSum

    return SecureSum(
        threshold=section.threshold,
        value_range=section.value_range,
        most_weight=section.most_examples if config.server.weighting == "examples" else 1,
    )


def build_codec(wire: WireConfig) -> Codec:
    """The codec of updates that a ``[wire]`` section describes."""
    return _codec(wire.codec, wire, stochastic=wire.is_stochastic)


def build_downlink(wire: WireConfig) -> Codec:
    """The codec of the server's steps that a ``[wire]`` section describes."""
    return _codec(wire.downlink, wire, stochastic=wire.rounding != "nearest")


def _codec(name: str, wire: WireConfig, *, stochastic: bool) -> Codec:
    row = CODECS[name]
    codec = row.build(CodecOptions(block=wire.block, stochastic=stochastic))
    return Deflated(inner=codec) if row.lossy and wire.deflate else codec


def _check_downlink(method: Method) -> None:
    """A client of another rank, or of a base weight that moves, adds no step of the server's."""
    if method.downlink != PLAIN and (method.client_ranks or method.shifts_base):
        raise ConfigError(
            f"{method.name} sends its clients values, and no step that a codec could make smaller",
            where="wire.downlink",
            got=method.downlink.name,
            expected="plain",
            fix="leave wire.downlink out, or choose another method",
        )


def _limits(server: ServerConfig) -> UpdateLimits:
    relative = server.update_norm == MEDIAN_NORM
    return UpdateLimits(
        norm=None if server.update_norm is None or relative else float(server.update_norm),
        median_norm=relative,
        weight_share=server.weight_cap if server.weighting == "examples" else 1.0,
    )


def _server_step(server: ServerConfig) -> ServerOptimizer:
    return ServerOptimizer(
        name=server.optimizer,
        learning_rate=server.learning_rate,
        momentum=server.momentum,
        beta2=server.beta2,
        adaptivity=server.adaptivity,
    )


def _with_chosen_aggregation(method: Method, server: ServerConfig) -> Method:
    if server.aggregation == MEAN:
        return method
    if method.aggregation != WeightedMean():
        raise ConfigError(
            f"{method.name} brings its own aggregation",
            where="server.aggregation",
            got=server.aggregation,
            expected=MEAN,
        )
    return replace(method, aggregation=AGGREGATIONS[server.aggregation](server.trim))
