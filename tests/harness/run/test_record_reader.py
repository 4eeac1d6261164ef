"""Records read quickly are those read with care, and share what they say alike."""

import json
from pathlib import Path

import pytest

from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.jsonl import DamagedFile, JsonLinesWriter, read_lines
from encodeonce.harness.run.record import CacheUse, Record, SampleError
from encodeonce.harness.run.record_reader import RecordReader
from encodeonce.harness.run.stored import record_of


def a_record(number: int, **fields: object) -> Record:
    common = {
        "run": "f" * 64,
        "benchmark": "questions",
        "sample": f"s{number}",
        "group": "g",
        "question": "What happens in the video, and why does nobody look at it while it does?",
        "target": "A",
        "choices": ("a dog runs through the park", "nothing"),
        "tags": {"task": "order"},
        "media_sha256": ("a" * 64,),
        "logits_sha256": "d" * 64,
        "first_logits": {"319": 1.5},
        "seconds": {"read": 0.25},
        "cache": CacheUse(num_units=4, num_hits=4),
    }
    return Record(**{**common, **fields})  # type: ignore[arg-type]


ODD = [
    a_record(0),
    a_record(1, error=SampleError(type="UndecodableMedia", message="clip \udce4.mp4")),
    a_record(2, tags={}, choices=(), media_sha256=(), score=None, text="ä\u2028"),
    a_record(3, log_probs={"A": float("-inf")}, finished_at="2026-01-01T00:00:00.000+00:00"),
]


def line_of(record: Record) -> bytes:
    text = json.dumps(record.to_dict(), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")


@pytest.mark.parametrize("record", ODD, ids=lambda record: record.sample)
def test_the_quick_way_and_the_slow_one_read_the_same(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(line_of(record) + b"\n")
    read = RecordReader(with_logits=True)
    (found,) = read_lines(path, read.slow, read.quick)
    (slow,) = read_lines(path, record_of)
    assert found == slow == record


def test_lines_of_this_version_need_no_slow_way() -> None:
    read = RecordReader(with_logits=True)
    assert read.quick(line_of(ODD[0])) == ODD[0]


def test_what_records_say_alike_is_in_memory_once() -> None:
    read = RecordReader(with_logits=False)
    one, two = (read.quick(line_of(a_record(number))) for number in range(2))
    for name in ("run", "question", "choices", "media_sha256", "tags", "cache", "log_probs"):
        assert getattr(one, name) is getattr(two, name), name
    assert one.first_logits == {}
    assert (one.sample, two.sample) == ("s0", "s1")


@pytest.mark.parametrize("variant", ["none", "/full", ""])
def test_a_line_that_is_no_record_is_refused_in_both_ways(tmp_path: Path, variant: str) -> None:
    content = {**a_record(0).to_dict(), "variant": variant}
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(a_record(1).to_dict()) + "\n" + json.dumps(content) + "\n")
    read = RecordReader(with_logits=True)
    with pytest.raises(DamagedFile, match="line 2 is damaged"):
        list(read_lines(path, read.slow, read.quick))


@pytest.mark.parametrize("size", [10, 64 * 1024, 200_000])
def test_a_torn_last_line_is_cut_off_however_long_it_is(tmp_path: Path, size: int) -> None:
    path = tmp_path / "lines.jsonl"
    whole = b'{"text": "' + b"x" * 70_000 + b'"}\n'
    path.write_bytes(whole + b"y" * size)
    with JsonLinesWriter(path) as file:
        file.write({"n": 1})
    assert path.read_bytes() == whole + b'{"n": 1}\n'
    path.write_bytes(b"z" * size)
    with JsonLinesWriter(path) as file:
        file.write({"n": 2})
    assert path.read_bytes() == b'{"n": 2}\n'


def test_a_folders_records_come_without_logits_if_nobody_wants_them(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.writer("records") as file:
        file.write(ODD[0].to_dict())
    assert folder.records("records")[0].first_logits == {"319": 1.5}
    assert folder.records("records")[0].logits_sha256 == "d" * 64
    (lean,) = folder.records("records", with_logits=False)
    assert (lean.first_logits, lean.logits_sha256) == ({}, None)
