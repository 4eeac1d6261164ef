"""``encodeonce bench serve`` against a real vLLM server; `make test-vllm` runs this."""

import json
from pathlib import Path

import pytest
import yaml

from tests.plugins.vllm.server import NAME, serving
from tests.plugins.vllm.vllm_here import TIMEOUT_S, demo_checkpoint, encodeonce, needs_vllm

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(2 * TIMEOUT_S)]


def test_the_demo_is_served_and_its_answers_are_right(tmp_path: Path) -> None:
    model = demo_checkpoint(tmp_path)
    with serving(model, tmp_path, None) as server:
        content = {
            "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
            "benchmarks": [{"name": "demo"}],
            "engine": {"kind": "openai", "url": f"{server.url}/v1", "model": NAME},
            "time": {"mode": "wall"},
            "arrivals": {"kind": "closed", "concurrency": 2, "requests": 12},
            "output_tokens": {"kind": "natural"},
            "limits": {"kv_bytes": "1GiB"},
            "slo": {"ttft_s": 60, "tpot_s": 10},
            "experiments": [{"name": "vLLM"}],
            "limit": 12,
            "cache": {"path": "cache"},
            "output": "serve",
        }
        (tmp_path / "serve.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        done = encodeonce(tmp_path, "bench", "serve", "serve.yaml")
    assert done.returncode == 0, done.stdout[-4000:]
    found = json.loads((tmp_path / "serve" / "report.json").read_text())
    (experiment,) = found["experiments"]
    assert experiment["quality"]["accuracy"]["mean"] > 0.7
    (cell,) = found["cells"]
    assert cell["attainment"] == 1.0
