"""Three machines run Ray: one dies, one is cut off and returns, some come later, the head dies."""

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from tests.cluster.conftest import Answers
from tests.cluster.network import Machine, Network
from tests.cluster.ray_nodes import RayNodes
from tests.cluster.scene import NUM_ANSWERS, DemoRun, command, wait_for

pytestmark = pytest.mark.timeout(900)


def start(nodes: RayNodes, run: DemoRun) -> "subprocess.Popen[str]":
    return nodes.drive(
        *command("run", str(run.file), "--ray-address", "auto", "--progress", "none"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def require_the_same(run: DemoRun, driver: "subprocess.Popen[str]", expected: Answers) -> str:
    """Wait for a run's end and compare its answers; return what it said."""
    out, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    assert "Traceback" not in err
    assert run.answers() == expected
    done = run.report()["precompute"]
    assert done["num_encoded"] == done["num_units"], "encoded twice or never"
    return out + err


def answers_of(run: DemoRun, machine: Machine) -> int:
    return run.hosts()[machine.name]


def until_it_answers(run: DemoRun, machine: Machine, others: Sequence[Machine]) -> None:
    """Wait for some answers of a machine; on a busy one, all would be done before it is ready."""
    wait_for(lambda: run.num_lines("records") >= 1)
    with paused(*others):
        wait_for(lambda: answers_of(run, machine) >= 8)


def test_a_node_that_dies_costs_no_answer(
    network: Network, ray_nodes: RayNodes, run: DemoRun, undisturbed: Answers
) -> None:
    head, left, right = network.machines
    for machine in (head, left, right):
        ray_nodes.start(machine)
    driver = start(ray_nodes, run)
    until_it_answers(run, right, others=(head, left))
    right.pull_the_plug()
    require_the_same(run, driver, undisturbed)
    assert answers_of(run, left) > 0


def test_a_node_that_is_cut_off_costs_no_answer_and_is_used_again(
    network: Network, ray_nodes: RayNodes, run: DemoRun, undisturbed: Answers
) -> None:
    head, left, right = network.machines
    for machine in (head, left, right):
        ray_nodes.start(machine)
    driver = start(ray_nodes, run)
    until_it_answers(run, right, others=(head, left))
    before = workers_of(run, right)
    right.cut_off()
    with paused(head, left):  # lest all is done before the node is back
        wait_for(lambda: ray_nodes.num_active() == 2, every_s=1)
        right.plug_in()
        wait_for(lambda: workers_of(run, right) - before)
    require_the_same(run, driver, undisturbed)


def test_nodes_that_join_later_get_work(
    network: Network, ray_nodes: RayNodes, run: DemoRun, undisturbed: Answers
) -> None:
    head, left, right = network.machines
    ray_nodes.start(head)
    driver = start(ray_nodes, run)
    wait_for(lambda: run.num_lines("precompute") >= 1)
    with paused(head):
        for machine in (left, right):
            ray_nodes.start(machine)
        until_each(lambda machine: len(workers_of(run, machine)), (left, right))
    until_each(lambda machine: answers_of(run, machine), network.machines)
    said = require_the_same(run, driver, undisturbed)
    assert "room for 1 of 3 workers; the others start when nodes join" in said
    assert min(answers_of(run, machine) for machine in (head, left, right)) > 0


def test_a_head_that_dies_is_said_in_one_sentence_with_what_is_kept(
    network: Network, ray_nodes: RayNodes, run: DemoRun, undisturbed: Answers
) -> None:
    for machine in network.machines:
        ray_nodes.start(machine)
    driver = start(ray_nodes, run)
    wait_for(lambda: run.num_lines("records") >= 8)
    with paused(*network.machines):  # they would go on without a head, perhaps to the end
        kill_the_head(network.machines[0])
        _, err = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "Traceback" not in err
    lost = [line for line in err.splitlines() if "the Ray cluster was lost" in line]
    assert len(lost) == 1, err
    kept = re.search(r"(\d+) of (\d+) answers are kept", err)
    assert kept is not None, err
    assert 8 <= int(kept[1]) == run.num_lines("records") < int(kept[2]) == NUM_ANSWERS
    before = run.answers()
    assert before.items() <= undisturbed.items()


def test_workers_go_on_while_the_head_is_away(
    network: Network, ray_nodes: RayNodes, run: DemoRun, undisturbed: Answers
) -> None:
    for machine in network.machines:
        ray_nodes.start(machine)
    driver = start(ray_nodes, run)
    wait_for(lambda: run.num_lines("records") >= 8)
    kill_the_head(network.machines[0])
    before = run.num_lines("records")
    wait_for(lambda: run.num_lines("records") > before + 100, seconds=40)
    driver.communicate(timeout=120)
    assert run.answers().items() <= undisturbed.items()


def kill_the_head(machine: Machine) -> None:
    """Kill the process that knows the others; Ray's others on the machine go on."""
    (gcs,) = (one for one in processes_on(machine) if "gcs_server" in one.name())
    gcs.kill()


def until_each(has_done: Callable[[Machine], int], machines: Sequence[Machine]) -> None:
    """Wait until each machine has done something; those that have stand still meanwhile."""
    left = list(machines)
    with ExitStack() as still:
        while left:
            wait_for(lambda: any(has_done(machine) for machine in left))
            for machine in [one for one in left if has_done(one)]:
                left.remove(machine)
                if left:
                    still.enter_context(paused(machine))


@contextmanager
def paused(*machines: Machine) -> Iterator[None]:
    """Let the workers on some machines stand still for the block."""
    found = [one for machine in machines for one in processes_on(machine)]
    workers = [one for one in found if one.name().startswith("ray::WorkerHost")]
    assert workers
    for one in workers:
        one.suspend()
    try:
        yield
    finally:
        for one in workers:
            with suppress(psutil.NoSuchProcess):  # where its cluster was lost
                one.resume()


def workers_of(run: DemoRun, machine: Machine) -> set[str]:
    """Return the workers on a machine that have encoded or answered."""
    lines = [*run.lines("precompute"), *run.lines("records")]
    found = {str(one["worker"]) for one in lines}
    return {one for one in found if one.startswith(f"{machine.name}:")}


def processes_on(machine: Machine) -> list[psutil.Process]:
    pids = set(machine.pids())
    return [one for one in psutil.process_iter() if one.pid in pids]
