"""Records of results that are no numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Branch, MediaGroup
from encodeonce.harness.workers.recorder import Recorder
from encodeonce.models.answer import Generation, Likelihoods
from encodeonce.models.kv.spec import FULL
from encodeonce.models.spec import NONE
from encodeonce.models.timing import Stopwatch

NAN = float("nan")
GENERATED = Generation(
    text="3",
    token_ids=(1,),
    logits_sha256="",
    first_logits={3: 1.0, 4: 0.5},
    num_visual_units=1,
    num_prompt_tokens=9,
)
MEASURED = Likelihoods(log_probs=(-1.0,), num_tokens=(1,), num_visual_units=1, num_prompt_tokens=9)


def recorded(tmp_path: Path, scoring: str, results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of samples with these results."""
    config = RunConfig.model_validate(
        {
            "model": {"path": "demo"},
            "benchmarks": [{"name": "demo", "scoring": scoring}],
            "output": tmp_path,
        }
    )
    media = (MediaRef(kind="video", path="1.mp4"),)
    samples = tuple(
        Sample(id=name, media=media, question="?", target="A", choices=("3", "4"), group="1")
        for name in results
    )
    group = MediaGroup(
        benchmark="demo",
        root=Path(),
        media=media,
        samples=samples,
        prompts=tuple(results),
        together=tuple(results),
    )
    missing = frozenset((name, FULL.title) for name in results)
    branch = Branch(group=group, weights=NONE, settings=(FULL,), missing=missing)
    recorder = Recorder(config, "run", Stopwatch())
    return recorder.record(branch, lambda kv, sample, prompt: results[sample.id], ())


@pytest.mark.parametrize(
    ("scoring", "right", "wrong"),
    [
        ("generate", GENERATED, replace(GENERATED, first_logits={0: NAN, 1: NAN})),
        ("nll", MEASURED, replace(MEASURED, log_probs=(NAN,))),
    ],
)
def test_nan_is_an_error_of_its_own_sample(
    tmp_path: Path, scoring: str, right: Any, wrong: Any
) -> None:
    good, bad = recorded(tmp_path, scoring, {"a": right, "b": wrong})
    assert good["error"] is None
    assert bad["error"]["type"] == "NotANumber"
    assert "logits are NaN" in bad["error"]["message"]
    assert bad["score"] is None
