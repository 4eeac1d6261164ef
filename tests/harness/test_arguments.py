"""A configuration written flat: every field has a name, and mistakes are told with it."""

from typing import Any

import pytest
from pydantic import Field

from encodeonce.datasets.sampling import EveryInterval, UniformInclusive, UniformInterior
from encodeonce.harness.arguments import argument_names, read_arguments
from encodeonce.harness.config import AnswerConfig, ConfigError
from encodeonce.models.spec import VisionSpec

RENAMED = {("model", "path"): "pretrained", ("cache", "path"): "store"}


class Later(AnswerConfig):
    """A configuration that has grown two fields."""

    weights: str = "none"
    kv: VisionSpec = Field(default_factory=VisionSpec)


def read(**given: Any) -> AnswerConfig:
    return read_arguments(AnswerConfig, given, what="options", renamed=RENAMED, defaults={})


def refusal(**given: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**given)
    return str(caught.value)


def test_every_field_of_every_section_has_a_name() -> None:
    names = argument_names(AnswerConfig, RENAMED)
    assert names["dtype"] == ("model", "dtype")
    assert names["pretrained"] == ("model", "path")
    assert names["store"] == ("cache", "path")
    assert names["decoder"] == ("decoder",)
    assert names["fps"] == ("frames", "fps")
    assert len(set(names.values())) == len(names)
    assert "path" not in names


def test_a_new_field_is_a_new_argument_and_what_two_sections_have_is_told_apart() -> None:
    names = argument_names(Later, RENAMED)
    assert names["weights"] == ("weights",)
    assert names["kv.tap"] == ("kv", "tap")
    assert names["vision.tap"] == ("vision", "tap")
    given = {"pretrained": "demo", "weights": "int8", "kv": '{"tap": "projected"}'}
    config = read_arguments(Later, given, what="options", renamed=RENAMED, defaults={})
    assert (config.weights, config.kv.tap, config.vision.tap) == ("int8", "projected", "tower")


def test_values_reach_their_sections() -> None:
    config = read(pretrained="demo", dtype="float32", tap="projected", max_new_tokens=7)
    assert config.model.dtype == "float32"
    assert config.vision.tap == "projected"
    assert config.generation.max_new_tokens == 7


@pytest.mark.parametrize(
    ("given", "frames"),
    [
        ({}, UniformInclusive(num_frames=8)),
        ({"num_frames": 3}, UniformInclusive(num_frames=3)),
        ({"policy": "uniform_interior", "num_frames": 3}, UniformInterior(num_frames=3)),
        ({"policy": "fps", "fps": 2.0}, EveryInterval(fps=2.0)),
        ({"frames": '{"policy": "fps", "fps": 2}'}, EveryInterval(fps=2.0)),
    ],
)
def test_frames_are_chosen_as_in_a_run_file(given: dict[str, Any], frames: object) -> None:
    assert read(pretrained="demo", **given).frames == frames


def test_defaults_hold_beside_other_values_of_their_section_and_give_way_to_given_ones() -> None:
    def on_miss(**given: Any) -> str:
        defaults = {("cache", "on_miss"): "encode"}
        given = {"pretrained": "demo", **given}
        config = read_arguments(
            AnswerConfig, given, what="options", renamed=RENAMED, defaults=defaults
        )
        return config.cache.on_miss

    assert on_miss() == on_miss(store="elsewhere") == "encode"
    assert on_miss(on_miss="error") == "error"


def test_every_unknown_argument_is_named_with_the_allowed_ones_and_a_guess() -> None:
    message = refusal(pretraind="demo", colour=1)
    assert "options: 'colour' is unknown. Allowed: " in message
    assert "num_frames" in message
    assert "Did you mean 'pretrained'?" in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "options: pretrained is missing"),
        ({"pretrained": "demo", "num_frames": 0}, "options: num_frames: .*; got 0"),
        ({"pretrained": "demo", "dtype": "int3"}, "options: dtype: .*'float32'.*; got 'int3'"),
        ({"pretrained": "demo", "fps": 1}, "fps does not belong to frames.uniform_inclusive"),
        ({"pretrained": "demo", "frames": "{half"}, "options: frames is not JSON"),
    ],
)
def test_a_wrong_value_is_named_as_the_user_named_it(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(**given)
