"""Every file in models/kv/methods/ keeps the contract."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch

from encodeonce.models.kv.methods.random import Random
from encodeonce.models.kv.registry import check_kv, find_method, method_class, method_names
from encodeonce.models.kv.spec import KVSpec
from tests.contracts.kv_method import NUM_KV_HEADS, NUM_LAYERS, AnyBudgetContract, made_up_prompt

NEEDS_A_LIBRARY = ("kvpress",)
ANY_BUDGET = [
    name
    for name in method_names()
    if name not in ("full", *NEEDS_A_LIBRARY) and not method_class(name).is_trained
]


@pytest.mark.parametrize("method", ANY_BUDGET, scope="class")
class TestEveryMethod(AnyBudgetContract):
    @pytest.fixture(autouse=True)
    def _choose(self, method: str) -> None:
        self.method = method


class TestRandomShared(AnyBudgetContract):
    method = "random"
    options: ClassVar[Mapping[str, Any]] = {"shared": True}

    def test_the_same_tokens_stay_in_every_head_and_layer(self) -> None:
        kept = [head for layer in self.make().plan(made_up_prompt(), 0.3) for head in layer]
        assert len(kept) == NUM_LAYERS * NUM_KV_HEADS
        assert all(torch.equal(head, kept[0]) for head in kept)

    def test_another_seed_keeps_others(self) -> None:
        one, other = (Random(shared=True, seed=seed).plan(made_up_prompt(), 0.3) for seed in (0, 1))
        assert not torch.equal(one[0][0], other[0][0])


class TestPrefixKVByMean(AnyBudgetContract):
    method = "prefixkv"
    options: ClassVar[Mapping[str, Any]] = {"importance": "mean"}


def test_unshared_random_draws_for_each_head_and_layer_apart() -> None:
    kept = [head for layer in Random().plan(made_up_prompt(), 0.3) for head in layer]
    assert len({tuple(head.tolist()) for head in kept}) == NUM_LAYERS * NUM_KV_HEADS


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no method 'snap'\. Allowed: full, adakv, .*snapkv"):
        check_kv(KVSpec(method="snap", keep=0.5))


def test_a_wrong_option_is_refused_with_the_options() -> None:
    wrong = KVSpec(method="snapkv", keep=0.5, options={"windw": 3})
    with pytest.raises(ValueError, match=r"'snapkv': windw: .*Allowed: window, kernel"):
        check_kv(wrong)


def test_full_has_no_options() -> None:
    with pytest.raises(ValueError, match="'full' has no options"):
        find_method(KVSpec(method="full", options={"window": 3}))


def test_what_reads_the_question_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="'vl_cache' reads the question"):
        check_kv(KVSpec(method="vl_cache", keep=0.5, scope="media"))


def test_evicting_while_decoding_and_quantised_storage_exclude_each_other() -> None:
    paper = KVSpec(method="prefixkv", keep=0.5, options={"mode": "paper"}, precision="int8")
    with pytest.raises(ValueError, match="removes entries while decoding"):
        check_kv(paper)
