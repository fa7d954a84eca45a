"""A run over TLS with real processes: who is let in, and what cannot be reached or taken over."""

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from flwr.proto.control_pb2 import ListNodesRequest
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PushMessagesRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from tests.sites.federation import free_port
from tests.sites.fences import HERE, Signer, new_signer, reply, signer_of
from tests.tiny import write_reviews

from fedtt.config import RunConfig, dump_config
from fedtt.errors import ConfigError, FedttError
from fedtt.sites.flower.app_guard import REFUSED
from fedtt.sites.flower.child_environment import flower_environment
from fedtt.sites.flower.child_processes import launch, wait_for_port
from fedtt.sites.flower.child_processes import start as start_flower
from fedtt.sites.flower.key_arguments import connection_toml, register_nodes, superlink_arguments
from fedtt.sites.keygen import make_keys
from fedtt.sites.keys import load_server_keys
from fedtt.sites.ports import any_port, bind_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MakeConfig = Callable[..., RunConfig]
FEDTT = [sys.executable, "-m", "fedtt"]
PATIENCE = 240.0  # seconds, on a machine that has much else to do
LABELS = ["bad", "good"]
HTTP = [RuntimeVersionHttpInterceptor(component_name="test")]


@dataclass(frozen=True, kw_only=True)
class Federation:
    """A server that waits for its sites, and all that is needed to join or attack it."""

    directory: Path
    keys: Path
    port: int
    process: subprocess.Popen[str]
    data: dict[str, Path]

    @property
    def address(self) -> str:
        return f"{HERE}:{self.port}"

    @property
    def ca(self) -> Path:
        return self.keys / "sites" / "north" / "ca.crt"

    def join(self, name: str, *more: object) -> subprocess.Popen[str]:
        arguments = ["join", "--server", self.address, "--data", self.data[name], *more]
        return start(*arguments, log=self.directory / f"{name}-{time.monotonic_ns()}.log")


def start(*arguments: object, log: Path) -> subprocess.Popen[str]:
    with log.open("w") as output:
        process = subprocess.Popen(
            [*FEDTT, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    process.args = log  # type: ignore[assignment]
    return process


def said(process: subprocess.Popen[str]) -> str:
    return Path(str(process.args)).read_text()


def ended(process: subprocess.Popen[str], *, code: int) -> str:
    """What a process wrote that must end with that code."""
    try:
        found = process.wait(PATIENCE)
    finally:
        stop(process)
    assert found == code, said(process)
    assert "Traceback" not in said(process)
    return said(process)


def stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], object], *, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def is_open(port: int, ca: Path) -> bool:
    try:
        httpx.get(f"https://{HERE}:{port}/", verify=context(ca), trust_env=False)
    except httpx.TransportError:
        return False
    return True


def context(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca))


@pytest.fixture(scope="module")
def federation(
    make_config: MakeConfig, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Federation]:
    directory = tmp_path_factory.mktemp("secured")
    keys = directory / "keys"
    make_keys(keys, hosts=[HERE], names=["north", "south"])
    data = {
        name: write_reviews(directory / f"{name}.jsonl", clients={name: count}, seed=count)
        for name, count in {"north": 30, "south": 60}.items()
    }
    config = make_config(
        rounds=2,
        data={"path": str(data["north"]), "label_names": LABELS, "test": 0.2, "validation": 0.2},
        cohort={"batched": "off"},
        sites={"names": ["north", "south"], "min_replies": 2, "patience": 3600, "deadline": 200},
    )
    path = directory / "config.toml"
    path.write_text(dump_config(config))
    port = free_port()
    arguments = ["--address", f"{HERE}:{port}", "--keys", keys / "server"]
    process = start(
        *("serve", path, "--run", directory / "run", *arguments), log=directory / "serve.log"
    )
    served = Federation(directory=directory, keys=keys, port=port, process=process, data=data)
    try:
        wait_until(
            lambda: process.poll() is not None or is_open(port, served.ca), what=said(process)
        )
        assert process.poll() is None, said(process)
        yield served
    finally:
        stop(process)


def bundle(federation: Federation, tmp_path: Path) -> Path:
    """A copy of a site's keys, to spoil."""
    return Path(shutil.copytree(federation.keys / "sites" / "north", tmp_path / "north"))


def superlink_port(federation: Federation) -> int:
    text = (federation.directory / "run" / "superlink.log").read_text()
    found = re.search(r"Control HTTP API on 127\.0\.0\.1:(\d+)", text)
    assert found is not None, text
    return int(found[1])


def test_a_wrong_key_is_refused(federation: Federation, tmp_path: Path) -> None:
    keys = bundle(federation, tmp_path)
    make_keys(tmp_path / "other", hosts=[HERE], names=["north"])
    shutil.copy(tmp_path / "other" / "sites" / "north" / "node.key", keys / "node.key")
    output = ended(federation.join("north", "--keys", keys), code=2)
    assert "does not take this site's key" in output
    assert "the key of no site" in output


def test_no_key_is_refused(federation: Federation) -> None:
    output = ended(federation.join("north", "--name", "north"), code=2)
    assert "the server speaks TLS" in output
    assert "give --keys" in output


def test_a_wrong_authority_is_refused(federation: Federation, tmp_path: Path) -> None:
    make_keys(tmp_path / "other", hosts=[HERE], names=["north"])
    other = tmp_path / "other" / "sites" / "north"
    output = ended(federation.join("north", "--keys", other), code=2)
    assert "the server's certificate does not verify" in output


def test_flowers_own_supernode_without_a_key_is_refused(
    federation: Federation, tmp_path: Path
) -> None:
    command = [
        *(str(Path(sys.executable).with_name("flower-supernode")), "--superlink"),
        *(federation.address, "--root-certificates", str(federation.ca)),
        *("--host", HERE, "--port", str(free_port())),
    ]
    # Its own child holds what it would write to: a file ends nobody's wait.
    child = start_flower(
        "supernode", command, log=tmp_path / "log", env=flower_environment(tmp_path)
    )
    try:
        assert child.process.wait(PATIENCE) != 0
    finally:
        child.stop()
    assert "[code: 2001] sites do not register themselves" in (tmp_path / "log").read_text()


def test_a_key_acts_as_its_own_site_only(federation: Federation) -> None:
    keys = federation.keys / "sites" / "north"
    output = ended(federation.join("north", "--keys", keys, "--name", "south"), code=2)
    assert "a key may act only as its own site" in output


def test_plain_text_off_this_machine_needs_a_flag(federation: Federation, tmp_path: Path) -> None:
    command = ["serve", federation.directory / "config.toml", "--address", "0.0.0.0:1"]
    output = ended(start(*command, log=tmp_path / "log"), code=2)
    assert "not on this machine, and there are no keys" in output
    command = ["join", "--server", "192.0.2.1:9", "--data", federation.data["north"]]
    output = ended(start(*command, "--name", "north", log=tmp_path / "log"), code=2)
    assert "not on this machine, and there are no keys" in output


def test_the_control_api_is_open_on_this_machine_and_closed_from_others(
    federation: Federation,
) -> None:
    def nodes(port: int) -> int:
        client = ControlHttpClient.from_server_address(
            f"{HERE}:{port}",
            insecure=False,
            root_certificates=federation.ca.read_bytes(),
            interceptors=HTTP,
        )
        with client:
            return len(client.ListNodes(ListNodesRequest()).nodes_info)

    assert nodes(superlink_port(federation)) == 2  # without any login: why there is a fence
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        nodes(federation.port)
    listening = subprocess.run(
        ["/bin/sh", "-c", "cat /proc/net/tcp"], capture_output=True, text=True, check=True
    )
    where = {line.split()[1] for line in listening.stdout.splitlines() if " 0A " in line}
    port = f"{superlink_port(federation):04X}"
    assert {place for place in where if place.endswith(f":{port}")} == {f"0100007F:{port}"}


def as_site(federation: Federation, signer: Signer, *, port: int) -> FleetHttpClient:
    return FleetHttpClient.from_server_address(
        f"{HERE}:{port}",
        insecure=False,
        root_certificates=federation.ca.read_bytes(),
        interceptors=[*HTTP, NodeAuthHttpInterceptor(signer.key, signer.key.public_key())],
    )


def test_a_site_cannot_instruct_another(federation: Federation) -> None:
    south = signer_of(federation.keys / "sites" / "south")
    with as_site(federation, south, port=federation.port) as client:
        request = ActivateNodeRequest(public_key=south.public, heartbeat_interval=30)
        node = client.ActivateNode(request).node_id
        forged = PushMessagesRequest()
        forged.ParseFromString(reply(node=node, source=1, answers=""))  # 1 is the SuperLink
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            client.PushMessages(forged)
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))
    with (
        as_site(federation, new_signer(), port=federation.port) as client,
        pytest.raises(httpx.HTTPStatusError, match="412"),
    ):
        client.PushMessages(forged)


def test_a_site_forges_no_line_of_the_log_and_does_not_fill_it(federation: Federation) -> None:
    log = federation.directory / "run" / "superlink.log"
    before = log.stat().st_size
    asked = "x\nINFO :      [Fleet.ActivateNode] forged\x1b[2J" + "y" * 60_000
    south = signer_of(federation.keys / "sites" / "south")
    with as_site(federation, south, port=federation.port) as client:
        activate = ActivateNodeRequest(public_key=south.public, heartbeat_interval=30)
        node = client.ActivateNode(activate).node_id
        request = GetFabRequest(node=Node(node_id=node), hash_str=asked, run_id=1)
        for _ in range(20):
            with suppress(httpx.HTTPStatusError):
                client.GetFab(request)
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))
    wait_until(lambda: "forged" in log.read_text(), what="the request in the log")
    text = log.read_text()
    assert r"x\nINFO :      [Fleet.ActivateNode] forged\x1b[2J" in text
    assert not [
        line
        for line in text.splitlines()
        if line.startswith("INFO : ") and "forged" in line and "fab_hash" not in line
    ]
    assert "\x1b" not in text
    assert log.stat().st_size - before < 100_000


def test_registering_again_keeps_nodes_and_shuts_out_who_is_gone(tmp_path: Path) -> None:
    """As after a restart on an old database, with other sites than before."""
    make_keys(tmp_path / "keys", hosts=[HERE], names=["north", "south"])
    keys, env = load_server_keys(tmp_path / "keys"), flower_environment(tmp_path)
    with bind_port(any_port()) as port:
        arguments = superlink_arguments(keys)
        link = launch("superlink", arguments, port=port, log=tmp_path / "log", env=env)
    (tmp_path / "config.toml").write_text(
        f'[superlink.fedtt]\naddress = "{port.address}"\n{connection_toml(keys)}'
    )
    try:
        wait_for_port(link, port.address, patience=PATIENCE)
        both = register_nodes(keys, flwr_home=tmp_path)
        assert sorted(both.values()) == ["north", "south"]
        assert register_nodes(keys, flwr_home=tmp_path) == both
        (keys.directory / "sites" / "south.pub").unlink()
        keys = load_server_keys(keys.directory)
        left = register_nodes(keys, flwr_home=tmp_path)
        assert left == {node: name for node, name in both.items() if name == "north"}
        make_keys(tmp_path / "keys", names=["south"], overwrite=True)
        keys = load_server_keys(keys.directory)
        again = register_nodes(keys, flwr_home=tmp_path)
        assert sorted(again.values()) == ["north", "south"]
        assert len(again.keys() - both.keys()) == 1
    finally:
        link.stop()
    with pytest.raises(FedttError, match="did not take the sites' keys"):
        register_nodes(keys, flwr_home=tmp_path)
    (tmp_path / "config.toml").unlink()
    with pytest.raises(ConfigError, match="no connection to the SuperLink"):
        register_nodes(keys, flwr_home=tmp_path)


EVIL_SERVER = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
import time

app = ServerApp()

@app.main()
def main(grid, context):
    while True:
        for node in grid.get_node_ids():
            content = RecordDict({"c": ConfigRecord({"a": 1})})
            grid.push_messages(
                [Message(content, dst_node_id=node, message_type="query", ttl=600)]
            )
        time.sleep(1)
"""
EVIL_CLIENT = """
from pathlib import Path
from flwr.clientapp import ClientApp
Path({proof!r}).write_text("ran here")
app = ClientApp()
"""


def test_whoever_commands_the_server_runs_no_code_on_a_site(
    federation: Federation, tmp_path: Path
) -> None:
    """An app of the attacker's, started over the Control API from the server's own machine."""
    evil, home, proof = tmp_path / "evil", tmp_path / "home", tmp_path / "proof"
    evil.mkdir()
    home.mkdir()
    (evil / "server.py").write_text(EVIL_SERVER)
    (evil / "client.py").write_text(EVIL_CLIENT.format(proof=str(proof)))
    (evil / "pyproject.toml").write_text(
        textwrap.dedent(
            """
            [project]
            name = "fedtt-sites"
            version = "0.1.0"
            description = ""
            license = { text = "Apache-2.0" }
            dependencies = []
            [tool.flwr.app]
            publisher = "fedtt"
            [tool.flwr.app.components]
            serverapp = "server:app"
            clientapp = "client:app"
            [tool.flwr.app.config]
            """
        )
    )
    address = f"{HERE}:{superlink_port(federation)}"
    (home / "config.toml").write_text(
        f'[superlink.evil]\naddress = "{address}"\nroot-certificates = "{federation.ca}"\n'
    )
    flwr = str(Path(sys.executable).with_name("flwr"))
    environment = flower_environment(home)
    command = [flwr, "run", str(evil), "evil", "--format", "json"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    run_id = re.search(r'"run-id": "?(\d+)', done.stdout)
    assert run_id is not None, done.stdout
    try:
        site = federation.join("south", "--keys", federation.keys / "sites" / "south")
        output = ended(site, code=2)
    finally:
        subprocess.run(
            [flwr, "stop", run_id[1], "evil"],
            env=environment,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    assert REFUSED in output
    assert not proof.exists()


def test_the_right_sites_finish_the_run(federation: Federation) -> None:
    sites = [
        federation.join(name, "--keys", federation.keys / "sites" / name)
        for name in ("north", "south")
    ]
    try:
        output = ended(federation.process, code=0)
        for site in sites:
            ended(site, code=0)
    finally:
        for site in sites:
            stop(site)
    assert "round   2/2" in output
    assert (federation.directory / "run" / "summary.json").exists()
    wait_until(lambda: not is_open(federation.port, federation.ca), what="the fence is still there")
    assert not left_behind(federation)


def left_behind(federation: Federation) -> list[str]:
    """Processes that were told of this test's files."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(federation.directory) in command:
                found.append(command)
    return found
