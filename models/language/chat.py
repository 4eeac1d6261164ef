"""Makes prompts with the checkpoint's own chat template, media first."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoProcessor, AutoTokenizer

from encodeonce.datasets.media.media import MediaKind
from encodeonce.models.checkpoint.files import CheckpointError, read_settings, refusing

_MEDIA = "\N{OBJECT REPLACEMENT CHARACTER}"
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
)
"""Files that hold a vocabulary."""


class TemplateFailed(ValueError):
    """A chat template raised an error."""


class Slot(NamedTuple):
    """A place in the prompt for a picture or video, and the text that goes there."""

    kind: MediaKind
    """The kind of part that the chat template writes."""
    text: str
    """The model's image token, once per feature, with the text around them."""


class Chat:
    """A tokenizer and a chat template. Needs no image or video processor."""

    def __init__(
        self,
        tokenizer: Any,
        template: str,
        placeholders: Mapping[MediaKind, str],
        video_template: str | None = None,
    ) -> None:
        """Make a chat.

        Args:
            tokenizer: of transformers.
            template: Jinja source.
            placeholders: what the template writes for a part of each kind.
            video_template: Jinja source for prompts with a video, if different.
        """
        self.tokenizer = tokenizer
        self._template = template
        self._video_template = video_template or template
        self._placeholders = placeholders

    def prompt(self, slots: Sequence[Slot], question: str) -> str:
        """Return the prompt: media, in order, then the question.

        Media stand before the question, so that all questions on one video begin with the same
        tokens.

        Raises:
            TemplateFailed: the template cannot be used, or refuses this prompt.
            ValueError: the question contains a placeholder.
        """
        parts = [*({"type": slot.kind} for slot in slots), {"type": "text", "text": question}]
        has_video = any(slot.kind == "video" for slot in slots)
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": parts}],
                chat_template=self._video_template if has_video else self._template,
                tokenize=False,
                add_generation_prompt=True,
            )
        # Whatever Python raises inside a template comes out of it.
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise TemplateFailed(f"the chat template raised {words}") from error
        kinds = {text: kind for kind, text in self._placeholders.items()}
        pieces = re.split(f"({'|'.join(map(re.escape, kinds))})", text)
        found = [kinds[piece] for piece in pieces[1::2]]
        if found != [slot.kind for slot in slots]:
            raise ValueError(
                f"{len(found)} media placeholders ({', '.join(kinds)}) in the prompt for "
                f"{len(slots)} media; does the question contain the placeholder? {question!r}"
            )
        pieces[1::2] = [slot.text for slot in slots]
        return "".join(pieces)

    def check_media_first(self, folder: Path) -> None:
        """Refuse a template whose prompts on the same media do not begin alike.

        Kinds of media that the template does not write are ignored: nobody may ask about them.

        Args:
            folder: the checkpoint, for messages.

        Raises:
            CheckpointError: the question changes the text before the last media item, or the
                template writes no media at all.
        """
        written = [kind for kind in self._placeholders if self._writes(kind)]
        if not written and (failure := self._failure()):
            raise CheckpointError(
                f"{folder}: {failure}. Take chat_template.jinja from the model's own repository"
            )
        if not written:
            raise CheckpointError(
                f"{folder}: the chat template writes none of the media placeholders "
                f"{', '.join(self._placeholders.values())}: it is for text only. Use the template "
                "of the model's card."
            )
        for kind in written:
            slots = [Slot(kind, _MEDIA)] * 2
            heads = {self.prompt(slots, text).rpartition(_MEDIA)[0] for text in ("", "Where?")}
            if len(heads) > 1:
                raise question_first(folder)

    def _writes(self, kind: MediaKind) -> bool:
        try:
            self.prompt([Slot(kind, _MEDIA)], "")
        except ValueError:
            return False
        return True

    def _failure(self) -> str | None:
        """Return what the template raises for the first kind of media; None if it does not."""
        try:
            self.prompt([Slot(next(iter(self._placeholders)), _MEDIA)], "")
        except TemplateFailed as error:
            return str(error)
        except ValueError:
            return None
        return None

    def check(self, question: str) -> None:
        """Refuse a question that cannot be asked.

        Raises:
            ValueError: it contains a placeholder.
        """
        self.prompt((), question)

    def tokenize(self, text: str, device: torch.device) -> dict[str, torch.Tensor]:
        """Return ``input_ids`` and ``attention_mask`` of shape (1, N).

        If the template writes the begin-of-text token itself, no second one is added.
        """
        bos = self.tokenizer.bos_token
        has_bos = bos is not None and text.startswith(bos)
        encoded = self.tokenizer(text, add_special_tokens=not has_bos, return_tensors="pt")
        return {name: encoded[name].to(device) for name in ("input_ids", "attention_mask")}


def question_first(folder: Path) -> CheckpointError:
    """Return the error for a checkpoint whose prompts on the same media do not begin alike."""
    return CheckpointError(
        f"{folder}: the chat template puts the question before the media, or lets it change what "
        "stands before them: prompts on one video would not begin alike, so nothing of them could "
        "be shared. Use a template with the media first."
    )


def load_chat(
    folder: Path,
    tokenizer: Any,
    placeholders: Mapping[MediaKind, str],
    video_template: str | None = None,
) -> Chat:
    """Load a checkpoint's chat template from either of transformers' places for it.

    Args:
        folder: the checkpoint.
        tokenizer: the checkpoint's.
        placeholders: as `Chat` takes them.
        video_template: as `Chat` takes it.

    Raises:
        CheckpointError: the checkpoint has no chat template.
    """
    legacy = folder / "chat_template.json"
    template = tokenizer.chat_template  # chat_template.jinja, or tokenizer_config.json
    if template is None and legacy.is_file():
        template = read_settings(legacy).get("chat_template")
    if isinstance(template, dict):  # several, by name: for tools, for retrieval
        template = template.get("default")
    if template is None:
        raise _no_template(folder)
    if not isinstance(template, str):
        raise CheckpointError(f"{folder}: the chat template must be a text; got {template!r}")
    return Chat(tokenizer, template, placeholders, video_template)


def load_tokenizer(folder: Path, tokenizer_class: Any = AutoTokenizer) -> Any:
    """Load a checkpoint's tokenizer.

    Raises:
        CheckpointError: it has none, or its files cannot be used.
    """
    if not any(path for pattern in _TOKENIZERS for path in folder.glob(pattern)):
        raise CheckpointError(
            f"{folder} has no tokenizer: none of {', '.join(_TOKENIZERS)}. Type: "
            f"hf download ORG/NAME --include 'tokenizer*' --local-dir {folder}"
        )
    with refusing(folder / "tokenizer.json"):
        return tokenizer_class.from_pretrained(folder, local_files_only=True)


def load_processor(folder: Path) -> Any:
    """Load transformers' processor: tokenizer, chat template and image processor.

    Raises:
        CheckpointError: the checkpoint has no chat template, or one of its files cannot be used.
    """
    with refusing(folder / "processor_config.json"):
        processor = AutoProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    if processor.chat_template is None:
        raise _no_template(folder)
    return processor


def _no_template(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"{folder} has no chat template (chat_template.jinja), so the model's prompt format "
        "is unknown. Put the template of its model card there."
    )
