"""A label that means one class at one site and another at another: nobody trains on both."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.sites.in_process import Bench, connect, federation_of

from fedtt.config import RunConfig
from fedtt.engine.data import build_site_data
from fedtt.errors import DataError, SitesError
from fedtt.sites.frames import Frame
from fedtt.sites.label_cells import Cells, contradict, odd_sites
from fedtt.sites.message_schema import Joined
from fedtt.sites.site_data import SiteData


def test_what_contradicts() -> None:
    assert contradict((0, 1, 2), (1, 2, 3)) == 1
    assert contradict((1, 2, 3), (0, 1, 2)) == 1
    assert contradict((0, 1), (1, 0)) == 0
    assert contradict((0, 1), (0, 1)) is None
    assert contradict((0, 1), (7, 8)) is None  # no label is in both
    assert contradict(None, (1, 2)) is None


@pytest.mark.parametrize(
    ("cells", "odd"),
    [
        ({"a": (0, 1), "b": (0, 1), "c": None}, set()),
        ({"a": (0, 1), "b": (1, 2)}, {"a", "b"}),
        ({"a": (1, 2), "b": (0, 1), "c": (0, 1)}, {"a"}),
        ({"a": (0, 1), "b": (1, 0), "c": (0, 1), "d": (1, 0)}, {"a", "b", "c", "d"}),
    ],
)
def test_most_are_right_and_where_there_are_none_nobody(
    cells: Mapping[str, Cells], odd: set[str]
) -> None:
    found = odd_sites(cells)
    assert set(found) == odd
    assert all(f"site {name}," not in why for name, why in found.items())


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        (["0", "1", "2"], (0, 1, 2)),
        (["1", "2", "3"], (1, 2, 3)),
        (["bad", "fine", "good"], None),
    ],
)
def test_how_a_file_writes_its_labels(
    job: Callable[..., RunConfig], tmp_path: Path, labels: list[str], cells: Cells
) -> None:
    path = tmp_path / "own.csv"
    rows = [f"text number {i} of {label},{label}" for i in range(8) for label in labels]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    data = {"path": str(path), "label_names": ["bad", "fine", "good"], "test": 0.2}
    config = job(data={**data, "validation": 0.2})
    found = build_site_data(config.data, config.task, client_id="own")
    assert found.label_cells == cells


def test_a_site_may_hold_one_of_the_classes_alone(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f"text number {i},good\n" for i in range(20)))
    data = {"path": str(path), "label_names": ["bad", "good"], "test": 0.2, "validation": 0.2}
    config = job(data=data)
    found = build_site_data(config.data, config.task, client_id="own")
    assert set(found.train["own"].labels) == {1}
    assert "one class only: own (good)" in found.notes[-1]
    # 1 alone may be counted from 1 or from 0: that is still to be said.
    path.write_text("text,label\n" + "".join(f"text number {i},1\n" for i in range(20)))
    with pytest.raises(DataError, match="which class each integer stands for cannot be told"):
        build_site_data(config.data, config.task, client_id="own")


def test_sites_that_contradict_each_other_do_not_train(job: Callable[..., RunConfig]) -> None:
    config = job(sites={"deadline": 5, "patience": 0.3})
    federation = federation_of(config)
    sizes = {"site-0": {"north": 18}, "site-1": {"south": 36}, "site-2": {"west": 26}}
    cells = {"site-0": [0, 1], "site-1": [1, 2], "site-2": [0, 1]}

    def answer(name: str) -> Callable[[Frame], Frame]:
        joined = Joined(
            site=name, session="s", start="same", num_examples=sizes[name], label_cells=cells[name]
        )
        return lambda _: Frame(content=joined.model_dump())

    bench = Bench({index: answer(name) for index, name in enumerate(sizes)})
    news: list[str] = []
    sites = connect(config, federation, bench, news=news)
    called = federation.population
    sites.gather(federation.initial, called=called)  # the two others go on
    (line,) = [line for line in news if "refused" in line]
    assert line.startswith("node 1: refused: sites write the same label for different classes")
    assert "labels 1, 2 here, labels 0, 1 at site site-0" in line
    refused = [frame.content for node, frame in bench.sent if frame.content["do"] == "refuse"]
    assert len(refused) == 1

    bench = Bench({1: answer("site-0"), 2: answer("site-1")})
    sites = connect(config, federation, bench, news=news)
    with pytest.raises(SitesError, match=r"too few sites joined\n  got: 0 clients"):
        sites.gather(federation.initial, called=called)


def test_a_site_can_say_what_stands_for_each_class_in_its_file(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """One that lacks the last class, counted from 1: without a word its labels cannot be placed."""
    path = tmp_path / "own.csv"
    rows = [f"text number {i} of {label},{label}" for i in range(8) for label in (1, 2)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    server = job(data={"path": "x.csv", "label_names": ["bad", "fine", "good"], "test": 0.2})
    site = SiteData(name="own", data=path, overrides=["data.label_values=[1, 2, 3]"])
    config = site.config(server.model_dump(mode="json", exclude_none=True))
    found = build_site_data(config.data, config.task, client_id="own")
    assert found.label_cells is None
    for text, label in zip(found.train["own"].texts, found.train["own"].labels, strict=True):
        assert text.endswith(f"of {label + 1}")
    plain = SiteData(name="own", data=path).config(
        server.model_dump(mode="json", exclude_none=True)
    )
    with pytest.raises(DataError, match=r"cannot be told(.|\n)*data.label_values"):
        build_site_data(plain.data, plain.task, client_id="own")
