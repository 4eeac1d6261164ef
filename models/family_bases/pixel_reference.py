"""Run the whole model from pixels, for families whose processor needs torchvision.

transformers builds a processor only with its video processor, and that only with torchvision. So
pixels and prompt are made here, and everything from the tower on is one plain ``generate``.

Shapes: U units, P tokens per tile, D width.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from encodeonce.cache_store.features import MAIN
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.models.checkpoint.loading import load_whole
from encodeonce.models.family_bases.transformers import TransformersFamily
from encodeonce.models.language.chat import Chat, Slot
from encodeonce.models.language.placeholders import Projected
from encodeonce.models.reference import PlainReference
from encodeonce.models.spec import ModelSpec
from encodeonce.models.vision.preprocessing import Preprocessing
from encodeonce.models.vision.visual import Decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainMedia:
    """A media item's pixels, as `Preprocessing.pixels` made them."""

    info: MediaInfo
    pixels: torch.Tensor


class WithPixelReference(TransformersFamily):
    """A family that says how the whole model takes its pixels."""

    @abstractmethod
    def tokens_shape(self, config: Any, pixels: torch.Tensor) -> tuple[int, ...]:
        """Return the shape of the features of (U, ...) pixels, without their width."""

    @abstractmethod
    def plain_inputs(self, config: Any, media: Sequence[PlainMedia]) -> dict[str, torch.Tensor]:
        """Return pixels and what goes with them, as arguments of ``generate``."""

    def reference(self, folder: Path, model: ModelSpec) -> "PixelReference":
        """Load the whole model as transformers does."""
        whole = load_whole(self.model_class, folder, model)
        chat = self.chat(folder, whole.config)
        return PixelReference(self, whole, chat, self.preprocessing(folder))


class PixelReference(PlainReference):
    """The whole model, from pixels, by ``generate`` alone."""

    def __init__(
        self, family: WithPixelReference, model: Any, chat: Chat, preprocessing: Preprocessing
    ) -> None:
        super().__init__(model, chat.tokenizer)
        self._family = family
        self._chat = chat
        self._preprocessing = preprocessing

    def inputs(self, media: Sequence[Decoded], question: str) -> dict[str, Any]:
        """Return prompt and pixels."""
        plain = [self._pixels(one) for one in media]
        blank = [self._blank(one, two.pixels) for one, two in zip(media, plain, strict=True)]
        shown = self._family.show(self.model, self._tokenizer, blank)
        text = self._chat.prompt([Slot(one.slot, one.text) for one in shown], question)
        inputs = self._chat.tokenize(text, self.model.device)
        config = self.model.config
        inputs |= self._family.inputs(config, inputs["input_ids"], shown)
        pixels = self._family.plain_inputs(config, plain) if plain else {}
        for name, value in pixels.items():
            dtype = self.model.dtype if value.is_floating_point() else value.dtype
            inputs[name] = value.to(self.model.device, dtype)
        return inputs

    def num_visual_units(self, media: Sequence[Decoded]) -> int:
        """Return the number of units."""
        return sum(len(one.units) for one in media)

    def _pixels(self, one: Decoded) -> PlainMedia:
        recipe = self._preprocessing.recipe(one.info, len(one.frames.pixels_THWC))
        return PlainMedia(info=one.info, pixels=self._preprocessing.pixels(one.frames, recipe))

    def _blank(self, one: Decoded, pixels: torch.Tensor) -> Projected:
        """Return features without values: the prompt only needs to know how many there are."""
        width = self.model.config.get_text_config().hidden_size
        shape = (*self._family.tokens_shape(self.model.config, pixels), width)
        recipe = self._preprocessing.recipe(one.info, len(one.frames.pixels_THWC))
        arrays = {MAIN: torch.empty(shape, device="meta")}
        return Projected(info=one.info, units=one.units, recipe=recipe, arrays=arrays)
