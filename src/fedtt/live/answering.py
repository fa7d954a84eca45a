"""What the server answers: the page, its newest content, and a stream that names it."""

import json
import select
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from fedtt.live.newest_sight import Numbered
from fedtt.live.refusals import comes_from_elsewhere, is_opened, refusal

if TYPE_CHECKING:
    from fedtt.live.page_server import PageServer

FIRST_SIGHT = 120.0  # seconds
LOOK_AFTER_CLIENT = 1.0
SILENCE = 15  # looks after the client without news, then a sign of life
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
CONTAINED = "default-src 'none'; frame-ancestors 'none'"
UNFRAMED = "frame-ancestors 'none'"  # the page's own policy, in its head, says the rest


class Answering(BaseHTTPRequestHandler):
    """One request a connection. Of the path nothing is used but which of three it is."""

    server: "PageServer"
    server_version, sys_version = "fedtt", ""
    timeout = 10  # seconds without a byte, either way

    def do_GET(self) -> None:
        """Answer."""
        reason = refusal(self.headers, port=self.server.port)
        path = self.path.partition("?")[0]
        if reason is not None:
            self._say(HTTPStatus.FORBIDDEN, reason)
        elif path not in ("/", "/content", "/events"):
            self._say(HTTPStatus.NOT_FOUND, "there is nothing here but /")
        elif comes_from_elsewhere(self.headers) and not (path == "/" and is_opened(self.headers)):
            self._say(HTTPStatus.FORBIDDEN, "this is for the page at / alone")
        elif path == "/":
            self._page()
        elif path == "/content":
            self._content()
        else:
            self._events()

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no request, or asks for more than reading; called by the base class."""
        del explain
        if code == HTTPStatus.NOT_IMPLEMENTED:
            only = {"Allow": "GET, HEAD"}
            self._say(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD alone", headers=only)
        else:
            self._say(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def _page(self) -> None:
        newest = self._newest()
        if newest is not None:
            self._send(HTTPStatus.OK, "text/html", self.server.newest.page(newest), policy=UNFRAMED)

    def _content(self) -> None:
        newest = self._newest()
        if newest is not None:
            self._send(HTTPStatus.OK, "text/html", self.server.newest.content(newest))

    def _newest(self) -> Numbered | None:
        newest = self.server.newest.wait(seconds=FIRST_SIGHT)
        if newest is None:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, "the run is still being read")
        return newest

    def _events(self) -> None:
        if not self.server.streams.acquire(blocking=False):
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, "too many pages listen already")
            return
        try:
            self._head(HTTPStatus.OK, "text/event-stream")
            if self.command != "HEAD":
                self._stream()
        finally:
            self.server.streams.release()

    def _stream(self) -> None:
        told, silent = 0, 0
        while not self.server.over.is_set() and not self._is_gone():
            news = self.server.newest.wait(after=told, seconds=LOOK_AFTER_CLIENT)
            silent += 1
            if news is not None:
                sight = news.sight
                told, silent = news.version, 0
                event = {"version": told, "state": sight.state, "words": sight.words}
                self._write(f"data: {json.dumps({**event, 'rounds': sight.rounds})}\n\n")
            elif silent >= SILENCE:
                silent = 0
                self._write(": nothing new\n\n")

    def _is_gone(self) -> bool:
        """Who listens says nothing: what can be read is the end, or nobody of ours."""
        return bool(select.select([self.connection], [], [], 0)[0])

    def _say(self, status: HTTPStatus, reason: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, "text/plain", f"{reason}\n", headers=headers)

    def _send(
        self,
        status: HTTPStatus,
        kind: str,
        text: str,
        *,
        policy: str = CONTAINED,
        headers: dict[str, str] | None = None,
    ) -> None:
        content = text.encode()
        length = {"Content-Length": str(len(content))}
        self._head(status, kind, policy=policy, headers={**length, **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(
        self,
        status: HTTPStatus,
        kind: str,
        *,
        policy: str = CONTAINED,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        more = {"Content-Type": f"{kind}; charset=utf-8", "Content-Security-Policy": policy}
        for name, value in {**HEADERS, **more, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, text: str) -> None:
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal has the address, and whoever asks gets the reason."""
