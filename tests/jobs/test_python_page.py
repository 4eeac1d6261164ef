"""The code of docs/python.md, run as a reader would: block after block, on the demo."""

from pathlib import Path
from typing import Any

import pytest

from encodeonce import Run
from tests.documents import ROOT, blocks


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    page = ROOT / "docs" / "python.md"
    texts = [text for language, text in blocks(page) if language == "python"]
    assert len(texts) == 3
    names: dict[str, Any] = {}
    for text in texts:
        exec(compile(text, str(page), "exec"), names)
    assert len(names["table"]) == 8
    assert names["features"].arrays["main"].ndim == 3
    assert Run(tmp_path / "results").summary() == names["summary"]
