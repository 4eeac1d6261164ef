"""PrefixKV against the paper's formulas, written out again here."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.kv.methods.prefixkv import FixedPoint, search
from encodeonce.models.kv.registry import find_method
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.statistics import PromptStatistics
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual
from tests.asking import swept
from tests.contracts.kv_method import made_up_prompt

NUM_TOKENS, NUM_LAYERS = 300, 6


def zipf_layers(seed: int = 0) -> list[torch.Tensor]:
    """Return importances that fall at a different rate in each layer, in random order."""
    generator = torch.Generator().manual_seed(seed)
    ranks = torch.arange(1, NUM_TOKENS + 1, dtype=torch.float64)
    layers = []
    for layer in range(NUM_LAYERS):
        falling = ranks ** -(0.4 + 0.3 * layer)
        layers.append(falling[torch.randperm(NUM_TOKENS, generator=generator)])
    return layers


def mass(importance: torch.Tensor, count: int) -> float:
    ordered = importance.sort(descending=True).values
    return float(ordered[:count].sum() / ordered.sum())


def by_bisection(layers: list[torch.Tensor], total: int) -> list[int]:
    """Return k_l(p) + 2 for the largest p whose sum does not exceed ``total`` (eq. 4 to 6)."""

    def counts(p: float) -> list[int]:
        found = []
        for importance in layers:
            share = importance.sort(descending=True).values.cumsum(0) / importance.sum()
            # The first k tokens that hold at least p, then the first and the last token.
            needed = int((share < p).sum()) + 1 if p > 0 else 0
            found.append(min(NUM_TOKENS, needed + 2))
        return found

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(counts(middle)) <= total else (low, middle)
    return counts(low)


@pytest.mark.parametrize("keep", [0.1, 0.2, 0.5, 0.8])
def test_the_search_finds_what_bisection_finds(keep: float) -> None:
    layers = zipf_layers()
    total = int(keep * NUM_TOKENS) * NUM_LAYERS
    ours, theirs = search(layers, total), by_bisection(layers, total)
    assert sum(ours) == total
    # Bisection stops short of the budget by less than a token a layer.
    assert all(0 <= a - b <= 1 for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("keep", [0.1, 0.2, 0.5])
def test_layers_keep_the_same_share_and_more_than_uniform_budgets_do(keep: float) -> None:
    layers = zipf_layers()
    count = int(keep * NUM_TOKENS)
    kept = [found - 2 for found in search(layers, count * NUM_LAYERS)]
    reached = [mass(one, n) for one, n in zip(layers, kept, strict=True)]
    without_the_last = [mass(one, n - 1) for one, n in zip(layers, kept, strict=True)]
    uniform = [mass(one, count) for one in layers]
    assert max(without_the_last) <= min(reached)
    assert min(reached) > min(uniform)


def test_flat_scores_end() -> None:
    """The authors' bisection never ends where no p meets the budget."""
    flat = [torch.ones(NUM_TOKENS)] * NUM_LAYERS
    found = search(flat, 1000)
    assert sum(found) == 1000
    assert max(found) - min(found) <= 1


def test_the_first_and_the_last_token_stay() -> None:
    method = find_method(KVSpec(method="prefixkv", keep=0.05))
    assert method is not None
    for selection in method.plan(made_up_prompt(), 0.05):
        assert all(head[0] == 0 and head[-1] == 89 for head in selection)


def evenly_attended() -> PromptStatistics:
    """Return statistics in which each query gives later tokens slightly more than earlier ones."""
    prompt = made_up_prompt(num_question=0)
    place = torch.arange(prompt.num_tokens)
    received = (prompt.num_tokens - place) * (1 + place / 1000)
    layers = [
        replace(layer, prefix_column_sums=received.expand(layer.num_kv_heads, -1))
        for layer in prompt.layers
    ]
    return replace(prompt, layers=layers)


def test_what_a_token_is_worth_can_be_divided_by_how_many_queries_see_it() -> None:
    """Sums favour early tokens, which more queries see; means say what each of them gave."""
    for importance, expected in (("sum", [*range(26), 89]), ("mean", [0, *range(64, 90)])):
        spec = KVSpec(method="prefixkv", keep=0.3, options={"importance": importance})
        method = find_method(spec)
        assert method is not None
        for selection in method.plan(evenly_attended(), 0.3):
            assert all(head.tolist() == expected for head in selection)


def test_a_profile_is_of_sums(tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "p.json", {"0.2": [0.3, 0.2, 0.1]})
    both = KVSpec(method="prefixkv", options={"profile": profile, "importance": "mean"})
    with pytest.raises(ValueError, match="profile goes with importance: sum.*got importance: mean"):
        find_method(both)


def write_profile(path: Path, layers: dict[str, list[float]]) -> str:
    content = {
        "format": "encodeonce prefixkv profile 1",
        "checkpoint_sha256": "a" * 64,
        "model": "some/model",
        "data_sha256": "b" * 64,
        "num_samples": 3,
        "layers": layers,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def test_a_profile_sets_each_layer_and_the_budget_is_exact(tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "p.json", {"0.2": [0.3, 0.2, 0.1]})
    method = find_method(KVSpec(method="prefixkv", options={"profile": profile}))
    assert method is not None
    plan = method.plan(made_up_prompt(), 0.2)
    assert [len(selection[0]) for selection in plan] == [27, 18, 9]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"0.5": [0.5, 0.5, 0.5]}, r"not calibrated for keep 0.2; it holds 0.5"),
        ({"0.2": [0.2, 0.2]}, "a model with 2 layers; this one has 3"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(
    tmp_path: Path, layers: dict[str, list[float]], message: str
) -> None:
    profile = write_profile(tmp_path / "p.json", layers)
    method = find_method(KVSpec(method="prefixkv", options={"profile": profile}))
    assert method is not None
    with pytest.raises(ValueError, match=message):
        method.plan(made_up_prompt(), 0.2)


def test_a_profile_of_another_model_is_refused(tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "p.json", {"0.2": [0.2]})
    method = find_method(KVSpec(method="prefixkv", options={"profile": profile}))
    assert method is not None
    method.check_model("a" * 64)
    with pytest.raises(ValueError, match="calibrated on some/model .* not on this model"):
        method.check_model("c" * 64)


def test_no_profile_at_all_is_one_error(tmp_path: Path) -> None:
    method = find_method(KVSpec(method="prefixkv", options={"profile": str(tmp_path / "no.json")}))
    assert method is not None
    with pytest.raises(ValueError, match="cannot read .*no.json"):
        method.check_model("a" * 64)


def test_the_papers_eviction_holds_the_budget_while_the_answer_grows() -> None:
    """Lengths as the authors' code has them: at most one entry goes at a step, at a fixed place."""
    rule = FixedPoint(num_tokens=624, kept=(200, 125, 60, 20))
    held = [200, 125, 60, 20]
    for num_new in range(128):
        for layer, kept in enumerate(rule.kept):
            entry = rule.entry(layer, held[layer], num_new)
            if entry is not None:
                assert entry == (kept - 25 if kept > 25 else kept // 2)
                held[layer] -= 1
            held[layer] += 1
    for layer, kept in enumerate(rule.kept):
        assert held[layer] == pytest.approx((624 + 128) * kept / 624, abs=1.5)


def test_paper_mode_decodes_and_says_how_much_it_held(decoder: Any, visuals: list[Visual]) -> None:
    settings = [
        KVSpec(method="prefixkv", keep=0.2),
        KVSpec(method="prefixkv", keep=0.2, options={"mode": "paper"}),
    ]
    spec = GenerationSpec(max_new_tokens=24)
    exact, paper = swept(decoder, visuals, ["Describe the video."], spec, settings)
    assert exact[0].kv.kept_bytes == paper[0].kv.kept_bytes
    held = paper[0].kv.end_bytes / paper[0].kv.full_end_bytes
    assert held == pytest.approx(0.2, abs=0.01)
    assert exact[0].kv.end_bytes == exact[0].kv.kept_bytes + (
        paper[0].kv.full_end_bytes - paper[0].kv.full_bytes
    ) // (len(paper[0].token_ids) - 1) * (len(exact[0].token_ids) - 1)
