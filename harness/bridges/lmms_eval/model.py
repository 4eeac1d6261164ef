"""lmms-eval's model ``encodeonce``: its requests in, its answers out, features from the store.

Written for lmms-eval 0.7.3, and relies on its behaviour: the arguments of a request
(`ConfigurableTask.construct_requests`); that answers may come as a generator, whose items its
response cache keeps one by one; that ``clean`` is called when all requests are answered.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, TypeVar

import torch
from lmms_eval.api.instance import (
    GenerationResult,
    Instance,
    TokenCounts,
    unwrap_generation_output,
)
from lmms_eval.api.model import lmms
from lmms_eval.utils import eval_logger
from rich.progress import track

from encodeonce.harness.bridges.answerer import Answerer
from encodeonce.harness.bridges.lmms_eval.arguments import MODEL_ARGS, on_own_device
from encodeonce.harness.bridges.lmms_eval.generation import (
    UnsupportedRequest,
    Wanted,
    read_generation,
)
from encodeonce.harness.bridges.lmms_eval.images import Shown, media_of, shown_by
from encodeonce.harness.bridges.lmms_eval.work_log import report_work
from encodeonce.harness.bridges.requests import GenerationRequest, LikelihoodRequest
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.report.visible import visible
from encodeonce.models.answer import Generation
from encodeonce.models.checkpoint.files import device

T = TypeVar("T")


class RequestFailed(RuntimeError):
    """A request cannot be answered, and the user asked to be told."""


class _Model(lmms):  # type: ignore[misc]
    """The common part of both forms, which differ in where a request has its prompt."""

    def __init__(self, **model_args: Any) -> None:
        """Load the language side.

        Args:
            **model_args: lmms-eval passes the user's arguments by name. `ModelArguments` lists
                them; no others are accepted.

        Raises:
            ConfigError: an argument is unknown, or its value is not allowed.
        """
        super().__init__()
        self._arguments = on_own_device(MODEL_ARGS.read(model_args))
        self._answerer = Answerer(self._arguments, self._arguments.window)
        # lmms-eval's response cache finds a killed run's answers if the next run has the same
        # name; left alone, it gives every run another.
        os.environ.setdefault("LMMS_CACHE_RUN_ID", f"encodeonce-{self._answerer.identity()[:16]}")

    @property
    def device(self) -> torch.device:
        """The device on which lmms-eval gathers the results of several processes."""
        return device(self._arguments.model)

    def generate_until(self, requests: list[Instance]) -> Iterator[GenerationResult]:
        """Yield the answers, each as soon as it is ready."""
        wanted = [self._wanted(request) for request in requests]  # refused before the first answer
        questions = (
            self._question(request, self._shown(request), one)
            for request, one in zip(requests, wanted, strict=True)
        )
        answers = self._answerer.answers(questions)
        for request, one, answer in zip(
            requests, wanted, self._counted(answers, len(requests)), strict=True
        ):
            yield _result(self._or_empty(answer, request), one)

    def generate_until_multi_round(self, requests: list[Instance]) -> Iterator[list[str]]:
        """Yield the answers of all rounds; a task makes each prompt from earlier answers."""
        wanted = [self._wanted(request) for request in requests]
        yield from self._counted(map(self._converse, requests, wanted), len(requests))

    def loglikelihood(self, requests: list[Instance]) -> Iterator[Any]:
        """Yield each continuation's loss, and whether greedy generation would write it.

        The loss is the mean negative log-likelihood of a token. lmms-eval's documentation has a
        log-likelihood here, but among several options it chooses the smallest value
        (`ConfigurableTask.process_results`), and its own models return the loss.
        """
        scores = self._answerer.scores(map(self._continuation, requests))
        for request, score in zip(requests, self._counted(scores, len(requests)), strict=True):
            if isinstance(score, Exception):  # no value can stand for an unknown loss
                raise _failed(request, score) from score
            yield _intact((-score.log_prob / score.num_tokens, score.is_greedy))

    def clean(self) -> None:
        """Log the store's hit rate and drop the model: all requests are answered."""
        report_work(
            self._answerer.take_work(),
            self._arguments,
            weights_bytes=self._answerer.loaded.num_bytes,
            rank=self.rank,
            world_size=self.world_size,
        )
        self._answerer.close()
        del self._answerer
        super().clean()

    @abstractmethod
    def _shown(self, request: Instance) -> Shown:
        """Return a request's prompt."""

    @abstractmethod
    def _generation_kwargs(self, request: Instance) -> dict[str, Any]:
        """Return the generation settings of a request's task."""

    @abstractmethod
    def _next_round(
        self, request: Instance, outputs: list[str], round_idx: int, info: Any
    ) -> tuple[Shown | None, list[str], Any]:
        """Return the next round's prompt (None after the last), the answers, and the notes."""

    def _wanted(self, request: Instance) -> Wanted:
        kwargs = self._generation_kwargs(request)
        return read_generation(kwargs, self._arguments.generation, request.task_name)

    def _question(self, request: Instance, shown: Shown, wanted: Wanted) -> GenerationRequest:
        return GenerationRequest(
            media=shown.media,
            prompt=shown.text,
            benchmark=request.task_name,
            generation=wanted.generation,
        )

    def _continuation(self, request: Instance) -> LikelihoodRequest:
        if len(request.args) != 6:
            raise UnsupportedRequest(
                f"{_place(request)}: it asks for an answer's likelihood without any question "
                "(acc_mutual_info), which encodeonce does not measure; remove that metric"
            )
        context, continuation, doc_to_visual, *place = request.args
        doc = self._doc(*place)
        text = continuation if isinstance(continuation, str) else continuation(doc)
        if not isinstance(text, str) or not text:
            raise UnsupportedRequest(f"{_place(request)}: an answer must be a text; got {text!r}")
        shown = _explained(request, lambda: _simple(doc_to_visual(doc), context))
        return LikelihoodRequest(
            media=shown.media, prompt=shown.text, benchmark=request.task_name, text=text
        )

    def _converse(self, request: Instance, wanted: Wanted) -> list[str]:
        shown: Shown | None = self._shown(request)
        outputs: list[str] = []
        info: Any = None
        for round_idx in count(1):
            if shown is None:
                break
            (answer,) = self._answerer.answers([self._question(request, shown, wanted)])
            outputs.append(_result(self._or_empty(answer, request), wanted).text)
            shown, outputs, info = self._next_round(request, outputs, round_idx, info)
        return outputs

    def _doc(self, doc_id: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][doc_id]

    def _or_empty(self, answer: Generation | Exception, request: Instance) -> Generation | None:
        if not isinstance(answer, Exception):
            return answer
        if self._arguments.on_error == "raise":
            raise _failed(request, answer) from answer
        eval_logger.warning(visible(f"{_failed(request, answer)}; the answer is left empty"))
        return None

    def _counted(self, results: Iterable[T], total: int) -> Iterable[T]:
        console, is_quiet = PlainConsole(stderr=True), self.rank != 0
        return track(results, "encodeonce", total=total, console=console, disable=is_quiet)


class SimpleModel(_Model):
    """A task's ``doc_to_visual`` and its context: media first, then the text."""

    is_simple = True

    def _shown(self, request: Instance) -> Shown:
        context, _, doc_to_visual, *rest = request.args
        doc = self._doc(*rest[-3:])
        return _explained(request, lambda: _simple(doc_to_visual(doc), context))

    def _generation_kwargs(self, request: Instance) -> dict[str, Any]:
        return dict(request.args[1])

    def _next_round(
        self, request: Instance, outputs: list[str], round_idx: int, info: Any
    ) -> tuple[Shown | None, list[str], Any]:
        doc_to_text, *place = request.args[3:]
        visuals, text, is_last, outputs, info = doc_to_text(
            self._doc(*place),
            previous_output=outputs,
            round_idx=round_idx,
            previous_round_info=info,
        )
        shown = None if is_last else _explained(request, lambda: _simple(visuals, text))
        return shown, list(outputs), info


class ChatModel(_Model):
    """A task's ``doc_to_messages``."""

    is_simple = False

    def _shown(self, request: Instance) -> Shown:
        doc_to_messages, _, *place = request.args[1:]
        return _explained(request, lambda: shown_by(doc_to_messages(self._doc(*place))))

    def _generation_kwargs(self, request: Instance) -> dict[str, Any]:
        return dict(request.args[2])

    def _next_round(
        self, request: Instance, outputs: list[str], round_idx: int, info: Any
    ) -> tuple[Shown | None, list[str], Any]:
        doc_to_messages, _, *place = request.args[1:]
        messages, is_last, outputs, info = doc_to_messages(
            self._doc(*place),
            round_idx=round_idx,
            previous_output=outputs,
            previous_round_info=info,
        )
        shown = None if is_last else _explained(request, lambda: shown_by(messages))
        return shown, list(outputs), info


def _simple(visuals: Sequence[Any] | None, text: str) -> Shown:
    return Shown(media=tuple(media_of(visual) for visual in visuals or ()), text=text)


def _result(answer: Generation | None, wanted: Wanted) -> GenerationResult:
    if answer is None:
        return GenerationResult(text="")
    counts = TokenCounts(input_tokens=answer.num_prompt_tokens, output_tokens=len(answer.token_ids))
    return GenerationResult(text=wanted.cut(answer.text), token_counts=counts)


def _intact(pair: tuple[float, bool]) -> Any:
    """Wrap a pair so that lmms-eval leaves it intact.

    0.7.0 to 0.7.3 turn everything that is not text into text, pairs included, and fail on that text
    later; a pair gets through only inside a GenerationResult.
    """
    unwrapped, _ = unwrap_generation_output(pair)
    return pair if unwrapped == pair else GenerationResult(text=pair)


def _place(request: Instance) -> str:
    return f"task {request.task_name}, document {request.doc_id}"


def _explained(request: Instance, read: Callable[[], Shown]) -> Shown:
    """Return a prompt, or name the request whose prompt cannot be made."""
    try:
        return read()
    except UnsupportedRequest as error:
        raise UnsupportedRequest(f"{_place(request)}: {error}") from error


def _failed(request: Instance, error: Exception) -> RequestFailed:
    return RequestFailed(f"{_place(request)}: {type(error).__name__}: {error}")
