"""Options described in words, and run-file lines that can be used verbatim."""

from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.datasets.options import Option, options_of, run_file_entry
from encodeonce.datasets.registry import benchmark_class, benchmark_names, load_benchmark


class Inner(BaseModel):
    """What is inside."""

    low: float = Field(default=0.5, description="The lower one.")


class Example(BaseModel):
    """Options of all kinds."""

    folder: Path = Field(description="The data.", examples=["/data/x"])
    size: int = Field(description="How large.")
    kinds: tuple[Literal["a", "b"], ...] = Field(default=("a", "b"), description="Which.")
    one: Literal["x", "y"] = Field(default="x", description="One of them.")
    label: str | None = Field(default=None, description="A name.")
    inner: Inner = Field(default=Inner(), description="Two.")
    frames: FrameSampling | None = Field(default=None, description="Which frames.")
    size_px: tuple[int, int] | None = Field(default=None, description="Width and height.")
    on: bool = Field(default=False, description="Whether.")


def test_fields_become_options_in_words() -> None:
    found = {option.name: option for option in options_of(Example)}
    assert found["folder"] == Option(
        name="folder", allowed="path", default=None, meaning="The data.", example="/data/x"
    )
    assert (found["size"].allowed, found["size"].default) == ("whole number", None)
    assert (found["kinds"].allowed, found["kinds"].default) == ("list of a | b", "[a, b]")
    assert (found["one"].allowed, found["one"].default) == ("x | y", "x")
    assert (found["label"].allowed, found["label"].default) == ("text", "null")
    assert (found["inner"].allowed, found["inner"].meaning) == ("{low}", "Two.")
    assert (found["inner.low"].allowed, found["inner.low"].default) == ("number", "0.5")
    assert found["size_px"].allowed == "[whole number, whole number]"
    assert found["frames"].allowed == "{policy: fps | uniform_inclusive | uniform_interior, …}"
    assert (found["on"].allowed, found["on"].default) == ("true | false", "false")


def test_lines_for_a_run_file_hold_what_is_required_and_show_the_rest() -> None:
    assert run_file_entry("example", Example).splitlines() == [
        "benchmarks:",
        "  - name: example",
        "    options:",
        "      folder: /data/x",
        "      size: ...  # whole number",
        "      # kinds: [a, b]",
        "      # one: x  # x | y",
        "      # on: false  # true | false",
    ]


def entry(text: str) -> dict[str, Any]:
    (found,) = yaml.safe_load(text)["benchmarks"]
    return {"options": {}, **found}


@pytest.mark.parametrize("name", benchmark_names())
def test_the_lines_of_every_benchmark_can_be_used(name: str) -> None:
    text = run_file_entry(name, benchmark_class(name))
    plain = entry(text)
    load_benchmark(plain["name"], plain["options"])
    uncommented = entry("\n".join(line.replace("# ", "", 1) for line in text.splitlines()))
    assert uncommented["options"].keys() >= plain["options"].keys()
    load_benchmark(name, uncommented["options"])


@pytest.mark.parametrize("name", benchmark_names())
def test_every_option_of_every_benchmark_is_explained(name: str) -> None:
    for option in options_of(benchmark_class(name)):
        assert option.meaning.strip(), option.name
        assert option.allowed != "any value", option.name
