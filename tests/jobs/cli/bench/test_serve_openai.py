"""Requests to a server that speaks OpenAI's protocol: a small one of our own, on this machine."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from tests.jobs.scene import Scene, make_scene

pytest.importorskip("httpx", reason='needs pip install "encodeonce[openai]"')
pytest.importorskip("httpx_sse", reason='needs pip install "encodeonce[openai]"')

PIECE_S = 0.02


class Stub(ThreadingHTTPServer):
    """Answers "yes" in two pieces, and fails every request that asks about a clip it dislikes."""

    daemon_threads = True
    bodies: list[dict[str, Any]]
    status = 200


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append({"path": self.path, **body})
        if self.server.status != 200:
            self.send_error(self.server.status, "overloaded")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        deltas: list[dict[str, str]] = [{"role": "assistant"}, {"content": "y"}, {"content": "es"}]
        for delta in deltas:
            time.sleep(PIECE_S)
            self._send(json.dumps({"choices": [{"index": 0, "delta": delta}]}))
        self._send(json.dumps({"choices": [], "usage": {"completion_tokens": 2}}))
        self._send("[DONE]")
        self.close_connection = True

    def _send(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *words: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub(("127.0.0.1", 0), Handler)
    server.bodies = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("openai"), num_clips=2, num_frames=8)


def serve(scene: Scene, stub: Stub, name: str, **changes: Any) -> tuple[Any, dict[str, Any]]:
    content = yaml.safe_load(scene.run_file().read_text())
    url = f"http://127.0.0.1:{stub.server_address[1]}/v1"
    content |= {
        "time": {"mode": "wall"},
        "engine": {"kind": "openai", "url": url, "model": "stub"},
        "arrivals": {"kind": "poisson", "rate": 50, "requests": 8},
        "limits": {"kv_bytes": "1GiB"},
        "slo": {"ttft_s": 5, "tpot_s": 1},
        "experiments": [{"name": "theirs"}],
        "output": str(scene.folder / name),
        **changes,
    }
    path: Path = scene.folder / "openai.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["bench", "serve", str(path)])
    report = scene.folder / name / "report.json"
    return done, json.loads(report.read_text()) if report.exists() else {}


def test_the_same_requests_go_to_a_server_and_its_answers_are_scored(
    scene: Scene, stub: Stub
) -> None:
    done, found = serve(scene, stub, "fine")
    assert done.exit_code == 0, done.output
    assert len(stub.bodies) == 8
    body = stub.bodies[0]
    assert body["path"] == "/v1/chat/completions"
    assert (body["model"], body["stream"], body["temperature"]) == ("stub", True, 0)
    assert body["max_tokens"] == 3
    assert "ignore_eos" not in body
    *pictures, text = body["messages"][0]["content"]
    assert len(pictures) == 4
    head, encoded = pictures[0]["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size[0] > 8
    assert text["text"] in {body["messages"][0]["content"][-1]["text"] for body in stub.bodies}
    (cell,) = found["cells"]
    assert cell["attainment"] == 1.0
    assert cell["ttft_s"]["p50"] > 2 * PIECE_S
    assert cell["itl_s"]["count"] == 8
    assert cell["itl_s"]["p50"] > 0.5 * PIECE_S
    (experiment,) = found["experiments"]
    assert experiment["quality"]["accuracy"]["mean"] == 1.0
    assert not (scene.folder / "fine" / "answers").exists()
    serve(scene, stub, "fine")
    assert len(stub.bodies) == 8


def test_forced_lengths_and_users_who_wait_for_their_answers(scene: Scene, stub: Stub) -> None:
    done, found = serve(
        scene,
        stub,
        "closed",
        arrivals={"kind": "closed", "concurrency": 2, "requests": 6},
        output_tokens={"kind": "forced", "tokens": 2},
    )
    assert done.exit_code == 0, done.output
    assert all(body["ignore_eos"] and body["max_tokens"] == 2 for body in stub.bodies)
    assert found["cells"][0]["duration_s"] > 3 * 3 * PIECE_S


def test_a_server_that_refuses_fails_requests_by_name(scene: Scene, stub: Stub) -> None:
    stub.status = 503
    done, _ = serve(scene, stub, "refused")
    assert done.exit_code == 1
    assert "status 503" in done.output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiments": [{"name": "a", "kv": {"method": "snapkv", "keep": 0.5}}]}, "own cache"),
        ({"limits": {"kv_bytes": ["1GiB", "2GiB"]}}, "give one size"),
        ({"engine": {"kind": "openai", "url": "ftp://x", "model": "m"}}, "engine.url"),
        ({"time": {"mode": "virtual", "costs": "built-in"}}, "must be 'wall'"),
    ],
)
def test_what_a_server_cannot_do_is_refused(
    changes: dict[str, Any], words: str, scene: Scene, stub: Stub
) -> None:
    done, _ = serve(scene, stub, "never", **changes)
    assert done.exit_code == 1
    assert words in done.output
    assert not stub.bodies
