"""Idefics3: a picture is a grid of tiles and one overview; the prompt tells each tile's place.

Laurençon et al., Building and better understanding vision-language models, 2024
(arXiv:2408.12637). A video's frames are shown to the model as images, tiles and all.
"""

from transformers import Idefics3ForConditionalGeneration

from encodeonce.models.family_bases.row_column_tiles import RowColumnTiles

FAMILY = RowColumnTiles(
    model_types=("idefics3",),
    model_class=Idefics3ForConditionalGeneration,
    tower="model.vision_model",
    projector="model.connector",
    language=("model.text_model", "lm_head"),
)
