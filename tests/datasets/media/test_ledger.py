"""The ledger: lasts across processes, reads whole lines only, and never gets in the way."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from encodeonce.datasets.media.ledger import Ledger

WRITER = """
import sys
from pathlib import Path
from encodeonce.datasets.media.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(300):
    ledger.put(("writer", sys.argv[2], number), {"text": "x" * (number * 7 % 5000)})
"""


def test_another_process_sees_what_was_put(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "ledger.jsonl"
    reader = Ledger(path)
    assert reader.get(("a", 1)) is None
    Ledger(path).put(("a", 1), [1, "é"])
    assert reader.get(("a", 1)) == [1, "é"]
    Ledger(path).put(("b", 2), {"c": None})
    assert reader.get(("b", 2)) == {"c": None}


def test_writers_side_by_side_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(writer)])
        for writer in range(4)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    assert len(lines) == 4 * 300
    ledger = Ledger(path)
    for writer in range(4):
        for number in range(300):
            value = ledger.get(("writer", str(writer), number))
            assert value == {"text": "x" * (number * 7 % 5000)}


@pytest.mark.parametrize("torn", [b'{"key":["torn"],"val', b"\xff\xfe", b'["not ours"]', b"null"])
def test_a_torn_line_costs_itself_and_no_other(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).put(("first",), 1)
    with path.open("ab") as file:
        file.write(torn)
    Ledger(path).put(("second",), 2)
    ledger = Ledger(path)
    assert [ledger.get((key,)) for key in ("first", "torn", "second")] == [1, None, 2]


def test_a_line_still_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    line = b'{"key":["late"],"value":7}\n'
    path.write_bytes(line[:10])
    ledger = Ledger(path)
    assert ledger.get(("late",)) is None
    with path.open("ab") as file:
        file.write(line[10:])
    assert ledger.get(("late",)) == 7


def test_an_unwritable_place_is_logged_once_and_remembered_in_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "ledger.jsonl")
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            ledger.put(("key", number), number)
    assert [ledger.get(("key", number)) for number in range(3)] == [0, 1, 2]
    assert len(caplog.records) == 1
    assert "will not be remembered" in caplog.text
