"""The editor's web server, of the standard library: for one person, on this machine, behind a secret link.

Every address begins with a random token; without it there is nothing. A request from a page of another
origin is refused, and so is one under another host name, by which a foreign page could reach this machine
(DNS rebinding). What is served: the page's own files by name, and patches by number.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from nuclei.editor.desk import Desk, NotReadyError
from nuclei.editor.drawing import Drawing
from nuclei.errors import InputError
from nuclei.io.images import encode_png

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
LARGEST = 4_000_000  # bytes of a request
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the token is part of the address
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

log = logging.getLogger(__name__)


class Server(ThreadingHTTPServer):
    """Serves the patches of a desk.

    Attributes:
        token: the secret part of the link.
    """

    daemon_threads = True

    def __init__(self, desk: Desk, drawing: Drawing, address: str = "127.0.0.1", port: int = 0) -> None:
        """Listen, on any free port where it is 0; `serve_forever` answers.

        Raises:
            InputError: nothing can be served at this address.
        """
        self.desk, self.drawing = desk, drawing
        self.token = secrets.token_urlsafe(24)
        self.files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in TYPES}
        try:
            super().__init__((address, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"nothing can be served at {address}:{port} ({error}); pass another --port or --address"
            ) from error
        self.is_local = ip_address(str(self.server_address[0])).is_loopback

    @property
    def url(self) -> str:
        """The link to open, which is a secret."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{host}:{port}/{self.token}/"

    @property
    def hosts(self) -> set[str]:
        """The names under which a browser on this machine may ask."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return {f"{name}:{port}" for name in (host, "localhost")}


class Handler(BaseHTTPRequestHandler):
    """Answers one request after another of a connection."""

    protocol_version = "HTTP/1.1"
    server: Server
    server_version, sys_version = "editor", ""

    def do_GET(self) -> None:  # noqa: N802  (the name that http.server calls)
        """A file of the page, the list, a patch, its image, or the corners of an outline."""
        self._answer({})

    def do_POST(self) -> None:  # noqa: N802
        """A change of a patch, or that it is done."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        content = self.rfile.read(int(length))
        if self.headers.get("Content-Type") != "application/json":  # a foreign page's form cannot send it
            self._send(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            return
        try:
            request = json.loads(content)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._send(HTTPStatus.BAD_REQUEST)
            return
        self._answer(request)

    def log_message(self, format: str, *values: object) -> None:
        """Only with --verbose, and never the token."""
        log.debug("%s", (format % values).replace(self.server.token, "..."))

    def _answer(self, request: dict) -> None:
        route = self._route()
        if route is None:
            self._send(HTTPStatus.NOT_FOUND)
            return
        try:
            route(request)
        except NotReadyError as error:
            self._json({"waiting": str(error)}, HTTPStatus.ACCEPTED)
        except InputError as error:
            self._json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except OSError as error:
            log.warning("the browser went away or a file cannot be written: %s", error)
            if not isinstance(error, ConnectionError):
                self._json({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _route(self) -> Callable[[dict], None] | None:
        """What answers this request; None for whatever is not served."""
        if not self._is_ours():
            return None
        _, token, *parts = self.path.split("?")[0].split("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            return None
        if self.command == "GET" and len(parts) == 1:
            name = parts[0] or "index.html"
            return partial(self._file, name) if name in self.server.files else None
        if parts[:1] != ["api"]:
            return None
        return self._api(parts[1:])

    def _is_ours(self) -> bool:
        """Whether the request came from our page, or from somebody who typed the link."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if self.server.is_local and host not in self.server.hosts:
            return False
        if origin is not None and origin != f"http://{host}":
            return False
        return self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")

    def _api(self, parts: list[str]) -> Callable[[dict], None] | None:
        desk, is_post = self.server.desk, self.command == "POST"
        if parts == ["patches"] and not is_post:
            return lambda _: self._json({"patches": desk.patches()})
        if len(parts) < 2 or parts[0] != "patch" or not parts[1].isdecimal():
            return None
        index = int(parts[1]) if len(parts[1]) < 8 else len(desk.names)
        if index >= len(desk.names):
            return None
        gets: dict[str, Callable[[dict], None]] = {
            "": lambda _: self._patch(index),
            "image": lambda _: self._send(HTTPStatus.OK, encode_png(desk.image(index)), "image/png"),
        }
        posts: dict[str, Callable[[dict], None]] = {
            "": lambda request: self._json(desk.act(index, request)),
            "done": lambda request: self._json(desk.done(index, request)),
        }
        rest = parts[2:]
        if len(rest) == 2 and rest[0] == "handles" and rest[1].isdecimal() and not is_post:
            return lambda _: self._json({"handles": desk.handles(index, int(rest[1][:9]))})
        if len(rest) > 1:
            return None
        return (posts if is_post else gets).get(rest[0] if rest else "")

    def _patch(self, index: int) -> None:
        try:
            self._json(self.server.desk.view(index))
        except NotReadyError as error:
            self.server.drawing.want(index)
            height, width = self.server.desk.image(index).shape[:2]  # to be looked at meanwhile
            self._json({"waiting": str(error), "size": (width, height)}, HTTPStatus.ACCEPTED)

    def _file(self, name: str, _: dict) -> None:
        self._send(HTTPStatus.OK, self.server.files[name], f"{TYPES[Path(name).suffix]}; charset=utf-8")

    def _json(self, content: dict, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, json.dumps(content, separators=(",", ":")).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes = b"", kind: str = "text/plain") -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
