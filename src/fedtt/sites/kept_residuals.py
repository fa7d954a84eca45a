"""What a site's clients owe (error feedback), kept at the site: in memory and in a file.

A round may be asked for again: by a server that did not hear the answer, or that starts over from
the state before. So what was owed before the last round is kept beside what is owed after it, and a
round that is asked for again begins where it began. Every run has a file of its own: one payload,
which names the run and the round; it is replaced whole, before the site answers.
"""

import hashlib
import json
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedtt import params as p
from fedtt.errors import SitesError, WireError
from fedtt.federated.wire.payload import decode, encode, read_header
from fedtt.params import Params, Structure
from fedtt.sites.kept_file import write_kept_file

FILE = "residuals-{}.fedtt"  # of the run with that id
BEFORE, AFTER = "before", "after"
DELETE = "move the file away: its clients then owe nothing"
Owed = Mapping[str, Params]


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """What each client owed before that round, and what it owes after it."""

    round_index: int
    before: Owed
    after: Owed


class KeptResiduals:
    """Of those clients; ``folder`` is where the file lies, None for nowhere.

    ``structure`` is what any of them can owe; one of a lower rank owes a leading part of it.
    :meth:`end` changes it. Raises :class:`SitesError` for a file that is damaged.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        run_id: str,
        clients: Sequence[str],
        structure: Structure,
    ) -> None:
        self._path = folder / FILE.format(run_id) if folder is not None else None
        text = json.dumps([run_id, sorted(clients)])
        self._run = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._clients, self._structure = sorted(clients), structure
        self._last = self._loaded()

    def begin(self, round_index: int) -> MutableMapping[str, Params]:
        """What the clients owe at the start of the round; nothing where it is long over."""
        last = self._last
        if last is None or round_index < last.round_index:
            return {}
        return dict(last.before if round_index == last.round_index else last.after)

    def end(self, round_index: int, *, before: Owed, after: Owed) -> None:
        """Keep what they owe after it. Raises :class:`SitesError` where that cannot be written."""
        self._last = Residuals(round_index=round_index, before=before, after=after)
        if self._path is None:
            return
        tensors = {**self._named(BEFORE, before), **self._named(AFTER, after)}
        content = encode(tensors, metadata={"run": self._run, "round": f"{round_index:012d}"})
        write_kept_file(self._path, content, cannot="keep what the codec lost")

    def _named(self, when: str, owed: Owed) -> Params:
        """Everything that the clients can owe; what they do not is zero."""
        named: dict[str, Tensor] = {}
        for index, client_id in enumerate(self._clients):
            own = p.widen(owed.get(client_id, {}), self._structure)
            values = {**p.zeros(self._structure), **own}
            named |= {f"{when}/{index}/{name}": tensor for name, tensor in values.items()}
        return named

    def _loaded(self) -> Residuals | None:
        """What the file says of these clients; None where there is none, or it is of others."""
        if self._path is None or not self._path.exists():
            return None
        places = [(when, i) for when in (BEFORE, AFTER) for i in range(len(self._clients))]
        expected = {
            f"{when}/{index}/{name}": spec
            for when, index in places
            for name, spec in self._structure.items()
        }
        try:
            content = self._path.read_bytes()
            if read_header(content).get("run") != self._run:
                return None  # of other clients of the site's
            tensors, header = decode(content, expected=expected)
            round_index = int(header["round"])
        except (OSError, WireError, LookupError, ValueError) as error:
            raise SitesError(
                "what the codec lost cannot be read", where=str(self._path), got=error, fix=DELETE
            ) from error

        def owed(when: str) -> Owed:
            return {
                client_id: {name: tensors[f"{when}/{index}/{name}"] for name in self._structure}
                for index, client_id in enumerate(self._clients)
            }

        return Residuals(round_index=round_index, before=owed(BEFORE), after=owed(AFTER))
