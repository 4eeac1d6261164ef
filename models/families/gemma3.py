"""Gemma 3: a SigLIP tower whose patches are pooled to 256 tokens by the projector.

Gemma Team, Gemma 3 Technical Report, 2025 (arXiv:2503.19786). A picture's tokens attend to one
another in both directions, so the model is told which tokens are a picture's. A video's frames are
shown to the model as images. Pan and scan is not supported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3ForConditionalGeneration

from encodeonce.datasets.media.media import MediaKind
from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.family_bases.architecture import image_token
from encodeonce.models.family_bases.transformers import TransformersFamily
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.vision.preprocessing import SingleImages, load_image_processor


class Gemma3(TransformersFamily):
    """Each picture and each frame is one image, between its start and end tokens."""

    def preprocessing(self, folder: Path) -> SingleImages:
        """Return the checkpoint's image processor, for one frame at a time.

        Raises:
            CheckpointError: it cuts pictures into crops.
        """
        image_processor = load_image_processor(folder)
        if image_processor.do_pan_and_scan:
            raise CheckpointError(
                f"{folder}: do_pan_and_scan cuts pictures into crops, which is not supported. "
                "Set it to false in preprocessor_config.json."
            )
        return SingleImages(image_processor=image_processor)

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return each picture, and each frame, on a line of its own."""
        token = image_token(model.config, tokenizer)
        start, end = tokenizer.boi_token, tokenizer.eoi_token
        return [
            Shown(
                slot="image",
                modality="image",
                text=f"\n\n{start}{token * len(tokens)}{end}\n\n",
                tokens=tokens,
            )
            for one in media
            for tokens in one.main
        ]

    def pooled(self, modality: MediaKind, tokens: list[torch.Tensor]) -> Any:
        """Return one tensor (images, N, D)."""
        return torch.stack(tokens)

    def inputs(
        self, config: Any, input_ids: torch.Tensor, shown: Sequence[Shown]
    ) -> dict[str, torch.Tensor]:
        """Return which tokens (1, N) are a picture's."""
        return {"token_type_ids": (input_ids == config.image_token_id).to(input_ids.dtype)}

    def placeholders(self, config: Any, tokenizer: Any) -> Mapping[MediaKind, str]:
        """Return the start token, which the template writes for a picture."""
        return {"image": tokenizer.boi_token}

    def tap(self, config: Any) -> Mapping[str, Any]:
        """Return nothing: it is always the last layer."""
        return {}


FAMILY = Gemma3(
    model_types=("gemma3",),
    model_class=Gemma3ForConditionalGeneration,
    tower="model.vision_tower",
    projector="model.multi_modal_projector",
    language=("model.language_model", "lm_head"),
)
