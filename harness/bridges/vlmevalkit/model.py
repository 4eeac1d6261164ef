"""Wraps a model of encodeonce as VLMEvalKit's ``BaseModel``. Imported only inside the kit."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vlmeval.vlm.base import BaseModel

from encodeonce.harness.bridges.resident import ResidentAnswerer
from encodeonce.harness.bridges.vlmevalkit.frames import sampling_for
from encodeonce.harness.bridges.vlmevalkit.message import PLANNED, READS_CLIPS, read_message
from encodeonce.harness.bridges.vlmevalkit.run_file import KitConfig
from encodeonce.harness.bridges.vlmevalkit.table import FAILED
from encodeonce.harness.bridges.vlmevalkit.tally import Tally
from encodeonce.harness.report.visible import visible

logger = logging.getLogger(__name__)

Message = Sequence[Mapping[str, Any]]


class EncodeOnceModel(BaseModel):  # type: ignore[misc]  # the kit has no types
    """Answers from stored features, and from what earlier questions on the same media left."""

    INTERLEAVE = True

    def __init__(self, config: KitConfig, name: str, tally: Tally) -> None:
        """Load the language side of one of the run's `models`."""
        super().__init__()
        self.VIDEO_LLM = READS_CLIPS if config.vlmevalkit.videos == "file" else False
        self._default = config.frames
        self._nframe: int | None = None
        self._fps: float | None = None
        self._tally = tally
        weights, kv, adapter = config.models[name]
        self._answerer = ResidentAnswerer(
            config, weights, kv, config.vlmevalkit.resident_prefixes, adapter
        )

    # Before each question of a video benchmark, the kit compares the model's `nframe` and `fps`,
    # if they are positive, with the benchmark's, and assigns the benchmark's value or None
    # (inference_video.infer_data). So a model learns them only if it shows positive values of both.

    @property
    def nframe(self) -> float:
        """Number of frames of the benchmark at hand."""
        return self._nframe or math.inf

    @nframe.setter
    def nframe(self, value: int | None) -> None:
        self._nframe = value

    @property
    def fps(self) -> float:
        """Frames per second of the benchmark at hand."""
        return self._fps or math.inf

    @fps.setter
    def fps(self, value: float | None) -> None:
        self._fps = value

    def preproc_content(self, inputs: Any) -> Any:
        """Leave messages of our own benchmarks as they are.

        A missing file would otherwise end the whole benchmark with an assertion error.
        """
        if isinstance(inputs, list) and any(PLANNED in part for part in inputs):
            return inputs
        return super().preproc_content(inputs)

    def generate_inner(self, message: Message, dataset: str | None = None) -> str:
        """Answer a message.

        A failure becomes the text by which the kit recognises failures: it counts them
        (``infer_fail``) and asks again with ``--reuse``. Raising would end the benchmark.
        """
        try:
            text = self._answer(message, dataset or "")
        except Exception as error:
            logger.warning("%s: %s: %s", dataset, type(error).__name__, visible(str(error)))
            logger.debug("traceback", exc_info=True)
            self._tally.failed(error)
            text = f"{FAILED} {type(error).__name__}: {error}"
        self._tally.asked(self._answerer.take_use())
        return text

    def _answer(self, message: Message, dataset: str) -> str:
        asked = read_message(message, dataset)
        sampling = sampling_for(self._default, self._nframe, self._fps)
        return self._answerer.ask(asked.media, asked.question, sampling).text
