"""generation_kwargs of lmms-eval's tasks: supported, without effect, or refused."""

from typing import Any

import pytest

from encodeonce.harness.bridges.lmms_eval.generation import (
    UnsupportedRequest,
    Wanted,
    read_generation,
)
from encodeonce.models.spec import GenerationSpec

DEFAULT = GenerationSpec(max_new_tokens=1024, max_batch=4)


def read(**kwargs: Any) -> Wanted:
    return read_generation(kwargs, DEFAULT, "some_task")


def test_the_length_is_the_tasks_and_else_the_users() -> None:
    assert read(max_new_tokens=16).generation == GenerationSpec(max_new_tokens=16, max_batch=4)
    assert read().generation == DEFAULT


@pytest.mark.parametrize(
    "kwargs",
    [
        {"temperature": 0, "top_p": 1.0, "num_beams": 1, "do_sample": False},
        {"temperature": 0.0, "do_sample": True, "top_k": 1},
        {"temperature": None, "do_sample": None},
        {"temperature": 0.2, "do_sample": False},
        {"image_aspect_ratio": "original", "repetition_penalty": 1.0, "seed": 0},
        {"until": []},
    ],
)
def test_what_changes_nothing_in_greedy_generation_is_taken(kwargs: dict[str, Any]) -> None:
    assert read(**kwargs) == Wanted(generation=DEFAULT, until=())


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"temperature": 0.2}, "sampling.*--gen_kwargs do_sample=False,temperature=0"),
        ({"do_sample": True}, "sampling"),
        ({"do_sample": True, "temperature": 1.0}, "sampling"),
        ({"num_beams": 5}, "num_beams=5.*--gen_kwargs num_beams=1"),
        ({"repetition_penalty": 1.2}, "repetition_penalty=1.2"),
        ({"image_aspect_ratio": "pad"}, "image_aspect_ratio='pad'"),
        ({"skip_special_tokens": False}, "skip_special_tokens"),
        ({"visual_cot": True}, "visual_cot=True.*Known: max_new_tokens"),
        ({"max_new_tokens": 1.5}, "max_new_tokens must be"),
        ({"until": 3}, "until must be a text or texts; got 3"),
    ],
)
def test_what_would_be_ignored_is_refused_by_name(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedRequest, match=f"some_task.*{words}"):
        read(**kwargs)


@pytest.mark.parametrize(
    ("until", "text", "expected"),
    [
        (["\n\n"], "B\n\nBecause", "B"),
        ("Q:", "yes Q: and", "yes"),
        (["ASSISTANT:", "Q:"], "one Q: two ASSISTANT: three", "one"),
        (["</s>"], "as it is", "as it is"),
        (["B"], "B", ""),
        (["", "x"], "no stop", "no stop"),
    ],
)
def test_an_answer_ends_before_the_first_stop_string(until: Any, text: str, expected: str) -> None:
    assert read(until=until).cut(text) == expected
