"""The generic family: any transformers model whose forward accepts ``mm_encoder_outputs``.

What differs between architectures is in `encodeonce.models.family_bases.architecture`.

Shapes: U units, P patches, D width of the tap, B micro-batch, N visual tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from encodeonce.models.answer import LoadedWeights
from encodeonce.models.checkpoint.files import (
    CheckpointError,
    check_names,
    device,
    load_config,
    weights_digest,
)
from encodeonce.models.checkpoint.footprint import LoadingMeasure
from encodeonce.models.checkpoint.loading import load_without
from encodeonce.models.checkpoint.quantized_parts import part_hooks, part_quantization
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.family import Reference
from encodeonce.models.family_bases.architecture import Architecture, tapped
from encodeonce.models.family_bases.opener import Opener
from encodeonce.models.language.chat import Chat, load_chat, load_tokenizer
from encodeonce.models.language.prefix import Opening
from encodeonce.models.quantization.method import Candidate, find_candidate
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.reference import load_reference
from encodeonce.models.spec import NONE, ModelSpec, VisionSpec, WeightsSpec
from encodeonce.models.vision.preprocessing import Preprocessing, try_out
from encodeonce.models.vision.signature import TowerIdentity
from encodeonce.models.vision.vision_side import LoadedTower, VisionSide
from encodeonce.models.vision.visual import Visual


@dataclass(frozen=True, kw_only=True)
class TransformersFamily(Architecture):
    """An architecture of transformers, loaded in parts."""

    def fits(self, folder: Path) -> bool:
        """Return True: every checkpoint of its model types fits."""
        return True

    def check_prompts(self, folder: Path) -> None:
        """Refuse a chat template with the question before the media; reads no weights.

        Also what would only be missed once the work has begun: weights under another name than
        transformers looks for, and an image processor.

        Raises:
            CheckpointError: the checkpoint's template is one, or one of these is missing.
        """
        check_names(folder)
        config = load_config(folder)
        self.chat(folder, config).check_media_first(folder)
        try_out(self.preprocessing(folder), folder)
        _check_layers(folder, config)

    def chat(self, folder: Path, config: Any) -> Chat:
        """Load a checkpoint's tokenizer and chat template.

        Raises:
            CheckpointError: there is no chat template.
        """
        tokenizer = load_tokenizer(folder)
        placeholders = self.placeholders(config, tokenizer)
        return load_chat(folder, tokenizer, placeholders, self.video_template)

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> "TransformersVision":
        """Describe the vision side of a checkpoint.

        Raises:
            CheckpointError: ``tap: tower`` is asked for, but the projector is inside the tower.
        """
        if vision.tap == "tower" and self.projector is None:
            raise CheckpointError(
                f"vision.tap 'tower': in {self.model_types[0]} the projection to the language "
                f"model is part of the tower ({self.tower}), so there are no features before it "
                "to share between models. Set vision.tap: projected."
            )
        return TransformersVision(family=self, folder=folder, model_spec=model, vision_spec=vision)

    def decoder(
        self, folder: Path, model: ModelSpec, vision: VisionSpec, weights: WeightsSpec = NONE
    ) -> "TransformersDecoder":
        """Load everything but the tower (and the projector, if features are projected)."""
        measure = LoadingMeasure()
        language, projector = self._language_side(
            find_candidate(weights, model, folder), vision, weights
        )
        loaded = measure.take(language, projector)
        return TransformersDecoder(
            self._opener(folder, language, projector, language.device), loaded
        )

    def opener(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> Opener:
        """Load what makes prompts' openings, without tower and language model."""
        left_out = [self.tower, *self.language]
        if self.projector is not None and vision.tap == "projected":
            left_out.append(self.projector)
        hooks = part_hooks(folder, [] if self.projector is None else [last_name(self.projector)])
        between = load_without(self.model_class, left_out, folder, model, hooks)
        has_projector = self.projector is not None and vision.tap == "tower"
        projector = between.get_submodule(self.projector) if has_projector else None
        return self._opener(folder, between, projector, device(model))

    def _opener(
        self, folder: Path, model: Any, projector: Any | None, where: torch.device
    ) -> Opener:
        chat, preprocessing = self.chat(folder, model.config), self.preprocessing(folder)
        return Opener(self, model, chat, preprocessing, projector, where)

    def _language_side(
        self, variant: Candidate, vision: VisionSpec, weights: WeightsSpec
    ) -> tuple[Any, Any | None]:
        """Return the model without its tower, and the projector if it is needed."""
        hooks = load_quantizer(weights).loading_hooks(variant)
        is_elsewhere = variant.source != variant.folder
        left_out = [self.tower]
        if self.projector is not None and (vision.tap == "projected" or is_elsewhere):
            left_out.append(self.projector)
        language = load_without(self.model_class, left_out, variant.source, variant.model, hooks)
        if self.projector is None or vision.tap == "projected":
            return language, None
        whole = self._projector_alone(variant) if is_elsewhere else language
        return language, whole.get_submodule(self.projector)

    def _projector_alone(self, variant: Candidate) -> Any:
        """Load the model's own projector, if the language model is another checkpoint's."""
        assert self.projector is not None
        hooks = part_hooks(variant.folder, [last_name(self.projector)])
        left_out = [self.tower, *self.language]
        return load_without(self.model_class, left_out, variant.folder, variant.model, hooks)

    def reference(self, folder: Path, model: ModelSpec) -> Reference:
        """Load the whole model as transformers does."""
        return load_reference(folder, model)

    def language_folder(self, folder: Path) -> Path:
        """Return the checkpoint: there is one config.json for all parts."""
        return folder

    def language_config(self, folder: Path) -> Any:
        """Return the text model's part of the configuration."""
        return load_config(folder).get_text_config()


@dataclass(frozen=True, kw_only=True)
class TransformersVision(VisionSide):
    """The vision side of an architecture of transformers."""

    family: TransformersFamily

    def load(self) -> LoadedTower:
        """Load the tower (and the projector, if features are taken after it)."""
        left_out = list(self.family.language)
        projector = self.family.projector
        if self.vision_spec.tap == "tower" and projector is not None:
            left_out.append(projector)
        hooks = part_hooks(self.folder, self._parts)
        model = load_without(self.family.model_class, left_out, self.folder, self.model_spec, hooks)
        if projector is not None:
            model = tapped(model, projector, after=self.vision_spec.tap == "projected")
        return self.loaded(model)

    def encode(self, model: Any, pixels_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode pixels as the architecture does."""
        return self.family.encode(model, pixels_B.to(model.device, model.dtype))

    def _preprocess(self) -> Preprocessing:
        return self.family.preprocessing(self.folder)

    def _identify(self) -> TowerIdentity:
        config = load_config(self.folder)
        stored = part_quantization(self.folder, self._parts)
        return TowerIdentity(
            name=str(config.vision_config.model_type),
            weights_sha256=weights_digest(self.folder, self._parts),
            tap=self.family.tap(config),
            numerics={} if stored is None else {"quantization": stored},
        )

    @property
    def _parts(self) -> list[str]:
        """Names of the modules that features depend on."""
        parts = [self.family.tower]
        if self.vision_spec.tap == "projected" and self.family.projector is not None:
            parts.append(self.family.projector)
        return [last_name(part) for part in parts]


class TransformersDecoder(PrefixDecoder):
    """The language side; features enter through ``mm_encoder_outputs``."""

    def __init__(self, opener: Opener, loaded: LoadedWeights) -> None:
        super().__init__(opener.model, opener.chat.tokenizer, loaded)
        self._opener = opener

    @property
    def projector(self) -> nn.Module | None:
        """What features go through; None where they are stored behind it."""
        return self._opener.projector

    def check(self, question: str) -> None:
        """Refuse a question that contains a placeholder."""
        self._opener.chat.check(question)

    def _open(self, visuals: Sequence[Visual]) -> Opening:
        return self._opener.open(visuals)[0]


def last_name(part: str) -> str:
    """Return the last part of a module's dotted name, which its weights have everywhere."""
    return part.rpartition(".")[2]


def _check_layers(folder: Path, config: Any) -> None:
    """Refuse a layer of the tower that it does not have.

    Raises:
        CheckpointError: config.json names one.
    """
    named = getattr(config, "vision_feature_layer", None)
    count = getattr(getattr(config, "vision_config", None), "num_hidden_layers", None)
    for layer in named if isinstance(named, list | tuple) else [named]:
        if layer is not None and count is not None and not -count - 1 <= layer <= count:
            raise CheckpointError(
                f"{folder / 'config.json'}: vision_feature_layer {layer} is none of the tower's "
                f"{count}; allowed: {-count - 1} to {count}"
            )
