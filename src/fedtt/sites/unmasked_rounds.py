"""Which round of each run a site has unmasked last: in memory and, if there is a folder, in a file.

Of two sums of one round the difference is an update, whichever of the server's processes asks. So a
round is written down before the site says what unmasks it: what a crash leaves counts too much.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedtt.errors import SitesError
from fedtt.sites.kept_file import write_kept_file

FILE = "unmasked-{}.json"  # of the run with that id


class _Content(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1]
    round: Annotated[int, Field(ge=0, le=10**9)]


class UnmaskedRounds:
    """Of one site, in ``folder``, None for in memory alone. ``add`` changes it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._last: dict[str, int] = {}

    def last(self, run_id: str) -> int:
        """The last round of the run that was unmasked, or -1.

        Raises :class:`SitesError` for a file that is damaged.
        """
        known = self._last.get(run_id, -1)
        path = self._path(run_id)
        if path is None or not path.exists():
            return known
        try:
            return max(known, _Content.model_validate_json(path.read_bytes()).round)
        except (OSError, ValidationError) as error:
            raise SitesError(
                "which round was unmasked last cannot be read",
                where=str(path),
                got=str(error).splitlines()[0],
                fix="bring the file back: without it a round could be summed twice",
            ) from error

    def add(self, run_id: str, round_index: int) -> None:
        """Raises :class:`SitesError` where that cannot be written."""
        self._last[run_id] = max(round_index, self.last(run_id))
        path = self._path(run_id)
        if path is None:
            return
        content = json.dumps({"format": 1, "round": self._last[run_id]}).encode()
        write_kept_file(path, content, cannot="write down which round is unmasked")

    def _path(self, run_id: str) -> Path | None:
        return None if self._folder is None else self._folder / FILE.format(run_id)
