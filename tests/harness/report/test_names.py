"""Display names of variants."""

from typing import Any

import pytest

from encodeonce.harness.report.names import Names, kv_name, weights_name
from encodeonce.harness.run.meanings import describe_variants
from encodeonce.harness.run.variant import Variant
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"method": "full"}, "full cache"),
        ({"method": "full", "precision": "int8"}, "full cache in int8"),
        (
            {"method": "full", "precision": "int4", "scope": "media"},
            "full cache in int4, before the question",
        ),
        ({"method": "snapkv", "keep": 0.2}, "SnapKV 20 %, after the question"),
        ({"method": "h2o", "keep": 0.125, "scope": "media"}, "H2O 12.5 %, before the question"),
        (
            {"method": "tova", "keep": 0.2, "precision": "int4"},
            "TOVA 20 % in int4, after the question",
        ),
        (
            {
                "method": "prefixkv",
                "keep": 0.5,
                "options": {"profile": "a/b.json", "mode": "paper"},
            },
            "PrefixKV (mode paper, profile b.json) 50 %, after the question",
        ),
        (
            {"method": "random", "keep": 0.5, "options": {"shared": True}},
            "random (shared) 50 %, after the question",
        ),
        (
            {"method": "snapkv", "keep": 0.1, "options": {"window": 16, "pool": False}},
            "SnapKV (no pool, window 16) 10 %, after the question",
        ),
        (
            {"method": "ccm", "keep": 1 / 9, "scope": "media", "options": {"path": "nets/demo-9"}},
            "CCM (demo-9) 11.1 %, before the question",
        ),
        ({"method": "from_later", "keep": 0.5}, "from_later 50 %, after the question"),
    ],
)
def test_settings_are_named_by_method_budget_precision_and_scope(
    fields: dict[str, Any], name: str
) -> None:
    assert kv_name(KVSpec.model_validate(fields)) == name


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "original weights"),
        (
            {"method": "bnb-nf4", "options": {"double_quant": True}},
            "bitsandbytes NF4 (double quant)",
        ),
        ({"method": "awq", "path": "/made/llava-awq"}, "AWQ (llava-awq)"),
        ({"method": "from-later"}, "from-later"),
    ],
)
def test_weights_are_named_by_method_source_and_options(fields: dict[str, Any], name: str) -> None:
    assert weights_name(WeightsSpec.model_validate(fields)) == name


def names_of(*kv: KVSpec, weights: tuple[WeightsSpec, ...] = (NONE,)) -> Names:
    return Names(describe_variants(weights, kv, lambda path: ""))


def test_original_weights_go_without_saying() -> None:
    names = names_of(FULL, weights=(NONE, WeightsSpec(method="rtn")))
    assert names.variant(Variant("none", "full")) == "full cache"
    assert names.variant(Variant("rtn", "full")) == "RTN · full cache"
    assert names.variant(Variant("rtn", "full", "counting")) == "RTN + counting · full cache"
    assert names.variant(Variant("none", "full", "x")) == "original weights + x · full cache"


def test_a_label_is_the_name_but_not_the_curves() -> None:
    names = names_of(
        KVSpec(method="snapkv", keep=0.2, label="mine"),
        KVSpec(method="snapkv", keep=0.5),
        KVSpec(method="snapkv", keep=0.5, scope="media"),
    )
    assert names.variant(Variant("none", "mine")) == "mine"
    assert names.curve("mine") == names.curve("snapkv@0.5")
    assert names.curve("mine")[1] == "SnapKV, after the question"
    # What was compressed before the question is another curve.
    assert names.curve("snapkv@0.5:media") != names.curve("mine")


def test_a_cache_is_named_apart_from_when_it_compresses() -> None:
    early = KVSpec(method="h2o", keep=0.5, scope="media")
    names = names_of(FULL, early, KVSpec(method="h2o", keep=0.5, label="mine"))
    assert names.parts(Variant("none", "full")) == ("full cache", "")
    assert names.parts(Variant("none", early.title)) == ("H2O 50 %", "before the question")
    assert names.parts(Variant("none", "mine")) == ("mine", "")
    assert names.parts(Variant("none", "unknown")) == ("unknown", "")


def test_where_a_meaning_is_not_known_the_id_is_the_name() -> None:
    for meanings in ({}, {"kv": {"snapkv@0.5": {"method": "snapkv", "keeps": 0.5}}}):
        names = Names(meanings)
        assert names.variant(Variant("none", "snapkv@0.5")) == "none/snapkv@0.5"
        assert names.kv("snapkv@0.5") == "snapkv@0.5"
        assert names.weights("none") == "none"
        assert names.curve("snapkv@0.5") == ("snapkv@0.5", "snapkv@0.5")


def test_two_that_would_share_a_name_keep_their_ids() -> None:
    profiles = [{"profile": "one/x.json"}, {"profile": "two/x.json"}]
    one, two = (KVSpec(method="prefixkv", keep=0.5, options=options) for options in profiles)
    names = names_of(one, two, FULL)
    assert names.kv(one.title) == one.title
    assert names.kv(two.title) == two.title
    assert names.kv("full") == "full cache"
