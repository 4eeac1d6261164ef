"""Build the demo benchmark: short H.264 clips and three questions on each.

Run as `python -m encodeonce.datasets.demo.build`. The result is committed; building again with
the same library versions gives the same bytes.
"""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from encodeonce.datasets.demo.questions import (
    KINDS,
    MAX_COUNT,
    NUM_CHOICES,
    Question,
    draw_digits,
    draw_question,
)
from encodeonce.datasets.demo.scenes import draw_frame, draw_scene
from encodeonce.datasets.demo.sources import Sources, Split, load_sources
from encodeonce.datasets.media.write_video import write_video

logger = logging.getLogger(__name__)

NUM_CLIPS: dict[Split, int] = {"train": 12, "heldout": 36}
# Multiples of four, so that every letter is right equally often and guessing one earns 25 %.
NUM_CHOICE_CLIPS: dict[Split, int] = {"train": 8, "heldout": 20}
# A seed for which no constant guess earns more than 25 % in any kind and form of question.
DEFAULT_SEED = 8
FRAMES_PER_SCENE = 8
FRAMES_PER_SECOND = 8
CRF = 24

Glyphs = list[Iterator[np.ndarray]]


def draw_clip_frames(
    rng: np.random.Generator, digits: Sequence[int], glyphs: Glyphs, sources: Sources
) -> Iterator[np.ndarray]:
    """Yield the RGB frames of a clip, scene after scene."""
    for digit in digits:
        scene = draw_scene(rng, next(glyphs[digit]), sources)
        for moment in np.linspace(0, 1, FRAMES_PER_SCENE):
            yield draw_frame(scene, float(moment))


def plan_positions(rng: np.random.Generator, split: Split) -> list[int | None]:
    """Decide for each clip where the right option stands; None means a free answer."""
    num_choice = NUM_CHOICE_CLIPS[split]
    positions: list[int | None] = [i % NUM_CHOICES for i in range(num_choice)]
    positions += [None] * (NUM_CLIPS[split] - num_choice)
    return [positions[i] for i in rng.permutation(len(positions))]


def to_row(question: Question, name: str, split: Split) -> dict[str, object]:
    """Lay a question out as a line of questions.jsonl."""
    form = "choice" if question.choices else "free"
    return {
        "id": f"{name}-{question.kind}",
        "video": f"clips/{name}.mp4",
        "question": question.text,
        "choices": list(question.choices),
        "answer": question.answer,
        "tags": {"kind": question.kind, "split": split, "form": form},
    }


def build_split(folder: Path, split: Split, seed: int) -> list[dict[str, object]]:
    """Write the clips of one split and returns the rows of their questions."""
    rng = np.random.default_rng((seed, len(split)))
    sources = load_sources(split)
    # Each image is used once before any is used again.
    glyphs: Glyphs = [cycle(images) for images in sources.glyphs]
    positions = {kind: plan_positions(rng, split) for kind in KINDS}
    counted_in_form: dict[str, Iterator[int]] = {
        form: cycle(range(MAX_COUNT + 1)) for form in ("choice", "free")
    }
    rows = []
    for index in range(NUM_CLIPS[split]):
        name = f"{split}-{index:02d}"
        form = "free" if positions["count"][index] is None else "choice"
        counted = int(rng.integers(10))
        digits = draw_digits(rng, counted, next(counted_in_form[form]))
        frames = draw_clip_frames(rng, digits, glyphs, sources)
        write_video(folder / "clips" / f"{name}.mp4", frames, fps=FRAMES_PER_SECOND, crf=CRF)
        for kind in KINDS:
            question = draw_question(rng, kind, digits, counted, positions[kind][index])
            rows.append(to_row(question, name, split))
    return rows


def build(folder: Path, seed: int) -> None:
    """Build the whole benchmark into a folder."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rows = [row for split in NUM_CLIPS for row in build_split(folder, split, seed)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")
    size_bytes = sum(path.stat().st_size for path in (folder / "clips").iterdir())
    logger.info("%d questions, clips of %.2f MB together", len(rows), size_bytes / 1e6)


def main() -> None:
    """Read the command line and builds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(options.folder, options.seed)


if __name__ == "__main__":
    main()
