"""A cluster on paper: loads grow with what they should, and the largest comes first."""

from dataclasses import replace
from pathlib import Path

import pytest

from encodeonce.harness.bench.scale.costs import Costs, measure_costs
from encodeonce.harness.bench.scale.paper import Cluster, loads

COSTS = Costs(
    put_s=0.02,
    append_s=0.002,
    follow_s=0.0002,
    claim_s=0.001,
    unit_bytes=24.0,
    pack_bytes=360.0,
)
SERVER = "the file server's small operations"
LOG = "the log: commits, one after the other"


def shares(cluster: Cluster) -> dict[str, float]:
    return {load.name: load.share for load in loads(cluster, COSTS)}


def test_the_largest_load_comes_first() -> None:
    found = [load.share for load in loads(Cluster(), COSTS)]
    assert found == sorted(found, reverse=True)


def test_the_log_is_loaded_by_the_rate_and_readers_by_its_square() -> None:
    one, two = shares(Cluster(num_gpus=500)), shares(Cluster(num_gpus=1000))
    assert two[LOG] / one[LOG] == pytest.approx(2.0)
    assert two[SERVER] / one[SERVER] == pytest.approx(4.0, rel=0.05)
    by_hand = 1000 / 2.0 * (0.002 + 4 * 0.0005)
    assert two[LOG] == pytest.approx(by_hand)


@pytest.mark.parametrize("change", [{"media_a_pack": 16}, {"num_stores": 16}])
def test_what_if_relieves_the_log_and_the_index(change: dict[str, int]) -> None:
    plain, relieved = Cluster(), replace(Cluster(), **change)
    index = "the index in a worker's memory"
    assert shares(relieved)[LOG] == pytest.approx(shares(plain)[LOG] / 16)
    assert shares(relieved)[index] < shares(plain)[index]


def test_costs_are_measured_on_a_disk(tmp_path: Path) -> None:
    costs = measure_costs(tmp_path)
    assert costs.put_s > costs.append_s > 0
    assert 0 < costs.follow_s < costs.put_s
    assert costs.claim_s > 0
    assert costs.pack_bytes > 0
    assert list(tmp_path.iterdir()) == []
