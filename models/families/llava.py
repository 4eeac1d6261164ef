"""LLaVA-1.5 and its relatives: a CLIP or SigLIP tower, a two-layer projector, any text model.

Liu et al., Improved Baselines with Visual Instruction Tuning, 2023 (arXiv:2310.03744).
"""

from transformers import LlavaForConditionalGeneration

from encodeonce.models.transformers_family import TransformersFamily

FAMILY = TransformersFamily(
    model_types=("llava",),
    model_class=LlavaForConditionalGeneration,
    tower="model.vision_tower",
    projector="model.multi_modal_projector",
    language=("model.language_model", "lm_head"),
)
