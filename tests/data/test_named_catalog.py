import string

import pytest

from fedtt.data import SOURCES, TASKS, NamedTask, find_task
from fedtt.data.named.glue import GLUE
from fedtt.data.named.superglue import SUPERGLUE
from fedtt.errors import DataError
from fedtt.metrics import METRICS
from fedtt.tasks.answer_scores import RULES

ALL = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)


def test_the_tasks_that_there_have_to_be() -> None:
    glue = {"sst2", "mrpc", "cola", "qqp", "stsb", "mnli", "mnli-mm", "qnli", "rte", "wnli"}
    superglue = {"boolq", "cb", "copa", "multirc", "record", "wic", "wsc"}
    assert {task.name for task in GLUE} == glue
    assert {task.name for task in SUPERGLUE} == superglue
    others = {"ag-news", "20newsgroups", "banking77", "squad", "drop"}
    assert set(TASKS) == glue | superglue | others
    assert set(SOURCES) == {*TASKS, "sentiment-silos"}


@ALL
def test_a_task_holds_together(task: NamedTask) -> None:
    assert task.test_split in task.splits[1:]
    assert not set(task.splits) & set(task.hidden_splits)
    assert task.metrics
    if task.kind == "generation":
        assert task.answers in RULES
        assert task.metrics == ("f1", "exact_match")
    else:
        assert set(task.metrics) <= set(METRICS)
        assert len(set(task.label_names)) == len(task.label_names) >= 2
    assert task.about == task.about.strip() != ""
    assert "/" in task.hub_id


@ALL
def test_a_prompt_asks_for_one_word_a_class(task: NamedTask) -> None:
    if task.kind == "regression":
        assert (task.prompt, task.verbalizer) == ("", ())
        return
    fields = {field for _, field, _, _ in string.Formatter().parse(task.prompt) if field}
    assert task.prompt.endswith(":")
    if task.kind == "generation":
        assert fields == set(task.text_columns)
        return
    assert fields == ({"text", "pair"} if task.paired else {"text"})
    assert len({word.casefold() for word in task.verbalizer}) == len(task.label_names)
    assert all(word == word.strip() != "" for word in task.verbalizer)
    if task.name != "banking77":
        assert all(len(word.split()) == 1 for word in task.verbalizer)
    assert (task.prompt.count("{text}"), task.prompt.count("{pair}")) == (1, int(task.paired))
    # The word follows after a space, so that the prompt itself ends without one.
    rendered = task.prompt.format(text="{a} b", pair="{c}" if task.paired else None)
    assert "{a} b" in rendered
    assert ("{c}" in rendered) == task.paired


def test_label_ids_are_those_of_the_published_files() -> None:
    # The features of the hub's own files say these names, in this order.
    assert TASKS["sst2"].label_names == ("negative", "positive")
    assert TASKS["mnli"].label_names == ("entailment", "neutral", "contradiction")
    assert TASKS["cb"].label_names == ("entailment", "contradiction", "neutral")
    assert TASKS["rte"].label_names == ("entailment", "not_entailment")
    assert TASKS["wnli"].label_names == ("not_entailment", "entailment")
    assert TASKS["20newsgroups"].label_names[7] == "rec.autos"
    assert len(TASKS["banking77"].label_names) == 77
    assert TASKS["banking77"].label_names[11] == "card_arrival"


def test_words_stand_for_the_right_class() -> None:
    words = {
        name: dict(zip(t.label_names, t.verbalizer, strict=False)) for name, t in TASKS.items()
    }
    assert words["mnli"] == {"entailment": "True", "neutral": "Neither", "contradiction": "False"}
    assert words["cb"] == words["mnli"]
    assert words["rte"] == {"entailment": "True", "not_entailment": "False"}
    assert words["wnli"] == words["rte"]
    assert words["qnli"] == {"entailment": "yes", "not_entailment": "no"}
    assert words["boolq"] == {"False": "no", "True": "yes"}
    assert words["banking77"]["reverted_card_payment?"] == "reverted card payment"


def test_an_unknown_name() -> None:
    with pytest.raises(DataError, match=r"no task of this name(.|\n)*did you mean 'sst2'"):
        find_task("SST-2")
    with pytest.raises(DataError, match="fedtt data list shows every task"):
        find_task("imagenet")
