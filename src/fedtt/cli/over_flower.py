"""A run whose clients come over Flower: from other machines, or from this one."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtt.cli.console import console, print_line
from fedtt.cli.terminal_tables import print_start

if TYPE_CHECKING:
    from fedtt.experiment import BegunRun
    from fedtt.sites.ports import BoundPort


def run_over_flower(
    begun: "BegunRun",
    *,
    port: "BoundPort",
    keys: Path | None,
    expected: Mapping[str, Sequence[str]],
    silent: bool,
    stop: threading.Event,
) -> dict[str, Any]:
    """Run what is left of the run with the sites that come to ``port``; the summary."""
    from fedtt import experiment
    from fedtt.cli.progress import watch
    from fedtt.sites.flower.flower_server import Entrance, connected_sites

    config, federation, directory = begun.config, begun.federation, begun.directory
    out = console()
    if not silent:
        print_start(out, federation.notes, directory.path)
        where = f"{port.address}; logs in {directory.path}"
        print_line(out, f"{len(expected)} sites may join at {where}")
    with (
        watch(out, silent=silent) as notify,
        connected_sites(
            config,
            federation,
            run_id=directory.run_id(),
            entrance=Entrance(port=port, keys=keys, logs=directory.path),
            expected=expected,
            tell=lambda site, what: notify(experiment.SiteNews(site=site, what=what)),
            on_wait=lambda index, answered, asked, left: notify(
                experiment.Waiting(
                    round_index=index, answered=answered, asked=asked, seconds_left=left
                )
            ),
            should_stop=stop.is_set,
        ) as sites,
    ):
        summary = experiment.run_with_sites(config, federation, directory, sites, notify=notify)
        sites.close()
        return summary
