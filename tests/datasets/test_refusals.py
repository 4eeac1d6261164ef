"""No sentence of pydantic's reaches a user, whatever a run file, table, option or command holds."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticKnownError
from pydantic_core._pydantic_core import list_all_errors

import encodeonce.jobs
from encodeonce.datasets.readers.published import parse
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.refusal_words import reason, told
from encodeonce.datasets.refusals import Refused, checked, problems_of
from encodeonce.datasets.sample import BenchmarkError
from encodeonce.harness.run.config import RunConfig

ROOT = Path(encodeonce.jobs.__path__[0]).parent
FOLDERS = ("cache_store", "datasets", "harness", "jobs", "models")
THEIRS = re.compile(
    r"Value error|Assertion failed|[Ii]nput should|should be|should have|Extra input|permitted"
    r"|Field required|valid (string|integer|number|boolean|dictionary|list|tuple)|instance of"
    r"|after validation|unable to|Unable to|pydantic|validation error|type=|must match pattern"
    r"|could not convert|division by|not enough values|too many values|argument must be"
)
VALUES: tuple[Any, ...] = (
    *(None, "", " ", "x", "1", "50%", "\ud800", "x" * 50, b"x"),
    *(-1, 0, 1.5, float("nan"), float("inf"), 10**30, True),
    *([], [1], [None], [[]], ["a", "b", "c"] * 20, ("a",), {1}),
    *({}, {"x": 1}, {1: 2}, {"name": None}, object(), ValueError),
)


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def models() -> list[type[BaseModel]]:
    """Return every pydantic model of the program."""
    holds_one = re.compile(
        r"from pydantic import .*BaseModel|from pydantic import \(|class \w+\(.*"
        r"(Options|FolderBenchmark|KVMethod|ScoringMethod|VariantConfig|RunConfig)\b"
    )
    for path in sources():
        if holds_one.search(path.read_text("utf-8")):
            importlib.import_module(
                ".".join(("encodeonce", *path.relative_to(ROOT).with_suffix("").parts))
            )
    found = {kind: None for kind in _subclasses(BaseModel) if not inspect.isabstract(kind)}
    return sorted(
        (kind for kind in found if kind.__module__.startswith("encodeonce.")),
        key=lambda kind: (kind.__module__, kind.__qualname__),
    )


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


def refused(model: type[BaseModel], content: Any) -> list[str]:
    try:
        checked(model, content)
    except Refused as error:
        return [problem.words for problem in error.problems]
    return []


@pytest.mark.parametrize("model", models(), ids=lambda kind: kind.__qualname__)
def test_whatever_a_model_refuses_it_refuses_in_our_words(model: type[BaseModel]) -> None:
    contents: list[Any] = [*VALUES, {"no_such_key": 1}]
    names = [about.alias or name for name, about in model.model_fields.items()]
    # Other conventions for a budget are keys that no field has.
    names += ["compression_ratio", "compression_factor"]
    contents += [{name: value} for name in names for value in VALUES]
    contents += [{name: [value]} for name in names for value in VALUES]
    contents += [{name: {"x": value}} for name in names for value in VALUES]
    for content in contents:
        for words in refused(model, content):
            assert not THEIRS.search(words), (content, words)
            assert words.strip()


@pytest.mark.parametrize("about", list_all_errors(), ids=lambda about: str(about["type"]))
def test_every_kind_of_problem_has_our_words(about: Any) -> None:
    details = about["example_context"] or {}
    error = PydanticKnownError(about["type"], details)
    if "error" in details:
        details = {"error": ValueError("ours")}
    for allowed in ("", "whole number", "any value"):
        words = reason({"type": about["type"], "ctx": details}, allowed)
        assert words
        assert not THEIRS.search(words), words
        assert error.message() not in words or "error" in details


@pytest.mark.parametrize("model", models(), ids=lambda kind: kind.__qualname__)
def test_every_model_names_the_key_that_was_probably_meant(model: type[BaseModel]) -> None:
    if model.model_config.get("extra") != "forbid":
        pytest.skip("reads some columns of many")
    keys = [name for name in model.model_fields if len(name) > 3]
    for key in keys:
        [words] = [one for one in refused(model, {f"{key}x": 1}) if f"{key}x: " in one]
        assert words.startswith(f"{key}x: unknown key. Allowed: ")
        assert re.search(r"Did you mean '\w+'\?$", words)


def test_nobody_but_the_refusals_meets_pydantics_error() -> None:
    """Other code would print it; `stored` takes its words from `reason`."""
    allowed = {"datasets/refusals.py", "datasets/refusal_words.py", "harness/run/stored.py"}
    for path in sources():
        names = set(
            re.findall(r"ValidationError|\.model_validate\w*|validate_python", path.read_text())
        )
        assert not names or str(path.relative_to(ROOT)) in allowed, (path, names)


def test_specs_are_made_of_what_commands_were_given_by_checked_alone() -> None:
    specs = {"ModelSpec", "KVSpec", "WeightsSpec", "GenerationSpec", "VisionSpec"}
    for path in sorted((ROOT / "jobs").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in specs:
                given = [one.value for one in node.keywords]
                is_fixed = all(isinstance(one, ast.Constant) for one in given)
                # Typer has checked these two: a list of words, and a range.
                is_typed = node.func.id == "VisionSpec"  # type: ignore[attr-defined]
                assert is_fixed or is_typed or path.name == "sweep.py", (path, ast.unparse(node))


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["a", "b"] = "a"
    size: int = Field(default=1, ge=1, le=9)


class _Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: _Inner | None = None
    many: list[_Inner] = []
    either: int | Literal["all"] | list[int] = 0
    named: dict[str, int] = {}
    code: str | None = Field(default=None, pattern="^[a-f]+$")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"inner": {"sise": 1}},
            "inner.sise: unknown key. Allowed: kind, size. Did you mean 'size'?",
        ),
        ({"many": [{"size": 0}]}, "many.0.size: must be at least 1; got 0"),
        ({"many": [{}, {"size": 10}]}, "many.1.size: must be at most 9; got 10"),
        ({"inner": {"kind": "aa"}}, "inner.kind: must be 'a' or 'b'; got 'aa'. Did you mean 'a'?"),
        ({"inner": 3}, "inner: must be a mapping of keys (kind, size); got 3"),
        (
            {"either": "al"},
            "either: must be a whole number or 'all' or a list; got 'al'. Did you mean 'all'?",
        ),
        ({"either": [1, "x"]}, "either: must be a whole number or 'all'"),
        ({"named": {"either": "x"}}, "named.either: must be a whole number; got 'x'"),
        ({"many": {"size": 1}}, "many: must be a list; got a mapping"),
        ({"named": {"x": {}}}, "named.x: must be a whole number; got a mapping"),
        ({"code": "xyz"}, "code: must match ^[a-f]+$; got 'xyz'"),
        ({"code": None, "inner": {"size": True}}, "inner.size: must be a number; got true"),
    ],
)
def test_a_message_names_the_key_what_was_got_and_what_is_allowed(content: Any, words: str) -> None:
    found = refused(_Outer, content)
    assert len({one.partition(":")[0] for one in found}) == len(found), "each place once"
    assert any(one.startswith(words) for one in found), found


def test_a_sections_kind_is_named_where_a_key_belongs_to_another() -> None:
    content = {"frames": {"policy": "uniform_inclusive", "num_frames": 8, "fps": 1}}
    assert (
        "frames.fps: unknown key where policy is uniform_inclusive. Allowed: policy, num_frames."
        in refused(RunConfig, content)
    )
    content = {"frames": {"policy": "uniform"}}
    words = "frames.policy: must be one of fps, uniform_inclusive, uniform_interior; got 'uniform'."
    assert any(one.startswith(words) for one in refused(RunConfig, content))


def test_a_missing_key_is_looked_for_among_those_that_are_there() -> None:
    class Read(BaseModel):
        video_id: str

    with pytest.raises(BenchmarkError) as caught:
        parse(Row("row 1", {"vidio_id": "a"}), Read)
    assert (
        str(caught.value)
        == "row 1: video_id: is missing. Did you mean 'vidio_id'? Read here: video_id"
    )


def test_an_error_that_slips_through_is_told_in_our_words() -> None:
    with pytest.raises(ValidationError) as caught:
        _Outer.model_validate({"inner": {"size": 0}, "more": 1})
    assert told(caught.value) == "inner.size: must be at least 1; got 0; more: unknown key; got 1"
    assert told(ValueError("ours")) == "ours"
    assert [one.words for one in problems_of(caught.value, _Outer)][0].startswith("inner.size: ")
