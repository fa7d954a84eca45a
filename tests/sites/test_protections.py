"""What serve says that it protects: by the configuration, and nothing more."""

import pytest

from fedtt.config import RunConfig, parse_config
from fedtt.sites.protections import protections_of

PRIVATE = {"client": {"clipping_norm": 0.3, "target_epsilon": 4, "delta": 1e-4}}


def config(**sections: object) -> RunConfig:
    base = {"rounds": 1, "model": {"name": "minilm"}, "method": {"name": "fedtt"}}
    return parse_config({**base, "data": {"path": "data.csv"}, **sections}, where="test")


def said(own: RunConfig, *, has_keys: bool = True, is_loopback: bool = False) -> dict:
    lines = protections_of(own, has_keys=has_keys, is_loopback=is_loopback)
    assert [line.holds for line in lines] == sorted((line.holds for line in lines), reverse=True)
    return {line.subject: (line.holds, line.text) for line in lines}


def test_by_default_little_is_protected() -> None:
    lines = said(config())
    assert {subject for subject, (holds, _) in lines.items() if holds} == {
        "texts, labels",
        "messages",
    }
    assert "number of examples that it claims" in lines["a dishonest site"][1]


@pytest.mark.parametrize(("is_loopback", "who"), [(True, "this machine"), (False, "is between")])
def test_without_keys_messages_are_read_by(is_loopback: bool, who: str) -> None:
    holds, text = said(config(), has_keys=False, is_loopback=is_loopback)["messages"]
    assert not holds
    assert who in text


@pytest.mark.parametrize(
    ("sections", "holds", "text"),
    [
        ({"server": {"weighting": "uniform"}}, False, "as far as its update is long"),
        ({"server": {"aggregation": "median"}}, True, "median"),
        ({"server": {"weighting": "uniform"}, "privacy": PRIVATE}, True, "clipping norm"),
    ],
)
def test_a_dishonest_site(sections: dict, holds: bool, text: str) -> None:
    found = said(config(**sections))["a dishonest site"]
    assert found[0] is holds
    assert text in found[1]


@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_no_bound_is_promised_on_what_nobody_sees(weighting: str) -> None:
    server = {"weighting": weighting}
    own = config(
        sites={"names": ["north", "south", "east"]},
        privacy={"secure_aggregation": {}},
        server=server,
    )
    holds, text = said(own)["a dishonest site"]
    assert not holds
    assert "%" not in text


def test_an_example_s_epsilon_holds_against_the_server_and_not_for_a_whole_site() -> None:
    example = {"clipping_norm": 1.0, "target_epsilon": 3, "delta": 1e-5}
    lines = said(config(privacy={"example": example}))
    holds, text = lines["an example"]
    assert holds
    assert "epsilon 3 at delta 1e-05, from everybody, the server too" in text
    assert lines["the model"] == (
        False,
        "nothing bounds what it tells about a whole site's data ([privacy])",
    )
    assert "losses" not in lines["said of a site"][1]
    assert "losses" in said(config())["said of a site"][1]
    assert "an example" not in said(config())


def test_what_becomes_of_updates_is_said_with_what_breaks_it() -> None:
    sites = {"names": ["north", "south", "east", "west"]}
    assert said(config(sites=sites))["updates"][0] is False
    own = config(sites=sites, privacy={"secure_aggregation": {}})
    holds, text = said(own)["updates"]
    assert holds
    assert "the sum of at least 3 of a round's 4" in text
    assert "unless it puts its own keys in the place of the sites'" in text
    assert "tells sites differently who takes part can learn the sum of fewer" in text


def test_an_epsilon_is_said_with_whom_it_is_against() -> None:
    own = config(server={"weighting": "uniform"}, privacy=PRIVATE)
    holds, text = said(own)["the model"]
    assert holds
    assert "epsilon 4 at delta 0.0001, from everybody but the server" in text
