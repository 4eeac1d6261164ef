"""A local server that speaks as much of OpenAI's protocol as a judge needs."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any], int], tuple[int, Any]]
"""Takes a request's body and its number from 0; returns a status and a body, a text or JSON."""


class JudgeStub(ThreadingHTTPServer):
    """Keeps what it is asked."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up, as they do when judging is given up."""

    def messages(self) -> list[str]:
        """Return the users' messages that came."""
        return [body["messages"][1]["content"] for body in self.bodies]


class _Handler(BaseHTTPRequestHandler):
    server: JudgeStub

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        stub = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with stub.lock:
            number = len(stub.bodies)
            stub.bodies.append(body)
            stub.keys.append(self.headers.get("Authorization"))
            stub.busy += 1
            stub.most_busy = max(stub.most_busy, stub.busy)
        found = self.path == "/v1/chat/completions"
        status, content = stub.answer(body, number) if found else (404, "no such path")
        with stub.lock:
            stub.busy -= 1
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


def completion(text: str | None) -> dict[str, Any]:
    """Return a chat completion as OpenAI's servers write it."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


@contextmanager
def judging_stub(answer: Answer) -> Iterator[JudgeStub]:
    """Serve on a free port of the loopback."""
    with JudgeStub(answer) as stub:
        thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield stub
        finally:
            stub.shutdown()
            thread.join()
