"""SuperGLUE (Wang et al. 2019, arXiv 1905.00537): columns, classes and metrics of its Table 1."""

from fedtt.data.named import convert
from fedtt.data.named.named_task import NamedTask

HUB = "aps/super_glue"
TRUTH = ("False", "True")  # what the hub calls the classes 0 and 1

BOOLQ = NamedTask(
    name="boolq",
    about="passage and question: no or yes",
    hub_id="google/boolq",  # SuperGLUE's examples under the column names they had before it
    hidden_splits=(),
    text_columns=("passage", "question"),
    label_column="answer",
    paired=True,
    label_names=TRUTH,
    metrics=("accuracy",),
    prompt="{text}\nQuestion: {pair}?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=convert.plain,
)
CB = NamedTask(
    name="cb",
    about="text and clause: is the writer committed to it",
    hub_id=HUB,
    hub_config="cb",
    text_columns=("premise", "hypothesis"),
    paired=True,
    label_names=("entailment", "contradiction", "neutral"),
    metrics=("accuracy", "macro_f1"),
    prompt="{text}\nQuestion: {pair} True, False or Neither?\nAnswer:",
    verbalizer=("True", "False", "Neither"),
    convert=convert.plain,
)
COPA = NamedTask(
    name="copa",
    about="which of two is the cause or the effect",
    hub_id=HUB,
    hub_config="copa",
    text_columns=("premise", "choice1", "choice2", "question"),
    paired=True,
    grouped=True,
    label_names=TRUTH,
    metrics=("choice_accuracy",),
    prompt="{text}\nAnswer: {pair}\nQuestion: Is this answer right?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=convert.choices,
)
MULTIRC = NamedTask(
    name="multirc",
    about="paragraph, question and answer: right or not",
    hub_id=HUB,
    hub_config="multirc",
    text_columns=("paragraph", "question", "answer"),
    columns=("idx",),
    paired=True,
    grouped=True,
    label_names=TRUTH,
    metrics=("f1a", "group_exact_match"),
    prompt="{text}\nQuestion and answer: {pair}\nQuestion: Is this answer right?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=convert.answers,
)
RECORD = NamedTask(
    name="record",
    about="news article and a sentence on it: which entity is meant",
    hub_id=HUB,
    hub_config="record",
    text_columns=("passage", "query", "entities"),
    label_column="answers",
    paired=True,
    grouped=True,
    label_names=TRUTH,
    metrics=("choice_f1", "choice_exact_match"),
    prompt="{text}\nClaim: {pair}\nQuestion: Is the claim right?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=convert.entities,
)
WIC = NamedTask(
    name="wic",
    about="a word in two sentences: the same meaning or not",
    hub_id=HUB,
    hub_config="wic",
    text_columns=("sentence1", "sentence2"),
    columns=("start1", "end1", "start2", "end2"),
    paired=True,
    label_names=TRUTH,
    metrics=("accuracy",),
    prompt="{text}\n{pair}\n"
    "Question: Does the word between asterisks mean the same in both sentences?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=convert.word_in_context,
)
WSC = NamedTask(
    name="wsc",
    about="a pronoun and a noun phrase: the same person or thing, or not",
    hub_id=HUB,
    hub_config="wsc.fixed",  # as wsc, with the positions of spans corrected
    text_columns=("text", "span1_text", "span2_text"),
    columns=("span1_index", "span2_index"),
    label_names=TRUTH,
    metrics=("accuracy",),
    prompt="{text}\nQuestion: Do the words between asterisks and the pronoun between number signs "
    "mean the same?\nAnswer:",
    verbalizer=("no", "yes"),
    convert=convert.coreference,
)

SUPERGLUE = (BOOLQ, CB, COPA, MULTIRC, RECORD, WIC, WSC)
