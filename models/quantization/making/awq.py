"""Quantise one decoder layer's weights with regard to activations (AWQ).

Lin et al., AWQ, 2023 (arXiv:2306.00978): channels whose activations are large are scaled up in the
weight and down in what comes before, which leaves the function unchanged and their rounding error
small. Then each group's largest weights are clipped where that lowers the error of the output.

Shapes: T tokens, O outputs, I inputs, G groups of g inputs, N tokens of a prompt.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from encodeonce.models.quantization.grid import Grid, rounded
from encodeonce.models.quantization.making.calibration import Seen
from encodeonce.models.quantization.registry import WeightsError

NUM_EXPONENTS = 20
"""Scales are mean |x| to the power of 0, 1/20, …, 19/20 (eq. 5)."""
SMALLEST_SCALE = 1e-4
NUM_CLIPS, SMALLEST_CLIP = 20, 0.5
"""Limits are a group's largest weight times 1, 19/20, … down to more than a half."""
CLIP_TOKENS = 512
CLIP_OUTPUTS = 256
"""Rows whose clipping is searched at once, which bounds memory."""
_NORMS = ("input_layernorm", "post_attention_layernorm")
_PROJECTIONS = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
_NOT_CLIPPED = ("q_proj", "k_proj")
"""Their outputs are multiplied with each other, so that one amplifies the errors of the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Linear layers with the same input, and what makes that input."""

    before: nn.Module
    linears: Sequence[nn.Linear]
    inputs: Sequence[Sequence[torch.Tensor]]
    """For each linear layer, (N, I) per prompt."""
    run: Callable[[], list[torch.Tensor]]
    """Returns the outputs whose error should be small."""


def check_layer(layer: nn.Module) -> None:
    """Refuse a decoder layer into which scales cannot be folded as into Llama's.

    Raises:
        WeightsError: it has other parts, or norms that do not multiply by their weight.
    """
    wanted = [*_NORMS, *_PROJECTIONS]
    parts = dict(layer.named_modules())
    missing = [name for name in wanted if name not in parts]
    if missing:
        raise WeightsError(
            f"AWQ is for decoder layers like those of Llama, Qwen2 and Qwen3; "
            f"{type(layer).__name__} has no {', '.join(missing)}. Use --method rtn."
        )
    for name in _NORMS:
        if not _multiplies(parts[name]):
            raise WeightsError(
                f"AWQ folds scales into norms that multiply by their weight; {name} of "
                f"{type(layer).__name__} does not. Use --method rtn."
            )


@torch.inference_mode()
def _multiplies(norm: Any) -> bool:
    weight = norm.weight
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, len(weight), generator=generator).to(weight.device, weight.dtype)
    once = norm(x)
    norm.weight = nn.Parameter(weight * 2, requires_grad=False)
    twice = norm(x)
    norm.weight = weight
    return bool(torch.allclose(twice, once * 2))


@torch.inference_mode()
def scale(layer: Any, seen: Seen, grid: Grid, num_tokens: int) -> None:
    """Scale a layer's channels for rounding; its function stays the same.

    Args:
        layer: the layer.
        seen: what it is called with; divided by the scales by which its weights are multiplied.
        grid: what it will be rounded to.
        num_tokens: tokens that are run for each scale that is tried; statistics use all.
    """
    for group in _groups(layer, seen, _few(seen, num_tokens)):
        _fold(group, _best_scales(group, grid))


def _groups(layer: Any, seen: Seen, few: int) -> Iterator[_Group]:
    """Yield the groups of layers that are scaled together; they run ``few`` prompts."""
    attention, mlp = layer.self_attn, layer.mlp

    def group(
        before: nn.Module, part: str, names: Sequence[str], run: Callable[[], list[torch.Tensor]]
    ) -> _Group:
        linears = [layer.get_submodule(f"{part}.{name}") for name in names]
        inputs = [seen.inputs[f"{part}.{name}"] for name in names]
        return _Group(before=before, linears=linears, inputs=inputs, run=run)

    def on(module: nn.Module, name: str) -> Callable[[], list[torch.Tensor]]:
        return lambda: [module(x) for x in seen.inputs[name][:few]]

    def run_attention() -> list[torch.Tensor]:
        return [attention(*args, **kwargs)[0] for args, kwargs in seen.attention[:few]]

    yield group(layer.input_layernorm, "self_attn", ("q_proj", "k_proj", "v_proj"), run_attention)
    # If value heads are shared, no scale of a value's channel suits all heads that read it.
    if attention.v_proj.out_features == attention.o_proj.in_features:
        run = on(attention.o_proj, "self_attn.o_proj")
        yield group(attention.v_proj, "self_attn", ("o_proj",), run)
    run = on(mlp, "mlp.gate_proj")
    yield group(layer.post_attention_layernorm, "mlp", ("gate_proj", "up_proj"), run)
    yield group(mlp.up_proj, "mlp", ("down_proj",), on(mlp.down_proj, "mlp.down_proj"))


def _few(seen: Seen, num_tokens: int) -> int:
    """Return how many prompts have at least ``num_tokens`` tokens."""
    total = 0
    for number, x in enumerate(next(iter(seen.inputs.values()))):
        total += len(x)
        if total >= num_tokens:
            return number + 1
    return len(seen.attention)


def _best_scales(group: _Group, grid: Grid) -> torch.Tensor:
    """Return the scales (I,) under which rounding changes the outputs least."""
    inputs = group.inputs[0]  # the same for all
    mean = torch.stack([x.abs().float().sum(0) for x in inputs]).sum(0) / sum(map(len, inputs))
    weights = [linear.weight for linear in group.linears]
    expected = group.run()
    best, best_error = torch.ones_like(mean), float("inf")
    for n in range(NUM_EXPONENTS):
        scales = _normalised(mean.pow(n / NUM_EXPONENTS))
        for linear, weight in zip(group.linears, weights, strict=True):
            tried = rounded((weight * scales).to(weight.dtype), grid) / scales
            linear.weight = nn.Parameter(tried.to(weight.dtype), requires_grad=False)
        error = _squared_error(group.run(), expected)
        if error < best_error:
            best, best_error = scales, error
    for linear, weight in zip(group.linears, weights, strict=True):
        linear.weight = weight
    return best


def _normalised(scales: torch.Tensor) -> torch.Tensor:
    """Return scales whose largest is the inverse of the smallest."""
    scales = scales.clamp(min=SMALLEST_SCALE)
    return scales / (scales.max() * scales.min()).sqrt()


def _squared_error(outputs: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    return sum(
        float((one.float() - other.float()).square().sum())
        for one, other in zip(outputs, expected, strict=True)
    )


def _fold(group: _Group, scales: torch.Tensor) -> None:
    """Multiply the weights by scales (I,), and divide what comes before by them."""
    for linear in group.linears:
        linear.weight = _parameter(linear.weight, linear.weight * scales)
    before: Any = group.before
    is_linear = isinstance(before, nn.Linear)
    by_row = scales[:, None] if is_linear else scales
    before.weight = _parameter(before.weight, before.weight / by_row)
    if getattr(before, "bias", None) is not None:
        before.bias = _parameter(before.bias, before.bias / scales)
    # Once each: q, k and v were called with one tensor, and so were gate and up.
    for x in {x.data_ptr(): x for inputs in group.inputs for x in inputs}.values():
        x.div_(scales.to(x.dtype))


def _parameter(like: torch.Tensor, value: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(like.dtype), requires_grad=False)


@torch.inference_mode()
def clip(linear: nn.Linear, inputs: Sequence[torch.Tensor], grid: Grid) -> None:
    """Clip a scaled layer's groups where that lowers the error of the outputs.

    Args:
        linear: the layer.
        inputs: what it is called with, (N, I) per prompt, scaled to suit its weights.
        grid: what it will be rounded to.
    """
    x_TI = torch.cat(list(inputs))
    x_TI = x_TI[:: max(1, len(x_TI) // CLIP_TOKENS)]
    x_GTg = x_TI.float().unflatten(1, (-1, grid.group_size)).transpose(0, 1)
    rows = [_clipped(weight, x_GTg, grid) for weight in linear.weight.split(CLIP_OUTPUTS)]
    linear.weight = nn.Parameter(torch.cat(rows), requires_grad=False)


def _clipped(weight_OI: torch.Tensor, x_GTg: torch.Tensor, grid: Grid) -> torch.Tensor:
    weight_OGg = weight_OI.unflatten(1, (-1, grid.group_size))
    largest_OG = weight_OGg.abs().amax(-1)
    expected = _outputs(x_GTg, weight_OGg)
    best_OG, best_error = largest_OG, torch.full_like(largest_OG, torch.inf, dtype=torch.float32)
    for n in range(int(NUM_CLIPS * SMALLEST_CLIP)):
        limit_OG = largest_OG * (1 - n / NUM_CLIPS)
        tried = rounded(_limited(weight_OGg, limit_OG).flatten(1), grid)
        outputs = _outputs(x_GTg, tried.unflatten(1, (-1, grid.group_size)))
        error_OG = (outputs - expected).square().mean(1).t()
        is_better = error_OG < best_error
        best_error = torch.where(is_better, error_OG, best_error)
        best_OG = torch.where(is_better, limit_OG, best_OG)
    return _limited(weight_OGg, best_OG).flatten(1)


def _limited(weight_OGg: torch.Tensor, limit_OG: torch.Tensor) -> torch.Tensor:
    return torch.minimum(torch.maximum(weight_OGg, -limit_OG[..., None]), limit_OG[..., None])


def _outputs(x_GTg: torch.Tensor, weight_OGg: torch.Tensor) -> torch.Tensor:
    """Return each group's share of the outputs, (G, T, O)."""
    return x_GTg @ weight_OGg.float().permute(1, 2, 0)


def is_clipped(name: str) -> bool:
    """Whether a linear layer of this name is clipped."""
    return name.rpartition(".")[2] not in _NOT_CLIPPED
