"""What may pass the fence: whose request, to which part of Flower, of what size.

All of it is decided from a request's head, before a byte of its body is read. Flower's SuperLink
serves three interfaces on one port: Fleet for sites, Runtime for its own processes, Control for
whoever operates it, who may run any code on every site. Only Fleet passes, and of Fleet only what
sites use.

Two things that Flower 1.41 leaves open are closed here. It takes the sender that a message names
without comparing it with the key, so that a site could answer for another, or instruct it. And it
stores whatever a site says belongs to its reply; here every instruction is worth so many bytes.
"""

import asyncio
from base64 import b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from google.protobuf.message import DecodeError

from fedtt.sites.keys import NO_KEY, UNKNOWN_KEY

FLEET = b"/v1/fleet/"
SMALL, TREE = 2**16, 2**18  # bytes of a request's body: numbers and names; a reply's parts, by name
PUSH_REPLY, PUSH_CONTENT = FLEET + b"push-messages", FLEET + b"push-object"
SELF_SERVICE = (FLEET + b"register-node", FLEET + b"unregister-node")
ROUTES = (
    *(FLEET + name for name in (b"activate-node", b"deactivate-node", b"send-node-heartbeat")),
    *(FLEET + name for name in (b"pull-messages", b"pull-object", b"get-run", b"get-fab")),
    FLEET + b"confirm-message-received",
    PUSH_REPLY,
    PUSH_CONTENT,
)
KEY, SIGNED, SIGNATURE = b"flwr-public-key", b"flwr-timestamp", b"flwr-signature"
VERSION = (b"flwr-package-name", b"flwr-package-version", b"flwr-component-name")
# Nothing else reaches the SuperLink, or comes back from it.
PASSED = (b"content-type", b"accept", KEY, SIGNED, SIGNATURE, *VERSION)
RETURNED = (b"content-type", b"content-length", b"flwr-version-incompatibility-message")
# Flower's own window for the age of a signature, in seconds.
YOUNGEST, OLDEST = -5.0, 305.0
STRANGERS = 1024  # keys that are remembered where every key may come
REMEMBERED = 256  # replies of a site
AT_ONCE = 8
DIGITS = 15  # of a length; Python refuses to read very long numbers


class Refusal(Exception):  # noqa: N818
    """A request that does not pass; ``code`` is Flower's, for its SuperNode to show."""

    def __init__(
        self, status: int, reason: str, *, site: str | None = None, code: int | None = None
    ) -> None:
        super().__init__(reason)
        self.status, self.reason, self.site, self.code = status, reason, site, code


@dataclass(kw_only=True)
class Account:
    """A site, the bytes that it may still send, and the replies it was given them for.

    ``turn`` is for its exchanges, of which so many go on at once.
    """

    site: str | None
    allowed: int = 0
    replies: OrderedDict[str, None] = field(default_factory=OrderedDict)
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A request that passes: of whom, with which headers, how large at most."""

    account: Account
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    size: int

    @property
    def is_reply(self) -> bool:
        """Whether its body is to be seen by :meth:`Gate.check_reply` first."""
        return self.target == PUSH_REPLY


class Gate:
    """Decides on requests; what changes is only the sites' accounts."""

    def __init__(self, *, sites: Mapping[bytes, str] | None, max_bytes: int) -> None:
        """``sites`` names the owner of each public key in PEM; None: every key may come.

        ``max_bytes`` is what one reply may weigh.
        """
        self._sites = sites
        self._accounts: OrderedDict[bytes, Account] = OrderedDict()
        # A piece that was lost on the way is sent again.
        self._allowance = 2 * max_bytes + SMALL
        routes = ROUTES if sites is not None else (*ROUTES, *SELF_SERVICE)
        self._limits = dict.fromkeys(routes, SMALL)
        self._limits |= {PUSH_REPLY: TREE, PUSH_CONTENT: max_bytes + SMALL}

    def admit(
        self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> Admission:
        """Raises :class:`Refusal`. ``headers`` have names in lower case."""
        if method != b"POST" or target not in self._limits:
            if target in SELF_SERVICE:
                raise Refusal(412, "sites do not register themselves: use its key", code=NO_KEY)
            raise Refusal(404, "not part of Flower's Fleet API")
        given = dict(headers)
        if sum(name in PASSED for name, _ in headers) != sum(name in given for name in PASSED):
            raise Refusal(400, "a header twice")
        account = self._authenticate(given)
        size = _size(given, account)
        if size > self._limits[target]:
            raise Refusal(413, f"{size} bytes, {self._limits[target]} allowed", site=account.site)
        if target == PUSH_CONTENT:
            if size > account.allowed:
                reason = f"{size} bytes, {account.allowed} left of this reply's"
                raise Refusal(413, reason, site=account.site)
            account.allowed -= size
        passed = [(name, given[name]) for name in PASSED if name in given]
        return Admission(account=account, target=target, headers=passed, size=size)

    def check_reply(self, admission: Admission, body: bytes) -> str:
        """The id of the instruction that it answers. Raises :class:`Refusal`."""
        site = admission.account.site
        request = PushMessagesRequest()
        try:
            request.ParseFromString(body)
        except DecodeError as error:
            raise Refusal(400, "not a reply", site=site) from error
        if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
            raise Refusal(400, "not exactly one reply", site=site)
        metadata = request.messages_list[0].metadata
        if metadata.src_node_id != request.node.node_id:
            raise Refusal(400, "a message in another's name", site=site)
        if not metadata.reply_to_message_id:
            raise Refusal(400, "a message that answers none", site=site)
        return str(metadata.reply_to_message_id)

    def grant(self, account: Account, reply_to: str, answer: bytes) -> None:
        """Let the site send the reply's content, where the SuperLink's ``answer`` took it."""
        response = PushMessagesResponse()
        try:
            response.ParseFromString(answer)
        except DecodeError:
            return
        if response.objects_to_push and reply_to not in account.replies:
            account.allowed = self._allowance
            account.replies[reply_to] = None
            while len(account.replies) > REMEMBERED:
                account.replies.popitem(last=False)

    def give_back(self, admission: Admission) -> None:
        """Content that did not arrive does not count: a network that fails is no offense."""
        if admission.target == PUSH_CONTENT:
            account = admission.account
            account.allowed = min(account.allowed + admission.size, self._allowance)

    def _authenticate(self, given: Mapping[bytes, bytes]) -> Account:
        """The account of whoever signed the request just now."""
        try:
            key = b64decode(given[KEY], validate=True)
            signature = b64decode(given[SIGNATURE], validate=True)
            signed = given[SIGNED]
            age = (
                datetime.now(UTC) - datetime.fromisoformat(signed.decode("ascii"))
            ).total_seconds()
        except (KeyError, ValueError, TypeError, Base64Error) as error:
            raise Refusal(412, "no signature of a site", code=NO_KEY) from error
        site = None if self._sites is None else self._sites.get(key, "")
        if site == "":
            raise Refusal(412, "the key of no site", code=UNKNOWN_KEY)
        if not YOUNGEST < age < OLDEST:
            reason = f"signed {age:.0f} seconds ago by the site's clock; set the clocks"
            raise Refusal(412, reason, site=site, code=UNKNOWN_KEY)
        if not _signed_by(key, signed, signature):
            raise Refusal(412, "not signed with its key", site=site, code=UNKNOWN_KEY)
        account = self._accounts.setdefault(key, Account(site=site))
        self._accounts.move_to_end(key)
        if self._sites is None and len(self._accounts) > STRANGERS:
            self._accounts.popitem(last=False)
        return account


def _size(given: Mapping[bytes, bytes], account: Account) -> int:
    length = given.get(b"content-length", b"")
    if b"transfer-encoding" in given or not length.isdigit() or len(length) > DIGITS:
        raise Refusal(411, "a body of unknown length", site=account.site)
    return int(length)


def _signed_by(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        public = load_pem_public_key(key)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
