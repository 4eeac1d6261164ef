"""Trains the compressor that a run file describes, or goes on with it."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from encodeonce.harness.run.plan import Plan, make_plan
from encodeonce.harness.training.compressor.card import model_card
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.compressor.lessons import Lessons
from encodeonce.harness.training.compressor.subject import CompressorSubject
from encodeonce.harness.training.compressor.validation import Validator
from encodeonce.harness.training.folder import State, TrainingFolder
from encodeonce.harness.training.media import Split, num_media, split
from encodeonce.harness.training.ranks import Ranks
from encodeonce.harness.training.trainer import OnStep, Trainer, check_ranks, create, silent
from encodeonce.harness.workers.session import Session
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.kv.trained.compressor import Compressor, new_compressor
from encodeonce.models.kv.trained.files import WEIGHTS, header_text, load_weights
from encodeonce.models.kv.trained.grouping import group_tokens
from encodeonce.models.kv.trained.header import (
    HEADER,
    CompressorForm,
    CompressorHeader,
    find_compressor,
    read_header,
)
from encodeonce.models.language.prefix import Prefix

_LIBRARIES = ("encodeonce", "torch", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a training."""

    header: CompressorHeader
    state: State


def train_compressor(config: TrainCompressorConfig, ranks: Ranks, on_step: OnStep) -> Trained:
    """Train to the end, and put the best compressor into the output folder.

    Args:
        config: the run file.
        ranks: this process among those that train together; the others return when it does.
        on_step: called after every step of the first process.

    Raises:
        ValueError: the data or the model do not allow it, or the folder holds another training.
    """
    check_ranks(ranks, config.optim)
    plan = make_plan(config.as_run())
    with (
        Session(config, config.on_miss) as session,
        TrainingFolder(config.output) as folder,
    ):
        parts = split(plan.groups, session, config.data.held_out, config.optim.seed)
        checkpoint_sha256 = session.checkpoint_sha256()
        of = {"checkpoint files": checkpoint_sha256, "questions": plan.samples_sha256}
        create(folder, {**config.step_fields(), **of}, ranks)
        decoder = session.decoder_slot.put(config.weights)
        assert isinstance(decoder, PrefixDecoder)
        lessons = Lessons(config, session, decoder, parts.training)
        header = _header(config, lessons.some_prefix(), checkpoint_sha256)
        compressor = _compressor(config, header).to(decoder.model.device)
        validator = Validator(config, session, decoder, parts.held_out, plan.benchmarks)
        subject = CompressorSubject(config, decoder.model, compressor, header, lessons, validator)
        trainer = Trainer(config, subject, folder, ranks)
        state = trainer.run(on_step if ranks.is_first else silent)
        if ranks.is_first:
            header = header.model_copy(update={"training": _facts(config, state, plan, parts)})
            card = model_card(header, state).encode()
            texts = {HEADER: header_text(header), "README.md": card}
            folder.publish(state.best_step, [WEIGHTS], texts)
    return Trained(header=header, state=state)


def _header(
    config: TrainCompressorConfig, prefix: Prefix, checkpoint_sha256: str
) -> CompressorHeader:
    """Return what the compressor is to be: its layers and their width are the prefix's.

    Raises:
        ValueError: the model's layers differ in shape, or nothing would be merged.
    """
    form = config.compressor
    flags = torch.tensor(prefix.opening.is_visual)
    if not group_tokens(flags, form).groups:
        raise ValueError(
            f"compressor.factor: no segment of a prompt holds {form.min_groups} groups of "
            f"{form.factor} tokens, so nothing would be merged: this prompt has "
            f"{int(flags.sum())} visual tokens of {len(flags)}, and segments are {form.segments}. "
            "Choose a smaller factor, or min_groups: 1"
        )
    whole = {n: layer.keys for n, layer in enumerate(prefix.layers) if not layer.is_sliding}
    shapes = {tuple(keys.shape) for keys in whole.values()}
    if len(shapes) != 1:
        raise ValueError(
            f"compressor: the layers to compress must have keys of one shape; {config.model.path} "
            f"has {', '.join(map(str, sorted(shapes))) or 'none without a sliding window'}"
        )
    return CompressorHeader(
        **{name: getattr(config.compressor, name) for name in CompressorForm.model_fields},
        layers=tuple(whole),
        head_width=next(iter(whole.values())).shape[-1],
        checkpoint_sha256=checkpoint_sha256,
        model=config.model.path,
        weights=config.weights.title,
        scope=config.compressor.scope,
    )


def _compressor(config: TrainCompressorConfig, header: CompressorHeader) -> Compressor:
    """Return nets to begin with: new ones, or another compressor's.

    Raises:
        ValueError: the other one has another form.
    """
    spec = config.compressor
    found = new_compressor(
        header.form(), len(header.layers), header.head_width, spec.dropout, config.optim.seed
    )
    if spec.init_from is not None:
        folder = find_compressor(spec.init_from)
        other = read_header(folder)
        if (other.form(), other.layers, other.head_width) != (
            header.form(),
            header.layers,
            header.head_width,
        ):
            raise ValueError(
                f"compressor.init_from: the compressor in {folder} has another form or other "
                f"layers; see its compressor.json"
            )
        found.load_state_dict(load_weights(folder, other).state_dict())
    return found


def _facts(config: TrainCompressorConfig, state: State, plan: Plan, parts: Split) -> dict[str, Any]:
    """Return how it was trained, for the header."""
    return {
        "step": state.best_step,
        "steps_taken": state.step,
        "benchmarks": [spec.model_dump(mode="json") for spec in config.benchmarks],
        "questions_sha256": plan.samples_sha256,
        "num_media": {
            "training": num_media(parts.training),
            "held_out": num_media(parts.held_out),
        },
        "data": config.data.model_dump(mode="json"),
        "loss": config.loss.model_dump(mode="json"),
        "optim": config.optim.model_dump(mode="json"),
        "versions": {name: version(name) for name in _LIBRARIES},
        "held_out": state.best()["held_out"],
    }
