"""A run with a simulated attack, opened: its clients, and what the attackers remember."""

from dataclasses import dataclass

from fedtt import params as p
from fedtt.engine.attacked_clients import AttackedClients
from fedtt.engine.client_state import FIRST_UPDATES, ClientStateFiles
from fedtt.engine.hostile_clients import Hostile
from fedtt.experiment.common_steps import Run, structure_of_run
from fedtt.federated.round import CallClients
from fedtt.federated.subspace import answer_of
from fedtt.params import Params, Structure


@dataclass(frozen=True, kw_only=True)
class AttackedRun:
    """``first`` is the first update of every attacker that was called: rounds add to it."""

    hostile: Hostile
    first: dict[str, Params]
    files: ClientStateFiles | None
    structure: Structure

    def around(self, clients: CallClients) -> CallClients:
        """``clients``, some of which attack."""
        return AttackedClients(clients=clients, hostile=self.hostile, first=self.first)

    def save(self, next_round: int) -> None:
        """Write what the attackers remember, beside the state that is saved next."""
        if self.files is not None:
            wide = {name: p.widen(delta, self.structure) for name, delta in self.first.items()}
            self.files.save(next_round, wide)

    def forget_all_but(self, next_round: int) -> None:
        """Delete what they remembered beside earlier states."""
        if self.files is not None:
            self.files.forget_all_but(next_round)


def open_attack(run: Run, next_round: int) -> AttackedRun | None:
    """None where nobody attacks. Raises :class:`RunError` for a file that is missing or damaged."""
    hostile, method = run.federation.hostile, run.federation.method
    if hostile is None:
        return None
    whole = structure_of_run(run)
    trained = method.trained(run.federation.initial)
    structure = answer_of(whole, trained=trained, subspace=method.subspace)
    files = ClientStateFiles(
        run=run.directory.path, folder=FIRST_UPDATES, clients=hostile.clients, structure=structure
    )
    if not hostile.row.remembers:
        return AttackedRun(hostile=hostile, first={}, files=None, structure=structure)
    saved = {
        # Who was not called yet remembers nothing, which is written as zeros.
        name: delta
        for name, delta in files.load(next_round).items()
        if any(bool(tensor.any()) for tensor in delta.values())
    }
    return AttackedRun(hostile=hostile, first=saved, files=files, structure=structure)
