"""What a site has spent of its examples' privacy, in all runs: kept at the site, in a file.

It is written before any noise is drawn: what a crash leaves counts too much, never too little. The
same task, asked for again, has the same answer and costs nothing.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedtt.errors import SitesError
from fedtt.federated.privacy.accounting import Release, composed_epsilon
from fedtt.sites.kept_file import write_kept_file

FILE = "privacy-ledger.json"
LOCK = "privacy-ledger.lock"
PATIENCE = 60.0  # seconds: another process holds it for a moment only
Count = Annotated[int, Field(ge=1, le=10**15)]


class Spent(BaseModel):
    """So many steps of a client in a run, each a release of one kind."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    client: str
    run: str
    noise_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    examples: Count
    expected: Count
    steps: Annotated[int, Field(ge=0, le=10**15)]

    @property
    def kind(self) -> tuple[str, str, float, int, int]:
        """What entries that are added up have in common."""
        return (self.client, self.run, self.noise_multiplier, self.examples, self.expected)


class _Content(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1] = 1
    spent: list[Spent] = []
    last: dict[str, str] = {}  # client -> its last task


class EpsilonLedger:
    """The ledger in ``folder``. ``add`` changes it, within a block of ``held``.

    Raises :class:`SitesError` for a file that is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = FileLock(folder / LOCK, mode=0o600)
        self._content = self._loaded()

    @contextmanager
    def held(self) -> Iterator[None]:
        """What other processes of the site have spent is known, and none spends in the block."""
        try:
            self._lock.acquire(timeout=PATIENCE)
        except (Timeout, OSError, NotImplementedError) as error:
            raise SitesError(
                "the account of what is spent of the examples' privacy cannot be locked",
                where=str(self._path.parent),
                got=error,
                fix="stop what else uses this folder; or name one on a file system with locks, "
                "with the files of this one: fedtt join --state DIR",
            ) from error
        try:
            self._content = self._loaded()
            yield
        finally:
            self._lock.release()

    def is_last(self, client: str, task: str) -> bool:
        """Whether the client's last task was this one."""
        return self._content.last.get(client) == task

    def epsilon(
        self, more: Spent, *, accountant: str, delta: float, run: str | None, client: str | None
    ) -> float:
        """Of ``more`` and all that was spent, by that client and in that run alone if given."""
        own = [
            one
            for one in _added(self._content.spent, more)
            if client in (None, one.client) and run in (None, one.run)
        ]
        steps: dict[tuple[float, int, int], int] = {}
        for one in own:
            kind = one.noise_multiplier, one.examples, one.expected
            steps[kind] = steps.get(kind, 0) + one.steps
        releases = tuple(
            Release(noise_multiplier=noise, population=examples, expected=expected, times=times)
            for (noise, examples, expected), times in sorted(steps.items())
        )
        return composed_epsilon(releases, accountant=accountant, delta=delta)

    def add(self, more: Spent, *, task: str) -> None:
        """Write down that the client begins with a task."""
        after = _Content(
            spent=_added(self._content.spent, more),
            last={**self._content.last, more.client: task},
        )
        content = json.dumps(after.model_dump(), indent=1).encode()
        write_kept_file(
            self._path, content, cannot="write down what is spent of the examples' privacy"
        )
        self._content = after  # what is not written down is not spent, and so not to be had

    def _loaded(self) -> _Content:
        if not self._path.exists():
            return _Content()
        try:
            return _Content.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            raise SitesError(
                "what was spent of the examples' privacy cannot be read",
                where=str(self._path),
                got=str(error).splitlines()[0],
                fix="bring the file back: without it nobody knows what is left",
            ) from error


def _added(spent: Sequence[Spent], more: Spent) -> list[Spent]:
    """With ``more`` in the entry of its kind, or after all."""
    same = [one for one in spent if one.kind == more.kind]
    steps = more.steps + sum(one.steps for one in same)
    others = [one for one in spent if one.kind != more.kind]
    return [*others, more.model_copy(update={"steps": steps})]
