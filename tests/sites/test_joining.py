"""Who may join, and what a site and a server must agree on."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from tests.sites.in_process import NAMES, Bench, QuickSite, connect, federation_of, make_worker

from fedtt.config import RunConfig, parse_config
from fedtt.engine.build import Federation
from fedtt.errors import ConfigError, DataError, SitesError
from fedtt.sites import site_data
from fedtt.sites.agreement import fact_differences, facts_of
from fedtt.sites.data_shares import Share, parse_share
from fedtt.sites.frames import Frame
from fedtt.sites.site_data import SiteData
from fedtt.sites.site_worker import Worker


@pytest.fixture(scope="module")
def config(make_config: Callable[..., RunConfig]) -> RunConfig:
    return make_config(cohort={"batched": "off"}, sites={"deadline": 5, "patience": 0.3})


def hello(config: RunConfig, **facts: object) -> Frame:
    known = facts_of(config, federation_of(config)).model_dump()
    content = {
        "do": "hello",
        "epoch": "1",
        "run": "0" * 32,
        "config": config.model_dump(mode="json"),
    }
    return Frame(content={**content, "facts": {**known, **facts}})


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"method": "lora"}, "method: 'lora' at the server, 'fedtt' here"),
        ({"fedtt": "9.9"}, "fedtt: '9.9' at the server, "),
        ({"label_names": ["no", "yes"]}, r"label_names: \['no', 'yes'\] at the server, \['bad'"),
        ({"base_model": "0"}, "base_model: the weights of the base model are not the same"),
        (
            {"exchanged": {"lora_A": {"shape": [8, 32], "dtype": "torch.float32"}}},
            r"at the server, [\s\S]*more parameters",
        ),
    ],
)
def test_a_site_that_differs_ends_and_shows_how(
    config: RunConfig, facts: dict, message: str
) -> None:
    worker = make_worker("site-0", Share(index=0, count=3))
    reply = worker.answer(hello(config, **facts))
    assert worker.over
    with pytest.raises(SitesError, match=rf"do not fit together:\n  - [\s\S]*{message}"):
        raise worker.problem or AssertionError
    assert reply.content == {"unfit": str(worker.problem)}


@pytest.mark.parametrize("method", ["ffa-lora", "lora-xs"])
def test_what_is_frozen_and_never_sent_has_to_be_the_same_but_for_rounding(
    make_config: Callable[..., RunConfig], method: str
) -> None:
    own = make_config(cohort={"batched": "off"}, method={"name": method, "rank": 4})
    known = facts_of(own, federation_of(own)).frozen
    assert known
    values = known[max(known)]
    rounded = {name: [v * (1 + 1e-6) for v in own] for name, own in known.items()}
    other = {**known, max(known): [-v for v in values]}  # an SVD chooses signs
    share = Share(index=0, count=3)
    assert "site" in make_worker("a", share).answer(hello(own, frozen=rounded)).content
    for wrong in (other, {}, {**known, "more": [0.0]}):
        refused = make_worker("a", share).answer(hello(own, frozen=wrong)).content["unfit"]
        assert "another PyTorch" in refused


def test_a_site_that_fits_says_what_it_holds(config: RunConfig) -> None:
    worker = make_worker("site-1", Share(index=1, count=3))
    content = worker.answer(hello(config)).content
    assert content["site"] == "site-1"
    assert content["num_examples"] == {"south": 36}  # 60 less a fifth for each other split
    assert worker.answer(hello(config)).content == content  # asked twice, it is the same session
    facts = facts_of(config, federation_of(config))
    assert fact_differences(facts, facts) == []


def test_a_site_refuses_another_configuration_than_agreed(
    config: RunConfig, tmp_path: Path
) -> None:
    other = parse_config({**config.model_dump(), "rounds": 7, "sites": {}}, where="the test")
    agreed = tmp_path / "agreed.toml"
    assert other.model.dtype == "auto"  # what the server has settled does not count
    agreed.write_text(tomli_w.dumps(other.model_dump(mode="json", exclude_none=True)))
    site = QuickSite(name="site-0", data=Share(index=0, count=3), agreed=agreed)
    worker = Worker(site, tell=lambda _: None, should_stop=lambda: False)
    worker.answer(hello(config))
    message = r"not the one agreed to:\n  - rounds: 7 -> 3\n  where: .*agreed.toml"
    with pytest.raises(ConfigError, match=message):
        raise worker.problem or AssertionError


def test_a_site_may_change_its_own_business_only(config: RunConfig) -> None:
    share = Share(index=0, count=3)
    own = SiteData(
        name="north", data=share, overrides=["data.text_column=body", "model.device=cpu"]
    )
    assert own.config(config.model_dump(mode="json")).data.text_column == "body"
    foreign = SiteData(name="north", data=share, overrides=["client.steps=9"])
    message = r"may not change what all have in common:\n  - client.steps: 3 -> 9"
    with pytest.raises(ConfigError, match=message):
        foreign.config(config.model_dump(mode="json"))


def test_a_site_s_file_is_one_client_of_its_name(
    config: RunConfig, reviews: Path, tmp_path: Path
) -> None:
    rows = [line for line in reviews.read_text().splitlines() if '"west"' in line]
    (tmp_path / "mine.jsonl").write_text("\n".join(rows) + "\n")
    site = SiteData(name="hospital-3", data=tmp_path / "mine.jsonl")
    federation = site.build(site.config(config.model_dump(mode="json")))
    assert federation.population == site.clients(federation) == ("hospital-3",)
    everyone = SiteData(name="hospital-3", data=reviews)
    with pytest.raises(DataError, match=r"holds the data of one client[\s\S]*3 clients in column"):
        everyone.build(everyone.config(config.model_dump(mode="json")))


def greet(config: RunConfig, content: dict, *, names: dict[int, str] | None = None) -> list[str]:
    """What the server's log says of a node that answers the invitation so."""
    told: list[Frame] = []

    def answer(frame: Frame) -> Frame:
        told.append(frame)
        return Frame(content=content)

    news: list[str] = []
    bench = Bench({1: answer})
    federation = federation_of(config)
    sites = connect(config, federation, bench, news=news, names=names)
    with pytest.raises(SitesError, match="too few sites joined"):
        sites.gather(federation.initial, called=federation.population)
    return news


GOOD = {
    "site": "site-1",
    "session": "s",
    "start": "same",
    "num_examples": {"south": 36},
    "label_cells": None,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"site": "mallory"}, "no such site"),
        ({"site": None}, r"node 1, site\n  got: None\n  expected: Input should be a valid string"),
        ({"site": "site-0"}, "holds other clients than its own"),
        ({"session": 7}, r"node 1, session\n  got: 7"),
        ({"session": "s" * 65}, "node 1, session"),
        ({"more": 1}, r"node 1, more\n  got: 1\n  expected: Extra inputs"),
        ({"num_examples": None}, "node 1, num_examples"),
        ({"num_examples": {"south": 36, "north": 1}}, "holds other clients than its own"),
        ({"num_examples": {"south": 0}}, r"node 1, num_examples.south\n  got: 0"),
        ({"num_examples": {"south": 10**15}}, "node 1, num_examples.south"),
        ({"num_examples": {"south": True}}, "node 1, num_examples.south"),
    ],
)
def test_what_a_node_may_not_say_when_it_joins(
    config: RunConfig, changes: dict, message: str
) -> None:
    (line,) = greet(config, {**GOOD, **changes})
    assert line.startswith("node 1: refused: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(line)


def test_why_a_site_does_not_fit_cannot_move_the_terminal(config: RunConfig) -> None:
    (line,) = greet(config, {"unfit": "other weights\x1b[2J\nround 3/3  accuracy 1.0"})
    assert line == "node 1: refused: other weights?[2J\n  | round 3/3  accuracy 1.0"


def test_a_key_may_act_as_its_own_site_only(config: RunConfig) -> None:
    assert greet(config, GOOD, names={1: "site-1"}) == ["site-1: joined (36 training examples)"]
    (line,) = greet(config, GOOD, names={1: "site-2"})
    assert line.startswith("site-2: refused: a key may act only as its own site\n  got: site-1")
    (line,) = greet(config, GOOD, names={5: "site-1"})
    assert line.startswith("node 1: refused: a key may act only as its own site")


def test_shares_are_parsed() -> None:
    assert parse_share("2/3").of(("a", "b", "c", "d")) == ("c",)
    assert parse_share("0/3").of(("a", "b", "c", "d")) == ("a", "d")
    for text in ("3/3", "x/3", "1", "-1/2", ""):
        with pytest.raises(ConfigError, match="not a share"):
            parse_share(text)
    assert len(NAMES) == 3


def test_a_machine_that_cannot_do_its_part_says_so_and_ends(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = SiteData(name="north", data=Share(index=0, count=3))
    worker = Worker(own, tell=lambda _: None, should_stop=lambda: False)

    def full(*_: object) -> Federation:
        raise OSError("No space left on device")

    monkeypatch.setattr(site_data, "build_federation", full)
    with pytest.raises(SitesError, match=r"cannot do its part.*\n.*No space left"):
        worker.answer(hello(config))
