"""LLaVA-NeXT (1.6): a picture is one overview and a grid of tiles of the best fitting shape.

Liu et al., LLaVA-NeXT: Improved reasoning, OCR, and world knowledge, 2024. A video's frames are
shown to the model as images, tiles and all. The features of every tile are stored; the language
side cuts the padding away and puts in the line ends, which are among its weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaNextForConditionalGeneration

from encodeonce.models.family_bases.architecture import image_token
from encodeonce.models.family_bases.transformers import TransformersFamily
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.vision.preprocessing import TiledImages, load_image_processor


class LlavaNext(TransformersFamily):
    """Tiles, packed by transformers' own ``pack_image_features``."""

    def preprocessing(self, folder: Path) -> TiledImages:
        """Return the checkpoint's image processor, for one frame at a time."""
        return TiledImages(image_processor=load_image_processor(folder))

    def image_inputs(self, config: Any, pixels: torch.Tensor) -> dict[str, Any]:
        """Return tiles without the pictures' sizes: packing comes later."""
        return {**super().image_inputs(config, pixels), "image_sizes": ()}

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return each picture, and each frame, packed."""
        token = image_token(model.config, tokenizer)
        shown: list[Shown] = []
        for one in media:
            size = torch.tensor([one.info.height, one.info.width])
            packed, _ = model.model.pack_image_features(
                list(one.main),
                size.expand(len(one.main), 2),
                vision_feature_select_strategy=model.config.vision_feature_select_strategy,
                image_newline=model.model.image_newline,
            )
            shown.extend(
                Shown(slot="image", modality="image", text=token * len(tokens), tokens=tokens)
                for tokens in packed
            )
        return shown


FAMILY = LlavaNext(
    model_types=("llava_next",),
    model_class=LlavaNextForConditionalGeneration,
    tower="model.vision_tower",
    projector="model.multi_modal_projector",
    language=("model.language_model", "lm_head"),
)
