"""Costs files: the demo's, and what is no such file."""

import json
from pathlib import Path

import pytest

from encodeonce.harness.serving.costs import (
    DEMO_COSTS,
    CostsError,
    check_model,
    costs_named,
    num_places,
    write_costs,
)
from encodeonce.models.spec import ModelSpec
from tests.harness.serving.scenes import COSTS

DEMO = ModelSpec(path="demo", dtype="float32")


def test_the_built_in_costs_are_of_the_demos_model_and_fit_what_was_measured() -> None:
    found = costs_named("built-in")
    check_model(found, "built-in", DEMO)
    assert not found.warnings(unused=["swap"])
    assert DEMO_COSTS.stat().st_size < 20_000


def test_costs_are_refused_in_another_precision_and_for_another_model() -> None:
    with pytest.raises(CostsError, match="measured in float32; this run computes in bfloat16"):
        check_model(costs_named("built-in"), "built-in", ModelSpec(path="demo", dtype="bfloat16"))
    with pytest.raises(CostsError, match="measured with by hand, whose shapes are not those"):
        check_model(COSTS, "costs.json", DEMO)


def test_a_file_says_what_was_written_to_it(tmp_path: Path) -> None:
    write_costs(tmp_path / "costs.json", COSTS)
    assert costs_named(str(tmp_path / "costs.json")) == COSTS


@pytest.mark.parametrize("content", ["[]", "{}", "no JSON", '{"format": "encodeonce costs 2"}'])
def test_what_is_no_costs_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(content)
    with pytest.raises(CostsError, match="time.costs: .* is no costs file"):
        costs_named(str(path))
    with pytest.raises(CostsError, match="make it with `encodeonce bench costs"):
        costs_named(str(tmp_path / "none.json"))


def test_stages_by_hand() -> None:
    one = COSTS.of("none/full")
    assert one.prefill_s(100) == pytest.approx(0.01 + 0.01)
    assert one.decode_s(3, 10**6) == pytest.approx(0.006 + 0.0015)
    assert [num_places(rows) for rows in (1, 2, 3, 4, 5, 64)] == [1, 2, 4, 4, 8, 64]
    with pytest.raises(CostsError, match="holds no costs of 'rtn/full', only of none/full"):
        COSTS.of("rtn/full")
    assert json.loads(COSTS.model_dump_json())["format"] == "encodeonce costs 1"
