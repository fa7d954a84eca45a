"""A page that listens, without a browser."""

import http.client
import json
from typing import Any, Self

from fedtt.live import PageServer

Answer = tuple[int, dict[str, str], str]


def ask(server: PageServer, path: str, *, method: str = "GET", **headers: str | None) -> Answer:
    """Status, headers and content; a header that is None is left out, ``_`` stands for ``-``."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    sent = {"Host": f"127.0.0.1:{server.port}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path, skip_host=True)
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


class Listener:
    """The events of a server, one after another."""

    def __init__(self, server: PageServer) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self._connection.request("GET", "/events")
        self._answer = self._connection.getresponse()
        self.status = self._answer.status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._connection.close()

    def next(self) -> dict[str, Any]:
        """The next event."""
        while line := self._answer.readline().decode():
            if line.startswith("data: "):
                event: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return event
        raise EOFError

    def until(self, **wanted: object) -> dict[str, Any]:
        """The next event that says all this."""
        while True:
            event = self.next()
            if wanted.items() <= event.items():
                return event
