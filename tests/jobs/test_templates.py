"""The cluster templates, as far as they can be checked without a cluster."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

TEMPLATES = Path(__file__).parents[2] / "jobs" / "templates"
COMMAND = "--ray-address auto"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_slurm_script_is_bash_and_runs_ours_on_its_own_cluster() -> None:
    path = TEMPLATES / "slurm.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert f'encodeonce run "$run_yaml" {COMMAND} &' in lines
    commands = [line for line in lines if not line.startswith("#")]
    assert not any("ray stop" in line or "symmetric-run" in line for line in commands)
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert max(directives) < lines.index("set -euo pipefail"), "SLURM reads none after a command"


def test_the_kubernetes_job_runs_ours_on_pods_that_share_their_files() -> None:
    text = (TEMPLATES / "kuberay-rayjob.yaml").read_text(encoding="utf-8")
    config, job = yaml.safe_load_all(text)
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert spec["entrypoint"] == f"encodeonce run /run/encodeonce/run.yaml {COMMAND}"
    assert spec["shutdownAfterJobFinishes"] is True
    cluster = spec["rayClusterSpec"]
    pods = [
        group["template"]["spec"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    ]
    for pod in pods:
        assert pod["volumes"][0]["configMap"]["name"] == config["metadata"]["name"]
        (container,) = pod["containers"]
        assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


def test_the_image_has_the_clusters_ray_which_is_the_one_that_is_tested() -> None:
    image = (TEMPLATES / "Dockerfile").read_text(encoding="utf-8")
    cluster = (TEMPLATES / "kuberay-rayjob.yaml").read_text(encoding="utf-8")
    constraints = (TEMPLATES.parents[1] / "constraints.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"^ray==(\S+)", constraints, re.MULTILINE)
    assert re.findall(r"^FROM rayproject/ray:([\d.]+)-py311", image, re.MULTILINE) == [version]
    assert re.findall(r'rayVersion: "([^"]+)"', cluster) == [version]
    (tag,) = re.findall(r"-t (\S+) ", image)
    assert f"image: &image {tag}\n" in cluster
