"""The versions of Flower that this engine was tested with."""

from importlib.metadata import PackageNotFoundError, version

from fedtt.errors import FedttError

OLDEST, BEFORE = (1, 41), (1, 43)
EXPECTED = "flwr >=1.41,<1.43"
SUPERNODE = "Flower's SuperNode"
FIX = f"pip install --force-reinstall '{EXPECTED.replace(' ', '')}'"


def check_flower() -> str:
    """The version that is installed. Raises :class:`FedttError` for none, or an untested one.

    Flower changes monthly, and ``launch`` changes how often a SuperNode looks for messages.
    """
    try:
        found = version("flwr")
    except PackageNotFoundError as error:
        raise FedttError(
            "Flower is not installed",
            expected=EXPECTED,
            fix="pip install 'fedtt[flower]'",
        ) from error
    if not is_tested(found):
        raise FedttError(
            "this version of Flower is untested with fedtt",
            got=f"flwr {found}",
            expected=EXPECTED,
            fix=FIX,
        )
    return found


def is_tested(found: str) -> bool:
    """Whether that version is one of those that the engine was tested with."""
    parts = found.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return False
    return OLDEST <= (int(parts[0]), int(parts[1])) < BEFORE


def not_as_tested(where: str, *, part: str = "Flower", got: str | None = None) -> FedttError:
    """What is raised where Flower lacks what this engine changes in it, whatever its version."""
    return FedttError(
        f"{part} is not as it was tested", where=where, got=got, expected=EXPECTED, fix=FIX
    )
