"""Flower's server side as processes of this one: SuperLink, fence, and a run of our app."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedtt.errors import FedttError
from fedtt.sites.address import Address
from fedtt.sites.flower.app_directory import write_app
from fedtt.sites.flower.child_environment import flower_environment
from fedtt.sites.flower.child_processes import Child, launch, start, wait_for_port
from fedtt.sites.flower.fence import fence_command
from fedtt.sites.flower.key_arguments import connection_toml, register_nodes, superlink_arguments
from fedtt.sites.flower.relay import Relay
from fedtt.sites.flower.version import check_flower
from fedtt.sites.frames import SERVE_SOCKET
from fedtt.sites.keys import load_server_keys
from fedtt.sites.ports import HERE, BoundPort, any_port, bind_port

PATIENCE = 120.0  # seconds for each thing to start: importing Flower alone takes some


@dataclass(frozen=True, kw_only=True)
class SuperLink:
    """What is running: the relay to the sites, who each registered key is, and the processes.

    ``names`` maps a node to the site that holds its key; None without keys, when anybody may come.
    """

    relay: Relay
    names: Mapping[int, str] | None
    children: tuple[Child, ...]

    def check(self) -> None:
        """Raise :class:`FedttError` for a process that ended."""
        for child in self.children:
            if not child.alive:
                raise FedttError(
                    f"Flower's {child.what} ended",
                    where=str(child.log),
                    got=child.tail()[-500:],
                    fix="fedtt serve --resume RUN goes on from the last finished round",
                )


@contextmanager
def running_superlink(
    outside: BoundPort, *, keys: Path | None, logs: Path, max_bytes: int
) -> Iterator[SuperLink]:
    """Everything of Flower's that a server needs, for the duration of the block.

    Sites reach the fence at ``outside``; the SuperLink, on whose port anybody could start a run,
    listens to this machine only. A reply of more than ``max_bytes`` does not pass. ``keys`` is a
    directory that ``fedtt keys`` made; without, neither end is known and nothing is encrypted.
    Raises :class:`FedttError`.
    """
    check_flower()
    server_keys = None if keys is None else load_server_keys(keys)
    with ExitStack() as stack:
        # Short: the path of a unix socket has at most about 100 characters.
        home = Path(tempfile.mkdtemp(prefix="fedtt-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        listener = stack.enter_context(_listening(home / "serve"))
        inside = stack.enter_context(bind_port(any_port()))
        env = flower_environment(home, **{SERVE_SOCKET: str(home / "serve")})
        arguments = [
            *superlink_arguments(server_keys),
            *("--database", str(home / "state.db")),
            "--disable-runtime-dependency-installation",
        ]
        link = launch("superlink", arguments, port=inside, log=logs / "superlink.log", env=env)
        stack.callback(link.stop)
        wait_for_port(link, inside.address, patience=PATIENCE)
        (home / "config.toml").write_text(
            f'[superlink.fedtt]\naddress = "{inside.address}"\n{connection_toml(server_keys)}\n'
        )
        # Before the fence opens: a site whose key is not registered yet would be sent away.
        names = None if server_keys is None else register_nodes(server_keys, flwr_home=home)
        command = fence_command(
            door=outside.door, superlink=inside.address, keys=keys, max_bytes=max_bytes
        )
        fence = start("fence", command, log=logs / "fence.log", env=env, doors=[outside.door])
        stack.callback(fence.stop)
        reachable = Address(host=_reachable(outside.address.host), port=outside.address.port)
        wait_for_port(fence, reachable, patience=PATIENCE)
        _run_app(write_app(home), env=env)
        relay = Relay(_accept(listener, link))
        stack.callback(relay.close)
        yield SuperLink(relay=relay, names=names, children=(link, fence))


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(PATIENCE)
        yield listener


def _reachable(host: str) -> str:
    """Where this machine reaches an address that it listens on; of all addresses, its own."""
    return {"0.0.0.0": HERE, "::": "::1"}.get(host, host)


def _run_app(app: Path, *, env: Mapping[str, str]) -> None:
    """Start the run; there is no call for it in Flower, only the command."""
    flwr = Path(sys.executable).with_name("flwr")
    command = [str(flwr), "run", str(app), "fedtt", "--format", "json"]
    try:
        done = subprocess.run(
            command,
            env=dict(env),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,  # a Ctrl-C of the terminal is for us alone
        )
    except subprocess.TimeoutExpired as error:
        raise FedttError("Flower did not start the run", where="flwr run", got=error) from error
    try:
        started = json.loads(done.stdout[done.stdout.index("{") :])["success"]
    except (ValueError, KeyError):
        started = False
    if not started:
        said = (done.stdout + done.stderr)[-1000:]
        raise FedttError("Flower did not start the run", where="flwr run", got=said)


def _accept(listener: socket.socket, link: Child) -> socket.socket:
    try:
        connection, _ = listener.accept()
    except TimeoutError as error:
        raise FedttError(
            "Flower did not start our server app", where=str(link.log), got=link.tail()
        ) from error
    return connection
