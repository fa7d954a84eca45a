"""What is kept of rounds: bounded, even, and the same however the file grew."""

import itertools
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.report.made_runs import record

from fedtt.errors import RunError
from fedtt.experiment.round_tail import RoundTail
from fedtt.report.round_log import MOST_KEPT, Curve, RoundLog, Sample


@given(st.integers(1, 5 * MOST_KEPT))
@settings(max_examples=10)
def test_a_curve_keeps_few_values_evenly_and_the_last(count: int) -> None:
    curve = Curve()
    for index in range(count):
        curve.add(Sample(index=index, sent=index, value=0.0))
    kept = [sample.index for sample in curve.samples]
    assert min(count, MOST_KEPT // 2) <= len(kept) <= MOST_KEPT + 1
    assert (kept[0], kept[-1]) == (0, count - 1)
    steps = {later - earlier for earlier, later in itertools.pairwise(kept[:-1])}
    assert len(steps) <= 1  # but for the last


def test_what_is_measured_seldom_is_kept_however_many_rounds_there_are() -> None:
    """Every second round is validated: thinning rounds by powers of two would lose all of them."""
    plain = record(0, clients=["a"])
    measured = record(0, clients=["a"], validation=0.5, dropped={"b": 1}, unused="too few")
    log = RoundLog()
    for index in range(10_000):
        log.add({**(measured if index % 2 else plain), "round": index})
    assert (log.count, log.missed, log.unused) == (10_000, 5_000, 5_000)
    assert log.unused_rounds == [2, 4, 6, 8, 10]
    assert log.uplink_bytes + log.downlink_bytes == log.loss.samples[-1].sent == 1_500_000
    curves = (log.loss, log.uplink, log.downlink, log.took, *log.validation.values())
    assert all(len(curve.samples) <= MOST_KEPT + 1 for curve in curves)
    last = log.validation["accuracy"].samples[-1]
    assert (last.index, last.value, len(log.validation["accuracy"].samples)) == (9_999, 0.5, 626)


@given(st.lists(st.integers(0, 2000), max_size=6), st.integers(0, 6))
@settings(max_examples=20)
def test_a_file_that_grows_is_read_once(cuts: list[int], count: int) -> None:
    records = [record(index, clients=["a", "\N{SNOWMAN}"]) for index in range(count)]
    content = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records).encode()
    with tempfile.TemporaryDirectory() as place:
        tail, found = RoundTail(Path(place)), list(RoundTail(Path(place)).read())
        for end in [*sorted(cuts), len(content)]:
            (Path(place) / "rounds.jsonl").open("ab").close()
            with (Path(place) / "rounds.jsonl").open("r+b") as file:
                file.write(content[:end])
            assert not tail.is_stale()
            found += tail.read()
        tail.close()
    assert found == records


def test_a_line_whose_end_comes_later_is_read_once(tmp_path: Path) -> None:
    lines = [json.dumps(record(index, clients=["a"])).encode() for index in range(3)]
    tail = RoundTail(tmp_path)
    for piece, count in (
        (lines[0], 1),
        (b"\n" + lines[1][:-1], 0),
        (b"}", 1),
        (b"\n", 0),
        (lines[2] + b"\n", 1),
    ):
        with (tmp_path / "rounds.jsonl").open("ab") as file:
            file.write(piece)
        assert len(list(tail.read())) == count
    tail.close()


def test_a_file_that_is_another_is_known(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    line = json.dumps(record(0, clients=["a"])) + "\n"
    for change in (
        path.unlink,
        lambda: (path.unlink(), path.write_text(line * 2)),
        lambda: path.write_text(""),
    ):
        path.write_text(line)
        tail = RoundTail(tmp_path)
        assert len(list(tail.read())) == 1
        assert not tail.is_stale()
        change()
        assert tail.is_stale()
        tail.close()
    path.write_text(line * 2)
    tail = RoundTail(tmp_path)
    for _ in range(2):
        with pytest.raises(RunError, match="line 2: round 0, expected round 1"):
            list(tail.read())
    tail.close()
