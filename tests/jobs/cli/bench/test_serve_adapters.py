"""``encodeonce bench serve`` by the clock, requests under several adapters."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from encodeonce.harness.run.jsonl import read_json_lines
from encodeonce.harness.serving.adapters.costs import AdapterCosts
from encodeonce.harness.serving.costs import architecture_sha256, write_costs
from encodeonce.jobs.cli.app import app
from encodeonce.models.spec import ModelSpec
from tests.harness.serving.scenes import COSTS
from tests.jobs.scene import Scene, make_scene
from tests.jobs.test_adapters import adapters

NUM_REQUESTS = 16
POLICIES = ("slora", "punica", "dlora", "merged_only", "valora")
FREE_SWITCHES = AdapterCosts(
    rank=4,
    switch_s=0.0,
    decode={"gather": (0.01, 0.0, 0.01), "grouped": (0.01, 0.0, 0.01)},
    prompt=(0.01, 0.0001),
)
"""Under which a merged adapter always pays."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("serve"), num_clips=2)


def served(scene: Scene, name: str, load: dict[str, Any]) -> dict[str, Any]:
    model = ModelSpec(path=str(scene.folder / "model"), dtype="float32")
    costs = {"adapters": FREE_SWITCHES, "architecture_sha256": architecture_sha256(model)}
    write_costs(scene.folder / "costs.json", COSTS.model_copy(update=costs))
    content = yaml.safe_load(scene.run_file().read_text())
    content |= {
        "time": {"mode": "wall", "costs": str(scene.folder / "costs.json")},
        "adapters": {**load, "skew": {"kind": "hot", "s": 0.4}},
        "arrivals": {"kind": "poisson", "rate": 400, "requests": NUM_REQUESTS, "seed": 1},
        "limits": {"kv_bytes": "400KiB"},
        "output_tokens": {"kind": "forced", "tokens": 6},
        "slo": {"ttft_s": 60.0, "tpot_s": 60.0},
        "experiments": [{"name": one, "policy": one} for one in POLICIES],
        "output": str(scene.folder / name),
    }
    path = scene.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "250"}).invoke(
        app, ["bench", "serve", str(path)]
    )
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads((scene.folder / name / "report.json").read_text())
    return {cell["experiment"]: cell for cell in found["cells"]}


def test_beside_the_weights_or_in_them_answers_are_the_offline_engines(
    scene: Scene, tmp_path: Path
) -> None:
    folders = adapters(tmp_path, 3)
    cells = served(scene, "real", {"number": 3, "folders": folders})
    assert set(cells) == set(POLICIES)
    for policy, cell in cells.items():
        assert cell["num_failed"] == 0, policy
        assert cell["same_tokens"] == {"num_compared": NUM_REQUESTS, "num_same": NUM_REQUESTS}
    for policy in ("slora", "punica"):
        assert cells[policy]["num_switches"] == 0
    for policy in ("merged_only", "valora"):
        assert cells[policy]["num_switches"] >= 2
        assert cells[policy]["merged_s"] > 0
    answers = list(read_json_lines(scene.folder / "real" / "answers" / "records.jsonl"))
    assert len({one["text"] for one in answers}) > 2, "the adapters change nothing"


def test_random_adapters_are_served_and_not_compared(scene: Scene) -> None:
    cells = served(scene, "random", {"number": 4, "random": {"rank": 4}})
    assert all(cell["num_failed"] == 0 for cell in cells.values())
    assert all(cell["same_tokens"] is None for cell in cells.values())
    assert all(cell["adapters"]["output_token_s"] > 0 for cell in cells.values())
