"""A damaged file of an output folder is named, with the line, and what to type."""

import json
import subprocess
from pathlib import Path

import pytest

from encodeonce.cache_store import durable
from encodeonce.harness.run.folder import RunFolderError
from encodeonce.harness.run.jsonl import DamagedFile
from tests.harness.run.test_folder import config, create, record, write

GOOD = json.dumps(record("1", "A").to_dict())
OUTCOME = {"item": "a", "status": "ok", "error": None}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1, 2]", "a record is an object, not a list"),
        ("null", "a record is an object, not null"),
        ("{}", "a record lacks the key 'run'"),
        (GOOD.replace('"question": "?", ', ""), "a record lacks the key 'question'"),
        (GOOD.replace('"score": null', '"score": "high"'), "score: must be a number"),
        (GOOD.replace('"num_units": 0', '"num_units": []'), "cache.num_units"),
        (GOOD.replace("none/full", "full"), "'full' is not a variant's name"),
        (GOOD.replace('"finished_at": null', '"finished_at": "noon"'), "finished_at"),
        ('{"a":' + "[" * 100_000, "nested more than 100 deep"),
        ("", "it is empty"),
        ("not json", "it is not JSON"),
    ],
)
def test_a_record_that_is_none_is_named_with_its_line(tmp_path: Path, line: str, why: str) -> None:
    folder = create(config(tmp_path))
    (tmp_path / "records.jsonl").write_text(f"{GOOD}\n{line}\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(DamagedFile) as caught:
        folder.records("records")
    message = str(caught.value)
    assert f"{tmp_path / 'records.jsonl'}, line 2 is damaged: " in message
    assert why in message
    assert len(message) < 600 + 2 * len(str(tmp_path))
    command = message.partition("(type: ")[2].partition(")")[0]
    subprocess.run(command, shell=True, check=True)
    assert folder.answered("records") == {("b", "1", "none/full")}


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        ([], "an outcome of precompute is an object, not a list"),
        ({"item": "a"}, "lacks the key 'status'"),
        (OUTCOME, "comes without its value or error"),
        ({**OUTCOME, "value": {"media": "m"}}, "lacks the key 'value.cache'"),
        ({"item": "a", "status": "failed", "value": {"media": 1}}, "value"),
    ],
)
def test_a_line_of_precomputes_journal_is_named_too(
    tmp_path: Path, outcome: object, why: str
) -> None:
    folder = create(config(tmp_path))
    (tmp_path / "precompute.jsonl").write_text(json.dumps(outcome) + "\n", encoding="utf-8")
    with pytest.raises(DamagedFile, match=r"precompute\.jsonl, line 1 is damaged") as caught:
        folder.precompute_outcomes()
    assert why in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"finger', "null", '{"config": 3}', "[" * 9999])
def test_a_damaged_description_is_named_and_written_anew_without_losing_answers(
    tmp_path: Path, text: str
) -> None:
    folder = create(config(tmp_path))
    whole = folder.description()
    with folder.writer("records") as file:
        file.write({**record("1", "A").to_dict(), "run": whole["fingerprint"]})
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    for use in (folder.description, lambda: create(config(tmp_path))):
        with pytest.raises(RunFolderError) as caught:
            use()
        assert f"{tmp_path / 'run.json'} is damaged: " in str(caught.value)
    command = str(caught.value).partition("Type: ")[2].partition(",")[0]
    subprocess.run(command, shell=True, check=True)
    assert create(config(tmp_path)).description() == whole
    assert folder.answered("records") == {("b", "1", "none/full")}


def test_a_folder_without_description_is_not_taken_for_another_run(tmp_path: Path) -> None:
    write(create(config(tmp_path)), record("1", "A"))
    (tmp_path / "run.json").unlink()
    with pytest.raises(RunFolderError, match=r"answers of another run in records\.jsonl"):
        create(config(tmp_path))


def test_the_description_is_synced_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = durable.os.fsync, Path.replace
    monkeypatch.setattr(durable.os, "fsync", lambda file: (calls.append("sync"), fsync(file)))
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (calls.append("rename"), replace(self, to))[1]
    )
    create(config(tmp_path))
    assert calls == ["sync", "rename", "sync"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
