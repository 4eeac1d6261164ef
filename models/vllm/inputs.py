"""Hands projected features to vLLM as what its own encoder would have given.

vLLM's processors are not asked: the prompt's tokens are ours, and vLLM is told where in them each
media item's embeddings go. It knows an item by a digest of its embeddings, so that its prefix cache
holds for what is seen, not for how a file is called.

Shapes: N visual tokens, D width of the language model, L deepstack levels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import xxhash

from encodeonce.models.checkpoint.tensors import to_array
from encodeonce.models.language.placeholders import Shown

Layout = Literal["items", "grids", "frames"]
"""How vLLM takes an architecture's embeddings: one tensor an item, or all in a row with grids. With
"frames", a video's range begins at its first frame's start token, where vLLM looks for one."""

LAYOUTS: dict[str, Layout] = {
    "idefics3": "items",
    "internvl": "items",
    "llava": "items",
    "llava_next": "items",
    "llava_onevision": "items",
    "qwen2_vl": "grids",
    "qwen2_5_vl": "grids",
    "qwen3_vl": "frames",
    "smolvlm": "items",
}
"""By transformers' model type: the architectures for which vLLM 0.32 takes embeddings."""
WITH_TOWER = ("qwen3_vl",)
"""Those that vLLM must be given the tower of, though it does not run: without one it looks for no
deepstack levels in the embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One placeholder's embeddings, as vLLM takes them."""

    modality: str
    digest: str
    data: Any
    """vLLM's keyword arguments."""
    position: Any
    """vLLM's range of the prompt's tokens."""


def items_of(shown: Sequence[Shown], is_visual: Sequence[bool], layout: Layout) -> list[Item]:
    """Return the items of a prompt's opening.

    Args:
        shown: the opening's placeholders, in order.
        is_visual: which of its tokens stand for features.
        layout: the architecture's.
    """
    places = iter(n for n, one in enumerate(is_visual) if one)
    return [_item(one, [next(places) for _ in one.tokens], layout) for one in shown]


def engine_input(token_ids: Sequence[int], items: Sequence[Item]) -> dict[str, Any]:
    """Return a prompt in the form that vLLM's engine takes."""
    from vllm.multimodal.inputs import MultiModalKwargsItems

    if not items:
        return {"type": "token", "prompt_token_ids": list(token_ids)}
    by_modality: dict[str, list[Item]] = {}
    for item in items:
        by_modality.setdefault(item.modality, []).append(item)
    data = {name: [one.data for one in some] for name, some in by_modality.items()}
    return {
        "type": "multimodal",
        "prompt_token_ids": list(token_ids),
        "mm_kwargs": MultiModalKwargsItems(data),
        "mm_hashes": {name: [one.digest for one in some] for name, some in by_modality.items()},
        "mm_placeholders": {
            name: [one.position for one in some] for name, some in by_modality.items()
        },
    }


def _item(one: Shown, places: Sequence[int], layout: Layout) -> Item:
    from vllm.multimodal.inputs import MultiModalKwargsItem, PlaceholderRange

    # As vLLM's towers give them: the levels behind the features, N x D(1 + L).
    embeddings_ND = torch.cat((one.tokens, *one.levels), dim=1).cpu()
    first = places[0] - (layout == "frames" and one.modality == "video")
    length = places[-1] + 1 - first
    mask = None
    if length > len(places):  # there is text between a picture's tiles, or a video's frames
        mask = torch.zeros(length, dtype=torch.bool)
        mask[torch.tensor(places) - first] = True
    # All embeddings of the first kind pass through vLLM's argument for pictures.
    modality = "image" if layout == "items" else one.modality
    return Item(
        modality=modality,
        digest=_digest(one, embeddings_ND),
        data=MultiModalKwargsItem(dict(_arguments(one, modality, embeddings_ND, layout))),
        position=PlaceholderRange(offset=first, length=length, is_embed=mask),
    )


def _arguments(
    one: Shown, modality: str, embeddings_ND: torch.Tensor, layout: Layout
) -> Iterator[tuple[str, Any]]:
    """Yield vLLM's keyword arguments for one item."""
    from vllm.multimodal.inputs import (
        MultiModalBatchedField,
        MultiModalFieldElem,
        MultiModalFlatField,
    )

    def batched(value: Any) -> Any:
        return MultiModalFieldElem(value, MultiModalBatchedField(keep_on_cpu=layout != "items"))

    if layout == "items":
        yield f"{modality}_embeds", batched(embeddings_ND)
        return
    flat = MultiModalFlatField(slices=[slice(0, len(embeddings_ND))])
    yield f"{modality}_embeds", MultiModalFieldElem(embeddings_ND, flat)
    yield f"{modality}_grid_thw", batched(torch.tensor(one.grid))
    if modality == "video":
        yield "second_per_grid_ts", batched(torch.tensor(one.second_per_grid))


def _digest(one: Shown, embeddings_ND: torch.Tensor) -> str:
    words = f"{embeddings_ND.dtype} {tuple(embeddings_ND.shape)} {one.grid} {one.second_per_grid}"
    digest = xxhash.xxh3_128(words.encode())
    digest.update(to_array(embeddings_ND.contiguous().view(torch.uint8)).data)
    return digest.hexdigest()
