"""Two replicas on Ray Serve answer what the offline engine answers."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from encodeonce.jobs.execution import select
from tests.jobs.scene import make_scene

SERVE = {
    "time": {"mode": "wall"},
    "engine": {"kind": "ray", "replicas": 2, "cpus_per_replica": 0.5},
    "arrivals": {"kind": "poisson", "rate": 20, "requests": 20},
    "limits": {"kv_bytes": "200KiB"},
    "slo": {"ttft_s": 60, "tpot_s": 60},
    "experiments": [{"name": "full"}, {"name": "half", "kv": {"method": "snapkv", "keep": 0.5}}],
}


def run_file(folder: Path) -> Path:
    scene = make_scene(folder, num_clips=2)
    content = {**yaml.safe_load(scene.run_file().read_text()), **SERVE}
    path = scene.folder / "ray.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray Serve's own code is warned about
def test_replicas_answer_as_the_offline_engine(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason='needs pip install "encodeonce[serve]"')
    path = run_file(tmp_path)
    done = CliRunner(env={"RAY_ADDRESS": ""}).invoke(app, ["bench", "serve", str(path)])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    for cell in found["cells"]:
        assert cell["num_failed"] == 0
        assert cell["same_tokens"] == {"num_compared": 20, "num_same": 20}


def test_without_ray_serve_it_is_refused_before_anything_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "find_spec", lambda name: None)
    path = run_file(tmp_path)
    done = CliRunner(env={"RAY_ADDRESS": ""}).invoke(app, ["bench", "serve", str(path)])
    assert done.exit_code == 1
    assert 'pip install "encodeonce[serve]"' in done.output.replace("\n", " ")
    assert not (tmp_path / "out").exists()
