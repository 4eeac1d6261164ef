"""Record what decoder layers are called with on calibration prompts, one layer at a time.

Layers see what they would in the unquantised model, as in AWQ: a layer's result does not depend on
how the layers before it were rounded, so that layers can be done one by one, and done again.

Shapes: N tokens of a prompt, D width, I inputs of a linear layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from encodeonce.models.checkpoint.decoder_layers import decoder_layers, linears

Inputs = Mapping[str, Any]
"""Arguments of a model's forward for one whole prompt."""

_NOT_REPLAYED = ("past_key_values", "past_key_value", "use_cache", "cache_position")


@dataclass(slots=True, kw_only=True)
class Prompt:
    """One calibration prompt on its way through the layers."""

    hidden: torch.Tensor
    """(1, N, D), the input of the next layer."""
    arguments: list[dict[str, Any]]
    """Arguments of each layer's call beside the hidden states: masks and positions."""
    added: dict[int, torch.Tensor]
    """What the model adds to a layer's output (1, N, D) before the next layer: deepstack
    features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The arguments that one layer was called with, on all prompts."""

    inputs: Mapping[str, list[torch.Tensor]]
    """(N, I) per prompt for each linear layer, by its name in the layer."""
    attention: list[tuple[tuple[Any, ...], dict[str, Any]]]
    """Arguments of the attention's calls."""


def capture(model: Any, prompts: Iterator[Inputs]) -> list[Prompt]:
    """Run a model over prompts, and record how its layers are called.

    Args:
        model: a transformers model.
        prompts: whole prompts; taken one at a time.
    """
    return [_capture(model, inputs) for inputs in prompts]


@torch.inference_mode()
def _capture(model: Any, inputs: Inputs) -> Prompt:
    layers = decoder_layers(model)
    prompt = Prompt(hidden=torch.empty(0), arguments=[], added={})
    last: list[torch.Tensor] = []

    def before(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        if number == 0:
            prompt.hidden = hidden
        elif not torch.equal(hidden, last[0]):
            prompt.added[number - 1] = hidden - last[0]
        kept = {k: v for k, v in kwargs.items() if k not in ("hidden_states", *_NOT_REPLAYED)}
        prompt.arguments.append(kept)

    def after(output: Any) -> None:
        # A copy, since deepstack features may be added in place.
        last[:] = [_hidden(output).clone()]

    hooks = []
    for number, layer in enumerate(layers):
        hooks += [
            layer.register_forward_pre_hook(
                lambda _, args, kwargs, number=number: before(number, args, kwargs),
                with_kwargs=True,
            ),
            layer.register_forward_hook(lambda _, args, output: after(output)),
        ]
    try:
        model(**inputs, use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    return prompt


@torch.inference_mode()
def advance(layer: nn.Module, number: int, prompts: Sequence[Prompt]) -> None:
    """Move prompts through an unquantised layer."""
    for prompt in prompts:
        output = _hidden(layer(prompt.hidden, **prompt.arguments[number]))
        prompt.hidden = output + prompt.added[number] if number in prompt.added else output


@torch.inference_mode()
def advance_and_see(layer: nn.Module, number: int, prompts: Sequence[Prompt]) -> Seen:
    """Move prompts through an unquantised layer, and return what its parts were called with."""
    inputs: dict[str, list[torch.Tensor]] = {name: [] for name in linears(layer)}
    attention: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    with _watched(layer, inputs, attention):
        advance(layer, number, prompts)
    return Seen(inputs=inputs, attention=attention)


@contextmanager
def _watched(
    layer: Any,
    inputs: dict[str, list[torch.Tensor]],
    attention: list[tuple[tuple[Any, ...], dict[str, Any]]],
) -> Iterator[None]:
    hooks = [
        linear.register_forward_pre_hook(
            lambda _, args, name=name: inputs[name].append(args[0].flatten(0, -2))
        )
        for name, linear in linears(layer).items()
    ]
    hooks.append(
        layer.self_attn.register_forward_pre_hook(
            lambda _, args, kwargs: attention.append((args, kwargs)), with_kwargs=True
        )
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hidden(output: Any) -> torch.Tensor:
    return torch.as_tensor(output[0] if isinstance(output, tuple) else output)
