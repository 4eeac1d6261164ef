"""Skills to teach the demo's model, as questions about the demo's clips, all without options.

Run as `python -m encodeonce.datasets.demo.units`. The result is committed; what clips show follows
from the seed that they were built with.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from encodeonce.datasets.demo.build import DEFAULT_SEED, NUM_CLIPS, Row, draw_split
from encodeonce.datasets.demo.contents import NUM_SCENES, ORDINALS, Contents, name_of_place
from encodeonce.datasets.demo.sources import Split

Unit = Literal["place", "first", "number", "when", "numeral"]
UNITS: tuple[Unit, ...] = get_args(Unit)
MOST: dict[Split, int] = {"train": 8, "heldout": 4}
"""Questions of a unit about a clip."""

Asked = tuple[str, str]
"""A question and its answer."""


def ask(unit: Unit, scenes: Sequence[Contents]) -> list[Asked]:
    """Return all questions of a unit about a clip.

    ``place`` and ``when`` are the demo's own. ``first`` asks for a part of a list that the model
    can write. ``number`` and ``numeral`` want a scene's number for an answer, in new words and in
    those of ``when``: no model can answer both ``when`` and ``numeral``.
    """
    if unit == "place":
        return [
            (
                f"Which digit is at the {name_of_place(place)} in the {ORDINALS[n]} scene?",
                str(digit),
            )
            for n, scene in enumerate(scenes)
            for place, digit in scene.digits.items()
        ]
    if unit == "first":
        return [
            (f"Which digit comes first in the {ORDINALS[n]} scene?", str(digits[0]))
            for n, scene in enumerate(scenes)
            if len(digits := list(scene.digits.values())) > 1
        ]
    tiles = {scene.tile.color: n for n, scene in enumerate(scenes) if scene.tile is not None}
    return [_about_tile(unit, color, tiles[color]) for color in sorted(tiles)]


def _about_tile(unit: Unit, color: str, scene: int) -> Asked:
    if unit == "number":
        return f"What is the number of the scene that has the {color} tile?", str(scene + 1)
    answer = ORDINALS[scene] if unit == "when" else str(scene + 1)
    return f"Which scene has the {color} tile?", answer


def rows(seed: int = DEFAULT_SEED) -> list[Row]:
    """Return the lines of units.jsonl: for each clip and unit, some of its questions."""
    found = []
    for split, num_clips in NUM_CLIPS.items():
        rng = np.random.default_rng((seed, len(split), 2))
        for name, scenes, _ in draw_split(split, seed, num_clips):
            assert len(scenes) == NUM_SCENES
            for unit in UNITS:
                asked = ask(unit, scenes)
                chosen = sorted(rng.permutation(len(asked))[: MOST[split]].tolist())
                for number, (question, answer) in enumerate(asked[n] for n in chosen):
                    found.append(
                        {
                            "id": f"{name}-{unit}-{number}",
                            "video": f"clips/{name}.mp4",
                            "question": question,
                            "answer": answer,
                            "tags": {"unit": unit, "split": split},
                        }
                    )
    return found


def main() -> None:
    """Write units.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().folder
    lines = "".join(json.dumps(row) + "\n" for row in rows())
    (folder / "units.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
