"""The generic family: any transformers model whose forward accepts ``mm_encoder_outputs``.

A frame of a video is shown to the model as one image. Features are taken by transformers' own
``get_image_features`` on a model without its language part; with the projector left out as well,
the same call gives the tower's output, so there is no second implementation of layer selection.

Shapes: U units (images or frames), P patches, D width of the tap, B micro-batch.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from encodeonce.cache_store.features import MAIN, Features
from encodeonce.cache_store.signature import Signature
from encodeonce.datasets.info import MediaInfo
from encodeonce.datasets.media import Frames
from encodeonce.models.chat import load_processor, prompt_text, tokenize
from encodeonce.models.checkpoint import load_without, weights_digest
from encodeonce.models.family import Generation, GenerationSpec, Unit
from encodeonce.models.generation import generate
from encodeonce.models.micro_batch import MicroBatch
from encodeonce.models.reference import TransformersReference, load_reference
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.tensors import to_array, to_tensor
from encodeonce.models.timing import synchronize

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TransformersFamily:
    """An architecture of transformers, told by the names of its parts."""

    model_types: tuple[str, ...]
    model_class: type[PreTrainedModel]
    tower: str
    """Module that ends in the features of the ``tower`` tap."""
    projector: str
    """Module between the tower and the language model."""
    language: tuple[str, ...]
    """Modules that only text goes through."""

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> "TransformersVision":
        """Describe the vision side of a checkpoint."""
        return TransformersVision(family=self, folder=folder, model_spec=model, vision_spec=vision)

    def decoder(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> "TransformersDecoder":
        """Load everything but the tower (and the projector, where features are projected)."""
        left_out = (self.tower,) if vision.tap == "tower" else (self.tower, self.projector)
        loaded = load_without(self.model_class, left_out, folder, model)
        projector = loaded.get_submodule(self.projector) if vision.tap == "tower" else None
        return TransformersDecoder(loaded, load_processor(folder), projector)

    def reference(self, folder: Path, model: ModelSpec) -> "TransformersReference":
        """Load the whole model the ordinary way."""
        return load_reference(folder, model)


@dataclass(frozen=True, kw_only=True)
class TransformersVision:
    """The vision side of a checkpoint, without its weights in memory."""

    family: TransformersFamily
    folder: Path
    model_spec: ModelSpec
    vision_spec: VisionSpec

    def signature(self, info: MediaInfo) -> Signature:
        """Return what the features of a media depend on."""
        return Signature(
            tower=str(self._config.vision_config.model_type),
            weights_sha256=self._weights_sha256,
            tap={
                "at": self.vision_spec.tap,
                "layer": self._config.vision_feature_layer,
                "select": self._config.vision_feature_select_strategy,
            },
            preprocess={**self._image_processor.to_dict(), "backend": "pil"},
            decoder=info.decoder,
            dtype=self.model_spec.dtype,
            numerics={
                "attention": self.model_spec.attention,
                "micro_batch": self.vision_spec.micro_batch,
            },
        )

    def units(self, info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
        """Return one unit a frame: CLIP and SigLIP see each frame alone."""
        if info.kind == "image":
            return (Unit("image", (0,)),)
        return tuple(Unit(f"frame:{frame}", (frame,)) for frame in frames)

    def load(self) -> "TransformersTower":
        """Load the tower (and the projector, where features are taken behind it)."""
        left_out = self.family.language
        if self.vision_spec.tap == "tower":
            left_out = (*left_out, self.family.projector)
        model = load_without(self.family.model_class, left_out, self.folder, self.model_spec)
        return TransformersTower(model, self._image_processor, self.vision_spec.micro_batch)

    @cached_property
    def _config(self) -> Any:
        return AutoConfig.from_pretrained(self.folder, local_files_only=True)

    @cached_property
    def _image_processor(self) -> Any:
        # Pillow, not torchvision: one resampling everywhere, and no CUDA build needed on a CPU.
        return AutoImageProcessor.from_pretrained(self.folder, backend="pil", local_files_only=True)

    @cached_property
    def _weights_sha256(self) -> str:
        parts = [self.family.tower]
        if self.vision_spec.tap == "projected":
            parts.append(self.family.projector)
        return weights_digest(self.folder, [part.rpartition(".")[2] for part in parts])


class TransformersTower:
    """A loaded tower."""

    def __init__(self, model: Any, image_processor: Any, micro_batch: int) -> None:
        self._model = model
        self._image_processor = image_processor
        self._encode = MicroBatch(self._encode_batch, micro_batch)

    def preprocess(self, frames: Frames) -> torch.Tensor:
        """Return (U, 3, H, W) float32 pixels, resized and normalised."""
        pixels = self._image_processor(images=list(frames.pixels_THWC), return_tensors="pt")
        return torch.as_tensor(pixels["pixel_values"])

    def encode(self, pixels: torch.Tensor) -> Features:
        """Encode (U, 3, H, W) pixels to features ``main`` of (U, P, D)."""
        with torch.inference_mode():
            return Features({MAIN: to_array(self._encode(pixels))})

    def _encode_batch(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        output = self._model.get_image_features(
            pixel_values=pixels_BCHW.to(self._model.device, self._model.dtype),
            vision_feature_layer=self._model.config.vision_feature_layer,
            vision_feature_select_strategy=self._model.config.vision_feature_select_strategy,
            return_dict=True,
        )
        return torch.stack(list(output.pooler_output))


class TransformersDecoder:
    """The language side; features enter through ``mm_encoder_outputs``."""

    def __init__(self, model: Any, processor: Any, projector: Any | None) -> None:
        self._model = model
        self._processor = processor
        self._projector = projector

    def answer(
        self, visuals: Sequence[Features], question: str, generation: GenerationSpec
    ) -> Generation:
        """Answer a question about the media whose features are given."""
        start = time.perf_counter()
        features = [self._project(visual) for visual in visuals]
        images = [image for media in features for image in media]
        inputs = self._prompt(question, [len(image) for image in images])
        # transformers passes a list here itself, one entry an image, against its own annotation.
        encoded = BaseModelOutputWithPooling(pooler_output=images)  # type: ignore[arg-type]
        synchronize()
        return generate(
            self._model,
            self._processor.tokenizer,
            {**inputs, "mm_encoder_outputs": {"image": encoded}},
            generation,
            num_visual_units=len(images),
            prepare_s=time.perf_counter() - start,
        )

    def _project(self, visual: Features) -> torch.Tensor:
        features_UPD = to_tensor(visual.arrays[MAIN], self._model.device)
        if self._projector is None:
            return features_UPD
        with torch.inference_mode():
            return torch.as_tensor(self._projector(features_UPD))

    def _prompt(self, question: str, tokens_per_image: Sequence[int]) -> dict[str, torch.Tensor]:
        """Tokenise the prompt with each image's placeholder repeated for its tokens."""
        placeholder = self._processor.image_token
        pieces = prompt_text(self._processor, len(tokens_per_image), question).split(placeholder)
        if len(pieces) != len(tokens_per_image) + 1:
            raise ValueError(
                f"{len(pieces) - 1} image placeholders {placeholder!r} in the prompt for "
                f"{len(tokens_per_image)} images; does the question contain the placeholder? "
                f"{question!r}"
            )
        text = pieces[0]
        for num_tokens, piece in zip(tokens_per_image, pieces[1:], strict=True):
            text += placeholder * num_tokens + piece
        return tokenize(self._processor, text, self._model.device)
