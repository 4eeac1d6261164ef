"""VLMEvalKit's own ``run.py`` on the job, with encodeonce as the model: ``encodeonce vlmevalkit``.

The job's questions are a benchmark of ours, whose media reach the model as files.
"""

import importlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encodeonce.datasets.refusals import checked
from encodeonce.harness.bench.peers.job import LIBRARIES, Done, Took, now, since
from encodeonce.harness.bridges.vlmevalkit.launch import as_script, find_script, register, run
from encodeonce.harness.bridges.vlmevalkit.message import PLANNED
from encodeonce.harness.bridges.vlmevalkit.run_file import KitConfig
from encodeonce.harness.bridges.vlmevalkit.tally import Tally
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import make_plan

DATA = "LMUData"
"""The environment variable that says where the kit keeps its benchmarks."""

Message = Sequence[Mapping[str, Any]]
Asked = tuple[tuple[str, ...], str]
"""What a message asks: the paths of its media, and its text."""


@dataclass(slots=True)
class _Counted:
    """What the model was seen to do."""

    ids: Mapping[Asked, str]
    ready: Took = Took(0.0, 0.0)
    took: Took = Took(0.0, 0.0)
    texts: dict[str, str] = field(default_factory=dict)


def ours_inside(config: RunConfig, started_s: float) -> Done:
    """Answer the job by ``run.py --model encodeonce``, from a store that holds everything.

    Args:
        config: the run.
        started_s: when the process began.

    Raises:
        ValueError: the variable names no checkout of VLMEvalKit, it cannot be imported, or a
            question was not answered.
    """
    script = find_script(Path(os.environ[LIBRARIES["vlmevalkit"].checkout]))
    kit_config = checked(KitConfig, config.model_dump(mode="json"))
    (name,), (spec,) = kit_config.models, kit_config.benchmarks
    tally, counted = Tally(), _Counted(_ids(config))
    with tempfile.TemporaryDirectory() as temporary:
        os.environ[DATA] = temporary
        words = ("--data", spec.title, "--model", name, "--mode", "infer")
        with as_script(script, [*words, "--work-dir", str(Path(temporary) / "out")]):
            register(kit_config, tally)
            _watch(name, counted)
            run(script)
    for error in tally.failures:
        raise ValueError(f"not answered: {error.type}: {error.message}")
    return Done(
        load_s=counted.ready.answer_s - started_s,
        answer_s=counted.took.answer_s,
        cpu_s=counted.took.cpu_s,
        texts=counted.texts,
        num_encoded=tally.use.cache.num_encoded,
        num_prefilled=None,
        stages={name: s for name, s in tally.use.seconds.items() if name != "load"},
    )


def _ids(config: RunConfig) -> dict[Asked, str]:
    return {
        (tuple(ref.path for ref in group.media), prompt): sample.id
        for group in make_plan(config).groups
        for sample, prompt in zip(group.samples, group.prompts, strict=True)
    }


def _watch(name: str, counted: _Counted) -> None:
    """Note what the model that the kit is about to make will answer."""
    models = importlib.import_module("vlmeval.config").supported_VLM
    load: Callable[..., Any] = models[name]

    def loaded(**named: Any) -> Any:
        model = load(**named)
        answer = model.generate_inner

        def noted(message: Message, dataset: str | None = None) -> str:
            text: str = answer(message, dataset)
            counted.took = since(counted.ready)
            counted.texts[counted.ids[_asked(message)]] = text.strip()
            return text

        model.generate_inner = noted
        counted.ready = now()
        return model

    models[name] = loaded


def _asked(message: Message) -> Asked:
    media = tuple(part[PLANNED].ref.path for part in message if PLANNED in part)
    (text,) = (part["value"] for part in message if part["type"] == "text")
    return media, text
