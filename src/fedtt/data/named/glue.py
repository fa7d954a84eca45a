"""GLUE (Wang et al. 2019, arXiv 1804.07461): the columns, classes and metrics of its Table 1."""

from fedtt.data.named.convert import plain, similarity
from fedtt.data.named.named_task import NamedTask

HUB = "nyu-mll/glue"
SENTENCES = ("sentence1", "sentence2")
ENTAILED = ("entailment", "not_entailment")
ENTAILMENT_PROMPT = "{text}\nQuestion: {pair} True or False?\nAnswer:"

SST2 = NamedTask(
    name="sst2",
    about="film review snippets: negative or positive",
    hub_id=HUB,
    hub_config="sst2",
    text_columns=("sentence",),
    label_names=("negative", "positive"),
    metrics=("accuracy",),
    prompt="Review: {text}\nSentiment:",
    verbalizer=("negative", "positive"),
    convert=plain,
)
MRPC = NamedTask(
    name="mrpc",
    about="news sentences: paraphrases or not",
    hub_id=HUB,
    hub_config="mrpc",
    text_columns=SENTENCES,
    paired=True,
    label_names=("not_equivalent", "equivalent"),
    metrics=("accuracy", "f1"),
    prompt="Sentence 1: {text}\nSentence 2: {pair}\n"
    "Question: Do both sentences mean the same?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=plain,
)
COLA = NamedTask(
    name="cola",
    about="sentences: grammatical or not",
    hub_id=HUB,
    hub_config="cola",
    text_columns=("sentence",),
    label_names=("unacceptable", "acceptable"),
    metrics=("matthews",),
    prompt="Sentence: {text}\nQuestion: Is this sentence grammatical?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=plain,
)
QQP = NamedTask(
    name="qqp",
    about="Quora questions: duplicates or not",
    hub_id=HUB,
    hub_config="qqp",
    text_columns=("question1", "question2"),
    paired=True,
    label_names=("not_duplicate", "duplicate"),
    metrics=("accuracy", "f1"),
    prompt="Question 1: {text}\nQuestion 2: {pair}\n"
    "Question: Do both questions ask the same?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=plain,
)
STSB = NamedTask(
    name="stsb",
    about="sentences: how similar, 0 to 5",
    hub_id=HUB,
    hub_config="stsb",
    kind="regression",
    text_columns=SENTENCES,
    paired=True,
    label_names=("0", "1", "2", "3", "4", "5"),
    metrics=("pearson", "spearman"),
    convert=similarity,
)


def _mnli(name: str, test_split: str) -> NamedTask:
    genres = {"validation_matched": "of the same", "validation_mismatched": "of other"}
    return NamedTask(
        name=name,
        about=f"premise and hypothesis; tested on texts {genres[test_split]} genres",
        hub_id=HUB,
        hub_config="mnli",
        splits=("train", "validation_matched", "validation_mismatched"),
        test_split=test_split,
        hidden_splits=("test_matched", "test_mismatched"),
        text_columns=("premise", "hypothesis"),
        paired=True,
        label_names=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        prompt="{text}\nQuestion: {pair} True, False or Neither?\nAnswer:",
        verbalizer=("True", "Neither", "False"),
        convert=plain,
    )


MNLI = _mnli("mnli", "validation_matched")
MNLI_MM = _mnli("mnli-mm", "validation_mismatched")
QNLI = NamedTask(
    name="qnli",
    about="question and sentence: does it hold the answer",
    hub_id=HUB,
    hub_config="qnli",
    text_columns=("question", "sentence"),
    paired=True,
    label_names=ENTAILED,
    metrics=("accuracy",),
    prompt="Sentence: {pair}\nQuestion: {text}\nDoes the sentence hold the answer?\nAnswer:",
    verbalizer=("yes", "no"),
    convert=plain,
)
RTE = NamedTask(
    name="rte",
    about="premise and hypothesis: entailed or not",
    hub_id=HUB,
    hub_config="rte",
    text_columns=SENTENCES,
    paired=True,
    label_names=ENTAILED,
    metrics=("accuracy",),
    prompt=ENTAILMENT_PROMPT,
    verbalizer=("True", "False"),
    convert=plain,
)
WNLI = NamedTask(
    name="wnli",
    about="sentence and one with its pronoun resolved: entailed or not",
    hub_id=HUB,
    hub_config="wnli",
    text_columns=SENTENCES,
    paired=True,
    label_names=("not_entailment", "entailment"),
    metrics=("accuracy",),
    prompt=ENTAILMENT_PROMPT,
    verbalizer=("False", "True"),
    convert=plain,
)

GLUE = (SST2, MRPC, COLA, QQP, STSB, MNLI, MNLI_MM, QNLI, RTE, WNLI)
