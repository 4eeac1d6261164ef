"""Qwen2-VL: a tower for any resolution, temporal patches of two frames, M-RoPE.

Wang et al., Qwen2-VL, 2024 (arXiv:2409.12191).
"""

from transformers import Qwen2VLForConditionalGeneration

from encodeonce.models.family_bases.patch_grids import GridFamily

FAMILY = GridFamily(
    model_types=("qwen2_vl",),
    model_class=Qwen2VLForConditionalGeneration,
    tower="model.visual",
    projector=None,
    language=("model.language_model", "lm_head"),
)
