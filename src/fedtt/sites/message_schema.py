"""What server and site may say to each other, in both directions: parsed here, or refused.

Whatever a peer writes ends in a value of one of these classes or in a :class:`WireError` that names
the peer and the field. Types are strict, nothing may be left out or added, every number and text is
bounded.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fedtt.errors import WireError
from fedtt.federated.secure.sum_sizes import MOST_CLIENTS as MOST_OF_A_SUM
from fedtt.sites.peer_text import quote_peer

# What is larger is no outcome of training; sums and products of what is not stay finite.
LARGE = 10**15
MOST_EXAMPLES = 10**12 - 1
MOST_CLIENTS = 2**16
MOST_SUMMED = MOST_OF_A_SUM
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Token = Annotated[str, Field(min_length=1, max_length=64)]
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]  # a part of a file's name at the site
Reason = Annotated[str, Field(max_length=2**16)]
Split = Literal["validation", "test"]
SumStageName = Literal["keys", "shares", "reveal"]
Number = Annotated[float, Field(ge=-LARGE, le=LARGE, allow_inf_nan=False)]
# split -> who holds the examples -> metric -> value
SiteMetrics = dict[str, dict[str, dict[str, float]]]


class Message(BaseModel):
    """Strict, closed and frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TensorFacts(Message):
    """Shape and type of an exchanged parameter."""

    shape: list[Annotated[int, Field(ge=0, le=2**40)]] = Field(max_length=16)
    dtype: Token


class Facts(Message):
    """What server and site must have in common: no texts, only names and digests."""

    fedtt: Token
    method: Token
    label_names: list[Annotated[str, Field(max_length=1000)]]
    exchanged: dict[Name, TensorFacts]
    base_model: Annotated[str, Field(max_length=128)]
    frozen: dict[Name, Annotated[list[Number], Field(max_length=64)]]


class Hello(Message):
    """The server's invitation. ``epoch`` names its process, ``run`` its run; ``config`` is parsed
    as a file is.
    """

    do: Literal["hello"] = "hello"
    epoch: Token
    run: RunId
    config: dict[str, Any]
    facts: Facts


class TaskOfClient(Message):
    """One client's part: where it stands in the population, and which blob is its broadcast.

    In a secure sum, ``sealed`` is the blob with the others' shares.
    """

    client: Name
    position: Annotated[int, Field(ge=0, lt=MOST_EXAMPLES)]
    payload: Annotated[int, Field(ge=0, lt=MOST_CLIENTS)]
    sealed: Annotated[int, Field(ge=0, lt=2 * MOST_CLIENTS)] | None = None


class Work(Message):
    """What a site is to measure and, where ``do`` says so, to train, within so many seconds.

    With ``sum`` its updates are masked, for the secure sum of that name.
    """

    do: Literal["train", "measure"]
    session: Token
    round: Annotated[int, Field(ge=0, le=10**9)]
    learning_rate: Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
    tasks: list[TaskOfClient] = Field(min_length=1, max_length=MOST_CLIENTS)
    splits: list[Split] = Field(max_length=2)
    seconds: Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
    sum: RunId | None = None


class SumMember(Message):
    """A client of a secure sum, and its place in it."""

    client: Name
    place: Annotated[int, Field(ge=1, le=MOST_SUMMED)]


class SumStage(Message):
    """What the clients of a site are to say in a secure sum: their keys; with the roster of all
    keys as the blob, their sealed shares; with who survived as the blob, the shares that they hold.
    """

    do: Literal["sum"] = "sum"
    stage: SumStageName
    session: Token
    round: Annotated[int, Field(ge=0, le=10**9)]
    sum: RunId
    members: list[SumMember] = Field(min_length=1, max_length=MOST_SUMMED)
    seconds: Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]


class Refuse(Message):
    """The server does not let the site take part."""

    do: Literal["refuse"] = "refuse"
    reason: Reason


class End(Message):
    """The run is over."""

    do: Literal["end"] = "end"


class Joined(Message):
    """A site that takes part: how many examples each client trains on, and how labels are written.

    ``start`` is a digest of the parameters that it begins with: the server sends them to a site
    that has drawn others.

    ``label_cells`` are the integers that stand for the classes in the site's file, in their order;
    None where it writes their names.
    """

    site: Name
    session: Token
    start: Token
    num_examples: dict[Name, Annotated[int, Field(gt=0, le=MOST_EXAMPLES)]]
    label_cells: list[Annotated[int, Field(ge=-(10**18), le=10**18)]] | None


class Unfit(Message):
    """A site that cannot take part, and ends."""

    unfit: Reason


LATE = "did not finish within the round's deadline"  # the one trouble that is no failure


class Trouble(Message):
    """A site that could not do what it was asked, this time."""

    error: Reason


class Stale(Message):
    """A site that started afresh, and does not know the session."""

    stale: Literal[True] = True


class Done(Message):
    """A site that has heard the end, or the refusal."""

    done: Literal[True] = True


class Outcome(Message):
    """What a site measured, to be read by :func:`parse_metrics`; the updates are the blobs."""

    metrics: Any


SiteReply = Joined | Unfit | Trouble | Stale | Done | Outcome
_REPLIES: dict[str, type[SiteReply]] = {
    "unfit": Unfit,
    "error": Trouble,
    "stale": Stale,
    "done": Done,
    "metrics": Outcome,
    "site": Joined,
}
Asked = Hello | Work | SumStage | Refuse | End
_ASKED: TypeAdapter[Asked] = TypeAdapter(Annotated[Asked, Field(discriminator="do")])
_METRICS: TypeAdapter[SiteMetrics] = TypeAdapter(
    dict[Name, dict[Name, dict[Name, Number]]], config=ConfigDict(strict=True)
)
T = TypeVar("T")


def parse_asked(content: Mapping[str, Any], *, blobs: Sequence[bytes], peer: str) -> Asked:
    """What the server asks of a site. Raises :class:`WireError`."""
    asked = _parse(_ASKED, content, peer=peer)
    if isinstance(asked, SumStage) and len(blobs) != (asked.stage != "keys"):
        raise WireError("a stage of a sum without its blob", where=peer, got=len(blobs))
    if isinstance(asked, Work):
        missing = [t for t in asked.tasks if max(t.payload, t.sealed or 0) >= len(blobs)]
        if missing:
            raise WireError(
                "a message without what it speaks of",
                where=f"{peer}, payload of client {quote_peer(missing[0].client)}",
                got=missing[0].payload,
                expected=f"less than {len(blobs)}",
            )
    return asked


def parse_reply(content: Mapping[str, Any], *, peer: str) -> SiteReply:
    """What a site answers. Raises :class:`WireError`."""
    for key, kind in _REPLIES.items():
        if key in content:
            reply: SiteReply = _parse(TypeAdapter(kind), content, peer=peer)
            return reply
    raise WireError("a reply that says nothing", where=peer, got=quote_peer(sorted(content)[:5]))


def parse_metrics(content: object, *, peer: str) -> SiteMetrics:
    """What a site measured. Raises :class:`WireError`."""
    return _parse(_METRICS, content, peer=peer)


def _parse(adapter: TypeAdapter[T], content: object, *, peer: str) -> T:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise WireError(
            "a message is not what it should be",
            where=f"{peer}, {quote_peer(field, most=200)}",
            got=quote_peer(repr(first["input"]), most=100),
            expected=quote_peer(first["msg"]),
        ) from error
