"""From ``[privacy.secure_aggregation]`` to how a run sums; loads ``cryptography`` only then."""

from typing import TYPE_CHECKING

from fedtt.config import RunConfig

if TYPE_CHECKING:
    from fedtt.federated.secure.secure_round import SecureSum


def secure_sum_of(config: RunConfig) -> "SecureSum | None":
    """None where updates are not summed securely.

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
