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
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames
from encodeonce.models.checkpoint.footprint import LoadedWeights, LoadingMeasure
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.checkpoint.tensors import to_array, to_tensor
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.chat import question_first
from encodeonce.models.language.placeholders import Projected
from encodeonce.models.language.prefix import Opening
from encodeonce.models.language.splicing import (
    Piece,
    counted,
    run,
    spliced,
    up_to_last_media,
    visible,
)
from encodeonce.models.quantization.method import find_candidate, load_quantizer
from encodeonce.models.reference import PlainReference
from encodeonce.models.spec import NONE, ModelSpec, Tap, VisionSpec, WeightsSpec
from encodeonce.models.vision.micro_batch import MicroBatch
from encodeonce.models.vision.preprocessing import Preprocessing
from encodeonce.models.vision.signature import sign
from encodeonce.models.vision.visual import Decoded, Unit, Visual, num_frames

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
    def language(self, folder: Path, model: ModelSpec, hooks: LoadingHooks) -> tuple[Any, Any]:
        """Load the language model and its tokenizer."""

    @abstractmethod
    def tokenizer(self, folder: Path) -> Any:
        """Load the language model's tokenizer."""

    @abstractmethod
    def language_config(self, folder: Path) -> Any:
        """Return the language model's configuration, as transformers has it."""

    def language_folder(self, folder: Path) -> Path:
        """Return where the language model's config.json and weights are."""
        return folder

    @abstractmethod
    def weights_sha256(self, folder: Path, tap: Tap) -> str:
        """Return the digest of the weights that features at ``tap`` depend on."""

    @abstractmethod
    def tap(self, folder: Path) -> Mapping[str, Any]:
        """Return what decides where in the tower features are taken."""

    @abstractmethod
    def prompt(self, tokenizer: Any, media: Sequence[Projected], question: str) -> list[Piece]:
        """Return token ids and features (N, D) in the order the model reads them.

        Args:
            tokenizer: the language model's.
            media: features (U, ..., P, D) of each media.
            question: text of the prompt, without a placeholder.
        """

    def check(self, question: str) -> None:
        """Refuse a question that contains the placeholder, which the model's own code misreads.

        Raises:
            ValueError: it does.
        """
        if PLACEHOLDER in question:
            raise ValueError(f"does the question contain the placeholder {PLACEHOLDER}? {question}")

    def fits(self, folder: Path) -> bool:
        """Every checkpoint of its types."""
        return True

    def check_prompts(self, folder: Path) -> None:
        """Refuse a checkpoint whose prompts on one media do not begin alike; reads no weights.

        Raises:
            CheckpointError: the question changes what stands before the last media.
        """
        tokenizer, blank = self.tokenizer(folder), _blank(self.preprocessing(folder))
        heads = [
            counted(up_to_last_media(self.prompt(tokenizer, [blank, blank], question)))
            for question in ("", "Where?")
        ]
        if heads[0] != heads[1]:
            raise question_first(folder)

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> "AssembledVision":
        """Describe the vision side of a checkpoint."""
        return AssembledVision(family=self, folder=folder, model_spec=model, vision_spec=vision)

    def decoder(
        self, folder: Path, model: ModelSpec, vision: VisionSpec, weights: WeightsSpec = NONE
    ) -> "AssembledDecoder":
        """Load the language side (with the projector, where features are the tower's)."""
        measure = LoadingMeasure()
        variant = find_candidate(weights, model, folder)
        hooks = load_quantizer(weights).loading_hooks(variant)
        projector = self.projector(folder, model) if vision.tap == "tower" else None
        language, tokenizer = self.language(variant.source, model, hooks)
        loaded = measure.take(language, projector)
        return AssembledDecoder(
            self, language, tokenizer, self.preprocessing(folder), projector, loaded
        )

    def reference(self, folder: Path, model: ModelSpec) -> "AssembledReference":
        """Load all parts."""
        eyes = nn.Sequential(self.tower(folder, model), self.projector(folder, model))
        hooks = load_quantizer(NONE).loading_hooks(find_candidate(NONE, model, folder))
        language = self.language(folder, model, hooks)
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
        return sign(
            info,
            self._preprocessing.recipe(info, len(frames)),
            tower=self.family.tower_name,
            weights_sha256=self._weights_sha256,
            tap=self.family.tap(self.folder),
            model=self.model_spec,
            vision=self.vision_spec,
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
        self,
        family: AssembledFamily,
        model: Any,
        tokenizer: Any,
        preprocessing: Preprocessing,
        projector: nn.Module | None,
        loaded: LoadedWeights,
    ) -> None:
        super().__init__(model, tokenizer, loaded)
        self._family = family
        self._preprocessing = preprocessing
        self._projector = projector

    def check(self, question: str) -> None:
        """Refuse a question that contains the placeholder."""
        self._family.check(question)

    def _open(self, visuals: Sequence[Visual]) -> Opening:
        media = [self._project(visual) for visual in visuals]

        def prompt(question: str) -> list[int]:
            self._family.check(question)
            return counted(self._family.prompt(self._tokenizer, media, question))

        pieces = self._family.prompt(self._tokenizer, media, "")
        shown = up_to_last_media(pieces)
        inputs = spliced(self._model, shown)
        token_ids = inputs.pop("input_ids")[0].tolist()
        return Opening(
            token_ids=tuple(token_ids),
            inputs=inputs,
            prompt=prompt,
            state={},
            is_visual=visible(shown),
            num_visual_units=sum(len(visual.units) for visual in visuals),
        )

    def _project(self, visual: Visual) -> Projected:
        features = to_tensor(visual.features.arrays[MAIN], self._model.device)
        if self._projector is not None:
            features = run(self._projector, features, inner=2)
        recipe = self._preprocessing.recipe(visual.info, num_frames(visual.units))
        return Projected(
            info=visual.info, units=visual.units, recipe=recipe, arrays={MAIN: features}
        )


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
        self._family.check(question)
        seen = [self._see(one) for one in media]
        return spliced(self.model, self._family.prompt(self._tokenizer, seen, question))

    def num_visual_units(self, media: Sequence[Decoded]) -> int:
        """Return the number of units."""
        return sum(len(one.units) for one in media)

    def _see(self, one: Decoded) -> Projected:
        recipe = self._preprocessing.recipe(one.info, len(one.frames.pixels_THWC))
        pixels = self._preprocessing.pixels(one.frames, recipe)
        tokens = run(self._eyes, pixels, inner=3)
        return Projected(info=one.info, units=one.units, recipe=recipe, arrays={MAIN: tokens})


def _blank(preprocessing: Preprocessing) -> Projected:
    """Return a small picture without values, to see what its prompts look like."""
    info = MediaInfo(
        kind="image",
        width=32,
        height=32,
        codec="",
        timestamps_s=(0.0,),
        fps=0.0,
        backend="pillow",
        decoder="",
        index=None,
    )
    units = preprocessing.units(info, (0,))
    arrays = {MAIN: torch.zeros(len(units), 1, 1, 1)}
    return Projected(info=info, units=units, recipe=preprocessing.recipe(info, 1), arrays=arrays)
