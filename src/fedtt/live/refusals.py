"""Which requests are answered: those of a page of ours, in a browser on this machine.

A name of somebody else's that they let point to 127.0.0.1 (DNS rebinding) would make a browser
read the page for them: it sends that name as Host. A page of another place can still ask, without
being able to read the answer, and would take connections away.
"""

from email.message import Message

HOSTS = ("127.0.0.1", "localhost", "[::1]")
WEB_PORT = 80  # which browsers leave out
FROM_HERE = ("same-origin", "none")


def refusal(headers: Message, *, port: int) -> str | None:
    """Why a request is refused; None where it is not."""
    hosts = headers.get_all("Host", [])
    if len(hosts) != 1 or hosts[0].strip().lower() not in _names(port):
        return (
            f"the Host header must be one of {', '.join(_names(port))}: this server is for "
            "browsers on its own machine alone"
        )
    return None


def comes_from_elsewhere(headers: Message) -> bool:
    """Whether a browser says that another site's page makes the request."""
    return headers.get("Sec-Fetch-Site", "none") not in FROM_HERE


def is_opened(headers: Message) -> bool:
    """Whether somebody goes there, by a link or an address, and nothing of another page asks."""
    mode, kind = headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")
    return mode == "navigate" and kind == "document"


def _names(port: int) -> tuple[str, ...]:
    bare = HOSTS if port == WEB_PORT else ()
    return (*(f"{host}:{port}" for host in HOSTS), *bare)
