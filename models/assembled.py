"""Families that transformers does not have, put together from parts that it does.

A family's file says where in the original checkpoint each part lies and what stands around
features in the prompt. Features take the place of embeddings (``inputs_embeds``).

Shapes: U units, P patches, N visual tokens, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from encodeonce.cache_store.features import MAIN, Features
from encodeonce.cache_store.signature import Signature
from encodeonce.datasets.info import MediaInfo
from encodeonce.datasets.media import Frames
from encodeonce.models.family import Decoded, Unit, Visual
from encodeonce.models.micro_batch import MicroBatch
from encodeonce.models.plain import PlainReference
from encodeonce.models.prefix import Opening
from encodeonce.models.prefix_decoder import PrefixDecoder
from encodeonce.models.preprocessing import Preprocessing
from encodeonce.models.spec import ModelSpec, Tap, VisionSpec
from encodeonce.models.tensors import to_array, to_tensor

PLACEHOLDER = "<image>"


@dataclass(frozen=True, kw_only=True)
class AssembledFamily(ABC):
    """A tower, a projector and a language model, each from its place in a checkpoint."""

    model_types: tuple[str, ...]
    tower_name: str
    """transformers' name of the tower's architecture, for the signature."""

    @abstractmethod
    def preprocessing(self, folder: Path) -> Preprocessing:
        """Return how a checkpoint's media become pixels (U, ..., 3, H, W)."""

    @abstractmethod
    def tower(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load what turns pixels (N, 3, H, W) into features (N, P, D)."""

    @abstractmethod
    def projector(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load what turns features (N, P, D) into the language model's tokens."""

    @abstractmethod
    def language(self, folder: Path, model: ModelSpec) -> tuple[Any, Any]:
        """Load the language model and its tokenizer."""

    @abstractmethod
    def weights_sha256(self, folder: Path, tap: Tap) -> str:
        """Return the digest of the weights that features at ``tap`` depend on."""

    @abstractmethod
    def tap(self, folder: Path) -> Mapping[str, Any]:
        """Return what decides where in the tower features are taken."""

    @abstractmethod
    def prompt(
        self, tokenizer: Any, media: Sequence[torch.Tensor], question: str
    ) -> list[torch.Tensor | list[int]]:
        """Return token ids and features (N, D) in the order the model reads them.

        Args:
            tokenizer: the language model's.
            media: features of each media, (U, ..., P, D).
            question: text of the prompt, without a placeholder.
        """

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> "AssembledVision":
        """Describe the vision side of a checkpoint."""
        return AssembledVision(family=self, folder=folder, model_spec=model, vision_spec=vision)

    def decoder(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> "AssembledDecoder":
        """Load the language side (with the projector, where features are the tower's)."""
        projector = self.projector(folder, model) if vision.tap == "tower" else None
        return AssembledDecoder(self, *self.language(folder, model), projector)

    def reference(self, folder: Path, model: ModelSpec) -> "AssembledReference":
        """Load all parts."""
        eyes = nn.Sequential(self.tower(folder, model), self.projector(folder, model))
        language = self.language(folder, model)
        return AssembledReference(self, *language, eyes, self.preprocessing(folder))


@dataclass(frozen=True, kw_only=True)
class AssembledVision:
    """The vision side of a checkpoint, without its weights in memory."""

    family: AssembledFamily
    folder: Path
    model_spec: ModelSpec
    vision_spec: VisionSpec

    def signature(self, info: MediaInfo, frames: Sequence[int]) -> Signature:
        """Return what the features of some frames depend on."""
        return Signature(
            tower=self.family.tower_name,
            weights_sha256=self._weights_sha256,
            tap={"at": self.vision_spec.tap, **self.family.tap(self.folder)},
            preprocess=self._preprocessing.recipe(info, len(frames)),
            decoder=info.decoder,
            dtype=self.model_spec.dtype,
            numerics={
                "attention": self.model_spec.attention,
                "micro_batch": self.vision_spec.micro_batch,
            },
        )

    def units(self, info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
        """Return what the tower encodes on its own."""
        return self._preprocessing.units(info, frames)

    def load(self) -> "AssembledTower":
        """Load the tower (and the projector, where features are taken behind it)."""
        parts = [self.family.tower(self.folder, self.model_spec)]
        if self.vision_spec.tap == "projected":
            parts.append(self.family.projector(self.folder, self.model_spec))
        size = self.vision_spec.micro_batch
        return AssembledTower(nn.Sequential(*parts), self._preprocessing, size)

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        return self.family.preprocessing(self.folder)

    @cached_property
    def _weights_sha256(self) -> str:
        return self.family.weights_sha256(self.folder, self.vision_spec.tap)


class AssembledTower:
    """A loaded tower."""

    def __init__(self, model: nn.Module, preprocessing: Preprocessing, micro_batch: int) -> None:
        self._model = model
        self._preprocessing = preprocessing
        self._encode = MicroBatch(self._encode_batch, micro_batch)

    def preprocess(self, frames: Frames, signature: Signature) -> torch.Tensor:
        """Return (U, ..., 3, H, W) float32 pixels."""
        return self._preprocessing.pixels(frames, signature.preprocess)

    def encode(self, pixels: torch.Tensor) -> Features:
        """Encode pixels to features ``main`` of (U, ..., P, D)."""
        with torch.inference_mode():
            return Features({MAIN: to_array(self._encode(pixels)[MAIN])})

    def _encode_batch(self, pixels_B: torch.Tensor) -> dict[str, torch.Tensor]:
        return {MAIN: run(self._model, pixels_B, inner=3)}


class AssembledDecoder(PrefixDecoder):
    """The language side; features enter as embeddings."""

    def __init__(
        self, family: AssembledFamily, model: Any, tokenizer: Any, projector: nn.Module | None
    ) -> None:
        super().__init__(model, tokenizer)
        self._family = family
        self._projector = projector

    def check(self, question: str) -> None:
        """Refuse a question that contains the placeholder."""
        check_no_placeholder(question)

    def _open(self, visuals: Sequence[Visual]) -> Opening:
        media = [self._project(visual) for visual in visuals]

        def prompt(question: str) -> list[int]:
            check_no_placeholder(question)
            return counted(self._family.prompt(self._tokenizer, media, question))

        pieces = self._family.prompt(self._tokenizer, media, "")
        last = max(n for n, piece in enumerate(pieces) if isinstance(piece, torch.Tensor))
        inputs = spliced(self._model, pieces[: last + 1])
        token_ids = inputs.pop("input_ids")[0].tolist()
        return Opening(
            token_ids=tuple(token_ids),
            inputs=inputs,
            prompt=prompt,
            state={},
            is_visual=visible(pieces[: last + 1]),
            num_visual_units=sum(len(visual.units) for visual in visuals),
        )

    def _project(self, visual: Visual) -> torch.Tensor:
        features = to_tensor(visual.features.arrays[MAIN], self._model.device)
        return features if self._projector is None else run(self._projector, features, inner=2)


class AssembledReference(PlainReference):
    """All parts one after another, all frames of a media at once; nothing is stored."""

    def __init__(
        self,
        family: AssembledFamily,
        model: Any,
        tokenizer: Any,
        eyes: nn.Module,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(model, tokenizer)
        self._family = family
        self._eyes = eyes
        self._preprocessing = preprocessing

    def inputs(self, media: Sequence[Decoded], question: str) -> dict[str, Any]:
        """Return the prompt's embeddings."""
        check_no_placeholder(question)
        features = [run(self._eyes, self._pixels(one), inner=3) for one in media]
        return spliced(self.model, self._family.prompt(self._tokenizer, features, question))

    def num_visual_units(self, media: Sequence[Decoded]) -> int:
        """Return the number of units."""
        return sum(len(one.units) for one in media)

    def _pixels(self, one: Decoded) -> torch.Tensor:
        recipe = self._preprocessing.recipe(one.info, len(one.frames.pixels_THWC))
        return self._preprocessing.pixels(one.frames, recipe)


def check_no_placeholder(question: str) -> None:
    """Refuse a question that contains the placeholder, as VILA and LongVA would misread it."""
    if PLACEHOLDER in question:
        raise ValueError(f"does the question contain the placeholder {PLACEHOLDER}? {question}")


def counted(pieces: Sequence[torch.Tensor | list[int]]) -> list[int]:
    """Return token ids, with zeros in the place of features, which have none."""
    token_ids: list[int] = []
    for piece in pieces:
        token_ids += [0] * len(piece) if isinstance(piece, torch.Tensor) else piece
    return token_ids


def visible(pieces: Sequence[torch.Tensor | list[int]]) -> list[bool]:
    """Return which tokens are features."""
    return [isinstance(piece, torch.Tensor) for piece in pieces for _ in range(len(piece))]


def spliced(model: Any, pieces: Sequence[torch.Tensor | list[int]]) -> dict[str, torch.Tensor]:
    """Return embeddings (1, N, D), with ids (1, N) that only count."""
    embed = model.get_input_embeddings()
    rows: list[torch.Tensor] = []
    with torch.inference_mode():
        for piece in pieces:
            if isinstance(piece, torch.Tensor):
                rows.append(piece)
            else:
                rows.append(embed(torch.tensor(piece, dtype=torch.long, device=model.device)))
        embeddings = torch.cat(rows)[None]
    input_ids = torch.tensor([counted(pieces)], device=embeddings.device)
    return {
        "input_ids": input_ids,
        "inputs_embeds": embeddings,
        "attention_mask": torch.ones_like(input_ids),
    }


def run(module: nn.Module, values: torch.Tensor, inner: int) -> torch.Tensor:
    """Apply a module to (..., *inner dimensions), where it takes one axis before those."""
    first = next(module.parameters())
    outer = values.shape[:-inner]
    with torch.inference_mode():
        result = module(values.flatten(0, len(outer) - 1).to(first.device, first.dtype))
    return torch.as_tensor(result).unflatten(0, outer)
