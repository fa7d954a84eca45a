"""Which round of each run a site has unmasked last, of whom: in memory and, in a folder, a file.

Of two sums of one round the difference is an update, whichever of the server's processes asks. So a
round is written down before the site says what unmasks it: what a crash leaves counts too much. A
sum of the same clients again has no difference: a server that lost the first may have that one.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedtt.errors import SitesError
from fedtt.federated.secure.sum_sizes import MOST_CLIENTS
from fedtt.sites.kept_file import write_kept_file

FILE = "unmasked-{}.json"  # of the run with that id


@dataclass(frozen=True, kw_only=True)
class Unmasked:
    """A round, and the places of those whose sum it was."""

    round: int
    survivors: frozenset[int]


class _Content(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[2]
    round: Annotated[int, Field(ge=0, le=10**9)]
    survivors: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=MOST_CLIENTS)]


NOTHING = Unmasked(round=-1, survivors=frozenset())


class UnmaskedRounds:
    """Of one site, in ``folder``, None for in memory alone. ``add`` changes it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._last: dict[str, Unmasked] = {}

    def last(self, run_id: str) -> Unmasked:
        """The last round of the run that was unmasked; round -1 where none was.

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
        kept = Unmasked(round=content.round, survivors=frozenset(content.survivors))
        return max(known, kept, key=lambda unmasked: unmasked.round)

    def add(self, run_id: str, unmasked: Unmasked) -> None:
        """Raises :class:`SitesError` for a round before the last, or for others of it, and where
        that cannot be written.
        """
        last = self.last(run_id)
        if unmasked.round < last.round or (unmasked.round == last.round and unmasked != last):
            raise SitesError(
                "a round whose sum was unmasked is to be summed again, of others: the difference "
                "of two sums tells a client's update",
                got=f"round {unmasked.round}, of {len(unmasked.survivors)} clients",
                expected=f"round {last.round} of the same {len(last.survivors)}, or a later one",
            )
        self._last[run_id] = unmasked
        path = self._path(run_id)
        if path is None:
            return
        table = {"format": 2, "round": unmasked.round, "survivors": sorted(unmasked.survivors)}
        content = json.dumps(table).encode()
        write_kept_file(path, content, cannot="write down which round is unmasked")

    def _path(self, run_id: str) -> Path | None:
        return None if self._folder is None else self._folder / FILE.format(run_id)
