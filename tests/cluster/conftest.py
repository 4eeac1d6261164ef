"""The answers that every cluster must give, and networks that are taken down whatever happens."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.cluster.network import Network, why_not
from tests.cluster.ray_nodes import RayNodes
from tests.cluster.scene import NUM_ANSWERS, DemoRun, command, environment

Answers = Mapping[tuple[str, str], str]
MakeNetwork = Callable[..., Network]


@pytest.fixture(scope="session", autouse=True)
def _allowed() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What one local worker answers when nothing happens to it."""
    run = DemoRun(folder=tmp_path_factory.mktemp("undisturbed"))
    run.write(workers={"executor": "local"})
    words = command("run", str(run.file), "--progress", "none")
    subprocess.run(words, env=environment(), check=True, capture_output=True)
    answers = run.answers()
    assert len(answers) == NUM_ANSWERS
    return answers


@pytest.fixture
def make_network(_allowed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeNetwork]:
    networks: list[Network] = []

    def make(*names: str) -> Network:
        networks.append(Network(names, tmp_path_factory.getbasetemp()))
        return networks[-1]

    yield make
    for network in networks:
        network.close()


@pytest.fixture
def network(make_network: MakeNetwork) -> Network:
    """Three machines."""
    return make_network("head", "left", "right")


@pytest.fixture
def ray_nodes(network: Network, tmp_path: Path) -> RayNodes:
    return RayNodes(tmp_path / "ray")


@pytest.fixture
def run(tmp_path: Path) -> DemoRun:
    """The demo, by three workers of a Ray cluster."""
    made = DemoRun(folder=tmp_path / "run")
    made.write(workers={"executor": "ray", "num_workers": 3})
    return made
