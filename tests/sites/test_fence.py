"""The fence on a real socket: what reaches the SuperLink, and what an attacker meets."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.sites.fences import (
    HERE,
    Signer,
    SuperLink,
    head,
    new_signer,
    reply,
    running_fence,
    say,
    signer_of,
    taken,
)

from fedtt.errors import SitesError
from fedtt.sites.address import Address, check_server
from fedtt.sites.flower import fence_hall, fence_relay
from fedtt.sites.flower.fence import fence_command
from fedtt.sites.keygen import make_keys
from fedtt.sites.ports import BoundPort, any_port, bind_port

PULL, REPLY, CONTENT = "/v1/fleet/pull-messages", "/v1/fleet/push-messages", "/v1/fleet/push-object"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fence") / "keys"
    make_keys(directory, hosts=[HERE], names=["north", "south"])
    return directory


@pytest.fixture(scope="module")
def north(keys: Path) -> Signer:
    return signer_of(keys / "sites" / "north")


@pytest.fixture
def superlink() -> SuperLink:
    return SuperLink()


@pytest.fixture
def plain(superlink: SuperLink) -> Iterator[Address]:
    """Without keys, and so without TLS: what is said can be written down."""
    with running_fence(keys=None, superlink=superlink) as address:
        yield address


@pytest.fixture
def fence(keys: Path, superlink: SuperLink) -> Iterator[Address]:
    with running_fence(keys=keys, superlink=superlink) as address:
        yield address


def post(
    address: Address, path: str, *, keys: Path, signer: Signer | None, body: bytes = b""
) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(keys / "sites" / "north" / "ca.crt"))
    headers = {} if signer is None else signer.headers(size=len(body))
    named = [(name, value) for name, value in headers.items() if name != b"host"]
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.post(f"https://{address}{path}", content=body, headers=named)


def refusals(capfd: pytest.CaptureFixture[str]) -> list[dict[str, str | None]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_a_sites_request_arrives_as_it_was_meant(
    fence: Address, keys: Path, north: Signer, superlink: SuperLink
) -> None:
    answer = post(fence, PULL, keys=keys, signer=north, body=b"ping")
    assert (answer.status_code, answer.content) == (200, b"fine")
    assert "server" not in answer.headers
    ((target, headers, body),) = superlink.seen
    assert (target, body) == (PULL.encode(), b"ping")
    assert headers.keys() == {
        *(b"host", b"content-length", b"connection", b"content-type", b"accept"),
        *(b"flwr-public-key", b"flwr-timestamp", b"flwr-signature"),
    }


@pytest.mark.parametrize(
    "path", ["/v1/control/start-run", "/v1/control/list-nodes", "/v1/runtime/push-logs", "/docs"]
)
def test_the_control_api_is_not_there_from_outside(
    fence: Address,
    keys: Path,
    north: Signer,
    superlink: SuperLink,
    capfd: pytest.CaptureFixture[str],
    path: str,
) -> None:
    for signer in (None, new_signer(), north):
        assert post(fence, path, keys=keys, signer=signer).status_code == 404
    assert superlink.seen == []
    assert [line["path"] for line in refusals(capfd)] == [path] * 3


def test_no_key_and_a_wrong_key_do_not_pass(
    fence: Address, keys: Path, superlink: SuperLink, capfd: pytest.CaptureFixture[str]
) -> None:
    for signer, code in ((None, 2001), (new_signer(), 9004)):
        answer = post(fence, PULL, keys=keys, signer=signer)
        assert (answer.status_code, answer.json()["code"]) == (412, code)
    assert superlink.seen == []
    assert [line["site"] for line in refusals(capfd)] == [None, None]


def test_plain_text_meets_nothing(
    fence: Address, superlink: SuperLink, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(f"http://{fence}{PULL}", trust_env=False)
    deadline = time.monotonic() + 30
    while not (lines := refusals(capfd)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert str(lines[0]["reason"]).startswith("no TLS")
    assert superlink.seen == []


def test_a_site_is_told_where_its_keys_are_not_the_servers(
    keys: Path, superlink: SuperLink, tmp_path: Path, capfd: object
) -> None:
    ca = keys / "sites" / "north" / "ca.crt"
    make_keys(tmp_path / "other", hosts=[HERE])
    with running_fence(keys=keys, superlink=superlink) as address:
        check_server(address, ca=ca, timeout=30)
        with pytest.raises(SitesError, match="does not verify"):
            check_server(address, ca=tmp_path / "other" / "ca.crt", timeout=30)
        with pytest.raises(SitesError, match="does not verify"):
            check_server(Address(host="0.0.0.0", port=address.port), ca=ca, timeout=30)
        with pytest.raises(SitesError, match="the server speaks TLS") as caught:
            check_server(address, ca=None, timeout=30)
        assert "give --keys" in str(caught.value)
    check_server(address, ca=ca, timeout=30)  # nobody there: wait
    check_server(address, ca=None, timeout=30)
    with running_fence(keys=None, superlink=superlink) as address:
        check_server(address, ca=None, timeout=30)
        with pytest.raises(SitesError, match="plain text"):
            check_server(address, ca=ca, timeout=30)


def test_old_tls_is_refused(fence: Address, keys: Path) -> None:
    context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((fence.host, fence.port)) as connection,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        context.wrap_socket(connection, server_hostname=HERE)


def test_a_gigabyte_is_refused_before_it_is_sent(
    plain: Address, north: Signer, superlink: SuperLink, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = say(plain, head(CONTENT.encode(), north.headers(size=2**30)))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert superlink.seen == []
    (line,) = refusals(capfd)
    assert line["reason"] == "1073741824 bytes, 66536 allowed"


def test_content_passes_after_its_reply_and_no_more_than_that(
    fence: Address, keys: Path, north: Signer, superlink: SuperLink
) -> None:
    def push(path: str, body: bytes) -> int:
        return post(fence, path, keys=keys, signer=north, body=body).status_code

    assert push(CONTENT, b"x" * 60_000) == 413
    superlink.answer = taken("x")
    assert push(REPLY, reply()) == 200
    assert superlink.seen[-1][2] == reply()
    assert push(CONTENT, b"x" * 60_000) == 200
    assert superlink.seen[-1][2] == b"x" * 60_000
    assert push(CONTENT, b"x" * 60_000) == 413  # 2 * 1000 + 65536 for one reply
    assert len(superlink.seen) == 2


def test_content_that_got_lost_on_the_way_does_not_count(
    plain: Address, north: Signer, superlink: SuperLink, capfd: object
) -> None:
    superlink.answer = taken("x")
    say(plain, head(REPLY.encode(), north.headers(size=len(reply()))), reply())
    request = head(CONTENT.encode(), north.headers(size=60_000))
    for _ in range(3):  # each would take most of the 67536 bytes
        with socket.create_connection((plain.host, plain.port), timeout=30) as connection:
            connection.sendall(request + b"x" * 30_000)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert say(plain, request, b"x" * 60_000).startswith(b"HTTP/1.1 200 ")
    assert say(plain, request, b"x" * 60_000).startswith(b"HTTP/1.1 413 ")


def test_an_error_of_the_superlink_grants_nothing(
    plain: Address, north: Signer, superlink: SuperLink
) -> None:
    superlink.answer, superlink.status = taken("x"), 412
    answer = say(plain, head(REPLY.encode(), north.headers(size=len(reply()))), reply())
    assert answer.startswith(b"HTTP/1.1 412 ")
    assert say(plain, head(CONTENT.encode(), north.headers(size=1)), b"x")[9:12] == b"413"


def test_a_reply_in_anothers_name_does_not_arrive(
    fence: Address, keys: Path, north: Signer, superlink: SuperLink, capfd: object
) -> None:
    body = reply(source=1)  # the SuperLink's own number
    answer = post(fence, REPLY, keys=keys, signer=north, body=body)
    assert answer.json()["detail"] == "a message in another's name"
    assert superlink.seen == []


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param({b"transfer-encoding": b"chunked"}, id="chunked"),
        pytest.param({b"content-length": b"4\r\ncontent-length: 5"}, id="two lengths"),
        pytest.param({b"content-length": b"4, 5"}, id="two lengths in one"),
        pytest.param({b"content-length": b"-4"}, id="negative length"),
        pytest.param({b"content-length": b"9" * 5000}, id="endless length"),
        pytest.param({b"transfer-encoding": b"gzip"}, id="compressed"),
        pytest.param({b"x": b"y" * 200_000}, id="a head without end"),
        pytest.param({b"x y": b"z"}, id="space in a name"),
        pytest.param({b"host": b"a\r\nhost: b"}, id="two hosts"),
        pytest.param({b"flwr-signature": b"a\x00b"}, id="zero byte"),
    ],
)
def test_requests_that_two_could_read_differently_do_not_arrive(
    plain: Address, north: Signer, superlink: SuperLink, spoiled: dict[bytes, bytes]
) -> None:
    request = head(PULL.encode(), north.headers(size=4) | spoiled)
    answer = say(plain, request, b"ping")
    assert not answer.startswith(b"HTTP/1.1 2")
    assert superlink.seen == []


def test_a_second_request_hidden_in_a_body_stays_in_it(
    plain: Address, north: Signer, superlink: SuperLink
) -> None:
    hidden = head(b"/v1/control/start-run", {b"host": b"x", b"content-length": b"0"})
    answer = say(plain, head(PULL.encode(), north.headers(size=len(hidden))), hidden)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [target for target, _, _ in superlink.seen] == [PULL.encode()]


def test_pipelined_requests_are_each_checked(
    plain: Address, north: Signer, superlink: SuperLink
) -> None:
    first = head(PULL.encode(), north.headers(size=4)) + b"ping"
    second = head(b"/v1/control/start-run", north.headers())
    with socket.create_connection((plain.host, plain.port), timeout=30) as connection:
        connection.sendall(first + second)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert answer.count(b"HTTP/1.1 404 ") == 1
    assert [target for target, _, _ in superlink.seen] == [PULL.encode()]


def test_one_connection_serves_many_requests(
    fence: Address, keys: Path, north: Signer, superlink: SuperLink
) -> None:
    context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    used = set()
    with httpx.Client(verify=context, trust_env=False) as client:
        for _ in range(3):
            headers = [(name, value) for name, value in north.headers().items() if name != b"host"]
            answer = client.post(f"https://{fence}{PULL}", headers=headers)
            assert answer.status_code == 200
            stream = answer.extensions["network_stream"]
            used.add(stream.get_extra_info("client_addr"))
    assert (len(superlink.seen), len(used)) == (3, 1)


def test_whoever_says_nothing_is_sent_away(
    plain: Address, monkeypatch: pytest.MonkeyPatch, superlink: SuperLink
) -> None:
    monkeypatch.setattr(fence_relay, "HEAD", 0.2)
    assert say(plain) == b""
    assert say(plain, b"POST /v1/fleet/") == b""
    assert superlink.seen == []


def test_a_body_that_does_not_come_ends_the_connection(
    plain: Address, north: Signer, monkeypatch: pytest.MonkeyPatch, superlink: SuperLink
) -> None:
    monkeypatch.setattr(fence_relay, "NEXT", 0.2)
    assert say(plain, head(PULL.encode(), north.headers(size=100)), b"ten bytes.") == b""
    assert superlink.seen == []


def test_one_address_gets_so_many_connections_without_a_key(
    plain: Address, north: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence_hall, "UNKNOWN_EACH", 2)
    opened = [socket.create_connection((plain.host, plain.port), timeout=30) for _ in range(2)]
    try:
        assert say(plain, head(PULL.encode(), north.headers())) == b""
        opened[0].sendall(head(PULL.encode(), north.headers()))
        assert opened[0].recv(100).startswith(b"HTTP/1.1 200")  # has shown a key: room for another
        assert say(plain, head(PULL.encode(), north.headers())).startswith(b"HTTP/1.1 200")
    finally:
        for connection in opened:
            connection.close()


def test_whoever_waits_longest_without_a_key_makes_room(
    plain: Address, north: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence_hall, "UNKNOWN", 2)
    opened = [socket.create_connection((plain.host, plain.port), timeout=30) for _ in range(2)]
    try:
        assert say(plain, head(PULL.encode(), north.headers())).startswith(b"HTTP/1.1 200")
        assert opened[0].recv(100) == b""
        opened[1].sendall(head(PULL.encode(), north.headers()))
        assert opened[1].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        for connection in opened:
            connection.close()


def test_one_key_gets_so_many_connections(
    plain: Address, north: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence_hall, "KNOWN_EACH", 1)
    with socket.create_connection((plain.host, plain.port), timeout=30) as connection:
        connection.sendall(head(PULL.encode(), north.headers()))
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        answer = say(plain, head(PULL.encode(), north.headers()))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert say(plain, head(PULL.encode(), new_signer().headers())).startswith(b"HTTP/1.1 200")


def test_a_superlink_that_is_away_is_worth_another_try(keys: Path, north: Signer) -> None:
    with running_fence(keys=keys, superlink=None) as address:
        answer = post(address, PULL, keys=keys, signer=north)
        assert answer.status_code == 503  # which Flower's SuperNode tries again


def test_a_flood_of_refusals_does_not_fill_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    reporter = fence_hall.Reporter()
    for _ in range(1000):
        reporter("192.0.2.1", fence_hall.Refusal(404, "no\n\x1b[31m"), b"/\xff\n" * 1000)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) <= 2 * fence_hall.LINES_A_MINUTE + 1  # a minute may end in between
    assert all(len(line) < 1000 and line.isprintable() for line in lines)


def command_of(port: BoundPort, keys: Path) -> list[str]:
    nobody = Address(host=HERE, port=1)
    return fence_command(door=port.door, superlink=nobody, keys=keys / "server", max_bytes=1000)


def wait_for(address: Address) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address.host, address.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the fence did not start")


def test_the_process_ends_when_it_is_told(keys: Path) -> None:
    with bind_port(any_port()) as port:
        process = subprocess.Popen(
            command_of(port, keys),
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[port.door.fileno()],
        )
    try:
        wait_for(port.address)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.wait()


def test_the_process_ends_with_whoever_started_it(keys: Path) -> None:
    with bind_port(any_port()) as port:
        address, number = port.address, port.door.fileno()
        starter = textwrap.dedent(
            f"""
            import subprocess
            command = {command_of(port, keys)!r}
            print(subprocess.Popen(command, pass_fds=[{number}]).pid, flush=True)
            input()
            """
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", starter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[number],
        )
    with parent:
        assert parent.stdout is not None
        number = int(parent.stdout.readline())
        wait_for(address)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{number}/stat").exists():
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":  # ended, and waits for whoever adopted it
            break
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.05)


def test_the_fence_loads_no_torch() -> None:
    code = "import fedtt.sites.flower.fence, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "transformers", "peft", "pydantic"}
