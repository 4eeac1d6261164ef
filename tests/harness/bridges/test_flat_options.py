"""A configuration written flat: every field has a name, by which mistakes are reported."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import Field

from encodeonce.datasets.media.sampling import EveryInterval, UniformInclusive, UniformInterior
from encodeonce.harness.bridges.flat_options import Arguments
from encodeonce.harness.bridges.requests import VariantConfig
from encodeonce.harness.run.config import AnswerConfig, ConfigError
from encodeonce.models.spec import VisionSpec

OPTIONS = Arguments(
    config=VariantConfig,
    what="options",
    flat=("model", "frames", "vision", "generation", "cache"),
    renamed={("model", "path"): "pretrained", ("cache", "path"): "store"},
)


class Later(AnswerConfig):
    """A configuration with two more fields."""

    adapter: str = "none"
    eyes: VisionSpec = Field(default_factory=VisionSpec)


def read(**given: Any) -> VariantConfig:
    return OPTIONS.read(given)


def refusal(**given: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**given)
    return str(caught.value)


def test_every_field_of_every_section_has_a_name() -> None:
    names = OPTIONS.names()
    assert names["dtype"] == ("model", "dtype")
    assert names["pretrained"] == ("model", "path")
    assert names["store"] == ("cache", "path")
    assert names["video_backend"] == ("video_backend",)
    assert names["fps"] == ("frames", "fps")
    assert len(set(names.values())) == len(names)
    assert "path" not in names


def test_a_new_field_is_a_new_argument() -> None:
    later = Arguments(config=Later, what="options", flat=("model",))
    names = later.names()
    assert names["adapter"] == ("adapter",)
    assert names["eyes"] == ("eyes", "tap")
    assert names["eyes.micro_batch"] == ("eyes", "micro_batch")
    config = later.read({"path": "demo", "adapter": "lora", "eyes": "projected"})
    assert (config.adapter, config.eyes.tap, config.vision.tap) == ("lora", "projected", "tower")


def test_what_two_sections_have_is_told_apart() -> None:
    both = Arguments(config=Later, what="options", flat=("model", "vision", "eyes"))
    assert both.names()["vision.tap"] == ("vision", "tap")
    assert both.names()["eyes.tap"] == ("eyes", "tap")


@pytest.mark.parametrize(
    "given",
    [
        {"kv": "snapkv", "kv.keep": 0.25, "weights": "rtn"},
        {"kv.method": "snapkv", "kv.keep": 0.25, "weights.method": "rtn"},
        {"kv": '{"method": "snapkv", "compression_ratio": 0.75}', "weights": '{"method": "rtn"}'},
    ],
)
def test_a_variant_is_said_by_its_name_or_in_json(given: dict[str, Any]) -> None:
    config = read(pretrained="demo", **given)
    assert (config.kv.method, config.kv.keep) == ("snapkv", 0.25)
    assert config.weights.method == "rtn"


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
        return (
            replace(OPTIONS, defaults=defaults).read({"pretrained": "demo", **given}).cache.on_miss
        )

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
        ({}, "options: pretrained: is missing"),
        ({"pretrained": "demo", "num_frames": 0}, "options: num_frames: .*; got 0"),
        ({"pretrained": "demo", "dtype": "int3"}, "options: dtype: .*'float32'.*; got 'int3'"),
        (
            {"pretrained": "demo", "fps": 1},
            "options: fps: unknown key where policy is uniform_inclusive. Allowed: policy, num_fr",
        ),
        ({"pretrained": "demo", "frames": "{half"}, "options: frames: it is not JSON: "),
        ({"pretrained": "demo", "kv": "snapk"}, "options: kv: .*no method 'snapk'"),
        ({"pretrained": "demo", "weights": "rnt"}, "options: weights: .*Did you mean 'rtn'"),
        ({"pretrained": "demo", "kv.keep": 0.5}, "options: kv: is missing"),
    ],
)
def test_a_wrong_value_is_named_as_the_user_named_it(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(**given)


def test_an_argument_by_its_old_name_is_read_with_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    assert read(pretrained="demo", decoder="pyav").video_backend == "pyav"
    assert "options: decoder is now video_backend" in caplog.text
    message = refusal(pretrained="demo", decoder="pyav", video_backend="pyav")
    assert "decoder is the old name of video_backend" in message
    assert "decoder" not in OPTIONS.names()
