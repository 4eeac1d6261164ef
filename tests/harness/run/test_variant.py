"""Variants of a run: what a run file may say about them, and the meanings of their names."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.meanings import describe_variants
from encodeonce.harness.run.read_config import load_config
from encodeonce.harness.run.variant import BASELINE, Variant, changed_titles, joined, variants_of
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import WeightsSpec

MINIMAL = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "out"}


def load(tmp_path: Path, **changes: Any) -> RunConfig:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}), encoding="utf-8")
    return load_config(path)


def test_without_a_word_there_is_the_baseline_alone(tmp_path: Path) -> None:
    assert load(tmp_path).variants == (BASELINE,)


def test_a_list_of_budgets_is_a_variant_each_and_a_name_is_enough(tmp_path: Path) -> None:
    kv = ["full", {"method": "snapkv", "keep": [0.5, 0.2]}]
    config = load(tmp_path, weights=["none", {"method": "rtn", "label": "other"}], kv=kv)
    assert tuple(variant.name for variant in config.variants) == (
        "none/full", "none/snapkv@0.5", "none/snapkv@0.2",
        "other/full", "other/snapkv@0.5", "other/snapkv@0.2",
    )  # fmt: skip
    assert load(tmp_path, weights="none", kv="full").variants == (BASELINE,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv": ["full", {"method": "snapkv", "keep": [0.5, 0.5]}]}, "kv: .*'snapkv@0.5'.*label"),
        ({"weights": ["none", {"method": "none"}]}, "weights: .*two variants are named 'none'"),
        ({"kv": [{"method": "snapkv", "keep": 0.5, "label": "full"}]}, "kv: .*the whole cache"),
        ({"kv": [{"method": "full", "label": "whole"}]}, "kv: .*'full'.*under 'whole'"),
        ({"weights": [{"method": "none", "label": "base"}]}, "weights: .*under 'base'"),
        ({"weights": [{"method": "rtn", "label": "a/b"}]}, "weights: .*'a/b' contains a slash"),
        ({"kv": [{"method": "snapvk", "keep": 0.5}]}, "kv: .*no method 'snapvk'.*snapkv"),
        ({"kv": [{"method": "snapkv", "options": {"windw": 3}}]}, "kv: .*windw.*Allowed: "),
        ({"weights": ["rnt"]}, "weights: .*no weights method is called 'rnt'.*'rtn'"),
        ({"weights": [{"method": "rtn", "options": {"bits": 3}}]}, "weights: .*bits.*Allowed: "),
        ({"kv": []}, "kv: .*at least one variant"),
        (
            {"kv": [{"method": "snapkv", "keep": 0.5}], "fidelity": True},
            "fidelity: .*add 'full' to kv",
        ),
        (
            {"kv": [{"method": "snapkv", "keep": 0.5}], "check_uncached": 3},
            "check_uncached: .*'none/full'.*check_uncached: 0",
        ),
        ({"weights": [{"method": "rtn"}], "check_uncached": "all"}, "check_uncached: .*'none'"),
    ],
)
def test_what_records_could_not_tell_apart_or_compare_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, **changes)


def test_one_mistake_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, kv=[{"method": "snapkv", "kep": 0.5}])
    (line,) = str(caught.value).splitlines()
    assert re.search(r"run\.yaml, line \d+: kv\.0\.kep: unknown key\.", line)


def test_fidelity_changes_what_is_measured_and_so_the_run(tmp_path: Path) -> None:
    plain, measured = load(tmp_path), load(tmp_path, fidelity=True)
    assert plain.answer_fields() != measured.answer_fields()


def test_more_variants_are_the_same_run(tmp_path: Path) -> None:
    more = load(tmp_path, kv=["full", {"method": "snapkv", "keep": 0.5}])
    assert load(tmp_path).answer_fields() == more.answer_fields()


def test_a_name_means_its_fields_and_the_content_of_the_files_it_names(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text("1")
    spec = KVSpec(method="prefixkv", keep=0.5, options={"profile": str(profile), "mode": "x"})
    same = KVSpec(method="prefixkv", keep=0.5, options={"profile": str(profile), "mode": "x"})

    def meanings(kv: KVSpec) -> Any:
        return describe_variants([WeightsSpec()], [kv], lambda path: path.read_text())

    before = meanings(spec)
    assert before["kv"][spec.title]["files"] == {str(profile): "1"}
    assert changed_titles(before, meanings(same)) == []
    profile.write_text("2")
    assert changed_titles(before, meanings(spec)) == [spec.title]
    other = KVSpec(method="snapkv", keep=0.5, label=spec.title)
    assert changed_titles(before, meanings(other)) == [spec.title]


def test_names_are_added_and_kept_in_the_order_they_came() -> None:
    def meanings(*names: str) -> Any:
        kv = [KVSpec(method="x", label=name) for name in names]
        return describe_variants([WeightsSpec()], kv, lambda path: "")

    assert list(joined(meanings("b", "a"), meanings("c", "a"))["kv"]) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (BASELINE, "none/full"),
        (
            Variant("rtn(num_bits=8)", "snapkv@0.2(a=b/c):media"),
            "rtn(num_bits=8)/snapkv@0.2(a=b/c):media",
        ),
        (Variant("rtn+fast", "full+int8"), "rtn+fast/full+int8"),
        (Variant("none", "full", "counting"), "none+counting/full"),
        (Variant("rtn+fast", "a/b+c", "counting"), "rtn+fast+counting/a/b+c"),
    ],
)
def test_a_name_is_read_back_as_it_was(variant: Variant, name: str) -> None:
    assert variant.name == name
    assert Variant.parse(name, adapters=["counting"]) == variant


def test_only_a_runs_own_adapters_are_taken_for_one() -> None:
    """Labels with a plus sign are in records of runs without adapters."""
    assert Variant.parse("rtn+fast/full") == Variant("rtn+fast", "full")
    assert Variant.parse("rtn+fast/full", adapters=["counting"]) == Variant("rtn+fast", "full")
    assert Variant.parse("+fast/full", adapters=["fast"]) == Variant("+fast", "full")


@pytest.mark.parametrize("name", ["none", "/full", "none/", ""])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="WEIGHTS/KV"):
        Variant.parse(name)


@pytest.mark.parametrize(
    "titles",
    [
        ("a/b", "full"),
        ("", "full"),
        ("a", ""),
        ("a", "b", "x+y"),
        ("a", "b", "x/y"),
        ("a", "b", ""),
    ],
)
def test_titles_that_no_name_can_hold_are_refused(titles: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="slash|empty"):
        Variant(*titles)


def test_a_variants_own_full_cache_has_its_weights_and_its_adapter() -> None:
    variant = Variant("rtn", "snapkv@0.2", "counting")
    assert variant.own_full == Variant("rtn", "full", "counting")
    assert variant.own_full.is_full and not variant.is_full
    assert not Variant("rtn", "full+int8").is_full


def test_titles_make_up_variants_in_their_order() -> None:
    meanings: Any = {"weights": {"none": {}, "rtn": {}}, "kv": {"full": {}, "x": {}}}
    names = [variant.name for variant in variants_of(meanings)]
    assert names == ["none/full", "none/x", "rtn/full", "rtn/x"]
    assert variants_of({}) == []
