"""``encodeonce bench costs`` and ``encodeonce bench serve``, from run file to report."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.harness.bench import costs as costs_bench
from encodeonce.harness.run.jsonl import read_json_lines
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.serving.cells import cells_of
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.serving.remote import Piece
from encodeonce.harness.serving.replica import Replica
from encodeonce.harness.serving.workload import make_workload
from encodeonce.jobs.cli.app import app
from encodeonce.jobs.cli.bench.serve import _answers
from tests.jobs.scene import Scene, make_scene

SERVE: dict[str, Any] = {
    "arrivals": {"kind": "poisson", "rate": [4, 400], "requests": 20, "seed": 1},
    "limits": {"kv_bytes": ["200KiB"]},
    "slo": {"ttft_s": 1.0, "tpot_s": 0.5},
    "experiments": [
        {"name": "full"},
        {"name": "half", "kv": {"method": "snapkv", "keep": 0.5}},
        {"name": "early", "kv": {"method": "random", "keep": 0.5, "scope": "media"}},
        {"name": "int4", "kv": {"method": "full", "precision": "int4"}, "policy": "decode_first"},
    ],
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("serve"), num_clips=2)


def run_file(scene: Scene, **changes: Any) -> Path:
    content = yaml.safe_load(scene.run_file().read_text())
    content |= {**SERVE, "time": {"mode": "wall"}, **changes}
    path = scene.folder / "serve.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def bench(*words: str | Path) -> Result:
    runner = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "250"})
    return runner.invoke(app, ["bench", *map(str, words)])


@pytest.fixture(scope="module")
def costs(scene: Scene) -> Path:
    path = scene.folder / "costs.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs_bench, "ROWS", (1, 2, 4))
        done = bench("costs", run_file(scene), "--output", path, "--rounds", "1")
    assert done.exit_code == 0, done.output
    assert "snapkv@0.5" in done.stdout
    return path


def virtual(scene: Scene, costs: Path, name: str, **changes: Any) -> tuple[Result, Path]:
    output = scene.folder / name
    time = {"mode": "virtual", "costs": str(costs)}
    done = bench("serve", run_file(scene, time=time, output=str(output), **changes))
    return done, output


def report(output: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads((output / "report.json").read_text())
    return content


def digests(output: Path) -> dict[str, str]:
    files = [*(output / "cells").iterdir(), *output.glob("report.*"), *output.glob("*.svg")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_costs_are_of_this_model_and_every_stage(scene: Scene, costs: Path) -> None:
    found = json.loads(costs.read_text())
    assert set(found["variants"]) == {
        "none/full",
        "none/snapkv@0.5",
        "none/random@0.5:media",
        "none/full+int4",
    }
    # 2 layers of 2 heads of 16 numbers, keys and values, 4 bytes each.
    assert found["token_bytes"] == 2 * 2 * 2 * 16 * 4
    assert all(min(one) >= 0 for v in found["variants"].values() for one in v.values())
    assert found["variants"]["none/full"]["compress"] == [0, 0]
    assert found["points"]["none/full: decode"][0][0] == 1.0


def test_the_same_file_gives_the_same_bytes_and_serves_nothing_twice(
    scene: Scene, costs: Path
) -> None:
    done, output = virtual(scene, costs, "virtual")
    assert done.exit_code == 0, done.output
    assert "What each way bears" in done.stdout
    first = digests(output)
    assert len(list((output / "cells").glob("*.jsonl"))) == 8
    times = {file: file.stat().st_mtime_ns for file in (output / "cells").iterdir()}
    virtual(scene, costs, "virtual")
    assert {file: file.stat().st_mtime_ns for file in (output / "cells").iterdir()} == times
    assert digests(output) == first
    # From the beginning, in a process in which sets have another order.
    again = scene.folder / "again"
    path = run_file(scene, time={"mode": "virtual", "costs": str(costs)}, output=str(again))
    command = [sys.executable, "-m", "encodeonce.jobs.cli.app", "bench", "serve", str(path)]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert digests(again) == first


def test_accuracy_stands_beside_goodput(scene: Scene, costs: Path) -> None:
    _, output = virtual(scene, costs, "virtual")
    found = report(output)
    assert [one["name"] for one in found["experiments"]] == ["full", "half", "early", "int4"]
    full, half, *_ = [one["quality"] for one in found["experiments"]]
    assert (full["difference"], full["kept"]) == (None, 1.0)
    assert half["difference"]["num_samples"] == 4
    assert 0.45 < half["kept"] < 0.6
    assert len(found["cells"]) == 8
    assert len(found["best"]) == 4
    page = (output / "report.html").read_text()
    assert page.count("<svg") > 8
    assert "Within the objectives" in page
    assert (output / "Time-to-first-token-p99-200.0-KiB.svg").exists()


def test_other_objectives_need_no_new_cells(scene: Scene, costs: Path) -> None:
    _, output = virtual(scene, costs, "virtual")
    before = report(output)
    names = set((output / "cells").iterdir())
    virtual(scene, costs, "virtual", slo={"ttft_s": 1e-9, "tpot_s": 0.5})
    assert set((output / "cells").iterdir()) == names
    after = report(output)
    assert before["cells"][0]["attainment"] == 1.0
    assert after["cells"][0]["attainment"] == 0.0
    assert after["best"][0]["load"] is None


def test_limits_of_its_own_put_an_experiment_in_a_table_apart(scene: Scene, costs: Path) -> None:
    own = {"name": "own", "limits": {"kv_bytes": "1MiB"}, "not_comparable": "more memory"}
    experiments = [*SERVE["experiments"][:1], own]
    done, output = virtual(scene, costs, "virtual", experiments=experiments)
    assert "Not comparable: own" in done.stdout
    assert "more memory" in done.stdout
    caps = {(cell["experiment"], cell["kv_bytes"]) for cell in report(output)["cells"]}
    assert caps == {("full", 200 * 2**10), ("own", 2**20)}


def test_what_never_fits_and_costs_of_another_model_are_refused(scene: Scene, costs: Path) -> None:
    done, output = virtual(scene, costs, "virtual", limits={"kv_bytes": "8KiB"})
    assert done.exit_code == 1
    assert "limits.kv_bytes 8.0 KiB: sample questions/" in done.output
    done, _ = virtual(scene, costs, "virtual", limits={"kv_bytes": "1MiB", "prefill_tokens": 4})
    assert "limits.prefill_tokens 4: the prompt of sample questions/" in done.output
    done = bench("serve", run_file(scene, time={"mode": "virtual", "costs": "built-in"}))
    assert "time.costs: built-in was measured with demo" in done.output
    experiments = [{"name": "full"}, {"name": "h2o", "kv": {"method": "h2o", "keep": 0.5}}]
    done, _ = virtual(scene, costs, "virtual", experiments=experiments)
    assert "holds no costs of 'none/h2o@0.5'" in done.output


def test_a_replica_takes_requests_from_outside_and_tells_of_every_token(scene: Scene) -> None:
    config = load_run_file(run_file(scene, output=str(scene.folder / "virtual")), ServeConfig)
    known = _answers(config, None)
    names = [cell.experiment.name for cell in cells_of(config)]

    async def ask(replica: Replica, cell: int, number: int) -> list[Piece]:
        return [piece async for piece in replica.stream(cell, number)]

    async def serve() -> None:
        replica = Replica(config, known)
        for cell, name in enumerate(names[:3]):
            asked = (ask(replica, cell, number) for number in range(8))
            for number, pieces in enumerate(await asyncio.gather(*asked)):
                *tokens, last = pieces
                workload = make_workload(
                    config, config.experiments[cell], config.arrivals, known, 1
                )
                record = known.record(workload.asked[number], config.experiments[cell].variant)
                assert tuple(last.token_ids) == record.token_ids, name
                assert last.text == record.text
                assert len(tokens) == len(record.token_ids)
                assert all(token.is_token for token in tokens)

    asyncio.run(serve())


def test_by_the_clock_answers_are_those_of_the_offline_engine(scene: Scene, costs: Path) -> None:
    experiments = [
        *SERVE["experiments"],
        {"name": "again", "preempt": "recompute"},
        {"name": "shared", "share_prefixes": True},
        {"name": "fresh", "kv": {"method": "snapkv", "keep": 0.5}, "policy": "fastcache"},
    ]
    path = run_file(
        scene,
        time={"mode": "wall", "costs": str(costs)},
        arrivals={"kind": "poisson", "rate": 200, "requests": 20},
        limits={"kv_bytes": "200KiB"},
        monitor={"every_s": 0.01},
        experiments=experiments,
        output=str(scene.folder / "wall"),
    )
    done = bench("serve", path)
    assert done.exit_code == 0, done.output
    assert "Wall time and virtual time" in done.stdout
    found = report(scene.folder / "wall")
    for cell in found["cells"]:
        assert cell["num_failed"] == 0, cell
        assert cell["same_tokens"] == {"num_compared": 20, "num_same": 20}, cell["experiment"]
        assert 0 < cell["peak_reserved_bytes"] <= 200 * 1024
        assert cell["peak_allocated_bytes"] > 0
    by_name = {cell["experiment"]: cell for cell in found["cells"]}
    assert by_name["shared"]["num_hits"] >= 10
    texts = {
        line["sample"]: line["text"]
        for file in (scene.folder / "wall" / "cells").glob("*.jsonl")
        for line in list(read_json_lines(file))[1:]
        if line["text"] is not None
    }
    answers = read_json_lines(scene.folder / "wall" / "answers" / "records.jsonl")
    assert set(texts) == {f"{one['benchmark']}/{one['sample']}" for one in answers}
    head, *_ = sorted((scene.folder / "wall" / "cells").glob("*.csv"))[0].read_text().splitlines()
    assert head.startswith("time_s,running,waiting,reserved_kv_bytes")
