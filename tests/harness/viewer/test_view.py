"""The viewer's data, its answers over HTTP, its export, and the command: all without a browser."""

import json
import re
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from encodeonce.harness.run.folder import RunFolderError
from encodeonce.harness.viewer import chunks as chunks_module
from encodeonce.harness.viewer.answers import UNCACHED, ViewError, read_answers
from encodeonce.harness.viewer.chunks import Chunks, script
from encodeonce.harness.viewer.export import export
from encodeonce.harness.viewer.media import Media
from encodeonce.harness.viewer.page import POLICY, POLICY_ON_DISK, TYPES, page_file
from encodeonce.harness.viewer.server import make_server
from encodeonce.jobs.cli.app import app
from encodeonce.models.kv.spec import FULL
from tests.harness.runs import a_record, write_run
from tests.harness.viewer.runs import HALF, HOSTILE, demo_records, demo_run, hostile_records

SNAPKV = f"none/{HALF.title}"


def content_of(sent: bytes) -> tuple[str, Any]:
    """Return the name and the value that a script hands over."""
    found = re.fullmatch(r'encodeonceData\(("[\w-]+"),(.*)\);\n', sent.decode("ascii"))
    assert found
    return json.loads(found[1]), json.loads(found[2])


def test_every_answer_of_every_variant_is_there(tmp_path: Path) -> None:
    answers = read_answers([demo_run(tmp_path / "run").path])
    assert [column.variant for column in answers.columns] == ["none/full", SNAPKV]
    assert [column.name for column in answers.columns] == [
        "full cache",
        "SnapKV 50 %, after the question",
    ]
    chunks = Chunks(answers)
    index = chunks.index()
    assert (index["numSamples"], index["numRecords"], index["reference"]) == (12, 24, 0)
    samples = chunks.samples(0)
    assert samples["results"] == ["rw" if n % 3 == 1 else "rr" for n in range(12)]
    for number, (full, half) in enumerate(chunks.answers(0)):
        wanted = samples["targets"][number]
        assert full is not None and half is not None
        assert full == [wanted, None, 1.0, None]
        assert half[0] == (f"not {wanted}" if number % 3 == 1 else wanted)


def test_chunks_together_are_all_samples_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("FIRST_SAMPLES", 2), ("CHUNK_SAMPLES", 3), ("CHUNK_ANSWERS", 4)):
        monkeypatch.setattr(chunks_module, name, size)
    records = [a_record(f"a{n}", text=f"t{n}") for n in range(9)]
    chunks = Chunks(read_answers([write_run(tmp_path / "run", records).path]))
    parts = [chunks.samples(n) for n in range(chunks.num_samples_chunks)]
    assert [part["start"] for part in parts] == [0, 2, 5, 8]
    assert [one for part in parts for one in part["ids"]] == [f"a{n}" for n in range(9)]
    answers = [one for n in range(chunks.num_answers_chunks) for one in chunks.answers(n)]
    assert [one[0][0] for one in answers if one[0]] == [f"t{n}" for n in range(9)]
    assert chunks.num_answers_chunks == 3


def test_two_runs_stand_side_by_side(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", [a_record("x"), a_record("y"), a_record("z")])
    second = write_run(tmp_path / "b", [a_record("y", 0.0), a_record("z", question="Other?")])
    answers = read_answers([first.path, second.path])
    assert [(c.side, c.variant) for c in answers.columns] == [(0, "none/full"), (1, "none/full")]
    samples = Chunks(answers).samples(0)
    assert samples["results"] == ["r-", "rw", "rr"]
    assert samples["differing"] == [2]


def test_a_variant_may_be_in_one_of_two_runs(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", [a_record("x")]).path
    two = demo_run(tmp_path / "b", 1).path
    answers = read_answers([one, two], ["none/full", SNAPKV])
    assert [(c.side, c.variant) for c in answers.columns] == [
        (0, "none/full"),
        (1, "none/full"),
        (1, SNAPKV),
    ]
    with pytest.raises(ViewError, match=r"/a has none of these; it has none/full"):
        read_answers([one, two], [SNAPKV])


def test_plain_transformers_answers_have_a_column(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [a_record("x")], uncached=[a_record("x", 0.0)])
    answers = read_answers([run.path])
    assert [column.name for column in answers.columns] == ["full cache", UNCACHED]
    assert Chunks(answers).samples(0)["results"] == ["rw"]


def test_any_text_is_data(tmp_path: Path) -> None:
    chunks = Chunks(read_answers([write_run(tmp_path / "run", hostile_records()).path]))
    for name, value in (("index", chunks.index()), ("samples-0", chunks.samples(0))):
        assert content_of(script(name, value)) == (name, json.loads(json.dumps(value)))
    _, answers = content_of(script("answers-0", chunks.answers(0)))
    assert answers[0][0][0] == HOSTILE
    assert answers[1][0][3] == f"ValueError: {HOSTILE}"


@pytest.mark.parametrize(
    ("patterns", "found"),
    [(["none/full"], 1), (["none/*"], 2), (["*@0.5", "none/full"], 2)],
)
def test_some_variants_alone(tmp_path: Path, patterns: list[str], found: int) -> None:
    run = demo_run(tmp_path / "run", 2)
    assert len(read_answers([run.path], patterns).columns) == found


def test_what_cannot_be_viewed_is_refused_in_words(tmp_path: Path) -> None:
    run = demo_run(tmp_path / "run", 1).path
    empty = write_run(tmp_path / "empty", []).path
    with pytest.raises(ViewError, match="one run or two .* got 3"):
        read_answers([run, run, run])
    with pytest.raises(ViewError, match="has no answers yet"):
        read_answers([empty])
    with pytest.raises(ViewError, match=rf"--variants none/x: .* there are none/full, {SNAPKV}"):
        read_answers([run], ["none/x"])
    with pytest.raises(RunFolderError, match=r"has no run\.json"):
        read_answers([tmp_path])


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    answers = read_answers([demo_run(tmp_path / "run").path])
    with make_server(Chunks(answers), Media(answers), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert server.server_address[0] == "127.0.0.1"
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_the_page_and_its_data_are_served_under_the_policy(port: int) -> None:
    for path in ("/", *(f"/{name}" for name in TYPES), "/data/index.js", "/data/answers-0.js"):
        response, content = get(port, path)
        assert (response.status, len(content) > 100) == (200, True), path
        assert response.headers["Content-Security-Policy"].startswith(POLICY)
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        head, nothing = get(port, path, "HEAD")
        assert (head.headers["Content-Length"], nothing) == (str(len(content)), b"")


def test_frames_are_those_of_the_media(port: int) -> None:
    name, media = content_of(get(port, "/data/media-0.js")[1])
    assert name == "media-0"
    assert media["numbers"] == [number // 6 for number in range(12)]  # six questions on a clip
    _, frames = content_of(get(port, "/data/frames-1.js")[1])
    assert frames["missing"] == ""
    assert frames["hasClip"]
    assert all(frame["jpeg"].startswith("/9j/") for frame in frames["frames"])
    assert get(port, "/data/frames-2.js")[0].status == 404


def test_a_clip_is_sent_whole_or_in_parts(port: int) -> None:
    get(port, "/data/media-0.js")
    response, clip = get(port, "/clips/0")
    assert (response.status, response.headers["Content-Type"]) == (200, "video/mp4")
    assert clip[4:8] == b"ftyp"
    response, part = get(port, "/clips/0", Range="bytes=4-7")
    assert (response.status, part) == (206, b"ftyp")
    assert response.headers["Content-Range"] == f"bytes 4-7/{len(clip)}"
    assert get(port, "/clips/0", Range=f"bytes={len(clip) - 3}-")[1] == clip[-3:]
    assert get(port, "/clips/0", Range=f"bytes={len(clip)}-")[0].status == 416


@pytest.mark.parametrize(
    "path",
    [
        "/run.json",
        "/../pyproject.toml",
        "/static/viewer.js",
        "/data/",
        "/data/answers-1.js",
        "/data/samples-01.js",
        "/data/answers-9999999999999.js",
        "/clips/7",
        "/clips/../0",
        "//evil/data/index.js/",
    ],
)
def test_nothing_else_is_there(port: int, path: str) -> None:
    assert get(port, path)[0].status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "iframe"},
    ],
)
def test_other_sites_read_nothing(port: int, headers: dict[str, str]) -> None:
    response, content = get(port, "/data/index.js", **headers)
    assert response.status == 403
    assert b"encodeonceData" not in content


def test_a_link_from_elsewhere_opens_the_page(port: int) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert get(port, "/", **headers)[0].status == 200


def test_only_reading_is_possible(port: int) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert get(port, "/", method)[0].status == 501


def test_a_port_that_is_taken_is_refused(port: int, tmp_path: Path) -> None:
    answers = read_answers([tmp_path / "run"])
    with pytest.raises(ViewError, match=rf"--port {port} cannot be used: .* --port 0"):
        make_server(Chunks(answers), Media(answers), port)


def test_an_export_holds_the_same_data_and_no_foreign_address(tmp_path: Path) -> None:
    answers = read_answers([demo_run(tmp_path / "run").path])
    chunks, folder = Chunks(answers), tmp_path / "page"
    for _ in range(2):  # an earlier export is replaced
        written = export(chunks, Media(answers), folder)
    assert {path.name for path in folder.iterdir()} == {*TYPES, "data"}
    assert content_of((folder / "data/answers-0.js").read_bytes())[1] == chunks.answers(0)
    assert (written.num_media, written.num_without_frames) == (2, 0)
    assert written.num_bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    for name in TYPES:
        assert not re.search(rb"https?://", (folder / name).read_bytes())
    page = (folder / "index.html").read_text()
    assert POLICY_ON_DISK in page and "{{" not in page
    assert not re.search(r"<script(?! defer src=\"\w+\.js\"></script>)|<style|style=| on\w+=", page)


@pytest.mark.parametrize("name", ["mine.txt", "data/mine.js"])
def test_an_export_deletes_nothing_that_is_not_its_own(tmp_path: Path, name: str) -> None:
    answers = read_answers([demo_run(tmp_path / "run", 1).path])
    mine = tmp_path / "page" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ViewError, match=rf"holds other files \({mine.name}\)"):
        export(Chunks(answers), Media(answers), tmp_path / "page")
    assert mine.read_text() == "mine"


def test_an_export_may_be_without_frames(tmp_path: Path) -> None:
    answers = read_answers([demo_run(tmp_path / "run", 2).path])
    export(Chunks(answers), Media(answers), tmp_path / "page", with_frames=False)
    names = {path.name for path in (tmp_path / "page/data").iterdir()}
    assert names == {"index.js", "samples-0.js", "answers-0.js"}


def test_media_that_are_gone_leave_the_answers(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        demo_records("none/full", 1),
        kv=[FULL],
        benchmarks=[{"name": "demo", "options": {"folder": str(tmp_path / "gone")}}],
    )
    answers = read_answers([run.path])
    numbers = Media(answers).numbers(answers.rows)
    assert numbers["numbers"] == [None]
    assert numbers["missing"]


def test_the_scripts_put_text_into_the_page_never_markup() -> None:
    for name in TYPES:
        text = page_file(name).decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def view(*words: object) -> Result:
    return CliRunner().invoke(app, ["view", *map(str, words)])


def test_the_command_writes_an_export(tmp_path: Path) -> None:
    run = demo_run(tmp_path / "run", 6).path
    done = view(run, "--export", tmp_path / "page", "--variants", "none/full")
    assert done.exit_code == 0, done.output
    assert "6 answers to 6 samples under 1 variant" in done.output
    assert "frames of 1 of 1 media" in done.output
    assert f"page: {tmp_path / 'page' / 'index.html'}" in done.output


def test_odd_input_is_refused_in_a_sentence(tmp_path: Path) -> None:
    run = demo_run(tmp_path / "run", 1).path
    (tmp_path / "file").write_text("")
    (run / "own.txt").write_text("")
    for words, said in (
        ([tmp_path / "none"], "is not the output folder of a run"),
        ([run, run, run], "got 3 folders"),
        ([run, "--export", tmp_path / "file"], "there is a file of this name"),
        ([run, "--export", run], "holds other files"),
        ([run, "--export", tmp_path / "p", "--port", "80"], "--export serves nothing"),
        ([run, "--variants", "x"], "there is no such variant"),
    ):
        done = view(*words)
        assert done.exit_code == 1, words
        assert said in " ".join(done.stderr.split()), words
    for words in ([], [run, "--port", "99999"], [run, "--port", "a"]):
        assert view(*words).exit_code == 2
