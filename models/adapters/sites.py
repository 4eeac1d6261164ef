"""Finds the modules that an adapter's weights belong to, whatever its base model called them.

transformers 4 and 5 and the families assembled here have the same layers under different names
(``language_model.model.layers``, ``model.language_model.layers``, ``model.layers``). Names are
therefore read by role. A vision tower has ``layers.N.self_attn.q_proj`` as well: the language
model's layers are those in front of which nothing else is named than a language model.
"""

import re
from typing import Any

import torch
from torch import nn

from encodeonce.models.adapters.checkpoint import Adapter, LowRank
from encodeonce.models.adapters.lora_config import MERGE, AdapterError
from encodeonce.models.checkpoint.decoder_layers import decoder_layers

_TOWERS = {
    "vision_tower",
    "vision_model",
    "visual",
    "vpm",
    "vision_encoder",
    "image_encoder",
    "audio_tower",
}
_PROJECTORS = {"multi_modal_projector", "mm_projector", "connector", "resampler"}
OUTSIDE = frozenset(_TOWERS | _PROJECTORS)
"""Names of the parts of a model that are not its language model."""
_LANGUAGE = {"model", "language_model", "text_model", "llm"}
_LAYER = re.compile(r"(?:(?P<before>.+?)\.)?layers\.(?P<number>\d+)\.(?P<rest>.+)")
HEAD = "lm_head"


class Sites:
    """The linear layers of a decoder that can be adapted."""

    def __init__(self, model: Any, projector: nn.Module | None = None) -> None:
        """Look at a decoder.

        Args:
            model: of transformers, without its tower.
            projector: between the stored features and the language model; None where features are
                stored behind it.
        """
        self._layers = decoder_layers(model)
        self._head = model.get_output_embeddings()
        self._embeddings = model.get_input_embeddings()
        self._projector = projector

    def is_before_text(self, module: nn.Module) -> bool:
        """Say whether a layer is the projector's, through which features go and no text."""
        return self._projector is not None and module in set(self._projector.modules())

    def find(self, adapter: Adapter) -> dict[str, tuple[nn.Module, LowRank]]:
        """Return the modules of an adapter with what is added to each, by their names here.

        Raises:
            AdapterError: the model has no such module, it is no linear layer of these shapes, or it
                is on the way to the stored features.
        """
        for path, copy in adapter.copies.items():
            self._check_copy(adapter, path, copy)
        found: dict[str, tuple[nn.Module, LowRank]] = {}
        for path, product in adapter.products.items():
            name, module = self.at(adapter, path)
            check_shapes(adapter, path, module, product)
            if name in found:
                raise AdapterError(f"{adapter.file} adapts {name} twice, the second time as {path}")
            found[name] = module, product
        return found

    def _check_copy(self, adapter: Adapter, path: str, copy: torch.Tensor) -> None:
        """Refuse embeddings or a head that are not the model's: they were trained, or resized."""
        owner = self._head if path.endswith(HEAD) else self._embeddings
        weight = None if owner is None else owner.weight
        if (
            weight is None
            or weight.shape != copy.shape
            or not torch.equal(copy.to(weight), weight.to(copy.dtype).to(weight))
        ):
            raise AdapterError(
                f"{adapter.file} holds {path} whole, and it is not the model's: it was trained, or "
                f"is of another model. {MERGE}"
            )

    def at(self, adapter: Adapter, path: str) -> tuple[str, nn.Module]:
        """Return the module that a path of an adapter means, with its name here.

        Raises:
            AdapterError: the model has no such module, or it is on the way to the stored features.
        """
        parts = path.split(".")
        if _TOWERS & set(parts):
            raise AdapterError(self._on_the_way(adapter, _TOWERS, "the vision tower"))
        if _PROJECTORS & set(parts):
            return self._in_projector(adapter, path)
        if parts[-1] == HEAD and set(parts[:-1]) <= _LANGUAGE and self._head is not None:
            return HEAD, self._head
        match = _LAYER.fullmatch(path)
        if match and set((match["before"] or "model").split(".")) <= _LANGUAGE:
            number, rest = int(match["number"]), match["rest"]
            known = dict(self._layers[number].named_modules()) if number < len(self._layers) else {}
            if rest in known:
                return f"layers.{number}.{rest}", known[rest]
        raise AdapterError(self._unknown(adapter, path))

    def _in_projector(self, adapter: Adapter, path: str) -> tuple[str, nn.Module]:
        if self._projector is None:
            raise AdapterError(self._on_the_way(adapter, _PROJECTORS, "the projector"))
        parts = path.split(".")
        first = max(n for n, part in enumerate(parts) if part in _PROJECTORS) + 1
        rest = ".".join(parts[first:])
        known = dict(self._projector.named_modules())
        # What is assembled here may hold the original's modules one level down.
        ends = [name for name in known if name == rest or name.endswith(f".{rest}")]
        name = rest if rest in known else ends[0] if len(ends) == 1 else None
        if not rest or name is None:
            raise AdapterError(self._unknown(adapter, path))
        return f"projector.{name}", known[name]

    def _on_the_way(self, adapter: Adapter, names: set[str], what: str) -> str:
        """Say that features would no longer be the base model's."""
        paths = [path for path in adapter.products if names & set(path.split("."))]
        return (
            f"{adapter.file} adapts {len(paths)} modules of {what}, first {', '.join(paths[:3])}: "
            "stored features come from behind it, and would be of this adapter alone. Train with "
            "exclude_modules (names like q_proj are the tower's too). Or merge it: encodeonce "
            f"merge adapter {adapter.file.parent} OUTPUT --model MODEL, and give OUTPUT as "
            "model.path"
        )

    def _unknown(self, adapter: Adapter, path: str) -> str:
        """Say that the model has no such module, and which it has."""
        if path.endswith("c_attn"):
            return (
                f"{adapter.file} adapts {path}, which the original Qwen-VL has; here its language "
                "model is built with q_proj, k_proj and v_proj, so such an adapter does not fit"
            )
        linear = [name for name, part in self._layers[0].named_modules() if _is_linear(part)]
        return (
            f"{adapter.file} adapts {path}, which the model does not have: it has "
            f"{len(self._layers)} layers with {', '.join(f'layers.0.{one}' for one in linear[:3])} "
            "and others. Is it an adapter of another model?"
        )


def _is_linear(module: nn.Module) -> bool:
    return isinstance(getattr(module, "in_features", None), int)


def check_shapes(adapter: Adapter, path: str, module: Any, product: LowRank) -> None:
    """Refuse a product that does not fit its module."""
    if not _is_linear(module):
        raise AdapterError(
            f"{adapter.file} adapts {path}, a {type(module).__name__}; linear layers are handled. "
            f"{MERGE}"
        )
    wanted = (module.out_features, module.in_features)
    got = (len(product.b), product.a.shape[1])
    if wanted != got:
        raise AdapterError(
            f"{adapter.file}: {path} has {wanted[1]} inputs and {wanted[0]} outputs in the model, "
            f"and {got[1]} and {got[0]} in the adapter. Is it an adapter of another model?"
        )
