"""Who and what passes the fence, decided from a request's head."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sites.fences import Headers, new_signer, reply, taken

from fedtt.sites.flower.fence_rules import ROUTES, SELF_SERVICE, Admission, Gate, Refusal

NORTH, SOUTH, STRANGER = new_signer(), new_signer(), new_signer()
PULL, REPLY, CONTENT = (
    *(b"/v1/fleet/pull-messages", b"/v1/fleet/push-messages", b"/v1/fleet/push-object"),
)


def new_gate(max_bytes: int = 1000) -> Gate:
    return Gate(sites={NORTH.public: "north", SOUTH.public: "south"}, max_bytes=max_bytes)


def admit(gate: Gate, target: bytes, headers: Headers) -> Admission:
    return gate.admit(b"POST", target, list(headers.items()))


def refusal(gate: Gate, target: bytes, headers: Headers) -> Refusal:
    with pytest.raises(Refusal) as caught:
        admit(gate, target, headers)
    return caught.value


def give(gate: Gate, *, answers: str = "a", answer: bytes = taken("x")) -> None:
    """The allowance for one reply of the site north."""
    body = reply(answers=answers)
    admission = admit(gate, REPLY, NORTH.headers(size=len(body)))
    gate.grant(admission.account, gate.check_reply(admission, body), answer)


def send(gate: Gate, size: int) -> bool:
    """Whether the site north may send so much content."""
    try:
        admit(gate, CONTENT, NORTH.headers(size=size))
    except Refusal as refused:
        return (refused.status, refused.site) != (413, "north")
    return True


@pytest.mark.parametrize("target", [route for route in ROUTES if route != CONTENT])
def test_a_registered_key_passes_to_the_fleet_api(target: bytes) -> None:
    admission = admit(new_gate(), target, NORTH.headers(size=10))
    assert (admission.account.site, admission.target, admission.size) == ("north", target, 10)


def test_the_routes_are_flowers(tmp_path: object) -> None:
    """Every one exists in the Flower that is installed, and those left out are known."""
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

    fleet = {path.encode() for _, path in PROTOBUF_REQUEST_TYPES if path.startswith("/v1/fleet/")}
    assert fleet == {*ROUTES, *SELF_SERVICE}


def test_control_and_runtime_do_not_pass_whoever_asks() -> None:
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

    others = [path for _, path in PROTOBUF_REQUEST_TYPES if not path.startswith("/v1/fleet/")]
    assert len(others) > 50
    for path in others:
        assert refusal(new_gate(), path.encode(), NORTH.headers()).status == 404


@pytest.mark.parametrize(
    "target",
    [
        *(b"/", b"/docs", b"/openapi.json", b"/health", b"*", b"", b"/v1/fleet/", b"/v1/fleet"),
        *(PULL + b"?a=1", PULL + b"/", b"/" + PULL, PULL + b"#", PULL.upper(), PULL + b"%20"),
        *(b"/v1/fleet/../control/start-run", b"/v1/fleet/%2e%2e/control/start-run"),
        *(b"https://127.0.0.1/v1/control/start-run", b"http://x" + PULL, PULL + b"\x00"),
    ],
)
def test_only_the_very_paths_pass(target: bytes) -> None:
    assert refusal(new_gate(), target, NORTH.headers()).status == 404


@given(st.binary(max_size=40))
def test_no_other_path_passes(tail: bytes) -> None:
    target = b"/v1/" + tail
    if target not in ROUTES:
        assert refusal(new_gate(), target, NORTH.headers()).status in (404, 412)


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"post", b"OPTIONS", b"CONNECT", b""])
def test_only_posts_pass(method: bytes) -> None:
    with pytest.raises(Refusal):
        new_gate().admit(method, PULL, list(NORTH.headers().items()))


@pytest.mark.parametrize("target", SELF_SERVICE)
def test_nobody_registers_itself_where_there_are_keys(target: bytes) -> None:
    assert refusal(new_gate(), target, NORTH.headers()).code == 2001
    open_gate = Gate(sites=None, max_bytes=1000)
    assert admit(open_gate, target, STRANGER.headers()).account.site is None


def test_an_unknown_key_is_refused() -> None:
    refused = refusal(new_gate(), PULL, STRANGER.headers())
    assert (refused.reason, refused.code) == ("the key of no site", 9004)


@pytest.mark.parametrize("missing", [b"flwr-public-key", b"flwr-timestamp", b"flwr-signature"])
@pytest.mark.parametrize("value", [None, b"", b"%%", b"AAAA", b"\xff\xfe"])
def test_no_signature_no_entry(missing: bytes, value: bytes | None) -> None:
    headers = NORTH.headers()
    del headers[missing]
    if value is not None:
        headers[missing] = value
    assert refusal(new_gate(), PULL, headers).code in (2001, 9004)


def test_a_public_key_alone_opens_nothing() -> None:
    refused = refusal(new_gate(), PULL, NORTH.headers(signer=STRANGER))
    assert (refused.reason, refused.site) == ("not signed with its key", "north")


@pytest.mark.parametrize(("age", "passes"), [(-20, False), (-2, True), (290, True), (320, False)])
def test_signatures_do_not_keep(age: float, passes: bool) -> None:
    headers = NORTH.headers(age=age)
    if passes:
        admit(new_gate(), PULL, headers)
    else:
        assert "set the clocks" in refusal(new_gate(), PULL, headers).reason


def test_a_time_without_a_zone_is_no_time() -> None:
    headers = NORTH.headers()
    headers[b"flwr-timestamp"] = headers[b"flwr-timestamp"].split(b"+")[0]
    assert refusal(new_gate(), PULL, headers).code == 2001


def test_a_header_twice_is_refused() -> None:
    headers = [*NORTH.headers().items(), (b"flwr-public-key", b"AAAA")]
    with pytest.raises(Refusal, match="twice"):
        new_gate().admit(b"POST", PULL, headers)


def test_only_known_headers_go_on() -> None:
    headers = NORTH.headers() | {
        **{b"x-forwarded-for": b"1", b"authorization": b"2", b"cookie": b"3"},
        b"flwr-package-version": b"1.41.0",
    }
    passed = dict(admit(new_gate(), PULL, headers).headers)
    assert passed.keys() == {
        *(b"content-type", b"flwr-public-key", b"flwr-timestamp", b"flwr-signature"),
        b"flwr-package-version",
    }


@pytest.mark.parametrize(
    "length", [None, b"", b"-1", b"1_0", b"+5", b"0x10", "٣".encode(), b"9" * 5000]
)
def test_a_body_of_unknown_length_is_refused(length: bytes | None) -> None:
    headers = NORTH.headers()
    del headers[b"content-length"]
    if length is not None:
        headers[b"content-length"] = length
    assert refusal(new_gate(), PULL, headers).status == 411


def test_a_chunked_body_is_refused() -> None:
    headers = NORTH.headers(size=10) | {b"transfer-encoding": b"chunked"}
    assert refusal(new_gate(), PULL, headers).status == 411


@pytest.mark.parametrize(
    ("target", "limit"), [(PULL, 65536), (b"/v1/fleet/get-run", 65536), (REPLY, 262144)]
)
def test_requests_have_a_size(target: bytes, limit: int) -> None:
    admit(new_gate(), target, NORTH.headers(size=limit))
    refused = refusal(new_gate(), target, NORTH.headers(size=limit + 1))
    assert (refused.status, refused.site) == (413, "north")


def test_content_needs_a_reply_that_flower_took() -> None:
    gate = new_gate()
    assert not send(gate, 1)
    give(gate, answer=taken())  # Flower wants nothing: no such instruction
    assert not send(gate, 1)
    give(gate, answer=b"\xff\xff")
    assert not send(gate, 1)
    give(gate)
    assert send(gate, 1)


def test_an_instruction_is_worth_so_many_bytes_once() -> None:
    gate = new_gate(max_bytes=1000)
    give(gate)  # 2 * 1000 + 65536 = 67536 in all, 1000 + 65536 at once
    assert not send(gate, 66537)
    assert send(gate, 66536)
    assert send(gate, 1000)
    assert not send(gate, 1)
    give(gate)
    assert not send(gate, 1), "the same instruction again"
    give(gate, answers="b")
    assert send(gate, 66536)


def test_what_is_given_back_is_no_more_than_was_granted() -> None:
    gate = new_gate()
    give(gate)
    admission = admit(gate, CONTENT, NORTH.headers(size=1000))
    give(gate, answers="b")
    gate.give_back(admission)
    assert admission.account.allowed == 67536
    pulled = admit(gate, PULL, NORTH.headers(size=1000))
    assert send(gate, 1000)
    gate.give_back(pulled)
    assert admission.account.allowed == 66536


def test_a_gigabyte_is_refused_by_its_head() -> None:
    gate = new_gate()
    give(gate)
    assert not send(gate, 2**30)
    assert send(gate, 1000)


def test_one_site_cannot_spend_what_another_may() -> None:
    gate = new_gate()
    give(gate)
    assert refusal(gate, CONTENT, SOUTH.headers(size=1)).site == "south"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (reply(source=1), "another's name"),  # the SuperLink's own number: an instruction
        (reply(source=78), "another's name"),
        (reply(node=78), "another's name"),
        (reply(answers=""), "answers none"),
        (reply() + reply(), "not exactly one"),
        (b"", "not exactly one"),
        (b"\xff\xff\xff", "not a reply"),
    ],
)
def test_a_site_answers_for_itself_only(body: bytes, message: str) -> None:
    gate = new_gate()
    admission = admit(gate, REPLY, NORTH.headers(size=len(body)))
    assert admission.is_reply
    with pytest.raises(Refusal, match=message) as caught:
        gate.check_reply(admission, body)
    assert caught.value.site == "north"


def test_what_is_remembered_of_a_site_is_bounded() -> None:
    gate = new_gate()
    for number in range(300):
        give(gate, answers=str(number))
    account = admit(gate, PULL, NORTH.headers()).account
    assert len(account.replies) == 256
    assert next(iter(account.replies)) == "44"  # 300 - 256


def test_strangers_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtt.sites.flower.fence_rules.STRANGERS", 2)
    gate = Gate(sites=None, max_bytes=1000)
    first = admit(gate, PULL, NORTH.headers()).account
    assert admit(gate, PULL, NORTH.headers()).account is first
    admit(gate, PULL, SOUTH.headers())
    admit(gate, PULL, STRANGER.headers())
    assert admit(gate, PULL, NORTH.headers()).account is not first
