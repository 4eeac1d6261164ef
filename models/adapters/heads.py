"""Linear heads beside adapters: one forward pass, one answer out of a list.

A head is a linear map of the language model's last hidden state, that of the prompt's last token,
to classes. While it is attached, a model's logits are those of the classes, so whatever computes
logits, under any cache, computes theirs.

Shapes: C classes, W width of the model.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from encodeonce.cache_store import durable
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.strict_json import JsonError, parse_json
from encodeonce.models.adapters.form import HeadForm
from encodeonce.models.adapters.lora_config import AdapterError

HEAD_CONFIG, HEAD_WEIGHTS = "head.json", "head.safetensors"
HEAD_FILES = (HEAD_CONFIG, HEAD_WEIGHTS)
_WEIGHT = "weight"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A head that has been read."""

    classes: tuple[str, ...]
    weight: torch.Tensor
    """(C, W) float32."""

    @contextmanager
    def attached(self, model: Any) -> Iterator[None]:
        """Let a model's logits inside the block be those of the classes, float32."""
        weight = self.weight

        def classify(module: nn.Module, args: Any, y: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = args[0].float()
            return nn.functional.linear(hidden, weight.to(hidden.device))

        handle = model.get_output_embeddings().register_forward_hook(classify)
        try:
            yield
        finally:
            handle.remove()


class LearntHead(nn.Module):
    """A head that is being trained."""

    def __init__(self, model: Any, form: HeadForm, seed: int = 0) -> None:
        """Make a new head, with small weights: at first all classes are about as likely.

        Args:
            model: of transformers, without its tower.
            form: what to make.
            seed: of the weights.
        """
        super().__init__()
        self.classes = form.classes
        width = model.get_output_embeddings().in_features
        noise = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(0.02 * torch.randn(len(form.classes), width, generator=noise))

    def head(self) -> Head:
        """Return the head as it is now; gradients reach its weights."""
        return Head(classes=self.classes, weight=self.weight)

    def load(self, head: Head | None) -> None:
        """Take another head's weights.

        Raises:
            AdapterError: there is none, or its classes are others.
        """
        if head is None or head.classes != self.classes:
            found = "no head" if head is None else f"one of {', '.join(head.classes)}"
            raise AdapterError(
                f"lora.init_from: its adapter has {found}; head.classes are "
                f"{', '.join(self.classes)}"
            )
        with torch.no_grad():
            self.weight.copy_(head.weight)


def write_head(folder: Path, head: Head) -> None:
    """Write a head into an adapter's folder that has none."""
    weight = head.weight.detach().cpu().contiguous()
    durable.write_new(folder / HEAD_WEIGHTS, save({_WEIGHT: weight}))
    form = HeadForm(classes=head.classes)
    text = json.dumps(form.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    durable.write_new(folder / HEAD_CONFIG, text.encode())


def read_head(folder: Path) -> Head | None:
    """Return the head in an adapter's folder; None if there is none.

    Raises:
        AdapterError: it is damaged, or its files disagree.
    """
    config, weights = (folder / name for name in HEAD_FILES)
    if not config.exists():
        return None
    try:
        form = checked(HeadForm, parse_json(config.read_bytes()))
        with safe_open(weights, framework="pt") as file:
            weight = file.get_tensor(_WEIGHT).float()
    except (JsonError, Refused, SafetensorError, OSError) as error:
        raise AdapterError(f"{folder}: its head cannot be read: {error}") from error
    if weight.dim() != 2 or len(weight) != len(form.classes) or not weight.isfinite().all():
        raise AdapterError(
            f"{weights} must hold {len(form.classes)} rows of finite numbers, as many as "
            f"{HEAD_CONFIG} has classes; got the shape {tuple(weight.shape)}"
        )
    return Head(classes=form.classes, weight=weight)
