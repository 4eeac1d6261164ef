"""Families that transformers does not have, put together from parts that it does.

A family's file says where in the original checkpoint each part lies and what stands around
features in the prompt. Features take the place of embeddings (``inputs_embeds``).

Shapes: U units, P patches, N visual tokens, D width.
"""

import time
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
from encodeonce.models.family import Decoded, Generation, GenerationSpec, Unit, Visual
from encodeonce.models.generation import generate
from encodeonce.models.micro_batch import MicroBatch
from encodeonce.models.preprocessing import Preprocessing
from encodeonce.models.spec import ModelSpec, Tap, VisionSpec
from encodeonce.models.tensors import to_array, to_tensor
from encodeonce.models.timing import synchronize

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
        decoder = AssembledDecoder(self, *self.language(folder, model), None)
        eyes = nn.Sequential(self.tower(folder, model), self.projector(folder, model))
        return AssembledReference(decoder, eyes, self.preprocessing(folder))


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


class AssembledDecoder:
    """The language side; features enter as embeddings."""

    def __init__(
        self, family: AssembledFamily, model: Any, tokenizer: Any, projector: nn.Module | None
    ) -> None:
        self._family = family
        self._model = model
        self._tokenizer = tokenizer
        self._projector = projector

    def answer(
        self, visuals: Sequence[Visual], question: str, generation: GenerationSpec
    ) -> Generation:
        """Answer a question about the media whose features are given."""
        start = time.perf_counter()
        media = [self._project(visual) for visual in visuals]
        num_units = sum(len(visual.units) for visual in visuals)
        return self.answer_projected(media, question, generation, num_units, start)

    def answer_projected(
        self,
        media: Sequence[torch.Tensor],
        question: str,
        generation: GenerationSpec,
        num_units: int,
        start: float,
    ) -> Generation:
        """Answer a question about projected features (U, ..., P, D) of each media.

        Raises:
            ValueError: the question contains the placeholder.
        """
        if PLACEHOLDER in question:
            raise ValueError(f"does the question contain the placeholder {PLACEHOLDER}? {question}")
        inputs = self._splice(self._family.prompt(self._tokenizer, media, question))
        synchronize()
        return generate(
            self._model,
            self._tokenizer,
            inputs,
            generation,
            num_visual_units=num_units,
            prepare_s=time.perf_counter() - start,
        )

    def _project(self, visual: Visual) -> torch.Tensor:
        features = to_tensor(visual.features.arrays[MAIN], self._model.device)
        return features if self._projector is None else run(self._projector, features, inner=2)

    def _splice(self, pieces: Sequence[torch.Tensor | list[int]]) -> dict[str, torch.Tensor]:
        """Return embeddings (1, N, D), with ids (1, N) that only count: features have none."""
        embed = self._model.get_input_embeddings()
        rows: list[torch.Tensor] = []
        ids: list[int] = []
        with torch.inference_mode():
            for piece in pieces:
                if isinstance(piece, torch.Tensor):
                    rows.append(piece)
                    ids += [0] * len(piece)
                else:
                    tokens = torch.tensor(piece, dtype=torch.long, device=self._model.device)
                    rows.append(embed(tokens))
                    ids += piece
            embeddings = torch.cat(rows)[None]
        input_ids = torch.tensor([ids], device=embeddings.device)
        return {
            "input_ids": input_ids,
            "inputs_embeds": embeddings,
            "attention_mask": torch.ones_like(input_ids),
        }


class AssembledReference:
    """All parts one after another, all frames of a media at once; nothing is stored."""

    def __init__(
        self, decoder: AssembledDecoder, eyes: nn.Module, preprocessing: Preprocessing
    ) -> None:
        self._decoder = decoder
        self._eyes = eyes
        self._preprocessing = preprocessing

    def answer(
        self, media: Sequence[Decoded], question: str, generation: GenerationSpec
    ) -> Generation:
        """Answer a question from decoded frames."""
        start = time.perf_counter()
        features = [run(self._eyes, self._pixels(one), inner=3) for one in media]
        num_units = sum(len(one.units) for one in media)
        return self._decoder.answer_projected(features, question, generation, num_units, start)

    def _pixels(self, one: Decoded) -> torch.Tensor:
        recipe = self._preprocessing.recipe(one.info, len(one.frames.pixels_THWC))
        return self._preprocessing.pixels(one.frames, recipe)


def run(module: nn.Module, values: torch.Tensor, inner: int) -> torch.Tensor:
    """Apply a module to (..., *inner dimensions), where it takes one axis before those."""
    first = next(module.parameters())
    outer = values.shape[:-inner]
    with torch.inference_mode():
        result = module(values.flatten(0, len(outer) - 1).to(first.device, first.dtype))
    return torch.as_tensor(result).unflatten(0, outer)
