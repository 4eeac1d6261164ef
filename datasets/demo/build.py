"""Build the demo benchmark: short H.264 clips and a question of each kind on each.

Run as `python -m encodeonce.datasets.demo.build`. The result is committed; building again with
the same library versions gives the same bytes. With other numbers of clips, another seed and a
folder of its own, it makes more clips of that kind, to train on.
"""

import argparse
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from encodeonce.datasets.demo.contents import Contents
from encodeonce.datasets.demo.questions import (
    FORMS,
    KINDS,
    LISTED_KINDS,
    NUM_CHOICES,
    Form,
    Kind,
    Question,
    draw_clip,
    draw_question,
)
from encodeonce.datasets.demo.scenes import draw_frame, draw_scene
from encodeonce.datasets.demo.sources import Sources, Split, load_sources
from encodeonce.datasets.media.write_video import write_video

logger = logging.getLogger(__name__)

# Multiples of twelve: each form equally often, and in each every option equally often right.
NUM_CLIPS: dict[Split, int] = {"train": 12, "heldout": 24}
# A seed for which no constant guess earns more than a quarter in any kind and form.
DEFAULT_SEED = 171
FRAMES_PER_SCENE = 8
FRAMES_PER_SECOND = 8
CRF = 22

Glyphs = list[Iterator[np.ndarray]]
Row = dict[str, Any]


def draw_clip_frames(
    rng: np.random.Generator, scenes: Sequence[Contents], glyphs: Glyphs, sources: Sources
) -> Iterator[np.ndarray]:
    """Yield the RGB frames of a clip, scene after scene."""
    for contents in scenes:
        chosen = {place: next(glyphs[digit]) for place, digit in contents.digits.items()}
        scene = draw_scene(rng, contents, chosen, sources)
        for moment in np.linspace(0, 1, FRAMES_PER_SCENE):
            yield draw_frame(scene, float(moment))


def plan_forms(rng: np.random.Generator, kind: Kind, num_clips: int) -> list[tuple[Form, int]]:
    """Decide for each clip the form of its question of a kind, and where the right option is."""
    if kind in LISTED_KINDS:
        return [("free", 0)] * num_clips
    planned = [(FORMS[i % len(FORMS)], i // len(FORMS) % NUM_CHOICES) for i in range(num_clips)]
    return [planned[i] for i in rng.permutation(num_clips)]


def to_row(question: Question, name: str, split: Split, form: Form) -> Row:
    """Lay a question out as a line of questions.jsonl."""
    return {
        "id": f"{name}-{question.kind}",
        "video": f"clips/{name}.mp4",
        "question": question.text,
        "choices": list(question.choices),
        "answer": question.answer,
        "tags": {"kind": question.kind, "split": split, "form": form},
    }


def draw_split(
    split: Split, seed: int, num_clips: int
) -> list[tuple[str, list[Contents], list[Row]]]:
    """Draw each clip of a split: its name, what it shows, and the rows of its questions."""
    rng = np.random.default_rng((seed, len(split)))
    forms = {kind: plan_forms(rng, kind, num_clips) for kind in KINDS}
    clips = []
    for index in range(num_clips):
        name = f"{split}-{index:02d}"
        scenes = draw_clip(rng)
        rows = []
        for kind in KINDS:
            form, position = forms[kind][index]
            question = draw_question(rng, kind, scenes, None if form == "free" else position)
            rows.append(to_row(question, name, split, form))
        clips.append((name, scenes, rows))
    return clips


def build_split(folder: Path, split: Split, seed: int, num_clips: int) -> list[Row]:
    """Write the clips of one split and return the rows of their questions."""
    # Apart from what the questions are drawn with: those can then be looked at without pictures.
    rng = np.random.default_rng((seed, len(split), 1))
    sources = load_sources(split)
    # Each image is used once before any is used again.
    glyphs: Glyphs = [cycle(images) for images in sources.glyphs]
    clips = draw_split(split, seed, num_clips)
    for name, scenes, _ in clips:
        frames = draw_clip_frames(rng, scenes, glyphs, sources)
        write_video(folder / "clips" / f"{name}.mp4", frames, fps=FRAMES_PER_SECOND, crf=CRF)
    return [row for _, _, rows in clips for row in rows]


def build(folder: Path, seed: int, num_clips: Mapping[Split, int]) -> None:
    """Build a whole benchmark into a folder."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rows = [
        row for split, count in num_clips.items() for row in build_split(folder, split, seed, count)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")
    size_bytes = sum(path.stat().st_size for path in (folder / "clips").iterdir())
    logger.info("%d questions, clips of %.2f MB together", len(rows), size_bytes / 1e6)


def main() -> None:
    """Read the command line and builds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    for split, count in NUM_CLIPS.items():
        parser.add_argument(f"--{split}", type=int, default=count, metavar="CLIPS")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(options.folder, options.seed, {split: getattr(options, split) for split in NUM_CLIPS})


if __name__ == "__main__":
    main()
