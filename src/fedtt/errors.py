"""Every exception fedtt raises on purpose, drawn in one place.

::

    FedttError
    ├── ShapeError          (ValueError)       mode sizes, ranks, tensor shapes
    ├── ConfigError         (ValueError)       a configuration key or value
    ├── DataError           (ValueError)       a file, a column, a row, a silo
    ├── ModelError          (ValueError)       a base model or its architecture
    ├── WireError           (ValueError)       a payload from a peer or a file
    ├── RunError            (OSError)          a run directory
    ├── SitesError          (OSError)          a site, or too few of them
    ├── DivergenceError     (ArithmeticError)  a loss or an update that is not finite
    └── InterruptedRunError                    stopped on request; the state is saved

Each message says what is wrong and, where known, where it was found, what was got, what was
expected and the way out.
"""


class FedttError(Exception):
    """Base of every exception fedtt raises on purpose.

    ``str(error)`` is the summary followed by the given details, one on a line.
    """

    def __init__(
        self,
        summary: str,
        *,
        where: str | None = None,
        got: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        details = {"where": where, "got": got, "expected": expected, "fix": fix}
        lines = [f"  {key}: {value}" for key, value in details.items() if value is not None]
        super().__init__("\n".join([summary, *lines]))
        self.summary = summary


class ShapeError(FedttError, ValueError):
    """Mode sizes, TT ranks or tensor shapes that do not fit together."""


class ConfigError(FedttError, ValueError):
    """A configuration key or value that cannot be used."""


class DataError(FedttError, ValueError):
    """Data that cannot be read, or that no client can train on."""


class ModelError(FedttError, ValueError):
    """A base model that cannot be found, or whose architecture is not known."""


class WireError(FedttError, ValueError):
    """A payload that is not what was announced: names, shapes, types or size."""


class RunError(FedttError, OSError):
    """A run directory that cannot be written, read or resumed."""


class SitesError(FedttError, OSError):
    """Sites that did not come, did not answer, or do not fit the run."""


class DivergenceError(FedttError, ArithmeticError):
    """Training produced a loss or an update that is not finite."""


class InterruptedRunError(FedttError):
    """The run was asked to stop; everything up to the last finished round is saved."""
