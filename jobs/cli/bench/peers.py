"""``encodeonce bench peers``: one job by us, by plain transformers and by vLLM."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from encodeonce.datasets.benchmarks.demo import BENCHMARK as DEMO
from encodeonce.harness.bench.peers.job import LIBRARIES, UNDER_ADAPTERS, WAYS
from encodeonce.harness.bench.peers.report import sections, to_json
from encodeonce.harness.bench.peers.run import find_pythons, missing_ways, run_peers
from encodeonce.harness.run.config import RunConfig
from encodeonce.jobs.cli.bench.measuring import measuring, status_line
from encodeonce.jobs.cli.bench.options import Dtype, NumFrames, Output
from encodeonce.jobs.cli.bench.prefix import QUESTIONS
from encodeonce.jobs.cli.bench.scene import FRAMES_APART, NUM_FRAMES, SHAPES, model_name
from encodeonce.jobs.cli.specs import from_options
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.files import device, local_checkpoint
from encodeonce.models.checkpoint.hub_names import rename_tower
from encodeonce.models.spec import ModelSpec
from encodeonce.models.synthetic.media import write_picture, write_video

LLAVAS = tuple(name for name in SHAPES if name.startswith("llava"))


def peers(
    random: Annotated[
        str | None,
        typer.Option(help=f"Instead of the demo's model, random weights: {', '.join(LLAVAS)}."),
    ] = None,
    media: Annotated[int, typer.Option(help="Pictures or videos.", min=1)] = 8,
    questions: Annotated[
        int, typer.Option(help="Questions about each, up to 6.", min=1, max=6)
    ] = 3,
    new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.", min=1)] = 16,
    frames: NumFrames = None,
    rounds: Annotated[int, typer.Option(help="How often each way does the job.", min=1)] = 3,
    adapters: Annotated[
        int,
        typer.Option(
            help="Ask every question under so many random LoRA adapters, by us and by vLLM's "
            "multi-LoRA, both given features.",
            min=0,
        ),
    ] = 0,
    rank: Annotated[
        int, typer.Option(help="Of half of the adapters; half of it of the others.", min=1)
    ] = 16,
    way: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this way: {', '.join(WAYS)}. Can be repeated."),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIBRARY=PYTHON",
            help=f"The interpreter of another environment that has {' or '.join(LIBRARIES)}; may "
            "be repeated.",
        ),
    ] = None,
    dtype: Dtype = "float32",
    output: Output = None,
) -> None:
    """Do one job by plain transformers, lmms-eval, vLLM in several ways, and by us."""
    with measuring(f"peers {model_name('demo', random)}", output) as run:
        pythons = find_pythons(_pairs(python or ()))
        names = _names(way or (), UNDER_ADAPTERS if adapters else tuple(WAYS))
        missing = missing_ways(names, pythons)
        root = run.folder / "media"
        root.mkdir()
        model = _model(random, run.folder, dtype)
        rows = _made_up(root, media, questions, frames) if random else _demo(root, media, questions)
        (root / "questions.jsonl").write_text(
            "".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8"
        )
        config = from_options(
            RunConfig,
            model={"path": str(model), "dtype": dtype, "device": "cpu"},
            benchmarks=[
                {
                    "name": "questions",
                    "options": {"file": str(root / "questions.jsonl"), "media_root": str(root)},
                }
            ],
            frames={"policy": "uniform_inclusive", "num_frames": frames or NUM_FRAMES},
            generation={"max_new_tokens": new_tokens},
            cache={"path": str(run.folder / "cache")},
            output=str(run.folder / "out"),
        )
        if adapters:
            config = config.model_copy(
                update={"adapters": _adapters(config, run.folder, adapters, rank)}
            )
        ways = [name for name in names if name not in missing]
        with status_line() as on_step:
            done = run_peers(config, ways, run.folder, rounds, pythons, on_step)
        run.report(sections(done, missing), to_json(done, missing))


def _names(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the ways to take, in their order."""
    for name in wanted:
        if name not in known:
            raise ValueError(f"--way {name!r}: known are {', '.join(known)}")
    return tuple(name for name in known if not wanted or name in wanted)


def _pairs(words: Sequence[str]) -> dict[str, str]:
    found = {}
    for word in words:
        library, equals, interpreter = word.partition("=")
        if not equals or not interpreter:
            raise ValueError(f"--python {word!r}: must be LIBRARY=PYTHON, as vllm=env/bin/python")
        found[library] = interpreter
    return found


def _model(random: str | None, folder: Path, dtype: str) -> Path:
    """Write a checkpoint that vLLM and transformers read.

    Raises:
        ValueError: there is no such shape.
    """
    import torch

    if random is None:
        copy = folder / "demo"
        shutil.copytree(local_checkpoint(ModelSpec(path="demo")), copy)
        rename_tower(copy)
        return copy
    if random not in LLAVAS:
        raise ValueError(f"--random {random!r}: allowed here: {', '.join(LLAVAS)}")
    return SHAPES[random](folder / random, getattr(torch, dtype), device(ModelSpec(path="demo")))


def _adapters(
    config: RunConfig, folder: Path, count: int, rank: int
) -> tuple[AdapterSpec | None, ...]:
    from encodeonce.harness.workers.session import Session
    from encodeonce.models.decoder import PrefixDecoder
    from encodeonce.models.spec import NONE
    from encodeonce.models.synthetic.adapters import write_random_adapters

    with Session(config) as session:
        decoder = cast(PrefixDecoder, session.decoder_slot.put(NONE))
        return tuple(write_random_adapters(folder / "adapters", decoder.model, count, rank))


def _demo(root: Path, num_media: int, num_questions: int) -> list[dict[str, Any]]:
    """Return the first questions about the demo's first clips, which are copied."""
    demo = DEMO()
    rows: dict[str, list[dict[str, Any]]] = {}
    for sample in demo.samples():
        (ref,) = sample.media
        row: dict[str, Any] = {"id": sample.id, "video": ref.path, "question": sample.question}
        row |= {"choices": list(sample.choices), "answer": sample.target}
        rows.setdefault(ref.path, []).append(row)
    chosen = list(rows)[:num_media]
    for path in chosen:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(demo.media_root / path, root / path)
    return [row for path in chosen for row in rows[path][:num_questions]]


def _made_up(
    root: Path, num_media: int, num_questions: int, frames: int | None
) -> list[dict[str, Any]]:
    """Write pictures, or with ``frames`` videos, of noise, and questions without an answer."""
    texts = [*QUESTIONS, *(f"{text[:-1]} besides?" for text in QUESTIONS)]
    rows = []
    for number in range(num_media):
        name = f"{number}.png" if frames is None else f"{number}.mp4"
        if frames is None:
            write_picture(root / name, seed=number)
        else:  # of another length, so that no two have the same content
            write_video(root / name, FRAMES_APART * frames + number)
        kind = "image" if frames is None else "video"
        rows += [
            {"id": f"{number}-{n}", kind: name, "question": text, "answer": "x"}
            for n, text in enumerate(texts[:num_questions])
        ]
    return rows
