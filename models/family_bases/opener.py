"""Turns stored features into the beginning that all prompts about some media share."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from encodeonce.cache_store.features import MAIN
from encodeonce.datasets.media.media import MediaKind
from encodeonce.models.checkpoint.tensors import to_tensor
from encodeonce.models.family_bases.architecture import Architecture
from encodeonce.models.language.chat import Chat, Slot
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.language.prefix import Opening
from encodeonce.models.vision.preprocessing import Preprocessing
from encodeonce.models.vision.visual import Visual, num_frames


class Opener:
    """An architecture's projector, prompt format and positions. Needs no layer of the decoder."""

    def __init__(
        self,
        family: Architecture,
        model: Any,
        chat: Chat,
        preprocessing: Preprocessing,
        projector: Any | None,
        device: torch.device,
    ) -> None:
        """Take the parts.

        Args:
            family: the architecture.
            model: of its class, with or without tower and language model.
            chat: tokenizer and template.
            preprocessing: of the checkpoint's media.
            projector: what features go through; None where they are stored behind it.
            device: where features are projected. Of a model without parts, nothing tells it.
        """
        self.model, self.chat, self.projector = model, chat, projector
        self.device = device
        self._family, self._preprocessing = family, preprocessing

    def placeholder(self, kind: MediaKind) -> str:
        """Return what the chat template writes for a picture, or a video."""
        return self._family.placeholders(self.model.config, self.chat.tokenizer)[kind]

    def open(self, visuals: Sequence[Visual]) -> tuple[Opening, list[Shown]]:
        """Return the opening of prompts about some media, and the placeholders in it, in order."""
        with torch.inference_mode():
            media = [self._project(visual) for visual in visuals]
            shown = self._family.show(self.model, self.chat.tokenizer, media)
        slots = [Slot(one.slot, one.text) for one in shown]
        config, device = self.model.config, self.device

        def prompt(question: str) -> list[int]:
            text = self.chat.prompt(slots, question)
            token_ids: list[int] = self.chat.tokenize(text, device)["input_ids"][0].tolist()
            return token_ids

        visual = self._family.visual_token_ids(config)
        whole = prompt("")
        token_ids = up_to_last(whole, visual) or whole[:1]
        input_ids = torch.tensor([token_ids], device=device)
        inputs: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            **self._family.inputs(config, input_ids, shown),
        }
        if shown:
            inputs["mm_encoder_outputs"] = encoder_outputs(self._family, shown)
        state = self._family.state_after(self.model, inputs)
        opening = Opening(
            token_ids=tuple(token_ids),
            inputs=inputs,
            prompt=prompt,
            state=state,
            is_visual=[token in visual for token in token_ids],
            position_offset=self._family.position_offset(state),
            num_visual_units=sum(len(visual.units) for visual in visuals),
        )
        return opening, shown

    def _project(self, visual: Visual) -> Projected:
        arrays = {
            name: to_tensor(array, self.device) for name, array in visual.features.arrays.items()
        }
        if self.projector is not None:
            main = arrays[MAIN]
            projected = self.projector(main.flatten(0, -3))
            arrays[MAIN] = projected.unflatten(0, main.shape[:-2])
        recipe = self._preprocessing.recipe(visual.info, num_frames(visual.units))
        return Projected(info=visual.info, units=visual.units, recipe=recipe, arrays=arrays)


def encoder_outputs(
    family: Architecture, shown: Sequence[Shown]
) -> dict[MediaKind, BaseModelOutputWithPooling]:
    """Return what the model's vision side would have given, by modality."""
    outputs: dict[MediaKind, BaseModelOutputWithPooling] = {}
    for modality in {one.modality: None for one in shown}:  # each once, in order
        ours = [one for one in shown if one.modality == modality]
        pooled = family.pooled(modality, [one.tokens for one in ours])
        output = BaseModelOutputWithPooling(pooler_output=pooled)
        if ours[0].levels:
            levels = zip(*(one.levels for one in ours), strict=True)
            output["deepstack_features"] = [list(level) for level in levels]
        outputs[modality] = output
    return outputs


def up_to_last(token_ids: Sequence[int], wanted: Collection[int]) -> list[int]:
    """Return the tokens up to the last one that is in ``wanted``; none if there is none."""
    last = max((n for n, token in enumerate(token_ids) if token in wanted), default=-1)
    return list(token_ids[: last + 1])
