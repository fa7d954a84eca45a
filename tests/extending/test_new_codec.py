"""A codec that another package adds: one file and one row; both ends must have the same."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.experiment.runs import run
from tests.extending.toy_codec import HALF

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.errors import ConfigError, WireError
from fedtt.experiment import open_run
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.codec import CODECS
from fedtt.federated.wire.update import decode_update, encode_update, update_length

MakeConfig = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def row() -> Iterator[None]:
    """The one row, for the duration of a test."""
    with CODECS.having("toy-half", "tests.extending.toy_codec:ROW"):
        yield


def test_a_run_with_a_codec_from_outside_sends_half_up(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    options = {"rounds": 2, "evaluation": {"alone": False}}
    run(make_config(**options), tmp_path / "plain")
    summary = run(
        make_config(**options, wire={"codec": "toy-half", "deflate": False}), tmp_path / "half"
    )
    plain, half = (open_run(tmp_path / name).rounds() for name in ("plain", "half"))
    for one, other in zip(plain, half, strict=True):
        # "toy-half" is longer than "plain" by 3; three clients, 450 numbers of 4 bytes, and of 2.
        assert one["uplink_bytes"] - other["uplink_bytes"] == 3 * (450 * 2 - 3)
        assert one["downlink_bytes"] == other["downlink_bytes"]
    assert summary["test"]["accuracy"]["mean"] >= 0


def test_a_payload_of_another_codec_is_refused_by_name() -> None:
    delta = {"w": torch.ones(3)}
    update = ClientUpdate(delta=delta, num_examples=1, num_steps=1, loss=0.5)
    payload, structure = encode_update(update, codec=HALF), p.structure_of(delta)
    assert len(payload) == update_length(structure, codec=HALF)
    assert torch.equal(
        decode_update(payload, expected=structure, codec=HALF).delta["w"], delta["w"]
    )
    with pytest.raises(WireError, match=r"another codec\n  got: toy-half\n  expected: plain"):
        decode_update(payload, expected=structure)


def test_an_unknown_codec_is_refused_with_the_choices(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"wire\.codec(.|\n)*plain"):
        make_config(wire={"codec": "plane"})
