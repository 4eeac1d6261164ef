"""Families that transformers does not have, assembled from parts that it has.

A family's file says where each part is in the original checkpoint, and what surrounds features in
the prompt. Features take the place of embeddings (``inputs_embeds``).

Shapes: U units, P patches, N visual tokens, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from encodeonce.cache_store.features import MAIN
from encodeonce.models.answer import LoadedWeights
from encodeonce.models.checkpoint.footprint import LoadingMeasure
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.checkpoint.tensors import to_tensor
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
from encodeonce.models.quantization.method import find_candidate
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.reference import PlainReference
from encodeonce.models.spec import NONE, ModelSpec, Tap, VisionSpec, WeightsSpec
from encodeonce.models.vision.preprocessing import Preprocessing, blank_picture, try_out
from encodeonce.models.vision.signature import TowerIdentity
from encodeonce.models.vision.vision_side import LoadedTower, VisionSide
from encodeonce.models.vision.visual import Decoded, Visual, num_frames

PLACEHOLDER = "<image>"


@dataclass(frozen=True, kw_only=True)
class AssembledFamily(ABC):
    """A tower, a projector and a language model, each from its place in a checkpoint."""

    model_types: tuple[str, ...]
    tower_name: str
    """transformers' name of the tower's architecture, for the signature."""
    placeholders: tuple[str, ...] = (PLACEHOLDER,)
    """Texts that stand for media in a prompt: a question with one in it would be misread."""

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
            media: features (U, ..., P, D) of each media item.
            question: text of the prompt, without a placeholder.
        """

    def check(self, question: str) -> None:
        """Refuse a question that contains a placeholder.

        Raises:
            ValueError: it does.
        """
        found = next((text for text in self.placeholders if text in question), None)
        if found:
            raise ValueError(f"does the question contain the placeholder {found}? {question}")

    def fits(self, folder: Path) -> bool:
        """Return True: every checkpoint of its model types fits."""
        return True

    def check_prompts(self, folder: Path) -> None:
        """Refuse a checkpoint whose prompts about the same media differ at the start.

        Reads no weights.

        Raises:
            CheckpointError: the question changes what comes before the last media item.
        """
        preprocessing = self.preprocessing(folder)
        try_out(preprocessing, folder)
        tokenizer, blank = self.tokenizer(folder), _blank(preprocessing)
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
        """Load the language side (with the projector, if features are the tower's)."""
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
class AssembledVision(VisionSide):
    """The vision side of a family put together from parts."""

    family: AssembledFamily

    def load(self) -> LoadedTower:
        """Load the tower (and the projector, if features are taken after it)."""
        parts = [self.family.tower(self.folder, self.model_spec)]
        if self.vision_spec.tap == "projected":
            parts.append(self.family.projector(self.folder, self.model_spec))
        return self.loaded(nn.Sequential(*parts))

    def encode(self, model: Any, pixels_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode pixels to ``main``."""
        return {MAIN: run(model, pixels_B, inner=3)}

    def _preprocess(self) -> Preprocessing:
        return self.family.preprocessing(self.folder)

    def _identify(self) -> TowerIdentity:
        return TowerIdentity(
            name=self.family.tower_name,
            weights_sha256=self.family.weights_sha256(self.folder, self.vision_spec.tap),
            tap=self.family.tap(self.folder),
        )


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

    @property
    def projector(self) -> nn.Module | None:
        """What features go through; None where they are stored behind it."""
        return self._projector

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
    """All parts one after another, all frames of a media item at once; nothing is stored."""

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
    """Return a small picture without content, to see what its prompts look like."""
    info = blank_picture()
    units = preprocessing.units(info, (0,))
    arrays = {MAIN: torch.zeros(len(units), 1, 1, 1)}
    return Projected(info=info, units=units, recipe=preprocessing.recipe(info, 1), arrays=arrays)
