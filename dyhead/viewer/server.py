"""Serves the page to this machine alone."""

import logging
import os
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTP_PORT
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dyhead.errors import UserError
from dyhead.viewer.answers import Answer

ADDRESS = "127.0.0.1"
_TIMEOUT = 60.0  # seconds that an idle connection stays open
_BUFFER = 1 << 16  # bytes of an answer that are sent at once
_SECONDS_KEPT = 3600  # pictures, by the browser

_HEADERS = {
    # nothing but this server's own files: neither a foreign source nor a script within the page
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

logger = logging.getLogger(__name__)


class LocalServer(ThreadingHTTPServer):
    """A server that answers GET and HEAD requests from this machine, each in a thread.

    Args:
        port: to listen at; 0 for any that is free.

    Raises:
        UserError: the port cannot be used.
    """

    daemon_threads = True  # open connections do not hold up the end
    block_on_close = False
    allow_reuse_address = os.name != "nt"  # there it would let two servers share a port

    answer: Callable[[str], Answer]

    def __init__(self, port: int) -> None:
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"Port {port} cannot be used ({reason}): name another one with --port, or 0 for any"
                " that is free."
            ) from error
        self.hosts = _hosts(self.server_port)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def serve(self, answer: Callable[[str], Answer]) -> None:
        """Answer requests by their addresses until `shutdown`, or an interruption (Ctrl-C)."""
        self.answer = answer
        self.serve_forever(poll_interval=0.1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that close a connection in the middle."""
        logger.debug("A connection broke off", exc_info=True)


def _hosts(port: int) -> set[str]:
    """Return what browsers of this machine call a server on a port; they leave out port 80."""
    names = {ADDRESS, "localhost"}
    return {f"{name}:{port}" for name in names} | (names if port == HTTP_PORT else set())


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT
    # headers and content in one: sent apart, the second waits 40 ms for the browser's receipt
    wbufsize = _BUFFER
    disable_nagle_algorithm = True
    server: LocalServer

    def do_GET(self) -> None:
        """Answer a request."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """Answer a request, without its content."""
        self._send(self._answer())

    def _answer(self) -> Answer:
        # a foreign page whose name was made to lead here (DNS rebinding) has its own name there
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            return _text(HTTPStatus.MISDIRECTED_REQUEST, f"Open {self.server.url} instead.")
        try:
            return self.server.answer(self.path)
        except Exception:
            logger.exception("The request %s failed", self.path[:200])
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed: see its terminal.")

    def _send(self, answer: Answer) -> None:
        kept = f"private, max-age={_SECONDS_KEPT}, immutable"
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.content)))
        self.send_header("Cache-Control", kept if answer.may_be_kept else "no-store")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a malformed request, or one of another method, in a sentence."""
        self.close_connection = True
        self._send(_text(HTTPStatus(code), message or "This request is not understood."))

    def version_string(self) -> str:
        """Return the name of the server."""
        return "dyhead"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""
        logger.debug(format, *args)


def _text(status: HTTPStatus, sentence: str) -> Answer:
    return Answer(sentence.encode("utf-8", "replace"), "text/plain; charset=utf-8", False, status)
