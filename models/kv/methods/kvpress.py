"""Scoring presses of kvpress (github.com/NVIDIA/kvpress), where it is installed.

A press scores with its own code, from the attention module, its input, keys and values, as in a
forward hook, and says itself how many entries stay; true positions and the cache itself are ours.
kvpress pins an older transformers, but the presses that are used work with this one:
`tests/models/kv/test_kvpress_adapter.py` compares each with kvpress's own hooks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator

from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.presses import make_press
from encodeonce.models.kv.selection import Selection, top
from encodeonce.models.kv.statistics import LayerStatistics, Needs, PromptStatistics, Rotary


class KVPress(KVMethod):
    """``press`` is a class of kvpress, ``args`` its arguments."""

    display_name: ClassVar[str] = "kvpress"

    press: str = Field(description="Class of kvpress that scores, e.g. 'LagKVPress'.")
    args: dict[str, Any] = Field(
        default_factory=dict, description="Its arguments, without compression_ratio."
    )

    @model_validator(mode="after")
    def _can_be_made(self) -> "KVPress":
        make_press(self.press, self.args, 0.5)
        return self

    @property
    def needs(self) -> Needs:
        """The inputs that a forward hook would get."""
        return Needs(inputs=True)

    def plan(self, prompt: PromptStatistics, keep: float) -> list[Selection]:
        """Keep the best of each head, as many as the press keeps.

        Raises:
            ValueError: the press cannot score this prompt, or not this model's attention.
        """
        press = make_press(self.press, self.args, keep)
        if press.compression_ratio == 0:
            everything = torch.arange(prompt.num_tokens, device=prompt.is_visual.device)
            return [everything.expand(layer.num_kv_heads, -1) for layer in prompt.layers]
        return [self._selection(press, layer, prompt.rotary) for layer in prompt.layers]

    def _selection(self, press: Any, layer: LayerStatistics, rotary: Rotary) -> torch.Tensor:
        assert layer.inputs is not None
        inputs = layer.inputs()
        self._check_module(inputs.module)
        keys, values = layer.keys[None], layer.values[None]
        given = {
            "hidden_states": inputs.hidden,
            "position_embeddings": (inputs.cos, inputs.sin),
        }
        try:
            with _rotary_inside(inputs.module, rotary):
                scores = press.score(inputs.module, inputs.hidden, keys, values, None, given)
        except (AssertionError, NotImplementedError) as error:
            raise ValueError(f"{self.press} of kvpress: {error}") from error
        return top(scores[0], _count(press, inputs.module, layer.num_tokens))

    def _check_module(self, module: Any) -> None:
        """Refuse attention whose queries kvpress would compute without their normalisation."""
        from kvpress.utils import Gemma3Attention, Qwen3Attention

        if hasattr(module, "q_norm") and not isinstance(module, Qwen3Attention | Gemma3Attention):
            raise ValueError(
                f"{self.press} of kvpress knows no {type(module).__name__}: it would leave out the "
                "normalisation of queries and keys. Use a method of encodeonce's own"
            )


def _count(press: Any, module: Any, num_tokens: int) -> int:
    """Return how many entries of a head stay, by kvpress's own arithmetic."""
    from kvpress.utils import compute_n_kept

    if hasattr(press, "get_layer_budget"):
        return int(press.get_layer_budget(module, num_tokens))
    return int(compute_n_kept(num_tokens, press.compression_ratio))


@contextmanager
def _rotary_inside(module: Any, rotary: Rotary) -> Iterator[None]:
    """Give an attention module the rotary embedding that kvpress's hooks put there.

    As a plain attribute, so that it does not become part of the model.
    """

    def embed(states: torch.Tensor, positions: torch.Tensor) -> Sequence[torch.Tensor]:
        cos, sin = rotary(positions[0])
        return cos[None].to(states.dtype), sin[None].to(states.dtype)

    had = "rotary_emb" in module.__dict__
    before = module.__dict__.get("rotary_emb")
    module.__dict__["rotary_emb"] = embed
    try:
        yield
    finally:
        if had:
            module.__dict__["rotary_emb"] = before
        else:
            del module.__dict__["rotary_emb"]


METHOD = KVPress
