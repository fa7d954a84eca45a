"""What clients keep from round to round, saved with the run: tensors by client.

A file a round, written before the server's state of that round and named after it; the files of
earlier rounds go once that state is written. So whichever state a crash leaves has its file.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedtt import params as p
from fedtt.engine.checkpoint import write_atomically
from fedtt.errors import RunError, WireError
from fedtt.federated.wire.payload import decode, encode
from fedtt.params import Structure

# client -> what it keeps, by name; a name that is missing is zero.
ClientStates = MutableMapping[str, Mapping[str, Tensor]]
FOLDER, FIRST_UPDATES = "clients", "attackers"


@dataclass(frozen=True, kw_only=True)
class ClientStateFiles:
    """Of ``clients``, in this order, each of which keeps tensors of ``structure``."""

    run: Path
    folder: str = FOLDER
    clients: Sequence[str]
    structure: Structure

    def load(self, next_round: int) -> dict[str, Mapping[str, Tensor]]:
        """What they keep before that round: nothing before the first one.

        Raises :class:`RunError` for a file that is missing or damaged.
        """
        if next_round == 0:
            return {}
        path = self._path(next_round)
        try:
            tensors, _ = decode(path.read_bytes(), expected=self._whole)
        except (OSError, WireError) as error:
            raise RunError(
                "what the clients keep from round to round cannot be used",
                where=str(path),
                got=error,
                fix="bring the file back, or start a new run with another --run directory",
            ) from error
        return {
            client: {name: tensors[f"{index}/{name}"] for name in self.structure}
            for index, client in enumerate(self.clients)
        }

    def save(self, next_round: int, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write what they keep before that round. Raises :class:`RunError`."""
        tensors = p.zeros(self._whole)
        for index, client in enumerate(self.clients):
            own = states.get(client, {})
            tensors |= {f"{index}/{name}": tensor for name, tensor in own.items()}
        path = self._path(next_round)
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError("cannot create the directory", where=str(path), got=error) from error
        write_atomically(path, encode(tensors))

    def forget_all_but(self, next_round: int) -> None:
        """Delete the files of other rounds."""
        for path in (self.run / self.folder).glob("*.state"):
            if path != self._path(next_round):
                path.unlink(missing_ok=True)

    @property
    def _whole(self) -> Structure:
        clients = range(len(self.clients))
        return {f"{i}/{name}": spec for i in clients for name, spec in self.structure.items()}

    def _path(self, next_round: int) -> Path:
        return self.run / self.folder / f"{next_round}.state"
