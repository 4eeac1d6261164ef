"""Copies the pages of the documentation, and what they link to, to where mkdocs reads them.

``python docs/site.py FOLDER``, as `make docs` does. The pages lie in several folders of the
repository and link to each other by their places in it: the copy has the same tree.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MORE = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "cache_store/FORMAT.md",
    "models/demo/README.md",
    "models/easy_vqa/README.md",
    "tests/gpu/README.md",
)
"""The pages outside `docs/`."""

_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def pages() -> list[Path]:
    """Return all pages, relative to the repository."""
    return [*map(Path, MORE), *(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md"))]


def linked(page: Path) -> set[Path]:
    """Return the files of the repository that a page links to, relative to it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = {link for link in _LINK.findall(text) if "://" not in link}
    found = {((ROOT / page).parent / link).resolve() for link in targets}
    return {path.relative_to(ROOT) for path in found if path.is_file()}


def copy_to(folder: Path) -> None:
    """Copy the pages and what they link to, in place of an earlier copy."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in {*pages(), *(path for page in pages() for path in linked(page))}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)


if __name__ == "__main__":
    copy_to(Path(sys.argv[1]))
