"""The interface of model families, and the look-up of a checkpoint's family.

The folder `families/` is the registry: each file there defines one ``FAMILY``.
`tests/contracts/family.py` is the suite that a family's tests inherit.
"""

import importlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from encodeonce.models.adapters.spec import AdapterSpec, NumberedAdapters
from encodeonce.models.answer import Generation, Likelihoods, LoadedWeights
from encodeonce.models.checkpoint.files import CheckpointError, local_checkpoint, read_config
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.kv.statistics import Needs, PromptStatistics
from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import NONE, GenerationSpec, ModelSpec, VisionSpec, WeightsSpec
from encodeonce.models.vision.interface import Vision
from encodeonce.models.vision.visual import Decoded, Visual


class AnswerEngine(Protocol):
    """Takes questions about several media, and decodes their answers together."""

    def ask(self, key: Hashable, prefix: Prefix, questions: Sequence[str], place: int = 0) -> None:
        """Take questions about the media of a prefix.

        Args:
            key: to find the answers by.
            prefix: from `Decoder.prefill`.
            questions: texts of the prompts, without media; at least one.
            place: the first of the places that their rows take in the batch.
        """
        ...

    def finish(self) -> dict[Hashable, list[list[Generation]]]:
        """Return all answers since the last call: by key, by setting, in the questions' order."""
        ...


class Decoder(Protocol):
    """The loaded language side. Never loads the tower."""

    loaded: LoadedWeights

    @property
    def adapters(self) -> NumberedAdapters | None:
        """The adapters beside the model."""
        ...

    def close(self) -> None:
        """Free what dropping the decoder would not."""
        ...

    def check(self, question: str) -> None:
        """Refuse a question that cannot be asked.

        Raises:
            ValueError: it contains one of the model's placeholders.
        """
        ...

    def load_adapters(self, specs: Sequence[AdapterSpec], *, are_merged: bool = False) -> None:
        """Put LoRA adapters beside the model, or by turns in its weights, numbered in order.

        Raises:
            AdapterError: one is no adapter of this model, or is not handled.
        """
        ...

    def prefill(
        self,
        visuals: Sequence[Visual],
        settings: Sequence[KVSpec] = (FULL,),
        *,
        adapter: int = BASE,
    ) -> Prefix:
        """Prefill what the prompts of all questions about some media share.

        Args:
            visuals: each media item of the samples, with features as `Tower.encode` returned them.
            settings: the cache variants that will be asked for. The statistics of the prefix that
                compressed ones need are kept beside it.
            adapter: the number of the adapter that the media are read under, and every question
                about them; `BASE` for none.

        Raises:
            PromptTooLong: the media alone do not fit into the model's context.
        """
        ...

    def check_behind(self, prefix: Prefix, question: str, answer: int | Sequence[str]) -> None:
        """Refuse a question that cannot be asked behind a prefix; computes nothing.

        Args:
            prefix: from `prefill`.
            question: text of the prompt.
            answer: most tokens that are to be generated, or the texts whose likelihoods are asked
                for.

        Raises:
            PromptTooLong: prompt and answer would not fit into the model's context.
            ValueError: the prompt does not continue the prefix.
        """
        ...

    def answer(
        self,
        prefix: Prefix,
        questions: Sequence[str],
        generation: GenerationSpec,
        settings: Sequence[KVSpec] = (FULL,),
        *,
        fidelity: bool = False,
    ) -> list[list[Generation]]:
        """Answer questions under several cache variants, from one prefill of each prompt.

        Which questions are asked together may change only the rounding; their order changes
        nothing.

        Args:
            prefix: from `prefill`, for these settings or more; it can be reused.
            questions: texts of the prompts, without media; at least one.
            generation: how to generate.
            settings: the variants. The full cache's answers have the same bits whatever else is
                asked for.
            fidelity: whether the full cache's answer is also teacher-forced through every
                compressed one; `full` has to be among the settings.

        Returns:
            For each setting, the answers to the questions, in order. What all settings share is
            booked on the first answer of the first; the prefix's seconds stay with the prefix.
        """
        ...

    def engine(
        self,
        generation: GenerationSpec,
        settings: Sequence[KVSpec] = (FULL,),
        *,
        fidelity: bool = False,
    ) -> AnswerEngine:
        """Return an engine that decodes answers about several media together.

        Args:
            generation: as `answer` takes it.
            settings: as `answer` takes them.
            fidelity: as `answer` takes it.
        """
        ...

    def score(
        self,
        prefix: Prefix,
        questions: Sequence[str],
        continuations: Sequence[Sequence[str]],
        settings: Sequence[KVSpec] = (FULL,),
    ) -> list[list[Likelihoods]]:
        """Return the likelihoods of some texts as answers to each question, teacher-forced.

        Args:
            prefix: as `answer` takes it.
            questions: as `answer` takes them.
            continuations: the texts of each question.
            settings: as `answer` takes them.

        Returns:
            As `answer`, with likelihoods in place of answers.
        """
        ...

    def classify(
        self, prefix: Prefix, questions: Sequence[str], settings: Sequence[KVSpec] = (FULL,)
    ) -> list[list[Likelihoods]]:
        """Return how likely each class of an adapter's head is, as `score` does."""
        ...

    def inspect(self, visuals: Sequence[Visual], question: str, needs: Needs) -> PromptStatistics:
        """Return one prompt's statistics for KV methods, to calibrate them."""
        ...


class Reference(Protocol):
    """The whole model as plain transformers runs it, without encodeonce's store or splice."""

    def answer(
        self, media: Sequence[Decoded], question: str, generation: GenerationSpec
    ) -> Generation:
        """Answer a question from decoded frames, in one pass."""
        ...

    def likelihoods(
        self, media: Sequence[Decoded], question: str, continuations: Sequence[str]
    ) -> Likelihoods:
        """Return the likelihoods of some texts as its answer, each in one pass."""
        ...


class Family(Protocol):
    """One architecture: how its parts are loaded and assembled."""

    model_types: tuple[str, ...]
    """``model_type`` values in config.json that belong to it."""

    def fits(self, folder: Path) -> bool:
        """Whether a checkpoint belongs to it, where several families share a ``model_type``.

        Raises:
            CheckpointError: the checkpoint has the layout of none of them.
        """
        ...

    def check_prompts(self, folder: Path) -> None:
        """Check, before anything is decoded, that prompts on the same media begin alike.

        Raises:
            CheckpointError: the question comes before the media, or the prompt format is unknown.
        """
        ...

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> Vision:
        """Describe the vision side of a checkpoint.

        Raises:
            CheckpointError: features cannot be taken where ``vision.tap`` says.
        """
        ...

    def decoder(
        self, folder: Path, model: ModelSpec, vision: VisionSpec, weights: WeightsSpec = NONE
    ) -> Decoder:
        """Load the language side of a checkpoint, with weights held as ``weights`` says."""
        ...

    def reference(self, folder: Path, model: ModelSpec) -> Reference:
        """Load the whole checkpoint."""
        ...

    def language_folder(self, folder: Path) -> Path:
        """Return the folder of a checkpoint's language model: its config.json and weights."""
        ...

    def language_config(self, folder: Path) -> Any:
        """Return the language model's configuration, a transformers object."""
        ...


_REFUSED: Mapping[str, str] = {
    "paligemma": "its language model sees the whole prompt in both directions, so its states for "
    "an image depend on the question, and nothing after the tower can be shared",
    **dict.fromkeys(
        ("blip", "evolla", "git", "idefics", "kosmos-2.5", "mllama", "pix2struct"),
        "transformers gives its forward no place for features made elsewhere "
        "(no mm_encoder_outputs), or mixes them in by cross-attention",
    ),
}
"""Architectures that are known and cannot be handled, with the reason."""


def families() -> dict[str, Family]:
    """Return the families by file name, from the folder's listing."""
    names = sorted(path.stem for path in (Path(__file__).parent / "families").glob("*.py"))
    found: dict[str, Family] = {}
    for name in names:
        found[name] = importlib.import_module(f"encodeonce.models.families.{name}").FAMILY
    return found


def find_family(model: ModelSpec) -> tuple[Family, Path]:
    """Return the family of a checkpoint and the checkpoint's folder.

    Raises:
        CheckpointError: no file in `families/` handles the checkpoint's ``model_type``, or
            nothing of it can be shared.
    """
    folder = local_checkpoint(model)
    model_type = read_config(folder).get("model_type")
    if not isinstance(model_type, str):
        raise CheckpointError(
            f"model.path {model.path!r}: {folder / 'config.json'} must say the model_type, as a "
            f"text; got {model_type!r}"
        )
    known = families()
    for family in known.values():
        if model_type in family.model_types and family.fits(folder):
            return family, folder
    if model_type in _REFUSED:
        raise CheckpointError(
            f"model.path {model.path!r} is of type {model_type!r}, which cannot be handled: "
            f"{_REFUSED[model_type]}."
        )
    allowed = ", ".join(sorted(t for family in known.values() for t in family.model_types))
    raise CheckpointError(
        f"model.path {model.path!r} is of type {model_type!r}, which no family handles. "
        f"Handled: {allowed}. A new family is one file in models/families/."
    )
