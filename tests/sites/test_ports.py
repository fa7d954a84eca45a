"""A port is bound by whoever chooses it, and nothing on this machine is behind a proxy."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sites.federation import Command

from fedtt.errors import ConfigError
from fedtt.sites.address import Address
from fedtt.sites.flower.child_environment import direct_connections, flower_environment
from fedtt.sites.ports import HERE, any_port, bind_port, listen

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
def taken() -> Iterator[Address]:
    """Somebody else listens there."""
    with socket.create_server((HERE, 0)) as other:
        yield Address(host=HERE, port=other.getsockname()[1])


def test_a_port_is_whose_who_bound_it_first() -> None:
    """Also before anybody listens there: two servers that start together do not both begin."""
    with bind_port(any_port()) as port:
        assert port.address.port > 0
        with (
            pytest.raises(ConfigError, match="cannot listen there") as caught,
            bind_port(port.address),
        ):
            pass
        with pytest.raises(ConnectionRefusedError):  # as if nobody were there yet
            socket.create_connection((HERE, port.address.port), timeout=5)
    assert f"where: --address {port.address}" in str(caught.value)
    assert "give another --address" in str(caught.value)


def test_a_server_that_is_started_again_has_its_port_at_once() -> None:
    with bind_port(any_port()) as port:
        listen(port.door)
        with socket.create_connection((HERE, port.address.port)) as caller:
            port.door.settimeout(5)
            port.door.accept()[0].close()  # it ended first: the system keeps the port for a minute
            assert caller.recv(1) == b""
    with bind_port(port.address) as again:
        assert again.address == port.address


def test_a_taken_port_is_said_before_all_else(taken: Address, tmp_path: Path) -> None:
    """Not after the model is loaded, and not by what a run has to be resumed with."""
    job = tmp_path / "job.toml"
    job.write_text(
        'rounds = 1\nmodel = { name = "nowhere" }\nmethod = { name = "fedtt" }\n'
        'data = { path = "nowhere.csv" }\n'
    )
    serve = Command("serve", str(job), "--address", str(taken), log=tmp_path / "log")
    assert serve.ends() == 2
    assert "cannot listen there" in serve.output
    assert "--resume" not in serve.output


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with (
        pytest.raises(ConfigError, match=r"cannot listen there[\s\S]*of this machine"),
        bind_port(Address(host="192.0.2.1", port=9092)),
    ):
        pass


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "intranet.example")


ASK = "import httpx, sys; print(httpx.get(sys.argv[1], timeout=20).status_code)"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A server of this machine, by its URL."""
    code = (
        "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler);"
        "print(s.server_port, flush=True); s.serve_forever()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
        server.kill()


@pytest.mark.usefixtures("proxied")
def test_what_is_started_here_reaches_this_machine_without_the_proxy(
    served: str, tmp_path: Path
) -> None:
    env = flower_environment(tmp_path, direct=["127.0.0.2"])
    assert env["NO_PROXY"].split(",") == [
        "localhost", "127.0.0.1", "::1", "127.0.0.2", "intranet.example",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ASK, served], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "200", done.stderr[-500:]


@pytest.mark.usefixtures("proxied")
def test_this_process_too_reaches_its_own_machine(served: str) -> None:
    import httpx

    before = dict(os.environ)
    with direct_connections():
        assert httpx.get(served, timeout=20).status_code == 200
    assert dict(os.environ) == before
    with pytest.raises(httpx.TransportError):
        httpx.get(served, timeout=20)
