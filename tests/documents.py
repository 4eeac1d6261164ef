"""Reads the documents and finds what is wrong with their links, commands, run files and paths."""

import re
import shlex
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import BaseModel, ValidationError

from encodeonce.datasets.registry import benchmark_class
from encodeonce.harness.bridges.lmms_eval.arguments import MODEL_ARGS
from encodeonce.harness.run.config import AnswerConfig, RunConfig
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.training.adapter.config import TrainAdapterConfig
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.fusion.config import FuseConfig
from encodeonce.jobs.cli.app import app

ROOT = Path(__file__).parent.parent
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
FOLDERS = ("cache_store", "datasets", "docs", "harness", "jobs", "models", "tests")
SMALLEST_RUN = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "out"}
"""A minimal run file into which a fragment is put, to check that it is valid."""
SMALLEST_SERVE = {
    "arrivals": {"kind": "poisson", "rate": 1},
    "limits": {"kv_bytes": "8MiB"},
    "time": {"mode": "wall"},
    "slo": {"ttft_s": 1.0, "tpot_s": 0.1},
    "experiments": [{"name": "full", "kv": "full"}],
}
"""What a run file of `bench serve` has besides."""
FORMS: Mapping[str, type[AnswerConfig]] = {
    "compressor": TrainCompressorConfig,
    "units": FuseConfig,
    "lora": TrainAdapterConfig,
    "experiments": ServeConfig,
}
"""Run files of other commands, by a key that only they have."""
SHELL = ("encodeonce", "make", "lmms-eval", "python")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def prose(path: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each fenced block."""
    for found in _FENCE.finditer(path.read_text(encoding="utf-8")):
        yield found[1], found[2]


def inline_code(path: Path) -> list[str]:
    """Return the texts between single backticks, lines joined."""
    return _CODE.findall(re.sub(r"\n(?!\n)", " ", prose(path)))


def links(path: Path) -> list[str]:
    """Return the targets of a page's links and pictures."""
    return _LINK.findall(prose(path))


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in a block of shell lines, without its environment."""
    for line in text.replace("\\\n", " ").splitlines():
        if not re.match(rf"\s*(\w+=\S+ )*({'|'.join(SHELL)}) ", line):
            continue
        words = shlex.split(line, comments=True)
        while "=" in words[0]:
            words = words[1:]
        yield words


@cache
def command_line() -> Any:
    """Return the program's command line, as typer builds it."""
    found: Any = typer.main.get_command(app)
    for name in found.commands:
        found.load(name)
    for name in found.commands["bench"].commands:
        found.commands["bench"].load(name)
    return found


def problem_of(words: list[str], *, is_whole: bool) -> str | None:
    """Return what is wrong with the arguments of `encodeonce`, if anything is.

    Args:
        words: what follows the program's name.
        is_whole: whether arguments that are required have to be there.
    """
    found, rest = command_line(), words
    while hasattr(found, "commands"):
        if not rest:
            return "no command is named" if is_whole else None
        if rest[0] not in found.commands:
            return f"{rest[0]!r} is no command; there are {', '.join(found.commands)}"
        found, rest = found.commands[rest[0]], rest[1:]
    try:
        found.make_context(found.name, list(rest))
    # typer brings a parser of its own, or click: the class is another one.
    except Exception as error:
        if type(error).__name__ == "MissingParameter" and not is_whole:
            return None
        return str(error)
    return None


def problem_of_command(words: list[str], *, is_whole: bool) -> str | None:
    """Return what is wrong with a command of a document, if anything is."""
    program, *rest = words
    if program == "encodeonce":
        return problem_of(rest, is_whole=is_whole)
    if program == "make":
        makefile = (ROOT / "Makefile").read_text("utf-8").replace("$(VENV)", ".venv")
        targets = re.findall(r"^([\w./%-]+):", makefile, re.MULTILINE)
        patterns = [target.replace("%", "*") for target in targets]
        wrong = [word for word in rest if not any(fnmatch(word, one) for one in patterns)]
        return f"no such target: {wrong[0]}" if wrong else None
    if program == "lmms-eval":
        return problem_of_model_args(rest[rest.index("--model_args") + 1])
    module = rest[rest.index("-m") + 1] if "-m" in rest else ""
    is_ours = module.startswith("encodeonce.")
    file = ROOT / (module.removeprefix("encodeonce.").replace(".", "/") + ".py")
    return f"there is no {file}" if is_ours and not file.exists() else None


def options(command: Any = None) -> set[str]:
    """Return all options of the program's commands."""
    found = command or command_line()
    below = getattr(found, "commands", {}).values()
    own = {name for one in found.params for name in (*one.opts, *one.secondary_opts)}
    return own.union(*map(options, below))


def is_model_args(code: str) -> bool:
    """Return whether a piece of code looks like several of lmms-eval's model arguments."""
    pair = r"\w+(\.\w+)?=[^\s,=]+"
    return re.fullmatch(rf"({pair},)+{pair}", code) is not None


def problem_of_model_args(text: str) -> str | None:
    """Return what is wrong with the arguments that lmms-eval passes on, if anything is."""
    given = dict(pair.split("=", 1) for pair in text.split(","))
    try:
        MODEL_ARGS.read({"pretrained": "demo", **given})
    except ValueError as error:
        return str(error)
    return None


def problem_of_run_file(content: Any) -> str | None:
    """Return what is wrong with a run file, or a part of one, if anything is."""
    if not isinstance(content, dict):
        return f"not a mapping: {content!r}"
    found = [form for key, form in FORMS.items() if key in content]
    if "kind" in (content.get("engine") or ()):  # the engines of `bench serve` have kinds
        found, content = [ServeConfig], {**SMALLEST_SERVE, **content}
    try:
        form = (found or [RunConfig])[0]
        least = {name: value for name, value in SMALLEST_RUN.items() if name in form.model_fields}
        config = form.model_validate({**least, **content})
    except ValidationError as error:
        return str(error)
    for _, spec in config.placed_benchmarks():
        known = benchmark_class(spec.name).model_fields
        if wrong := [name for name in spec.options if name not in known]:
            return f"benchmark {spec.name!r} has no option {wrong[0]!r}; it has {', '.join(known)}"
    return None


def run_file_parts(code: str) -> Iterator[dict[str, Any]]:
    """Yield what a piece of code in the text states about a run file, if anything."""
    try:
        content = yaml.safe_load(code)
    except yaml.YAMLError:
        return
    if not isinstance(content, dict) or None in content.values():
        return
    first = next(iter(content))
    if "method" in content:
        names = [path.stem for path in (ROOT / "models/kv/methods").glob("*.py")]
        yield {"kv" if content["method"] in names else "weights": content}
    elif first in RunConfig.model_fields:
        yield content
    elif first == "scope" or first == "precision":
        yield {"kv": {"method": "snapkv", "keep": 0.5, **content}}
    elif first == "scoring":
        yield {"benchmarks": [{"name": "demo", **content}], "adapters": ["with-a-head"]}


def fields_of(model: Any) -> dict[str, Any]:
    """Return the fields of a pydantic model, or of all models in a type."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    parts = getattr(model, "__args__", ())
    return {name: kind for part in parts for name, kind in fields_of(part).items()}


def tree() -> Iterator[tuple[str, str]]:
    """Yield the folders of ARCHITECTURE's tree, each with its description."""
    (text,) = [text for _, text in blocks(ARCHITECTURE) if text.startswith("jobs/ ")]
    above: list[str] = []
    for line in text.splitlines():
        indent, name, words = re.fullmatch(r"( *)(\S+/) +(.+)", line).groups()  # type: ignore[union-attr]
        above = [*above[: len(indent) // 2], name]
        yield "".join(above), words


def to_come() -> set[str]:
    """Return the paths that ARCHITECTURE names as homes of future parts."""
    text = re.sub(r"\s+", " ", prose(ARCHITECTURE))
    return {
        *(folder for folder, words in tree() if words.startswith("to come")),
        *re.findall(r"`([\w/.]+)` \(to come", text),
    }


def paths_in(path: Path) -> set[str]:
    """Return the paths of the tree that a page names in its text."""
    codes = inline_code(path)
    return {code for code in codes if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", code)}
