"""LLaVA-1.5 and its relatives: a CLIP or SigLIP tower, a two-layer projector, any text model.

Liu et al., Improved Baselines with Visual Instruction Tuning, 2023 (arXiv:2310.03744). A
video's frames are shown to the model as images.
"""

from pathlib import Path

from transformers import LlavaForConditionalGeneration

from encodeonce.models.family_bases.transformers import TransformersFamily
from encodeonce.models.vision.preprocessing import SingleImages, load_image_processor


class Llava(TransformersFamily):
    """Each picture and each frame is one image."""

    def preprocessing(self, folder: Path) -> SingleImages:
        """Return the checkpoint's image processor, for one frame at a time."""
        return SingleImages(image_processor=load_image_processor(folder))


FAMILY = Llava(
    model_types=("llava",),
    model_class=LlavaForConditionalGeneration,
    tower="model.vision_tower",
    projector="model.multi_modal_projector",
    language=("model.language_model", "lm_head"),
)
