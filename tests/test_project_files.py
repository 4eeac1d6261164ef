"""What stands around the package: container, citation, workflow, hooks, the site's pages."""

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from tests.structure import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def commands(name: str) -> list[str]:
    """Return the instructions of a Dockerfile, continued lines joined."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_container_copies_what_the_package_is_made_of() -> None:
    copied = set()
    for line in commands("Dockerfile"):
        if line.startswith("COPY") and "--from" not in line:
            copied |= set(shlex.split(line)[1:-1])
    assert all((ROOT / name).exists() for name in copied)
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    assert copied >= set(tools["setuptools"]["package-dir"].values())
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in sent if line.startswith("!")} == copied


def test_the_container_has_arguments_for_torch_and_extras_that_exist() -> None:
    text = "\n".join(commands("Dockerfile"))
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
    assert {"BASE", "TORCH_INDEX", "EXTRAS"} == set(arguments)
    assert all(text.count(name) > 1 for name in arguments)
    assert set(arguments["EXTRAS"].split(",")) <= set(PROJECT["optional-dependencies"])
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert arguments["BASE"].startswith(f"python:{lowest}")
    assert text.index("USER user") < text.index("ENTRYPOINT")


def test_the_shell_of_the_container_passes_an_index_only_where_one_is_given() -> None:
    (line,) = [line for line in commands("Dockerfile") if "TORCH_INDEX:+" in line]
    (part,) = re.findall(r"\$\{TORCH_INDEX:\+[^}]*\}", line)
    for value, words in (("", []), ("http://x/cpu", ["--index-url", "http://x/cpu"])):
        code = f"TORCH_INDEX={value!r}; printf '%s\\n' {part}"
        done = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == words


def test_the_citation_is_of_this_version() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert {"message", "title", "authors"} <= set(citation)


def test_the_changelog_begins_with_what_is_unreleased_and_has_this_version() -> None:
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert heads[0] == "Unreleased" and heads[1].startswith(PROJECT["version"])


def test_the_workflow_runs_what_a_contributor_runs() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert runs == [".ci/run", "make docs"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert "docs" in targets


def test_hooks_run_the_tools_of_the_projects_own_environment() -> None:
    (repo,) = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        words = shlex.split(hook["entry"])
        assert words[0].startswith(".venv/bin/")
        for path in (word for word in words if word.endswith(".py")):
            assert (ROOT / path).exists()


def test_issue_forms_have_what_a_form_needs() -> None:
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    for path in (path for path in forms if path.name != "config.yml"):
        form = read(str(path.relative_to(ROOT)))
        assert form["name"] and form["description"]
        for field in form["body"]:
            assert field["type"] in ("textarea", "input", "dropdown", "checkboxes", "markdown")
            assert field["attributes"]["label"]


def test_the_site_has_every_page_and_all_they_link_to(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("site_of_docs", ROOT / "docs/site.py")
    assert spec is not None and spec.loader is not None
    site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site)
    subprocess.run([sys.executable, ROOT / "docs/site.py", tmp_path / "copy"], check=True)
    copied = {path for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    pages = {path.relative_to(tmp_path / "copy").as_posix() for path in copied}
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert listed == {name for name in pages if name.endswith(".md")}
    assert "docs/figures/demo-quality-against-kv-bytes.svg" in pages
