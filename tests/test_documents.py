"""Everything that the documents mention exists: links, commands, run files, paths. Runs nothing."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from encodeonce.harness.run.config import RunConfig
from tests.documents import (
    ARCHITECTURE,
    FOLDERS,
    ROOT,
    anchors,
    blocks,
    command_lines,
    fields_of,
    inline_code,
    is_model_args,
    links,
    options,
    paths_in,
    problem_of_command,
    problem_of_model_args,
    problem_of_run_file,
    prose,
    run_file_parts,
    to_come,
    tree,
)

README = ROOT / "README.md"
FOR_USERS = (README, *sorted((ROOT / "docs").glob("*.md")))
PAGES = (
    *FOR_USERS,
    ARCHITECTURE,
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "cache_store/FORMAT.md")),
    *(ROOT / name for name in ("models/demo/README.md", "models/easy_vqa/README.md")),
    ROOT / "tests/gpu/README.md",
)
MOST_LINES = 130
"""Of the README."""


def name_of(path: Path) -> str:
    """Return a page's path in the repository."""
    return path.relative_to(ROOT).as_posix()


page = pytest.mark.parametrize("path", PAGES, ids=name_of)
page_for_users = pytest.mark.parametrize("path", FOR_USERS, ids=name_of)


@page
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{link}: there is no {target.relative_to(ROOT)}"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    for path in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{path.name})" in text, f"docs/{path.name} is not linked"


def test_figures_are_shown_and_follow_the_page() -> None:
    shown = {link for path in PAGES for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", prose(path))}
    drawn = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/figures").iterdir()}
    assert shown == drawn
    for name in drawn:
        content = (ROOT / name).read_text(encoding="utf-8")
        assert "prefers-color-scheme: dark" in content and 'width="400"' in content


@page
def test_commands_in_blocks_are_taken(path: Path) -> None:
    indented = "\n".join(re.findall(r"^    (\S.*)$", prose(path), re.MULTILINE))
    shell = [text for language, text in blocks(path) if language in ("", "sh", "bash")]
    for text in [*shell, indented]:
        for words in command_lines(text):
            assert not (found := problem_of_command(words, is_whole=True)), f"{words}: {found}"


@page
def test_commands_in_the_text_are_known(path: Path) -> None:
    for code in inline_code(path):
        for words in command_lines(code):
            assert not (found := problem_of_command(words, is_whole=False)), f"{code}: {found}"
        if is_model_args(code):
            assert not (found := problem_of_model_args(code)), f"{code}: {found}"


@page_for_users
def test_options_in_the_text_are_known(path: Path) -> None:
    if path.name in ("other-harnesses.md", "vllm.md"):
        return  # there most options are the other programs'
    for code in inline_code(path):
        assert not code.startswith("--") or code.split()[0] in options(), f"no such option: {code}"


@page
def test_run_files_are_valid(path: Path) -> None:
    for language, text in blocks(path):
        if language == "yaml":
            found = problem_of_run_file(yaml.safe_load(text))
            assert not found, f"{text}\n{found}"


@page
def test_parts_of_run_files_in_the_text_are_valid(path: Path) -> None:
    for code in inline_code(path):
        for part in run_file_parts(code):
            # A press can only be looked up where kvpress is installed.
            if (found := problem_of_run_file(part)) and "kvpress is not installed" not in found:
                raise AssertionError(f"{code}: {found}")


@page_for_users
def test_dotted_keys_are_in_the_schema(path: Path) -> None:
    sections = "|".join(RunConfig.model_fields)
    for code in inline_code(path):
        key = re.fullmatch(rf"({sections})(?:\[\])?((?:\.[a-z_]+)+)(: .*)?", code)
        if not key or code.endswith((".json", ".jsonl")):
            continue
        model: Any = RunConfig
        for name in (key[1] + key[2]).split("."):
            assert name in fields_of(model), f"{code}: there is no {name!r}"
            model = fields_of(model)[name]


@page_for_users
def test_keys_at_the_top_of_a_run_file_are_known(path: Path) -> None:
    """A table of keys is easily forgotten when one is renamed."""
    rows = re.findall(r"^\| key \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", prose(path), re.MULTILINE)
    for key in re.findall(r"^\| `(\w+)`", "".join(rows), re.MULTILINE):
        assert key in RunConfig.model_fields, f"{key} is no key of a run file"


@page
def test_files_that_are_named_exist(path: Path) -> None:
    for name in paths_in(path) - to_come():
        folder, file = name.rpartition("/")[::2]
        # `x.py` stands for a new file, `test_x.py` for its test: their folder has to be there.
        wanted = folder if re.fullmatch(r"(test_)?x\.(py|md)", file) else name
        assert (ROOT / wanted).exists(), f"there is no {wanted}"


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = {folder.rstrip("/") for folder, _ in tree()}
    coming = {name.rstrip("/") for name in to_come()}
    there = [name for name in sorted(coming) if (ROOT / name).exists()]
    assert not there, f"no longer to come: {there}"
    gone = [name for name in sorted(drawn - coming) if not (ROOT / name).is_dir()]
    assert not gone, f"drawn, but not there: {gone}"
    modules = [
        p for top in FOLDERS if top not in ("docs", "tests") for p in (ROOT / top).rglob("*.py")
    ]
    on_disk = {path.parent.relative_to(ROOT).as_posix() for path in modules}
    assert on_disk <= drawn, f"there, but not drawn: {sorted(on_disk - drawn)}"


def test_a_sample_is_followed_in_at_most_twenty_files() -> None:
    rows = re.findall(r"^\| (\d+) \| `([\w/.]+\.py)` \|", prose(ARCHITECTURE), re.MULTILINE)
    assert [int(number) for number, _ in rows] == [*range(1, len(rows) + 1)]
    assert 0 < len(rows) <= 20
    for _, name in rows:
        assert ast.parse((ROOT / name).read_text(encoding="utf-8")).body, f"{name} is empty"


WRONG_COMMANDS = (
    ["encodeonce", "rum", "run.yaml"],
    ["encodeonce", "run", "run.yaml", "--rey-address", "auto"],
    ["encodeonce", "report"],
    ["encodeonce", "bench", "prefix", "--frames", "0"],
    ["make", "tea"],
    ["python", "-m", "encodeonce.models.demo.trian"],
    ["lmms-eval", "--model", "encodeonce", "--model_args", "pretrained=demo,num_framez=8"],
)


@pytest.mark.parametrize("words", WRONG_COMMANDS, ids=" ".join)
def test_a_wrong_command_is_noticed(words: list[str]) -> None:
    assert problem_of_command(words, is_whole=True)


@pytest.mark.parametrize(
    "content",
    [
        {"modle": {"path": "demo"}},
        {"kv": {"method": "snapkw", "keep": 0.5}},
        {"weights": "bnb-nf5"},
        {"frames": {"policy": "uniform_inclusive", "frames": 8}},
        {"benchmarks": [{"name": "video_mme", "options": {"foldre": "/data"}}]},
    ],
    ids=str,
)
def test_a_wrong_run_file_is_noticed(content: dict[str, Any]) -> None:
    assert problem_of_run_file(content)
