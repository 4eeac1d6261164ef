"""The committed demo benchmark is consistent, small, and cannot be passed by guessing."""

import json
import string
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import encodeonce.datasets.prompts as prompts

# Found from a module's file: the folder mapping makes importlib.resources unreliable here.
DEMO = Path(prompts.__file__).parent / "demo"
MAX_BYTES = 2_000_000
NUM_SCENES, FRAMES_PER_SCENE = 8, 8
KINDS = {"place", "tile", "when", "count", "list", "track"}
SINGLE = KINDS - {"list", "track"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    text = (DEMO / "questions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_row_has_the_documented_fields(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert set(row) == {"id", "video", "question", "choices", "answer", "tags"}
        assert set(row["tags"]) == {"kind", "split", "form"}
        assert row["tags"]["split"] in {"train", "heldout"}
        assert row["tags"]["form"] in ({"letter", "text"} if row["choices"] else {"free"})


def test_ids_are_unique(rows: list[dict[str, Any]]) -> None:
    assert len({row["id"] for row in rows}) == len(rows)


def test_every_clip_has_one_question_of_each_kind(rows: list[dict[str, Any]]) -> None:
    kinds_by_clip = defaultdict(list)
    for row in rows:
        kinds_by_clip[row["video"]].append(row["tags"]["kind"])
    assert all(sorted(kinds) == sorted(KINDS) for kinds in kinds_by_clip.values())
    assert len(kinds_by_clip) >= 24


def test_questions_and_files_name_the_same_clips(rows: list[dict[str, Any]]) -> None:
    on_disk = {f"clips/{path.name}" for path in (DEMO / "clips").iterdir()}
    assert {row["video"] for row in rows} == on_disk


def test_assets_stay_small() -> None:
    assets = [path for path in DEMO.rglob("*") if path.suffix in {".mp4", ".jsonl"}]
    assert sum(path.stat().st_size for path in assets) <= MAX_BYTES


def test_answers_of_choice_questions_are_letters_of_options(rows: list[dict[str, Any]]) -> None:
    for row in (row for row in rows if row["choices"]):
        assert len(set(row["choices"])) == len(row["choices"]) == 4
        assert row["answer"] in string.ascii_uppercase[: len(row["choices"])]


def test_splits_share_no_clip(rows: list[dict[str, Any]]) -> None:
    clips = {
        split: {row["video"] for row in rows if row["tags"]["split"] == split}
        for split in ("train", "heldout")
    }
    assert not clips["train"] & clips["heldout"]
    assert len(clips["train"]) == 12
    assert len(clips["heldout"]) == 24


@pytest.mark.parametrize("kind", sorted(SINGLE))
@pytest.mark.parametrize("form", ["letter", "text", "free"])
def test_a_constant_guess_earns_at_most_a_quarter(
    rows: list[dict[str, Any]], kind: str, form: str
) -> None:
    answers = [
        row["answer"]
        for row in rows
        if row["tags"] == {"kind": kind, "split": "heldout", "form": form}
    ]
    assert answers
    assert Counter(answers).most_common(1)[0][1] <= len(answers) / 4


@pytest.mark.parametrize("kind", ["list", "track"])
def test_lists_have_two_to_four_digits_and_are_hardly_ever_the_same(
    rows: list[dict[str, Any]], kind: str
) -> None:
    answers = [row["answer"] for row in rows if row["tags"]["kind"] == kind]
    lengths = {len(answer.split()) for answer in answers}
    assert lengths == {2, 3, 4}
    assert all(digit in set(string.digits) for answer in answers for digit in answer.split())
    assert Counter(answers).most_common(1)[0][1] <= 2


def test_eight_frames_of_both_samplings_hit_every_scene_once(rows: list[dict[str, Any]]) -> None:
    num_frames = NUM_SCENES * FRAMES_PER_SCENE
    inclusive = np.linspace(0, num_frames - 1, NUM_SCENES)
    interior = np.arange(1, NUM_SCENES + 1) * num_frames / (NUM_SCENES + 1)
    for rounded in (inclusive, inclusive.round(), interior, interior.round()):
        scenes = rounded.astype(int) // FRAMES_PER_SCENE
        assert scenes.tolist() == list(range(NUM_SCENES))
    for video in {row["video"] for row in rows}:
        with av.open(str(DEMO / video)) as container:
            assert sum(1 for _ in container.decode(video=0)) == num_frames


def test_prompt_of_a_choice_question() -> None:
    assert prompts.format_question("Which digit?", ["7", "3"]) == (
        "Which digit?\nA. 7\nB. 3\nAnswer with the option's letter from the given choices directly."
    )


def test_prompt_of_a_free_question() -> None:
    assert prompts.format_question("Which digit?", []) == (
        "Which digit?\nAnswer the question using a single word or phrase."
    )


def test_more_choices_than_letters_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 26"):
        prompts.format_question("Which?", [str(i) for i in range(27)])
