"""The fields in which two runs differ: each once, under a name that says what it is."""

from pathlib import Path

from encodeonce.harness.report.compare import compare_sections
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.results.compare import Side, compare
from encodeonce.harness.results.summary import Summary
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec
from tests.harness.runs import a_record, write_run


def side(
    folder: Path,
    kv: list[KVSpec],
    variants: tuple[str, ...] = ("none/full",),
    weights: tuple[WeightsSpec, ...] = (NONE,),
) -> Side:
    records = tuple(a_record("a1", variant=name) for name in variants)
    run = write_run(folder, records, kv=kv, weights=weights).description()
    return Side(name=folder.name, run=run, records=records, precompute=None)


def names(comparison: Summary, which: str) -> list[str]:
    return [change["field"] for change in comparison[which]]


def budgets(method: str) -> list[KVSpec]:
    return [KVSpec(method=method, keep=keep) for keep in (0.1, 0.2, 0.3, 0.4, 0.5)]


def test_another_list_of_variants_is_one_difference(tmp_path: Path) -> None:
    few = side(tmp_path / "a", [FULL, *budgets("h2o")])
    many = side(tmp_path / "b", [*budgets("knorm"), FULL, *budgets("h2o"), *budgets("snapkv")])
    comparison = compare(few, many)
    assert names(comparison, "changed") == []
    unimportant = names(comparison, "changed_without_effect_on_answers")
    assert sorted(unimportant) == ["kv", "output"]
    change = comparison["changed_without_effect_on_answers"][unimportant.index("kv")]
    assert [len(titles) for titles in change["values"]] == [6, 16]
    page = to_markdown("t", compare_sections(comparison))
    assert "without effect on answers: output, kv." in page


def test_the_order_of_the_variants_is_no_difference(tmp_path: Path) -> None:
    there = side(tmp_path / "a", [FULL, *budgets("h2o")])
    back = side(tmp_path / "b", [*budgets("h2o")[::-1], FULL])
    assert names(compare(there, back), "changed_without_effect_on_answers") == ["output"]


def test_one_name_with_two_meanings_is_a_difference_among_several_variants_too(
    tmp_path: Path,
) -> None:
    both = ("none/full", "none/mine")
    sides = [
        side(tmp_path / str(keep), [FULL, KVSpec(method="h2o", keep=keep, label="mine")], both)
        for keep in (0.2, 0.4)
    ]
    comparison = compare(*sides)
    assert comparison["changed"] == [{"field": "variant kv mine.keep", "values": [0.2, 0.4]}]


def test_other_weights_are_one_difference(tmp_path: Path) -> None:
    more = (NONE, WeightsSpec(method="rtn", label="rtn", options={"num_bits": 8}))
    comparison = compare(side(tmp_path / "a", [FULL]), side(tmp_path / "b", [FULL], weights=more))
    assert sorted(names(comparison, "changed_without_effect_on_answers")) == ["output", "weights"]
