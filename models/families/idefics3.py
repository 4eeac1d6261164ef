"""Idefics3: a picture is a grid of tiles and one overview, with their places told in the prompt.

Laurençon et al., Building and better understanding vision-language models, 2024
(arXiv:2408.12637). A frame of a video is shown to the model as one image, tiles and all.
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
