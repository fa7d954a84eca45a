"""Hand-made outcomes of cells."""

from fedtt.config import Cell
from fedtt.experiment.comparison import CellResult, Status, Validated

CLIENTS = 2


def curve(
    accuracies: list[float], *, up: int, down: int, every: int = 1, constant: bool = False
) -> tuple[Validated, ...]:
    """A curve validated every few rounds, with the same bytes in each round.

    ``constant``: the last model answers everything the same.
    """
    return tuple(
        Validated(
            round=every * (index + 1),
            score=accuracy,
            uplink_bytes=up * every * (index + 1),
            downlink_bytes=down * every * (index + 1),
            constant=constant and index == len(accuracies) - 1,
        )
        for index, accuracy in enumerate(accuracies)
    )


def done(
    method: str,
    seed: int,
    *,
    test: float,
    accuracies: list[float],
    up: int,
    down: int,
    setting: str = "iid",
    option: str = "plain",
    point: dict | None = None,
    constant: bool = False,
) -> CellResult:
    """A finished cell of two clients; ``up`` and ``down`` are bytes a round."""
    rounds = len(accuracies)
    return CellResult(
        cell=Cell(setting=setting, option=option, method=method, seed=seed),
        point=point or {},
        status=Status.DONE,
        test={"accuracy": test, "macro_f1": test - 0.1, "loss": 0.5},
        curve=curve(accuracies, up=up, down=down, constant=constant),
        exchanged_parameters={"cores": 30, "head": 12, "total": 42},
        uplink_bytes=rounds * up,
        downlink_bytes=rounds * down,
        client_rounds=rounds * CLIENTS,
        seconds=1.5,
    )


def not_done(method: str, seed: int, status: Status, *, setting: str = "iid") -> CellResult:
    """A cell without a result."""
    error = {
        Status.DIVERGED: "the loss is nan\n  where: round 3",
        Status.FAILED: "no such column\n  where: data.path",
    }
    return CellResult(
        cell=Cell(setting=setting, option="plain", method=method, seed=seed),
        point={"client.learning_rate": 0.5},
        status=status,
        error=error.get(status, ""),
    )


# fedtt: 2 kB up a round; lora: 8 kB up a round; bad & ugly diverged once and always.
CELLS = [
    done("fedtt", 0, test=0.80, accuracies=[0.5, 0.7, 0.8, 0.78], up=2000, down=3000),
    done("fedtt", 1, test=0.82, accuracies=[0.6, 0.74, 0.74, 0.7], up=2000, down=3000),
    done("lora_8", 0, test=0.81, accuracies=[0.76, 0.7, 0.8, 0.9], up=8000, down=8000),
    done("lora_8", 1, test=0.79, accuracies=[0.78, 0.8, 0.8, 0.7], up=8000, down=8000),
    done("bad", 0, test=0.5, accuracies=[0.5, 0.5, 0.5, 0.5], up=9000, down=9000),
    not_done("bad", 1, Status.DIVERGED),
    not_done("ugly", 0, Status.DIVERGED),
    not_done("ugly", 1, Status.DIVERGED),
]
