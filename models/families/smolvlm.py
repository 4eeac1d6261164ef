"""SmolVLM (and SmolVLM2): Idefics3 with other sizes.

Marafioti et al., SmolVLM, 2025 (arXiv:2504.05299). A frame of a video is shown to the model as
one image, tiles and all; the sentences that SmolVLM2's own video prompt puts around frames, and
its whole, untiled frames, are not reproduced.
"""

from transformers import SmolVLMForConditionalGeneration

from encodeonce.models.row_column_tiles import RowColumnTiles

FAMILY = RowColumnTiles(
    model_types=("smolvlm",),
    model_class=SmolVLMForConditionalGeneration,
    tower="model.vision_model",
    projector="model.connector",
    language=("model.text_model", "lm_head"),
)
