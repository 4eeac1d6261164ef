"""What a run file may say about presses of kvpress; needs no kvpress."""

import importlib
import importlib.metadata
from types import SimpleNamespace
from typing import Any

import pytest

from encodeonce.models.kv.presses import INSTALL, REFUSED, USED
from encodeonce.models.kv.registry import check_kv
from encodeonce.models.kv.spec import KVSpec
from tests.structure import ROOT


def refusal(press: str) -> str:
    with pytest.raises(ValueError) as raised:
        check_kv(KVSpec(method="kvpress", keep=0.5, options={"press": press}))
    return str(raised.value)


def importing(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    """Let the import of kvpress give something, or fail."""
    usual = importlib.import_module

    def load(name: str, package: str | None = None) -> Any:
        if name != "kvpress":
            return usual(name, package)
        if isinstance(result, ImportError):
            raise result
        return result

    monkeypatch.setattr(importlib, "import_module", load)


@pytest.mark.parametrize("press", REFUSED)
def test_a_press_that_cannot_be_exact_is_refused_by_name_with_the_reason(press: str) -> None:
    said = refusal(press)
    assert f"press: {press} of kvpress is not used: {REFUSED[press]}. Used: {USED[0]}, " in said


def test_an_unknown_press_is_told_what_was_probably_meant() -> None:
    assert "kvpress has no 'SnapPress'" in refusal("SnapPress")
    assert "Did you mean 'SnapKVPress'?" in refusal("SnapPress")


def test_it_is_said_what_to_type_where_kvpress_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, ModuleNotFoundError("No module named 'kvpress'", name="kvpress"))
    assert f"kvpress is not installed; type: {INSTALL}" in refusal("KnormPress")


def test_the_module_that_kvpress_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, ModuleNotFoundError("No module named 'cachetools'", name="cachetools"))
    said = refusal("KnormPress")
    assert f"kvpress cannot be imported: it lacks cachetools; type: {INSTALL}" in said


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, SimpleNamespace())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.6.0")
    assert "kvpress 0.6.0 is installed, and presses were compared with 0.5.5" in refusal(
        "TOVAPress"
    )


def test_the_line_to_type_has_the_versions_that_are_tested() -> None:
    lines = (ROOT / "constraints-kvpress.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line for line in lines if not line.startswith("#")}
    assert {word for word in INSTALL.split() if "==" in word} == pinned
    assert INSTALL in (ROOT / "docs/kv-compression.md").read_text(encoding="utf-8")
