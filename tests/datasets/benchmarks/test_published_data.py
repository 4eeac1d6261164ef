"""Data that are incomplete, or not as published: one message that says what to do."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import BenchmarkError, Sample
from tests.datasets.benchmarks.video_examples import (
    LVB_ROWS,
    VIDEO_MME_ROWS,
    VIDEO_MMMU_ROWS,
    longvideobench_example,
    mlvu_example,
    mlvu_row,
    video_mme_example,
    video_mmmu_example,
    write_json,
    write_parquet,
)

Write = Callable[[Path], Mapping[str, Any]]

# name: how to write it, its table, one of its videos, what the message tells to type
PUBLISHED: Mapping[str, tuple[Write, str, str, str]] = {
    "video_mme": (
        video_mme_example,
        "videomme/test-00000-of-00001.parquet",
        "data/bbbbbbbbbbb.mp4",
        "hf download lmms-lab/Video-MME",
    ),
    "longvideobench": (
        longvideobench_example,
        "lvb_val.json",
        "videos/dddddddddddd.mp4",
        "hf download longvideobench/LongVideoBench",
    ),
    "mlvu": (
        mlvu_example,
        "json/4_count.json",
        "video/4_count/count_3.mp4",
        "hf download MLVU/MVLU",
    ),
    "video_mmmu": (
        video_mmmu_example,
        "Comprehension/test-00000-of-00001.parquet",
        "Science/dev_Biology_3.mp4",
        "hf download lmms-lab/VideoMMMU",
    ),
}


def samples(name: str, options: Mapping[str, Any]) -> list[Sample]:
    return list(load_benchmark(name, options).samples())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_missing_table_is_named_with_what_to_download(name: str, tmp_path: Path) -> None:
    write, table, _, command = PUBLISHED[name]
    options = write(tmp_path)
    (tmp_path / table).unlink()
    with pytest.raises(BenchmarkError, match=f"{table} is not there.*{command}"):
        samples(name, options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_videos_are_counted_and_named_with_what_to_download(
    name: str, tmp_path: Path
) -> None:
    write, _, video, command = PUBLISHED[name]
    options = write(tmp_path)
    (tmp_path / video).unlink()
    with pytest.raises(
        BenchmarkError, match=f"1 of . media files are not in .*: {video}.*{command}"
    ):
        samples(name, options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_videos_that_were_not_unpacked_are_all_missing(name: str, tmp_path: Path) -> None:
    write, _, video, _ = PUBLISHED[name]
    options = write(tmp_path)
    shutil.rmtree(tmp_path / Path(video).parts[0])
    with pytest.raises(BenchmarkError, match=r"media files are not in .*(unpack|BY-NC-SA)"):
        samples(name, options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_table_that_arrived_in_part_is_refused(name: str, tmp_path: Path) -> None:
    write, table, _, _ = PUBLISHED[name]
    options = write(tmp_path)
    whole = (tmp_path / table).read_bytes()
    (tmp_path / table).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchmarkError, match=f"{table} (is not a whole parquet|cannot be read)"):
        samples(name, options)


def renamed(row: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in row.items()}


MME, LVB, MMMU = VIDEO_MME_ROWS[0], LVB_ROWS[0], VIDEO_MMMU_ROWS["Comprehension"][0]
MLVU = mlvu_row("count_3.mp4")
# name of the benchmark, rows in place of its table's, message
WRONG: Mapping[str, tuple[str, list[dict[str, Any]], str]] = {
    "a column of another name": (
        "video_mme", [renamed(MME, "videoID", "vid")], "row 1: videoID: is missing",
    ),
    "options as one text": (
        "video_mme", [{**MME, "options": "A. x B. y"}], r"options: must be a list",
    ),
    "a letter beyond the options": (
        "video_mme", [MME, {**MME, "question_id": "001-2", "answer": "E"}],
        "row 2: the answer 'E' is none of the letters A, B, C, D",
    ),
    "no letter": ("video_mme", [{**MME, "answer": ""}], "the answer '' is none of the letters"),
    "an unknown duration": ("video_mme", [{**MME, "duration": "epic"}], "duration: must be 'short"),
    "an id twice": (
        "video_mme", [MME, MME], r"row 2: the id '001-1' is taken already, by .*row 1",
    ),
    "no list of entries": ("longvideobench", {"a": 1}, "expected a list of entries, got dict"),
    "an entry that is no object": ("longvideobench", [3], "entry 1: must be a mapping of keys"),
    "a choice that is not there": (
        "longvideobench", [{**LVB, "correct_choice": 5}], "correct_choice 5 is none of the 5",
    ),
    "the test split": (
        "longvideobench", [{k: v for k, v in LVB.items() if k != "correct_choice"}],
        "correct_choice: is missing",
    ),
    "a LongVideoBench id twice": ("longvideobench", [LVB, LVB], "entry 2: the id .* entry 1"),
    "no candidates": (
        "mlvu", [{k: v for k, v in MLVU.items() if k != "candidates"}], "candidates: is missing",
    ),
    "a letter beyond two options": (
        "video_mmmu", [{**MMMU, "answer": "D"}], "'D' is none of the letters A, B, C",
    ),
    "an id without a subject": ("video_mmmu", [{**MMMU, "id": "Biology"}], "id: must match"),
    "an unknown subject": (
        "video_mmmu", [{**MMMU, "id": "dev_Alchemy_1"}], "the subject 'Alchemy'; known: Art, ",
    ),
    "a Video-MMMU id twice": ("video_mmmu", [MMMU, MMMU], "row 2: the id .* taken already"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_rows_that_are_not_as_published_are_refused(case: str, tmp_path: Path) -> None:
    name, rows, message = WRONG[case]
    write, table, _, _ = PUBLISHED[name]
    options = write(tmp_path)
    path = tmp_path / table
    (write_json if path.suffix == ".json" else write_parquet)(path, rows)
    with pytest.raises(BenchmarkError, match=message):
        samples(name, options)


def test_what_was_not_asked_for_need_not_be_there(tmp_path: Path) -> None:
    options = video_mme_example(tmp_path / "mme")
    (tmp_path / "mme" / "data" / "bbbbbbbbbbb.mp4").unlink()
    assert len(samples("video_mme", {**options, "durations": ["short", "medium"]})) == 2
    options = mlvu_example(tmp_path / "mlvu")
    shutil.rmtree(tmp_path / "mlvu" / "video" / "1_plotQA")
    (tmp_path / "mlvu" / "json" / "1_plotQA.json").unlink()
    assert len(samples("mlvu", {**options, "tasks": ["order", "ego"]})) == 4
    options = longvideobench_example(tmp_path / "lvb")
    (tmp_path / "lvb" / "videos" / "dddddddddddd.mp4").unlink()
    (only,) = samples("longvideobench", {**options, "duration_groups": [15]})
    assert only.id == "cccccccccccc_0"
    options = video_mmmu_example(tmp_path / "mmmu")
    shutil.rmtree(tmp_path / "mmmu" / "question_only")
    assert len(samples("video_mmmu", {**options, "tracks": ["perception", "adaptation"]})) == 3


def test_a_table_is_not_read_for_its_pictures(tmp_path: Path) -> None:
    options = video_mmmu_example(tmp_path)
    asked = samples("video_mmmu", {**options, "tracks": ["adaptation"]})
    assert [sample.target for sample in asked] == ["A", "4"]
    assert "not read" not in json.dumps([sample.question for sample in asked])


def test_a_folder_may_be_relative_or_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_mme_example(tmp_path / "mme")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("mme", "~/mme"):
        benchmark = load_benchmark("video_mme", {"folder": folder})
        monkeypatch.chdir("/")
        assert benchmark.media_root == tmp_path / "mme"
        assert list(benchmark.samples())
