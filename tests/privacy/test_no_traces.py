"""Nothing that is written, printed, logged or sent holds a text or a secret."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.experiment.runs import run_and_hear
from tests.sites.in_process import Bench, answers_of, run_sites, share_workers
from tests.tiny import write_reviews

from fedtt.config import RunConfig
from fedtt.errors import DivergenceError
from fedtt.experiment.run_secret import FILE as SECRET
from fedtt.sites.frames import Frame

MakeConfig = Callable[..., RunConfig]
CANARY = "patient4711"
QUICK = {"rounds": 2, "client": {"steps": 1, "batch_size": 4}}


@pytest.fixture
def config(make_config: MakeConfig, tmp_path: Path) -> RunConfig:
    """A job whose every text has the canary in it."""
    path = tmp_path / "held" / "texts.jsonl"
    path.parent.mkdir()
    write_reviews(path, clients={"north": 30, "south": 60, "west": 44})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["text"] = f"{CANARY}x{number} {row['text']}"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"path": str(path), "test": 0.2, "validation": 0.2, "label_names": ["bad", "good"]}
    return make_config(
        data=data,
        cohort={"batched": "off"},
        server={"weighting": "uniform"},
        privacy={"client": {"clipping_norm": 1.0, "noise_multiplier": 1.0, "delta": 0.1}},
        **QUICK,
    )


def spellings(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield base64.b64encode(secret).rstrip(b"=")


def holders(folder: Path, needles: list[bytes]) -> set[str]:
    """The files below ``folder`` in which one of those stands."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return {
        str(path.relative_to(folder))
        for path in files
        if any(needle in path.read_bytes() for needle in needles)
    }


def test_the_search_finds_what_is_there(config: RunConfig, tmp_path: Path) -> None:
    assert holders(tmp_path, [CANARY.encode()]) == {"held/texts.jsonl"}


def test_a_run_leaves_no_text_and_its_secret_in_one_file(
    config: RunConfig,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        events = run_and_hear(config, tmp_path / "run")
    secret = (tmp_path / "run" / SECRET).read_bytes()
    needles = [CANARY.encode(), *spellings(secret)]
    assert holders(tmp_path / "run", needles) == {SECRET}
    out, err = capfd.readouterr()
    said = "\n".join([out, err, caplog.text, *map(repr, events)]).encode()
    assert not any(needle in said for needle in needles)


def test_sites_send_and_are_sent_no_text_and_no_secret(config: RunConfig, tmp_path: Path) -> None:
    heard: list[Frame] = []
    bench, news = Bench(), []

    def listening(answer: Callable[[Frame], Frame | None]) -> Callable[[Frame], Frame | None]:
        def reply(frame: Frame) -> Frame | None:
            answered = answer(frame)
            heard.extend(f for f in (frame, answered) if f is not None)
            return answered

        return reply

    bench.answers = {n: listening(a) for n, a in answers_of(share_workers()).items()}
    run_sites(config, tmp_path / "run", bench, news=news)
    secret = (tmp_path / "run" / SECRET).read_bytes()
    sent = [json.dumps(f.content).encode() + b"".join(f.blobs) for f in heard]
    needles = [CANARY.encode(), *spellings(secret)]
    assert len(sent) >= 2 * 3 * 3, "a greeting and two rounds, of three sites, both ways"
    assert not any(needle in message for needle in needles for message in sent)
    assert not any(CANARY in line for line in news)
    assert holders(tmp_path / "run", needles) == {SECRET}


def test_an_error_of_training_names_no_text(config: RunConfig, tmp_path: Path) -> None:
    wild = config.model_copy(
        update={"client": config.client.model_copy(update={"learning_rate": 1e30, "steps": 3})}
    )
    with pytest.raises(DivergenceError) as raised:
        run_and_hear(wild, tmp_path / "run")
    assert CANARY not in str(raised.value)
    assert CANARY.encode() not in b"".join(
        path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()
    )
