"""A run that is about to go on: a new one of a configuration, or an earlier one taken up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fedtt.config import RunConfig
from fedtt.engine.build import Federation, resolve_auto
from fedtt.engine.build_example_plan import plan_examples
from fedtt.experiment.directory import (
    RunDirectory,
    check_same_config,
    create_named_run,
    create_run,
    open_run,
)
from fedtt.experiment.privacy_plan import plan_privacy
from fedtt.experiment.private_examples import calls_within, examples_of
from fedtt.experiment.private_run import check_secret_kept
from fedtt.federated.cohort import Cohorts
from fedtt.run_place import DEFAULT_PARENT
from fedtt.trackers import check_trackers

Build = Callable[[RunConfig], Federation]


@dataclass(frozen=True, kw_only=True)
class BegunRun:
    """Its directory exists."""

    config: RunConfig
    federation: Federation
    directory: RunDirectory


def begin_new(
    given: RunConfig,
    build: Build,
    *,
    place: Path | None,
    overwrite: bool = False,
    before_writing: Callable[[], None] = lambda: None,
) -> BegunRun:
    """A new run in ``place``, or in a new directory under ``runs/`` that nobody else has.

    Nothing is written before ``build`` has succeeded and ``before_writing`` raised nothing.
    """
    check_trackers(given.track.to)
    config = resolve_auto(given)
    federation = build(config)
    plan_privacy(config, population=len(federation.population))
    plan = plan_examples(config, examples=examples_of(federation))
    if config.privacy.client is None:  # else a secret draws cohorts, and there is none yet
        cohorts = Cohorts(
            population=federation.population, cohort_size=config.cohort.size, seed=config.seed
        )
        calls_within(plan, config, cohorts=cohorts)
    before_writing()
    if place is not None:
        directory = create_run(place, config, overwrite=overwrite)
    else:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        name = f"{stamp}-{config.method.name}-seed{config.seed}".replace(":", "-")
        directory = create_named_run(DEFAULT_PARENT, name, config)
    return BegunRun(config=config, federation=federation, directory=directory)


def take_up_run(place: Path, build: Build, *, given: RunConfig | None = None) -> BegunRun:
    """The run in ``place``, to go on with.

    ``given`` has to be its configuration, and says who follows it from here on.
    """
    directory = open_run(place)
    config = directory.config()
    if given is not None:
        check_same_config(config, given, where=place)
        config = config.model_copy(update={"track": given.track})
    check_trackers(config.track.to)
    check_secret_kept(config, directory)
    return BegunRun(config=config, federation=build(config), directory=directory)
