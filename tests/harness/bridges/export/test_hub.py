"""A data set for the Hub: read by `load_dataset`, uploaded by huggingface_hub to a local server."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pytest
from typer.testing import CliRunner

from encodeonce.harness.bridges.export.hub import write_all
from encodeonce.harness.bridges.hub_upload import upload
from encodeonce.harness.results.export import ExportError, read_run
from encodeonce.harness.results.table import COLUMNS
from encodeonce.jobs.cli.app import app
from tests.harness.bridges.export.runs import TEXTS, write_run


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    card, *tables = write_all(read_run(write_run(tmp_path)), folder)
    assert card == folder / "README.md" and len(tables) == 2
    return folder


def test_load_dataset_reads_each_variant(exported: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    names = datasets.get_dataset_config_names(str(exported))
    assert names == ["none_full", "int4_snapkv_0.5"]
    full = datasets.load_dataset(str(exported), names[0], split="test", cache_dir=cache)
    assert full.column_names == list(COLUMNS)
    assert dict(zip(full["sample"], full["text"], strict=True)) == TEXTS
    other = datasets.load_dataset(str(exported), names[1], split="test", cache_dir=cache)
    (failed,) = [row for row in other if row["error"] is not None]
    assert (failed["sample"], failed["text"]) == ("b-1", None)


def test_the_card_says_what_it_is_and_how_much_was_scored(exported: Path) -> None:
    card = (exported / "README.md").read_text("utf-8")
    assert "| `none_full` | none/full | my task | 0.7500 | 4 of 4 |" in card
    assert "| my task | 0.6667 | 3 of 4 |" in card
    assert "under their licences" in card


class Hub(ThreadingHTTPServer):
    """As much of the Hub as an upload of small files needs."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        hub, text = self.server, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = f"http://127.0.0.1:{hub.server_address[1]}"
        content: Any = {}
        if hub.status != 200:
            content = {"error": "no"}
        elif self.path == "/api/repos/create":
            hub.made.append(json.loads(text))
            content = {"url": f"{address}/datasets/me/answers"}
        elif "/preupload/" in self.path:
            paths = [one["path"] for one in json.loads(text)["files"]]
            modes = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]
            content = {"files": modes}
        elif "/commit/" in self.path:
            for line in map(json.loads, text.splitlines()):
                if line["key"] == "file":
                    hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{address}/datasets/me/answers/commit/{'1' * 40}"
            content = {"commitUrl": url, "commitOid": "1" * 40, "success": True}
        self._send(hub.status, content)

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self._send(self.server.status, {"id": "me/answers", "sha": "0" * 40, "siblings": []})

    def _send(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A local Hub; the test's parameter is the status that it answers with."""
    with Hub(getattr(request, "param", 200)) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        # Read when huggingface_hub is imported, and once more by each `HfApi`.
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", "hf_nobody")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_upload_has_the_card_and_the_tables_and_nothing_else(exported: Path, hub: Hub) -> None:
    (exported / "notes.txt").write_text("mine")
    address = upload(exported, "me/answers", is_private=True)
    assert address.endswith("1" * 40)
    assert hub.made[0]["name"] == "answers" and hub.made[0]["organization"] == "me"
    assert hub.made[0].get("private") is True or hub.made[0].get("visibility") == "private"
    assert set(hub.files) == {
        "README.md", "data/none_full.parquet", "data/int4_snapkv_0.5.parquet",
    }  # fmt: skip
    for name, content in hub.files.items():
        assert content == (exported / name).read_bytes()


@pytest.mark.parametrize("hub", [403], indirect=True)
def test_a_refusal_says_where_the_files_are(exported: Path, hub: Hub) -> None:
    with pytest.raises(ExportError, match=r"--repo me/answers: .*403.*hub; `hf auth login`"):
        upload(exported, "me/answers", is_private=True)


def test_nothing_is_uploaded_unless_asked_for(tmp_path: Path, hub: Hub) -> None:
    run = str(write_run(tmp_path))
    words = ["export", run, "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--to", "hub"])
    assert done.exit_code == 0, done.output
    assert hub.made == [] and hub.files == {}
    done = CliRunner().invoke(app, [*words, "--to", "csv", "--repo", "me/answers"])
    assert done.exit_code == 1 and "options of --to hub" in done.output
    done = CliRunner().invoke(app, [*words, "--to", "hub", "--repo", "me/a/b"])
    assert done.exit_code == 1 and "--repo me/a/b" in done.output
