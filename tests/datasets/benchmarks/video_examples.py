"""Small data in the layouts in which video benchmarks are published. All of it made here."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import yaml

from tests.fixtures.clips import write_clip

FPS = 8
"""Of the clips, which have 24 frames."""


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


VIDEO_MME_ROWS: list[dict[str, Any]] = [
    {
        "video_id": "001",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Astronomy",
        "url": "https://example.org/aaaaaaaaaaa",
        "videoID": "aaaaaaaaaaa",
        "question_id": "001-1",
        "task_type": "Counting Problem",
        "question": "How many squares move?",
        "options": ["A. None.", "B. One.", "C. Two.", "D. Three."],
        "answer": "B",
    },
    {
        "video_id": "001",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Astronomy",
        "url": "https://example.org/aaaaaaaaaaa",
        "videoID": "aaaaaaaaaaa",
        "question_id": "001-2",
        "task_type": "Temporal Reasoning",
        "question": "Where does the square end?",
        "options": ["A. Left.", "B. Right.", "C. Above.", "D. Nowhere."],
        "answer": "B",
    },
    {
        "video_id": "601",
        "duration": "long",
        "domain": "Life Record",
        "sub_category": "Travel",
        "url": "https://example.org/bbbbbbbbbbb",
        "videoID": "bbbbbbbbbbb",
        "question_id": "601-1",
        "task_type": "Attribute Perception",
        "question": "What colour is the square?",
        "options": ["A. Red.", "B. Green.", "C. Blue.", "D. White."],
        "answer": "D",
    },
]

SRT = """1
00:00:00,000 --> 00:00:00,500
<font color="white" size=".72c">at the start</font>

2
00:00:01,000 --> 00:00:01,500
<font color="white" size=".72c">between two frames</font>

3
00:00:01,700 --> 00:00:02,200
<font color="white" size=".72c">in the
middle &amp; on two lines</font>
"""


def video_mme_example(folder: Path) -> Mapping[str, Any]:
    """Write two videos, one of them with subtitles."""
    write_parquet(folder / "videomme" / "test-00000-of-00001.parquet", VIDEO_MME_ROWS)
    for seed, name in enumerate(("aaaaaaaaaaa.mp4", "bbbbbbbbbbb.mp4")):
        write_clip(folder / "data" / name, seed=seed, fps=FPS)
    (folder / "subtitle").mkdir()
    (folder / "subtitle" / "aaaaaaaaaaa.srt").write_text(SRT, encoding="utf-8")
    return {"folder": folder}


LVB_ROWS: list[dict[str, Any]] = [
    {
        "video_id": "cccccccccccc",
        "question": "When the subtitle says 'go', what does the square do?",
        "question_wo_referring_query": "What does the square do?",
        "candidates": ["it moves", "it grows", "it turns", "it fades", "it stays"],
        "correct_choice": 0,
        "position": [3, 9],
        "topic_category": "NP-News-Programs",
        "question_category": "T2A",
        "level": "IntraMoment",
        "id": "cccccccccccc_0",
        "video_path": "cccccccccccc.mp4",
        "subtitle_path": "cccccccccccc_en.json",
        "duration_group": 15,
        "starting_timestamp_for_subtitles": 100,
        "duration": 3.0,
        "view_count": 7,
    },
    {
        "video_id": "dddddddddddd",
        "question": "Which of the two is white?",
        "question_wo_referring_query": "Which is white?",
        "candidates": ["the square", "the ground"],
        "correct_choice": 0,
        "position": [1],
        "topic_category": "LT-Life-Travel",
        "question_category": "S2O",
        "level": "IntraMoment",
        "id": "dddddddddddd_0",
        "video_path": "dddddddddddd.mp4",
        "subtitle_path": "dddddddddddd_en.json",
        "duration_group": 600,
        "starting_timestamp_for_subtitles": 0,
        "duration": 3.0,
        "view_count": 8,
    },
]
# The source of the first video is longer: its subtitles count from there.
LVB_SUBTITLES: Mapping[str, list[dict[str, Any]]] = {
    "cccccccccccc_en.json": [
        {"start": "00:01:30.000", "end": "00:01:32.000", "line": "before"},
        {"start": "00:01:40.900", "end": "00:01:41.000", "line": "go"},
        {"start": "00:01:42.000", "end": "00:01:42.200", "line": "no frame here"},
        {"start": "00:01:42.500", "end": "00:01:44.000", "line": "stop"},
    ],
    "dddddddddddd_en.json": [
        {"timestamp": [0.5, 1.5], "text": "white"},
        {"timestamp": [2.0, None], "text": "to the end"},
    ],
}


def longvideobench_example(folder: Path) -> Mapping[str, Any]:
    """Write two videos with subtitles of both forms."""
    write_json(folder / "lvb_val.json", LVB_ROWS)
    for name, entries in LVB_SUBTITLES.items():
        write_json(folder / "subtitles" / name, entries)
    for seed, row in enumerate(LVB_ROWS):
        write_clip(folder / "videos" / row["video_path"], seed=seed, fps=FPS)
    return {"folder": folder}


MLVU_TASKS = (
    "1_plotQA", "2_needle", "3_ego", "4_count", "5_order", "6_anomaly_reco", "7_topic_reasoning",
)  # fmt: skip


def mlvu_row(video: str, **changes: Any) -> dict[str, Any]:
    return {
        "video": video,
        "duration": 3,
        "question": "What colour is the square?",
        "candidates": ["Red", "Green", "Blue", "White"],
        "answer": "White",
        "question_type": "plotQA",
        **changes,
    }


def mlvu_example(folder: Path) -> Mapping[str, Any]:
    """Write one video with two questions a task."""
    for number, task in enumerate(MLVU_TASKS):
        video = f"{task[2:]}_{number}.mp4"
        rows = [mlvu_row(video), mlvu_row(video, question="What is it?", answer="Green")]
        write_json(folder / "json" / f"{task}.json", rows)
        write_clip(folder / "video" / task / video, seed=number, fps=FPS)
    return {"folder": folder}


VIDEO_MMMU_ROWS: Mapping[str, list[dict[str, Any]]] = {
    "Perception": [
        {
            "id": "dev_Biology_3",
            "question": "How many squares does the lecture show?",
            "options": [str(number) for number in range(1, 11)],
            "answer": "A",
            "question_type": "multiple-choice",
        }
    ],
    "Comprehension": [
        {
            "id": "dev_Biology_3",
            "question": "What would two squares do?",
            "options": ["meet", "part", "both"],
            "answer": "C",
            "question_type": "multiple-choice",
        }
    ],
    "Adaptation": [
        {
            "id": "dev_Biology_3",
            "question": "What does <image 1> show?",
            "options": ["a square", "a circle"],
            "answer": "A",
            "question_type": "multiple-choice",
            "image": {"bytes": b"not read", "path": "dev_Biology_3.png"},
        },
        {
            "id": "validation_Art_Theory_12",
            "question": "How many corners has it? <image 1>",
            "options": [],
            "answer": "4",
            "question_type": "open",
            "image": {"bytes": b"not read", "path": "validation_Art_Theory_12.png"},
        },
    ],
}


def video_mmmu_example(folder: Path) -> Mapping[str, Any]:
    """Write two lectures and the pictures of their adaptation questions."""
    for track, rows in VIDEO_MMMU_ROWS.items():
        write_parquet(folder / track / "test-00000-of-00001.parquet", rows)
    lectures = ("Science/dev_Biology_3", "Art/validation_Art_Theory_12")
    for seed, lecture in enumerate(lectures):
        write_clip(folder / f"{lecture}.mp4", seed=seed, fps=FPS)
        picture = f"{lecture.split('/')[1]}_image.mp4"
        write_clip(folder / "question_only" / picture, seed=seed, fps=FPS, num_frames=16)
    return {"folder": folder}


LMMS_TASK: Mapping[str, Any] = {
    "task": "moving_squares",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.json"}, "token": True},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_visual": "video",
    "doc_to_text": "{{question}}\n{{ options }}",
    "doc_to_choice": "options",
    "doc_to_target": "label",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "lmms_eval_specific_kwargs": {
        "default": {"pre_prompt": "", "post_prompt": "\nAnswer with the letter."},
        "other": {"pre_prompt": "Look. ", "post_prompt": ""},
    },
}
LMMS_ROWS: list[dict[str, Any]] = [
    {"video": "clips/e.mp4", "question": "What moves?", "options": ["a dog", "a square"],
     "label": 1, "kind": "object"},
    {"video": "clips/f.mp4", "question": "Where to?", "options": ["left", "right", "up"],
     "label": 1, "kind": "place"},
]  # fmt: skip


def lmms_eval_task_example(folder: Path, **changes: Any) -> Mapping[str, Any]:
    """Write a task file, its table and two videos."""
    file = folder / "task.yaml"
    file.write_text(yaml.safe_dump({**LMMS_TASK, **changes}, sort_keys=False), encoding="utf-8")
    write_json(folder / "questions.json", LMMS_ROWS)
    for seed, row in enumerate(LMMS_ROWS):
        write_clip(folder / row["video"], seed=seed, fps=FPS)
    return {"file": file, "media_root": folder}
