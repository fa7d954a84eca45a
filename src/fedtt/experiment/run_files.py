"""What the files of a run hold: written here, and checked here when it is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fedtt.errors import RunError
from fedtt.experiment.measure import Metrics
from fedtt.federated.types import ClientReport, RoundReport, SumReport
from fedtt.metrics import MEAN
from fedtt.strict_json import parse_json

Record = dict[str, Any]


def round_record(
    report: RoundReport,
    validation: Metrics | None,
    *,
    learning_rate: float,
    seconds: float,
    privacy: Mapping[str, float] | None = None,
    examples: Mapping[str, Any] | None = None,
) -> Record:
    """What is kept of a finished round; with ``privacy``, nothing that one client said, and of a
    secure sum nothing but the sum.

    ``examples`` is what example-level privacy has spent so far: with it there is no loss.
    """
    if privacy is not None:
        clients = {**_by_number(report), "privacy": privacy}
    elif report.of_sum is not None:
        clients = {**_by_name(report), "secure_sum": _of_sum(report.of_sum)}
    else:
        clients = _by_client(report, has_loss=examples is None)
    return {
        "round": report.round_index,
        "loss": report.loss if privacy is None and examples is None else None,
        "learning_rate": learning_rate,
        "validation": validation,
        "uplink_bytes": report.uplink_bytes,
        "downlink_bytes": report.downlink_bytes,
        "seconds": round(seconds, 3),
        **clients,
        **({"example_privacy": examples} if examples else {}),
        **({"unused": report.unused} if report.unused else {}),
    }


def _by_client(report: RoundReport, *, has_loss: bool) -> Record:
    return {
        "clients": {
            client_id: {
                "num_examples": client.num_examples,
                "steps": client.num_steps,
                **({"loss": client.loss} if has_loss else {}),
                "uplink_bytes": client.uplink_bytes,
                "downlink_bytes": client.downlink_bytes,
            }
            for client_id, client in report.clients.items()
        },
        "dropped": dict(report.dropped),
        **({"failed": dict(report.failed)} if report.failed else {}),
    }


def _by_name(report: RoundReport) -> Record:
    """Who took part, and the bytes of each."""
    return {
        "clients": {client_id: _bytes_of(client) for client_id, client in report.clients.items()},
        "dropped": dict(report.dropped),
        **({"failed": dict(report.failed)} if report.failed else {}),
    }


def _of_sum(summed: SumReport) -> Record:
    return {
        "threshold": summed.threshold,
        "out_of_range": summed.out_of_range,
        **({"left": dict(summed.left)} if summed.left else {}),
    }


def _bytes_of(client: ClientReport) -> Record:
    return {"uplink_bytes": client.uplink_bytes, "downlink_bytes": client.downlink_bytes}


def _by_number(report: RoundReport) -> Record:
    """How many took part, and their bytes, without their names and what they said of themselves."""
    clients = list(report.clients.values())
    return {
        "clients": {str(number): _bytes_of(client) for number, client in enumerate(clients)},
        "dropped": {
            str(len(clients) + number): size for number, size in enumerate(report.dropped.values())
        },
    }


def _one_is_the_loss(table: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Every task has a loss: as one of the metrics, or for each of the clients."""
    if "loss" not in table and not all("loss" in scores for scores in table.values()):
        raise ValueError("no loss among the metrics")
    return table


def _each_has_a_mean(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    if not all(MEAN in values for values in metrics.values()):
        raise ValueError("a metric without the mean over clients")
    return metrics


Count = Annotated[int, Field(ge=0)]
ClientScores = Annotated[dict[str, dict[str, float]], AfterValidator(_one_is_the_loss)]
MetricTables = Annotated[ClientScores, AfterValidator(_each_has_a_mean)]


class FileContent(BaseModel):
    """Strict about what a file must have; other versions may write more."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)


class _ClientRound(FileContent):
    """Of a private round, and of a secure sum, the bytes alone."""

    num_examples: Count = 0
    steps: Count = 0
    loss: float = 0.0
    uplink_bytes: Count
    downlink_bytes: Count


class _PrivacySpent(FileContent):
    epsilon: float
    delta: float
    noise_multiplier: float
    clipping_norm: float


class _ExamplePrivacySpent(FileContent):
    epsilon: float
    delta: float
    clients: dict[str, float] = Field(default={})


class _SecureSum(FileContent):
    threshold: Count
    out_of_range: Count
    left: dict[str, str] = {}


class RoundContent(FileContent):
    """A line of ``rounds.jsonl``."""

    round: Count
    loss: float | None
    learning_rate: float
    validation: MetricTables | None
    uplink_bytes: Count
    downlink_bytes: Count
    seconds: float
    clients: dict[str, _ClientRound]
    dropped: dict[str, float]
    unused: str = ""
    failed: dict[str, str] = {}
    privacy: _PrivacySpent | None = None
    example_privacy: _ExamplePrivacySpent | None = None
    secure_sum: _SecureSum | None = None


class _Score(FileContent):
    name: str
    higher_is_better: bool


class DataContent(FileContent):
    """``data.json``; runs of before there were digests have none."""

    label_names: Annotated[list[str], Field(min_length=1)]
    clients: dict[str, dict[str, Any]]
    labels: dict[str, list[Count]] = {}
    score: _Score | None = None
    digests: dict[str, Any] | None = None


class BaselinesContent(FileContent):
    """``baselines.json``: the measurements as they come."""

    before: MetricTables = Field(default={"loss": {MEAN: 0.0}})
    alone: ClientScores = Field(default={})


class SummaryContent(FileContent):
    """``summary.json``: what a comparison, a list of runs and a report read of it."""

    seconds: float
    score: _Score | None = None
    test: MetricTables | None
    before: MetricTables | None = None
    alone: MetricTables | None = None
    exchanged_parameters: dict[str, Count]


def check_content(content: object, kind: type[BaseModel]) -> dict[str, Any]:
    """``content``, a table of that kind. Raises ``ValueError`` that names the bad keys."""
    if not isinstance(content, dict):
        raise ValueError(f"{type(content).__name__}, not an object")
    try:
        kind.model_validate(content)
    except ValidationError as error:
        keys = dict.fromkeys(".".join(map(str, item["loc"][:3])) for item in error.errors())
        raise ValueError(f"missing or of another kind: {', '.join(keys)}") from error
    return content


def read_record(line: str, *, index: int) -> Record:
    """The record in a line, which must be that of round ``index``. Raises ``ValueError``."""
    record = check_content(parse_json(line), RoundContent)
    if record["round"] != index:
        raise ValueError(f"round {record['round']}, expected round {index}")
    return record


def damaged_file(path: Path, got: object) -> RunError:
    """The error for a file of a run that does not hold what it should."""
    return RunError(
        "a file of the run is missing or damaged",
        where=str(path),
        got=got,
        fix="bring the file back, or start a new run with another --run directory",
    )
