"""Serves the viewer on this machine, to this machine alone."""

import re
import shutil
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from encodeonce.harness.viewer.answers import ViewError
from encodeonce.harness.viewer.chunks import Chunks, script
from encodeonce.harness.viewer.media import CLIP_TYPES, Media
from encodeonce.harness.viewer.page import POLICY, TYPES, page_file

HOST = "127.0.0.1"
USUAL_PORT = 8421
_SCRIPT = "text/javascript; charset=utf-8"
_CHUNK = re.compile(r"/data/(samples|answers|media|frames)-(0|[1-9]\d{0,8})\.js")
_CLIP = re.compile(r"/clips/(0|[1-9]\d{0,8})")
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")


def make_server(chunks: Chunks, media: Media, port: int | None) -> ThreadingHTTPServer:
    """Return a server that is bound, but does not serve yet.

    Args:
        chunks: of the answers.
        media: of the samples.
        port: to listen at; 0 for any that is free, None for the usual one, or else any.

    Raises:
        ViewError: the port cannot be used.
    """
    handler = type("Handler", (_Handler,), {"chunks": chunks, "media": media})
    try:
        return _Server((HOST, USUAL_PORT if port is None else port), handler)
    except OSError as error:
        if port is None:
            return _Server((HOST, 0), handler)
        raise ViewError(
            f"--port {port} cannot be used: {error.strerror or error}. Leave --port out, or type "
            "--port 0, for one that is free"
        ) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    chunks: ClassVar[Chunks]
    media: ClassVar[Media]
    protocol_version = "HTTP/1.1"
    server_version = "encodeonce"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        """Answer a request for a file."""
        if not self._is_for_us():
            port = self.connection.getsockname()[1]
            self._refuse(HTTPStatus.FORBIDDEN, f"open http://{HOST}:{port}/")
            return
        path = urlsplit(self.path).path
        try:
            self._answer("/index.html" if path == "/" else path)
        except ConnectionError:
            self.close_connection = True  # the reader has gone on to something else

    do_HEAD = do_GET

    def _answer(self, path: str) -> None:
        if path[1:] in TYPES:
            self._send(page_file(path[1:]), TYPES[path[1:]])
        elif path == "/data/index.js":
            self._send(script("index", self.chunks.index()), _SCRIPT)
        elif found := _CHUNK.fullmatch(path):
            self._chunk(found[1], int(found[2]))
        elif found := _CLIP.fullmatch(path):
            self._clip(self.media.clip(int(found[1])))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _chunk(self, kind: str, number: int) -> None:
        chunks, media = self.chunks, self.media
        make: dict[str, tuple[int, Callable[[int], Any]]] = {
            "samples": (chunks.num_samples_chunks, chunks.samples),
            "answers": (chunks.num_answers_chunks, chunks.answers),
            "media": (chunks.num_answers_chunks, lambda n: media.numbers(chunks.rows(n))),
            "frames": (media.num_known, self._frames),
        }
        count, content = make[kind]
        if number >= count:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such chunk")
            return
        self._send(script(f"{kind}-{number}", content(number)), _SCRIPT)

    def _frames(self, number: int) -> dict[str, Any]:
        has_clip = self.media.clip(number) is not None
        return {**self.media.frames(number), "hasClip": has_clip}

    def _clip(self, path: Path | None) -> None:
        """Send a clip, or the part of it that a player asks for."""
        if path is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such clip")
            return
        size = path.stat().st_size
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, end = (int(found[1]), int(found[2] or size - 1)) if found else (0, size - 1)
        end = min(end, size - 1)
        if start > end:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT if found else HTTPStatus.OK)
        self._head(CLIP_TYPES[path.suffix.lower()], end + 1 - start)
        self.send_header("Accept-Ranges", "bytes")
        if found:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        with path.open("rb") as file:
            file.seek(start)
            if found:
                self.wfile.write(file.read(end + 1 - start))
            else:
                shutil.copyfileobj(file, self.wfile)

    def _is_for_us(self) -> bool:
        """Return whether the request comes from this machine's browser, and from our own page.

        Another site could point a name of its own at this address, or load our scripts into its
        page; neither may read what was answered here.
        """
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        site = self.headers.get("Sec-Fetch-Site", "none")
        is_page = self.headers.get("Sec-Fetch-Dest", "document") == "document"
        return host in (HOST, "localhost") and (site in ("none", "same-origin") or is_page)

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self._head(kind, len(content))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Content-Security-Policy", f"{POLICY}; frame-ancestors 'none'")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")

    def _refuse(self, status: HTTPStatus, words: str) -> None:
        content = f"{words}\n".encode()
        self.send_response(status)
        self._head("text/plain; charset=utf-8", len(content))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing of requests."""
