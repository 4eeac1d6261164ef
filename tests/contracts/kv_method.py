"""Contract of every KV method. `tests/models/kv/test_methods.py` runs it over the folder.

Shapes: K heads of keys, N prompt tokens.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest
import torch

from encodeonce.models.kv.attention import probabilities
from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.registry import find_method
from encodeonce.models.kv.selection import Selection
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.statistics import LayerStatistics, Moments, PromptStatistics

NUM_LAYERS, NUM_HEADS, NUM_KV_HEADS, WIDTH = 3, 4, 2, 8


def rotary(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    angles = (positions[:, None] * 0.5 ** torch.arange(WIDTH // 2)).repeat(1, 2)
    return angles.cos(), angles.sin()


def made_up_prompt(num_tokens: int = 90, num_question: int = 12, seed: int = 0) -> PromptStatistics:
    """Return random statistics; layers differ in how sharp their attention is."""
    generator = torch.Generator().manual_seed(seed)
    split = num_tokens - num_question

    def states(heads: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(heads, num_tokens, WIDTH, generator=generator)

    layers = []
    for layer in range(NUM_LAYERS):
        queries = states(NUM_HEADS, scale=0.5 + 1.5 * layer)
        keys, values = states(NUM_KV_HEADS), states(NUM_KV_HEADS)
        received = probabilities(queries[:, :split], keys[:, :split], WIDTH**-0.5).sum(1)
        layers.append(
            LayerStatistics(
                layer=layer,
                parts=[(keys[:, :split], values[:, :split]), (keys[:, split:], values[:, split:])],
                query_parts=[queries[:, -70:]],
                num_prefix=split,
                scaling=WIDTH**-0.5,
                prefix_column_sums=received.unflatten(0, (NUM_KV_HEADS, -1)).mean(1),
                prefix_moments={4: Moments.of(queries[:, 4:])},
            )
        )
    is_visual = torch.zeros(num_tokens, dtype=torch.bool)
    is_visual[5 : split - 2] = True
    return PromptStatistics(layers=layers, is_visual=is_visual, rotary=rotary)


class KVMethodContract:
    """Set ``method`` to a file's name in models/kv/methods/, and ``options`` if it has some."""

    method: str
    options: Mapping[str, Any] = MappingProxyType({})
    budgets: Sequence[float] = (0.05, 0.3, 0.5)

    def make(self) -> KVMethod:
        found = find_method(KVSpec(method=self.method, keep=0.5, options=dict(self.options)))
        assert found is not None
        return found

    def test_it_says_what_people_call_it(self) -> None:
        kind = type(self.make())
        assert vars(kind)["display_name"].strip(), "its own, not that of the method it refines"

    def test_what_stays_is_in_order_and_each_once(self) -> None:
        for keep in self.budgets:
            for selection in self.make().plan(made_up_prompt(), keep):
                for head in selection:
                    assert len(head) > 0
                    assert (head.diff() > 0).all()

    def test_a_plan_is_pure(self) -> None:
        prompt = made_up_prompt()
        for keep in self.budgets:
            first, second = (self.make().plan(prompt, keep) for _ in range(2))
            fresh = self.make().plan(made_up_prompt(), keep)
            for one, other, third in zip(first, second, fresh, strict=True):
                for a, b, c in zip(one, other, third, strict=True):
                    assert torch.equal(a, b) and torch.equal(a, c)

    def test_a_layer_alone_and_all_layers_together_are_the_same(self) -> None:
        prompt, method = made_up_prompt(), self.make()
        for keep in self.budgets:
            plan = method.plan(prompt, keep)
            together = method.apply_layers(prompt.layers, plan, prompt.is_visual)
            for layer, selection, found in zip(prompt.layers, plan, together, strict=True):
                alone = method.apply(layer, selection, prompt.is_visual)
                assert found.lengths == [len(head) for head in selection] == alone.lengths
                for mine, others in ((found.keys, alone.keys), (found.values, alone.values)):
                    for one, other in zip(mine, others, strict=True):
                        assert one.dtype == layer.keys.dtype
                        assert torch.allclose(one, other, atol=1e-6)

    def test_a_prompt_of_few_tokens_keeps_something(self) -> None:
        prompt = made_up_prompt(num_tokens=9, num_question=3)
        for selection in self.make().plan(prompt, min(self.budgets)):
            assert all(len(head) >= 1 for head in selection)


class AnyBudgetContract(KVMethodContract):
    """Of methods that take any budget."""

    @pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 0.9, 1.0])
    def test_the_budget_is_met_to_a_token_a_layer(self, keep: float) -> None:
        prompt = made_up_prompt()
        plan = self.make().plan(prompt, keep)
        asked = keep * prompt.num_tokens * NUM_KV_HEADS * NUM_LAYERS
        assert abs(num_entries(plan) - asked) <= NUM_KV_HEADS * NUM_LAYERS

    def test_everything_stays_where_nothing_has_to_go(self) -> None:
        prompt = made_up_prompt()
        for layer, selection in zip(prompt.layers, self.make().plan(prompt, 1.0), strict=True):
            entries = self.make().apply(layer, selection, prompt.is_visual)
            assert entries.num_entries == prompt.num_tokens * NUM_KV_HEADS
            for kept, had in zip(entries.keys, layer.keys, strict=True):
                assert torch.equal(kept, had)


def num_entries(plan: Sequence[Selection]) -> int:
    return sum(len(head) for selection in plan for head in selection)
