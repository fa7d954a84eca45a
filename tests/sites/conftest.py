"""What the tests of sites without processes share."""

from collections.abc import Callable

import pytest

from fedtt.config import RunConfig


@pytest.fixture(scope="module")
def config(make_config: Callable[..., RunConfig]) -> RunConfig:
    """A round of one client at a time, without a baseline, that waits for sites a few seconds."""
    return make_config(
        rounds=1,
        cohort={"batched": "off"},
        evaluation={"alone": False},
        sites={"deadline": 5, "patience": 5},
    )


@pytest.fixture
def job(make_config: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    """A run whose sites answer at once: one client at a time, short waits."""

    def make(**changes: object) -> RunConfig:
        sections = {
            "cohort": {"batched": "off"},
            "evaluation": {"alone": False},
            "sites": {"deadline": 5, "patience": 5},
            **changes,
        }
        return make_config(**sections)

    return make
