"""Describe one architecture of transformers: the part that a family's file fills in.

Features are taken by transformers' own ``get_image_features``, on a model without its language
part, at the projector: what reaches it is the ``tower`` tap, what leaves it the ``projected`` one.
So there is no second implementation of layer selection or of tiles.

Shapes: U units, B micro-batch, N visual tokens, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from encodeonce.cache_store.features import MAIN
from encodeonce.datasets.media.media import MediaKind
from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.vision.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """Names of a model's parts, and how its features meet its prompt."""

    model_types: tuple[str, ...]
    model_class: type[PreTrainedModel]
    tower: str
    """Module that ends in the features of the ``tower`` tap."""
    projector: str | None
    """Module between tower and language model; None where it is inside the tower."""
    language: tuple[str, ...]
    """Modules that only text goes through."""
    video_template: str | None = None
    """Chat template for prompts with videos, where it is not the checkpoint's own."""

    @abstractmethod
    def preprocessing(self, folder: Path) -> Preprocessing:
        """Return how a checkpoint's media become pixels."""

    def encode(self, model: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode (B, ...) pixels to named arrays (B, ...), on a `tapped` model."""
        batch = len(pixels)
        try:
            model.get_image_features(**self.image_inputs(model.config, pixels), return_dict=True)
        except _Reached as reached:
            features = reached.features
        else:
            raise AssertionError(f"{self.projector} was not reached by get_image_features")
        tiles = pixels.shape[1:-3]
        return {MAIN: features.reshape(batch, *tiles, *features.shape[1:])}

    def image_inputs(self, config: Any, pixels: torch.Tensor) -> dict[str, Any]:
        """Return the arguments of ``get_image_features`` for (B, ...) pixels."""
        options = ("vision_feature_layer", "vision_feature_select_strategy")
        return {
            "pixel_values": pixels.reshape(-1, *pixels.shape[-3:]),
            **{name: getattr(config, name) for name in options if hasattr(config, name)},
        }

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return what media are in the prompt: here, each unit is an image of its own."""
        token = image_token(model.config, tokenizer)
        return [
            Shown(slot="image", modality="image", text=token * len(tokens), tokens=tokens)
            for one in media
            for tokens in one.main.flatten(1, -2)
        ]

    def inputs(
        self, config: Any, input_ids: torch.Tensor, shown: Sequence[Shown]
    ) -> dict[str, torch.Tensor]:
        """Return the model's inputs beside token ids (1, N) and features."""
        return {}

    def state_after(self, model: Any, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the model has to know about inputs to go on from their cache.

        These are attributes of modules that transformers writes during a prefill and reads during
        generation, by dotted name.
        """
        return {}

    def position_offset(self, state: Mapping[str, Any]) -> int:
        """Return by how much the position of a token after some inputs exceeds its index.

        Args:
            state: what `state_after` returned for the inputs.
        """
        return 0

    def pooled(self, modality: MediaKind, tokens: list[torch.Tensor]) -> Any:
        """Return features (N, D), one tensor per placeholder, in the forward's form."""
        return tokens

    def placeholders(self, config: Any, tokenizer: Any) -> Mapping[MediaKind, str]:
        """Return the texts that the chat template writes for a picture, and for a video."""
        return {"image": image_token(config, tokenizer)}

    def visual_token_ids(self, config: Any) -> frozenset[int]:
        """Return the tokens whose embeddings are replaced by features."""
        names = ("image_token_id", "video_token_id")
        return frozenset(getattr(config, name) for name in names if hasattr(config, name))

    def tap(self, config: Any) -> Mapping[str, Any]:
        """Return what decides where in the tower features are taken."""
        return {
            "layer": getattr(config, "vision_feature_layer", -1),
            "select": getattr(config, "vision_feature_select_strategy", "full"),
        }


def image_token(config: Any, tokenizer: Any) -> str:
    """Return the token whose embedding is replaced by an image's feature."""
    return token_text(tokenizer, config.image_token_id)


def token_text(tokenizer: Any, token_id: int) -> str:
    """Return the text of a token that config.json names.

    Raises:
        CheckpointError: the tokenizer has no such token.
    """
    text = tokenizer.convert_ids_to_tokens(token_id)
    if text is None:
        raise CheckpointError(
            f"{tokenizer.name_or_path}: config.json names the token {token_id}, which the "
            "tokenizer lacks: the two are not of one model. Download them together"
        )
    return str(text)


def tapped(model: Any, projector: str, after: bool) -> Any:
    """Make ``get_image_features`` end before, or after, the projector."""
    module = model.get_submodule(projector) if after else nn.Identity()
    model.set_submodule(projector, nn.Sequential(module, _Tap()))
    return model


class _Reached(Exception):  # noqa: N818 - it ends a forward pass early and is no error
    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.features = features


class _Tap(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        raise _Reached(features)
