"""What there is to know of a method by its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from fedtt.errors import ConfigError
from fedtt.section import Numbers, RoundsOrNone, Section

if TYPE_CHECKING:
    from peft import PeftConfig

    from fedtt.federated.aggregate.aggregation import Weighting
    from fedtt.federated.method import Method
    from fedtt.federated.server import ServerOptimizer


class SubspaceSection(Section):
    """``method.subspace``: few numbers, drawn from the seed, move all that trains."""

    size: Numbers = Field(
        description="numbers that train and travel in a round, in place of all parameters"
    )
    redraw: RoundsOrNone = Field(
        1,
        description="rounds that share one draw of who moves by which number; 0: one draw for the "
        "whole run",
    )
    balance: Literal["parameters", "layers"] = Field(
        "parameters",
        description="`parameters`: each number moves equally many parameters; `layers`: each "
        "layer has as many numbers as another",
    )


class MethodSection(Section):
    """Base of every ``[method]`` section; ``name`` is that of the method's row in ``METHODS``."""

    name: str = Field(description="the method: see there")
    also_train: tuple[Literal["norms", "biases"], ...] = Field(
        (),
        description='`["norms"]`, `["biases"]` or both: these of the base model train and travel '
        "too, and are saved among the adapter's tensors; left out: none",
    )
    subspace: SubspaceSection | None = Field(
        None,
        description="of any method that is averaged, a table, such as `{ size = 7000 }`; left "
        "out: none",
    )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a method is built into, whatever its section says: the task, and the server's part."""

    name: str
    reference: str
    task_type: str
    weighting: "Weighting"
    server: "ServerOptimizer"

    @property
    def plain_server(self) -> "ServerOptimizer":
        """The server's step for an aggregate that is a point, not a direction.

        Raises :class:`ConfigError` unless it is plain FedAvg.
        """
        if self.server.name != "fedavg" or self.server.learning_rate != 1.0:
            raise ConfigError(
                f"{self.name} sets the global model to the aggregate itself",
                where="server",
                got=f"optimizer {self.server.name}, learning_rate {self.server.learning_rate}",
                expected="optimizer fedavg, learning_rate 1",
                fix="leave the server's optimizer and learning rate at their defaults",
            )
        return self.server


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
    """A method: its section of the configuration, what it is in words, and how it is built.

    ``build`` takes a ``section`` and a :class:`Setting`; what it needs of torch it imports itself.
    The words are the method's line in docs/methods.md.
    """

    section: type[MethodSection]
    adapter: str
    sends: str
    aggregation: str
    reference: str
    build: Callable[[Any, Setting], "Method"]


def averaged(adapter: "PeftConfig", setting: Setting) -> "Method":
    """Plain FedAvg of whatever ``adapter`` trains, all of it in every round."""
    from fedtt.federated.method import Method

    return Method(
        name=setting.name,
        reference=setting.reference,
        adapter=adapter,
        weighting=setting.weighting,
        server=setting.server,
    )


def list_or_none(values: tuple[Any, ...] | None) -> list[Any] | None:
    """As PEFT's configs want them."""
    return None if values is None else list(values)
