"""The SLURM template on two nodes: it runs, makes way at every stage, and begins again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster import slurm
from tests.cluster.conftest import Answers, MakeNetwork
from tests.cluster.network import Network
from tests.cluster.scene import DemoRun, wait_for
from tests.cluster.slurm import GRACE_S, Slurm

pytestmark = pytest.mark.timeout(900)

TEMPLATE = Path(__file__).parents[2] / "jobs" / "templates" / "slurm.sbatch"
NUM_NODES = 2


@pytest.fixture
def network(make_network: MakeNetwork) -> Network:
    if reason := slurm.why_not():
        pytest.skip(reason)
    return make_network("one", "two")


@pytest.fixture
def cluster(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    made = Slurm(network, tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
        yield made
    finally:
        for machine in network.machines:
            machine.pull_the_plug()
        made.close()


@pytest.fixture
def run(tmp_path: Path) -> DemoRun:
    made = DemoRun(folder=tmp_path / "run")
    made.write(workers={"executor": "ray", "num_workers": NUM_NODES})
    return made


def submit(cluster: Slurm, run: DemoRun, *options: str) -> str:
    """Submit the template as it is, for one core of each node and no GPU."""
    nodes = (f"--nodes={NUM_NODES}", "--gpus-per-node=0", "--cpus-per-task=1")
    log = run.folder / "slurm.log"
    return cluster.submit(*nodes, f"--output={log}", *options, str(TEMPLATE), str(run.file))


def require_clean(network: Network, job: str) -> None:
    """Check that nothing of a job is left: no process on the nodes but SLURM's own, no folder."""

    def left() -> list[str]:
        found = []
        for machine in network.machines:
            for pid in machine.pids():
                try:
                    found.append(psutil.Process(pid).name())
                except psutil.NoSuchProcess:
                    continue
        return [name for name in found if not name.startswith("slurm")]

    wait_for(lambda: not left(), seconds=30)
    assert not [one.name for one in network.machines if (one.folder / f"ray-{job}").exists()]


def require_the_same(run: DemoRun, cluster: Slurm, job: str, expected: Answers) -> None:
    cluster.wait(job, "COMPLETED", "FAILED", "TIMEOUT", seconds=600)
    log = (run.folder / "slurm.log").read_text(encoding="utf-8")
    assert cluster.job(job)["JobState"] == "COMPLETED", log
    assert run.answers() == expected
    assert "Traceback" not in log


def test_it_runs_on_both_nodes_and_leaves_nothing(
    cluster: Slurm, network: Network, run: DemoRun, undisturbed: Answers
) -> None:
    job = submit(cluster, run)
    require_the_same(run, cluster, job, undisturbed)
    hosts = run.hosts()
    assert min(hosts[machine.name] for machine in network.machines) > 0
    require_clean(network, job)


def test_told_to_end_at_any_stage_it_queues_up_again_and_goes_on(
    cluster: Slurm, network: Network, run: DemoRun, undisturbed: Answers
) -> None:
    stages: list[Callable[[], bool]] = [
        lambda: (network.machines[0].folder / f"ray-{job}").exists(),
        lambda: run.num_lines("precompute") >= 2,
        lambda: run.num_lines("records") >= 8,
    ]
    job = submit(cluster, run)
    for number, reached in enumerate(stages, 1):
        wait_for(reached)
        cluster.tell("scancel", "--batch", "--signal=TERM", job)
        start_s = time.monotonic()
        wait_for(lambda number=number: cluster.job(job)["Restarts"] == str(number))
        assert time.monotonic() - start_s < GRACE_S
    require_the_same(run, cluster, job, undisturbed)
    require_clean(network, job)


def test_at_its_limit_it_is_no_failure_where_it_may_not_begin_again(
    cluster: Slurm, network: Network, run: DemoRun, undisturbed: Answers
) -> None:
    job = submit(cluster, run, "--time=1", "--signal=B:TERM@30", "--no-requeue")
    cluster.wait(job, "COMPLETED", "FAILED", "TIMEOUT")
    assert cluster.job(job)["JobState"] == "TIMEOUT"
    assert run.answers().items() < undisturbed.items()
    require_clean(network, job)


def test_cancelled_it_ends_and_does_not_return(
    cluster: Slurm, network: Network, run: DemoRun
) -> None:
    job = submit(cluster, run)
    wait_for(lambda: run.num_lines("precompute") >= 2)
    cluster.tell("scancel", job)
    wait_for(lambda: cluster.job(job)["JobState"] == "CANCELLED")
    require_clean(network, job)
    assert cluster.job(job)["Restarts"] == "0"


def test_preempted_it_makes_way_and_goes_on_afterwards(
    cluster: Slurm, network: Network, run: DemoRun, undisturbed: Answers
) -> None:
    job = submit(cluster, run)
    wait_for(lambda: run.num_lines("records") >= 8)
    start_s = time.monotonic()
    whole = ("--partition=urgent", f"--nodes={NUM_NODES}", "--exclusive")
    urgent = cluster.submit(*whole, "--output=/dev/null", "--wrap=true")
    cluster.wait(urgent, "COMPLETED", seconds=2 * GRACE_S)
    assert time.monotonic() - start_s < GRACE_S + 30
    require_the_same(run, cluster, job, undisturbed)
    assert cluster.job(job)["Restarts"] == "1"
    require_clean(network, job)
