"""Numbers that are finite and huge, metrics by other names, votes on the others' metrics."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.sites.in_process import federation_of
from tests.sites.test_bad_replies import (
    assert_unharmed,
    honest_delta,
    spoiled_run,
    update_of,
    with_blob,
    with_content,
)

from fedtt.config import RunConfig
from fedtt.data import SHARED
from fedtt.errors import WireError
from fedtt.experiment import RunDirectory
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.update import encode_update
from fedtt.metrics.official import METRICS
from fedtt.sites.expected_metrics import Measured, measured_in, metric_names
from fedtt.sites.frames import Frame
from fedtt.sites.replies import check_metrics, join_metrics
from fedtt.tasks import Task, generation, language_modeling, regression
from fedtt.tasks.answer_scores import RULES
from fedtt.tasks.classification import classification

LOSS = frozenset({"loss"})
OWN = Measured(names=LOSS, shared=frozenset())
FOR_ALL = Measured(names=LOSS, shared=frozenset({"test"}))


@pytest.fixture(scope="module")
def without_west(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("without") / "run"
    spoiled_run(config, path, lambda _: Frame(content={"error": "no"}))
    return path


@pytest.mark.parametrize("what", ["loss", "delta"])
def test_a_huge_update_is_refused_by_name(
    config: RunConfig, without_west: Path, tmp_path: Path, what: str
) -> None:
    delta = honest_delta(without_west)
    if what == "loss":
        blob = encode_update(ClientUpdate(delta=delta, num_examples=26, num_steps=3, loss=1.7e308))
    else:
        blob = update_of({name: torch.full_like(v, -3e38) for name, v in delta.items()})
    news = spoiled_run(config, tmp_path / "run", with_blob(blob))
    (line,) = [line for line in news if line.startswith("site-2: its reply is refused")]
    assert "huge" in line
    assert_unharmed(tmp_path / "run", without_west)


def bad_metrics(names: frozenset[str]) -> dict[str, Any]:
    fine = dict.fromkeys(names, 0.5)
    return {
        "huge": {"west": {**fine, "loss": 1.7e308}},
        "a huge integer": {"west": {**fine, "loss": -(10**16)}},
        "no loss": {"west": dict.fromkeys(names - {"loss"}, 0.5)},
        "one more": {"west": {**fine, "x" * 10**5: 0.5}},
        "a vote for all": {"west": fine, SHARED: fine},
        "for all alone": {SHARED: fine},
    }


@pytest.mark.parametrize("kind", bad_metrics(LOSS))
def test_bad_metrics_leave_the_update_and_the_run(
    config: RunConfig, tmp_path: Path, kind: str
) -> None:
    metrics = bad_metrics(metric_names(federation_of(config).task))[kind]
    path = tmp_path / "run"
    news = spoiled_run(config, path, with_content(metrics={"test": metrics}))
    (line,) = [line for line in news if "metrics" in line]
    assert line.startswith("site-2: its metrics are left out")
    assert len(line) < 1000
    (record,) = RunDirectory(path=path).rounds()
    assert list(record["clients"]) == ["north", "south", "west"]
    before = RunDirectory(path=path).baselines()["before"]  # as a run that is taken up reads them
    assert all(set(table) == {"mean", "north", "south"} for table in before.values())
    assert json.loads((path / "summary.json").read_text())["test"]["loss"]["west"] < 10


def test_most_sites_cannot_be_outvoted_by_what_two_say(config: RunConfig) -> None:
    """Two holders by a name of their own were a majority of one honest site's."""
    said = {"test": {"west": {"profit": 1.0}, SHARED: {"profit": 1.0}}}
    with pytest.raises(WireError):
        check_metrics(said, splits=["test"], own=["west"], measured=measured_in_(config))


def measured_in_(config: RunConfig) -> Measured:
    return measured_in(config, federation_of(config))


def test_who_may_speak_for_all(config: RunConfig) -> None:
    for_all, own = {"test": {SHARED: {"loss": 1.0}}}, {"test": {"west": {"loss": 1.0}}}
    both = {"test": {**for_all["test"], **own["test"]}}
    for said, measured, fits in [
        (own, OWN, True), (for_all, OWN, False), (both, OWN, False),
        (own, FOR_ALL, True), (for_all, FOR_ALL, True), (both, FOR_ALL, False),
    ]:  # fmt: skip
        if fits:
            assert check_metrics(said, splits=["test"], own=["west"], measured=measured) == said
        else:
            with pytest.raises(WireError, match="examples of others"):
                check_metrics(said, splits=["test"], own=["west"], measured=measured)
    assert measured_in_(config).shared == frozenset()
    data = config.data.model_copy(update={"test_path": Path("test.csv")})
    with_set = config.model_copy(update={"data": data})
    assert measured_in(with_set, federation_of(config)).shared == {"test"}


def test_one_site_cannot_say_what_all_measured() -> None:
    said = [{"test": {SHARED: {"loss": loss}}} for loss in (0.5, 0.5, -1e15)]
    assert join_metrics(said, ["test"]) == {"test": {SHARED: {"loss": 0.5}}}
    assert join_metrics([{}, {}], ["test"]) == {"test": {}}


TOKENS: Any = None  # no text is read here
OF_CLASSES = sorted(set(METRICS) - {"pearson", "spearman"})
USUAL = {"accuracy", "macro_f1", "matthews", "constant", "loss"}
TASKS: list[tuple[Task, set[str]]] = [
    (classification(tokenizer=TOKENS, pad_token_id=0), USUAL),
    (classification(tokenizer=TOKENS, pad_token_id=0, metrics=OF_CLASSES), {*OF_CLASSES, *USUAL}),
    (regression(tokenizer=TOKENS, pad_token_id=0), {"pearson", "spearman", "constant", "loss"}),
    (language_modeling(tokenizer=TOKENS, pad_token_id=0), {"perplexity", "loss"}),
    *(
        (
            generation(
                tokenizer=TOKENS, pad_token_id=0, chat=False, answers=rule, max_new_tokens=1
            ),
            {"perplexity", "loss"} | ({"f1", "exact_match"} if rule else set()),
        )
        for rule in (None, *RULES)
    ),
]


@pytest.mark.parametrize(("task", "names"), TASKS)
def test_the_server_knows_what_metrics_are_called(task: Task, names: set[str]) -> None:
    assert metric_names(task) == names
    assert "loss" in names


def test_sites_with_files_have_not_the_metrics_of_a_named_task(config: RunConfig) -> None:
    """There the server holds nothing, and its configuration may still name the task."""
    named = classification(tokenizer=TOKENS, pad_token_id=0, metrics=["choice_accuracy"])
    federation = replace(federation_of(config), task=named)
    data = config.data.model_copy(update={"source": "copa", "path": None})
    of_copa = config.model_copy(update={"data": data})
    assert measured_in(of_copa, federation).names == {"choice_accuracy", *USUAL}
    assert measured_in(of_copa, replace(federation, splits={})).names == USUAL
    assert measured_in(config, replace(federation_of(config), splits={})).names == USUAL
