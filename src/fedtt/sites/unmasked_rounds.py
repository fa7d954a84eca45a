"""Of which round of each run a site masked updates last, of what, and whose sum it unmasked.

In memory and, in a folder, a file. Of two sums of one round the difference is an update, whichever
of the server's processes asks: where others are summed, or where one is asked something else. So
what a site's clients train on in a round is written down before it sends a masked update, and whose
sum it is before it says what unmasks it: what a crash leaves counts too much. The same sum again
has no difference: a server that lost the first may have that one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedtt.errors import SitesError
from fedtt.federated.secure.sum_sizes import MOST_CLIENTS
from fedtt.sites.kept_file import write_kept_file

FILE = "unmasked-{}.json"  # of the run with that id
AGAIN = "the difference of two sums tells a client's update"


@dataclass(frozen=True, kw_only=True)
class Unmasked:
    """A round; what each client of the site trained on in it, as a digest; and the places of those
    whose sum it was, None before it is unmasked. Without ``tasks`` nobody knows what of: nothing of
    that round may be said again.
    """

    round: int
    tasks: Mapping[str, str] | None
    survivors: frozenset[int] | None = None


_Round = Annotated[int, Field(ge=0, le=10**9)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Places = Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=MOST_CLIENTS)]


class _Content(BaseModel):
    """Formats 1 and 2, of earlier versions, do not say what the clients trained on."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1, 2, 3]
    round: _Round
    tasks: Annotated[dict[str, _Digest], Field(max_length=MOST_CLIENTS)] | None = None
    survivors: _Places | None = None


NOTHING = Unmasked(round=-1, tasks={})


class UnmaskedRounds:
    """Of one site, in ``folder``, None for in memory alone. ``train`` and ``unmask`` change it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._last: dict[str, Unmasked] = {}

    def last(self, run_id: str) -> Unmasked:
        """The last round of the run; round -1 where there was none.

        Raises :class:`SitesError` for a file that is damaged.
        """
        known = self._last.get(run_id, NOTHING)
        path = self._path(run_id)
        if path is None or not path.exists():
            return known
        try:
            content = _Content.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise SitesError(
                "which round was unmasked last cannot be read",
                where=str(path),
                got=str(error).splitlines()[0],
                fix="bring the file back: without it a round could be summed twice",
            ) from error
        survivors = None if content.survivors is None else frozenset(content.survivors)
        kept = Unmasked(round=content.round, tasks=content.tasks, survivors=survivors)
        return max(known, kept, key=lambda unmasked: unmasked.round)

    def check_round(self, run_id: str, round_index: int) -> Unmasked:
        """What is known of the round. Raises :class:`SitesError` where it may not be summed."""
        last = self.last(run_id)
        first = last.round + (last.tasks is None)
        if round_index < first:
            raise SitesError(
                f"a round whose sum was unmasked is to be summed again: {AGAIN}",
                got=f"round {round_index}",
                expected=f"round {first} or later",
            )
        return last if last.round == round_index else Unmasked(round=round_index, tasks={})

    def train(self, run_id: str, round_index: int, tasks: Mapping[str, str]) -> None:
        """Before a client's update is sent, ``tasks`` by client.

        Raises :class:`SitesError` for another round or task than may be, and where that cannot be
        written.
        """
        found = self.check_round(run_id, round_index)
        known = found.tasks or {}
        for client, digest in tasks.items():
            if known.get(client, digest) != digest:
                raise SitesError(
                    f"a client is asked something else in the same round: {AGAIN}",
                    where=f"round {round_index}, client {client}",
                    expected="the parameters, learning rate, place and settings that it had first",
                )
        self._keep(run_id, replace(found, tasks={**known, **tasks}))

    def unmask(self, run_id: str, round_index: int, survivors: frozenset[int]) -> None:
        """Raises :class:`SitesError` for a round before the last, or for others of it, and where
        that cannot be written.
        """
        found = self.check_round(run_id, round_index)
        if found.survivors not in (None, survivors):
            raise SitesError(
                f"a round whose sum was unmasked is to be summed again, of others: {AGAIN}",
                got=f"round {round_index}, of {len(survivors)} clients",
                expected=f"the same {len(found.survivors or ())}, or a later round",
            )
        self._keep(run_id, replace(found, survivors=survivors))

    def _keep(self, run_id: str, unmasked: Unmasked) -> None:
        if unmasked == self.last(run_id):
            return
        self._last[run_id] = unmasked
        path = self._path(run_id)
        if path is None:
            return
        survivors = None if unmasked.survivors is None else sorted(unmasked.survivors)
        table = {
            "format": 3,
            "round": unmasked.round,
            "tasks": dict(unmasked.tasks or {}),
            "survivors": survivors,
        }
        content = json.dumps(table).encode()
        write_kept_file(path, content, cannot="write down which round is unmasked")

    def _path(self, run_id: str) -> Path | None:
        return None if self._folder is None else self._folder / FILE.format(run_id)
