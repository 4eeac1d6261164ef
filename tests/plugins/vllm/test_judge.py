"""A real vLLM server as the judge of a run's answers; `make test-vllm` runs this."""

import json
from pathlib import Path

import pytest
import yaml

from encodeonce.harness.run.jsonl import read_json_lines
from tests.datasets.benchmarks.image_layouts import mm_vet
from tests.plugins.vllm.server import NAME, serving
from tests.plugins.vllm.vllm_here import TIMEOUT_S, demo_checkpoint, encodeonce, needs_vllm

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(2 * TIMEOUT_S)]


def test_a_run_is_judged_by_a_server_and_its_verdicts_are_replayed(tmp_path: Path) -> None:
    model = demo_checkpoint(tmp_path)
    folder = str(mm_vet(tmp_path / "mm-vet")["folder"])
    with serving(model, tmp_path, None) as server:
        content = {
            "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
            "benchmarks": [{"name": "mm_vet", "options": {"folder": folder}}],
            "generation": {"max_new_tokens": 8},
            "workers": {"executor": "local"},
            "cache": {"path": "cache"},
            "judge": {
                "model": NAME,
                "url": f"{server.url}/v1",
                "max_tokens": 16,
                "price": {"input": 1.0, "output": 1.0},
                # The demo's model cannot judge: the server lets it say nothing but a grade.
                "body": {"structured_outputs": {"regex": r"SCORE: 0\.[0-9]"}},
            },
            "output": "judged",
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        done = encodeonce(tmp_path, "run", "run.yaml")
        assert done.returncode == 0, done.stdout[-4000:]
        assert "3 requests of about" in done.stdout
        verdicts = list(read_json_lines(tmp_path / "judged" / "verdicts.jsonl"))
        assert len(verdicts) == 3
        for one in verdicts:
            assert one["reply"] == f"SCORE: {one['value']}" and one["input_tokens"] > 100
    # The server is gone: what is judged needs none.
    again = encodeonce(tmp_path, "judge", "judged")
    assert again.returncode == 0, again.stdout[-4000:]
    report = json.loads((tmp_path / "judged" / "report.json").read_text())
    (part,) = report["judged"]
    assert (part["num_judged"], part["num_answers"], part["num_requests"]) == (3, 3, 3)
