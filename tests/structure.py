"""The structure of the code in numbers: `python -m tests.structure`, or `make structure`.

A *room* is what a reader meets first inside one of the five folders: a subfolder or a file. An
*arrow* leads from a room to another that it imports. `ORDER` says which way arrows may point;
tests/test_layout.py fails at one that points back up.
"""

import ast
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent

FOLDERS = ("cache_store", "datasets", "models", "harness", "jobs")

ORDER: Mapping[str, Sequence[str]] = {
    "cache_store": ("*", "maintenance"),
    "datasets": (
        "local_path refusal_words strict_json strict_yaml",
        "options",
        "refusals",
        "media",
        "sample prompts",
        "registry rubric",
        "metrics rubrics",
        "readers needle",
        "benchmarks",
        "demo",
    ),
    "models": (
        "answer engine_spec plugin_file spec timing",
        "checkpoint",
        "vision",
        "language",
        "kv",
        "serving",
        "adapters",
        "reference family",
        "decoder",
        "quantization",
        "family_bases",
        "families",
        "vllm",
        "synthetic demo easy_vqa",
    ),
    "harness": (
        "run",
        "results workers",
        "training serving judging",
        "report",
        "bridges viewer",
        "bench",
    ),
    "jobs": (
        "execution interrupts quiet",
        "pipeline serve_ray judging",
        "running afterwards",
        "cli api",
    ),
}
"""By folder, from the bottom up: a room imports from those before it, never from those after it or
beside it in the same line. ``*`` stands for the rooms that are not named, which may import each
other. A room that is named but not there yet is where the next of its kind belongs."""

MAX_MODULE_LINES = 300
P99_FUNCTION_LINES = 42
MAX_FLAT_FILES = 26


@dataclass(frozen=True, slots=True)
class Arrow:
    """One room imports another."""

    source: str
    target: str
    file: Path
    imported: str


def modules(folder: str) -> list[Path]:
    """Return the Python files of a folder."""
    return sorted((ROOT / folder).rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Return the dotted names that a module imports, at any depth.

    A name imported from a package may be a module: `from a import b` gives ``a`` and ``a.b``.
    """
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(path: Path) -> str:
    """Return the room that a file is in, or is."""
    return path.relative_to(ROOT).with_suffix("").parts[1]


def arrows(folder: str) -> Iterator[Arrow]:
    """Yield the imports between the rooms of a folder."""
    rooms = {room_of(path) for path in modules(folder)}
    for path in modules(folder):
        for name in sorted(imported(path)):
            parts = name.split(".")
            if parts[:2] != ["encodeonce", folder] or len(parts) < 3:
                continue
            if parts[2] in rooms - {room_of(path)}:
                yield Arrow(room_of(path), parts[2], path.relative_to(ROOT), name)


def floor_of(folder: str, room: str) -> int:
    """Return how high up a room is.

    Raises:
        ValueError: `ORDER` does not say.
    """
    for floor, rooms in enumerate(ORDER[folder]):
        if room in rooms.split():
            return floor
    for floor, rooms in enumerate(ORDER[folder]):
        if rooms == "*":
            return floor
    raise ValueError(f"{folder}/{room}: say in tests/structure.py where it stands among the others")


def back_up(folder: str) -> list[Arrow]:
    """Return the imports that `ORDER` does not allow."""
    found = []
    for arrow in arrows(folder):
        source, target = floor_of(folder, arrow.source), floor_of(folder, arrow.target)
        beside = source == target and ORDER[folder][source] != "*"
        if target > source or beside:
            found.append(arrow)
    return found


def module_lines(folder: str) -> dict[Path, int]:
    """Return the number of lines of each module."""
    return {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(folder)}


def function_lines(folder: str) -> dict[str, int]:
    """Return the number of lines of each function and method, decorators not counted."""
    found = {}
    for path in modules(folder):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                found[name] = (node.end_lineno or node.lineno) - node.lineno + 1
    return found


def flat_folders() -> Counter[Path]:
    """Return the number of Python files that lie directly in each folder."""
    return Counter(path.parent.relative_to(ROOT) for name in FOLDERS for path in modules(name))


def percentile(values: Sequence[int], percent: int) -> int:
    """Return the value that ``percent`` of all values do not exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def report() -> str:
    """Return the numbers as text."""
    lines = {path: n for folder in FOLDERS for path, n in module_lines(folder).items()}
    functions = {name: n for folder in FOLDERS for name, n in function_lines(folder).items()}
    folder, num_files = flat_folders().most_common(1)[0]
    sizes = list(functions.values())
    text = [
        f"files                          {len(lines)}",
        f"module lines, median / max     {statistics.median(lines.values()):.0f} / "
        f"{max(lines.values())}",
        f"function lines, median/p99/max {statistics.median(sizes):.0f} / {percentile(sizes, 99)} "
        f"/ {max(sizes)}",
        f"largest flat folder            {num_files} ({folder}/)",
        "",
        f"{'':14}{'rooms':>7}{'arrows':>8}{'back up':>9}",
    ]
    for name in FOLDERS:
        rooms = {room_of(path) for path in modules(name)}
        pairs = {(arrow.source, arrow.target) for arrow in arrows(name)}
        up = {(arrow.source, arrow.target) for arrow in back_up(name)}
        text.append(f"{name + '/':14}{len(rooms):>7}{len(pairs):>8}{len(up):>9}")
    longest = sorted(functions.items(), key=lambda item: -item[1])[:8]
    text += ["", "longest functions", *(f"{n:5}  {name}" for name, n in longest)]
    return "\n".join(text)


if __name__ == "__main__":
    print(report())  # noqa: T201
