"""``encodeonce bench serve`` by the clock, requests under several adapters."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.harness.run.jsonl import read_json_lines
from encodeonce.harness.serving import grid
from encodeonce.harness.serving.adapters.costs import AdapterCosts
from encodeonce.harness.serving.adapters.modes import mixed
from encodeonce.harness.serving.adapters.peft_model import has_peft
from encodeonce.harness.serving.adapters.queues import serve
from encodeonce.harness.serving.costs import architecture_sha256, write_costs
from encodeonce.harness.serving.policy import Action, View, Wait
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
    decode={
        "gather": (0.01, 0.0, 0.01),
        "grouped": (0.01, 0.0, 0.01),
        "peft": (0.01, 0.01, 0.01),
    },
    prompt=(0.01, 0.0001),
)
"""Under which a merged adapter always pays."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("serve"), num_clips=2)


class AlwaysMixed:
    """Serves everybody with one adapter in the weights, another at every tenth action."""

    may_idle: ClassVar[bool] = False

    def __init__(self) -> None:
        self._count = 0

    def choose(self, view: View) -> Action | Wait:
        return serve(view, mixed(self._count // 10 % 3))

    def done(self, action: Action, seconds: float) -> None:
        self._count += action.stage != "encode"


def run_file(scene: Scene, name: str, load: dict[str, Any], **changes: Any) -> Path:
    model = ModelSpec(path=str(scene.folder / "model"), dtype="float32")
    costs = {"adapters": FREE_SWITCHES, "architecture_sha256": architecture_sha256(model)}
    write_costs(scene.folder / "costs.json", COSTS.model_copy(update=costs))
    content = yaml.safe_load(scene.run_file().read_text())
    content |= {
        "time": {"mode": "wall", "costs": str(scene.folder / "costs.json")},
        "adapters": {"skew": {"kind": "hot", "s": 0.4}, **load},
        "arrivals": {"kind": "poisson", "rate": 400, "requests": NUM_REQUESTS, "seed": 1},
        "limits": {"kv_bytes": "400KiB"},
        "output_tokens": {"kind": "forced", "tokens": 6},
        "slo": {"ttft_s": 60.0, "tpot_s": 60.0},
        "experiments": [{"name": one, "policy": one} for one in POLICIES],
        "output": str(scene.folder / name),
        **changes,
    }
    path = scene.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def bench(path: Path) -> Result:
    runner = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "250"})
    return runner.invoke(app, ["bench", "serve", str(path)])


def served(scene: Scene, name: str, load: dict[str, Any], **changes: Any) -> dict[str, Any]:
    done = bench(run_file(scene, name, load, **changes))
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


def test_prefixes_are_shared_under_one_adapter_alone(scene: Scene, tmp_path: Path) -> None:
    experiment = {"name": "shared", "policy": "slora", "share_prefixes": True}
    load = {"number": 3, "folders": adapters(tmp_path, 3)}
    (cell,) = served(scene, "shared", load, experiments=[experiment]).values()
    assert cell["num_hits"] > 0 and cell["num_misses"] >= 3
    assert cell["same_tokens"] == {"num_compared": NUM_REQUESTS, "num_same": NUM_REQUESTS}


def test_random_adapters_are_served_and_not_compared(scene: Scene) -> None:
    cells = served(scene, "random", {"number": 4, "random": {"rank": 4}})
    assert all(cell["num_failed"] == 0 for cell in cells.values())
    assert all(cell["same_tokens"] is None for cell in cells.values())
    assert all(cell["adapters"]["output_token_s"] > 0 for cell in cells.values())
    page = (scene.folder / "random" / "report.md").read_text(encoding="utf-8")
    assert "nothing is scored" in page and "Accuracy is that of" not in page
    real = (scene.folder / "real" / "report.md").read_text(encoding="utf-8")
    assert "Accuracy is that of" in real and "on this engine, by the clock" in real


def test_rows_under_others_are_mixed_beside_one_in_the_weights(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "make_policy", lambda name: AlwaysMixed())
    folders = adapters(tmp_path, 3)
    load = {"number": 3, "folders": folders, "allow_mixed": True}
    (cell,) = served(
        scene, "mixed", load, experiments=[{"name": "mixed", "policy": "valora"}]
    ).values()
    assert cell["num_failed"] == 0 and cell["num_switches"] >= 2
    assert cell["mixed_s"] > 0.9 * sum((cell["mixed_s"], cell["merged_s"]))
    assert cell["same_tokens"] == {"num_compared": NUM_REQUESTS, "num_same": NUM_REQUESTS}
    page = " ".join((scene.folder / "mixed" / "report.md").read_text(encoding="utf-8").split())
    assert "logits of mixed rows were within" in page
    assert f"as far as both go: mixed {NUM_REQUESTS} of {NUM_REQUESTS}." in page


@pytest.mark.skipif(has_peft(), reason="peft is installed")
def test_pefts_loop_needs_peft(scene: Scene) -> None:
    load = {"number": 2, "random": {"rank": 4}}
    path = run_file(scene, "peft", load, experiments=[{"name": "loop", "policy": "peft_mixed"}])
    done = bench(path)
    assert done.exit_code == 1
    assert (
        "'loop': policy 'peft_mixed' runs peft, which is not installed. Type: pip install "
        '"encodeonce[adapters]"'
    ) in " ".join(done.output.split())
    assert not (scene.folder / "peft" / "answers").exists()


def test_a_trace_says_who_asks_under_which(scene: Scene, tmp_path: Path) -> None:
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens,lora"]
    lines += [f"{0.002 * n:.3f},8,4,{'ab'[n % 3 == 0]}" for n in range(9)]
    (tmp_path / "trace.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    skew = {"kind": "trace_column", "column": "lora"}
    cells = served(
        scene,
        "recorded",
        {"number": 2, "random": {"rank": 4}, "skew": skew},
        arrivals={"kind": "trace", "file": str(tmp_path / "trace.csv")},
        output_tokens={"kind": "trace"},
        experiments=[{"name": "one", "policy": "merged_only"}],
    )
    assert cells["one"]["num_requests"] == 9 and cells["one"]["num_switches"] >= 1
    page = " ".join((scene.folder / "recorded" / "report.md").read_text("utf-8").split())
    assert "Requests are under what the trace's column lora says" in page
