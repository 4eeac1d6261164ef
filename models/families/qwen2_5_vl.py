"""Qwen2.5-VL: as Qwen2-VL, with windows in the tower and positions that follow the clock.

Bai et al., Qwen2.5-VL Technical Report, 2025 (arXiv:2502.13923).
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from encodeonce.models.family_bases.patch_grids import GridFamily
from encodeonce.models.language.placeholders import Shown


class Qwen25VL(GridFamily):
    """Tells the model the time between temporal patches."""

    def inputs(
        self, config: Any, input_ids: torch.Tensor, shown: Sequence[Shown]
    ) -> dict[str, torch.Tensor]:
        """Return grids, token types and, where there is a video, seconds per temporal patch."""
        inputs = super().inputs(config, input_ids, shown)
        seconds = [one.second_per_grid for one in shown if one.modality == "video"]
        if seconds:
            inputs["second_per_grid_ts"] = torch.tensor(seconds, device=input_ids.device)
        return inputs


FAMILY = Qwen25VL(
    model_types=("qwen2_5_vl",),
    model_class=Qwen2_5_VLForConditionalGeneration,
    tower="model.visual",
    projector=None,
    language=("model.language_model", "lm_head"),
)
