"""The code of the tasks beside this file: lmms-eval imports it by their ``!function``."""

import os
import time

import av
import numpy as np
from PIL import Image

NUM_FRAMES = 8
FOLLOW_UP = "Which digit is on the red tile?"


def video(doc: dict) -> list[str]:
    time.sleep(float(os.environ.get("DEMO_TASK_PAUSE_S", "0")))
    return [doc["video"]]


def frames(doc: dict) -> list[Image.Image]:
    """The frames that encodeonce's default sampling takes, as pictures."""
    with av.open(doc["video"]) as container:
        every = [frame.to_image() for frame in container.decode(video=0)]
    return [every[n] for n in np.linspace(0, len(every) - 1, NUM_FRAMES, dtype=int)]


def prompt(doc: dict, lmms_eval_specific_kwargs: dict | None = None) -> str:
    return doc["prompt"]


def rounds(
    doc: dict,
    lmms_eval_specific_kwargs: dict | None = None,
    previous_output: list[str] | None = None,
    round_idx: int | None = None,
    previous_round_info: list[str] | None = None,
) -> str | tuple:
    """Ask the question, then another one on the same clip, and note what was answered."""
    if round_idx is None:
        return doc["prompt"]
    notes = [*(previous_round_info or []), previous_output[-1]]
    if round_idx == 2:
        assert notes == previous_output
        return None, None, True, previous_output, notes
    return [doc["video"]], FOLLOW_UP, False, previous_output, notes


def right(doc: dict, results: list[str]) -> dict[str, float]:
    return {"right": float(results[0].strip().lower() == doc["right"].lower())}


def both_rounds(doc: dict, results: list[list[str]]) -> dict[str, float]:
    (answers,) = results
    assert len(answers) == 2
    return {"right": float(answers[0].lower() == doc["right"].lower())}
