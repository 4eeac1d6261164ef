"""Trains the adapter that a run file describes, or goes on with it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from encodeonce.datasets.sample import Benchmark
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import MediaGroup, make_plan
from encodeonce.harness.training.adapter.card import model_card
from encodeonce.harness.training.adapter.config import TrainAdapterConfig
from encodeonce.harness.training.adapter.judge import Judge
from encodeonce.harness.training.adapter.labels import read_labels
from encodeonce.harness.training.adapter.lessons import AdapterLessons
from encodeonce.harness.training.adapter.subject import AdapterSubject
from encodeonce.harness.training.folder import State, TrainingFolder, parsed
from encodeonce.harness.training.media import first_in_turn, num_media, require_apart, split
from encodeonce.harness.training.ranks import Ranks
from encodeonce.harness.training.trainer import OnStep, Trainer, check_ranks, create, silent
from encodeonce.harness.workers.session import Session
from encodeonce.models.adapters.checkpoint import ADAPTER_FILES, adapter_folder, read_adapter
from encodeonce.models.adapters.heads import HEAD_FILES, LearntHead
from encodeonce.models.adapters.learning import LearntLora
from encodeonce.models.adapters.lora_config import CONFIG
from encodeonce.models.decoder import PrefixDecoder

FACTS = "training.json"
"""How an adapter was trained, beside it."""
_LIBRARIES = ("encodeonce", "torch", "transformers")
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a training."""

    state: State
    facts: Facts
    """Of the first process; none of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What is learnt from, and what is judged by: about different media."""

    training: Sequence[MediaGroup]
    judging: Sequence[MediaGroup]
    benchmarks: Mapping[str, Benchmark]
    """Those that judge."""
    sha256: Mapping[str, str]
    """Digests of all samples, by what they are for."""


def train_adapter(config: TrainAdapterConfig, ranks: Ranks, on_step: OnStep) -> Trained:
    """Train to the end, and put the best adapter into the output folder.

    Args:
        config: the run file.
        ranks: this process among those that train together; the others return when it does.
        on_step: called after every step of the first process.

    Raises:
        ValueError: the data or the model do not allow it, or the folder holds another training.
    """
    check_ranks(ranks, config.optim)
    with Session(config, config.on_miss) as session:
        questions = questions_of(config, session)
        with TrainingFolder(config.output) as folder:
            create(folder, asked(config, questions, session), ranks)
            decoder = session.decoder_slot.put(config.weights)
            assert isinstance(decoder, PrefixDecoder)
            return train_beside(decoder, config, questions, session, folder, ranks, on_step)


def train_beside(
    decoder: PrefixDecoder,
    config: TrainAdapterConfig,
    questions: Questions,
    session: Session,
    folder: TrainingFolder,
    ranks: Ranks,
    on_step: OnStep,
) -> Trained:
    """Train an adapter beside a decoder that is loaded; see `train_adapter`.

    The folder has been created.
    """
    labels = None
    if config.data.labels is not None:
        labels = read_labels(config.data.labels, [spec.title for spec in config.benchmarks])
    lessons = AdapterLessons(config, session, questions.training, labels)
    lora, head = _new_weights(decoder, config)
    judge = Judge(
        session,
        decoder,
        questions.judging,
        questions.benchmarks,
        config.generation,
        config.data.answer_tokens,
    )
    subject = AdapterSubject(config, decoder, lora, head, lessons, judge)
    state = Trainer(config, subject, folder, ranks).run(on_step if ranks.is_first else silent)
    if not ranks.is_first:
        return Trained(state=state, facts={})
    facts = _facts(config, state, questions, lessons, session)
    facts["base"] = {
        title: {"accuracy": one.estimate.mean, "loss": one.loss}
        for title, one in judge.marks().items()
    }
    _publish(config, state, facts, folder)
    return Trained(state=state, facts=facts)


def _new_weights(
    decoder: PrefixDecoder, config: TrainAdapterConfig
) -> tuple[LearntLora, LearntHead | None]:
    """Return factors, and a head if one is asked for: new, or another adapter's."""
    model, seed = decoder.model, config.optim.seed
    lora = LearntLora(model, config.lora, seed).to(model.device)
    head = None
    if config.head is not None:
        head = LearntHead(model, config.head, seed).to(model.device)
    if config.lora.init_from is not None:
        adapter = read_adapter(config.lora.init_from)
        lora.load(adapter, model)
        if head is not None:
            head.load(adapter.head)
    return lora, head


def _publish(
    config: TrainAdapterConfig, state: State, facts: Facts, folder: TrainingFolder
) -> None:
    texts = {
        FACTS: (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode(),
        "README.md": model_card(config, facts).encode(),
    }
    heads = () if config.head is None else HEAD_FILES
    # The configuration comes last: a folder without one is no adapter yet.
    others = [name for name in ADAPTER_FILES if name != CONFIG]
    folder.publish(state.best_step, [*heads, *others, CONFIG], texts)


def questions_of(config: TrainAdapterConfig, session: Session) -> Questions:
    """Return what is learnt from and what is judged by.

    Raises:
        ValueError: a medium would be in both parts, or there are too few media for two parts.
    """
    plan = make_plan(config.as_run())
    if not config.check:
        parts = split(plan.groups, session, config.data.held_out, config.optim.seed)
        training, judging, benchmarks = parts.training, parts.held_out, plan.benchmarks
        sha256 = {"questions": plan.samples_sha256}
    else:
        run: RunConfig = config.as_run().model_copy(
            update={"benchmarks": config.check, "limit": None}
        )
        check = make_plan(run)
        training, judging, benchmarks = plan.groups, check.groups, check.benchmarks
        sha256 = {"questions": plan.samples_sha256, "check": check.samples_sha256}
        require_apart(training, judging, session)
    chosen = [
        group
        for title in benchmarks
        for group in first_in_turn(
            [one for one in judging if one.benchmark == title], config.validation.samples
        )
    ]
    return Questions(training=training, judging=chosen, benchmarks=benchmarks, sha256=sha256)


def read_facts(folder: Path) -> Facts:
    """Return how an adapter was trained, from its folder.

    Raises:
        TrainingFolderError: it does not say, or not legibly.
    """
    remedy = "Delete it, and repeat: encodeonce train adapter TRAIN.yaml"
    return parsed(folder / FACTS, remedy)


def asked(config: TrainAdapterConfig, questions: Questions, session: Session) -> dict[str, Any]:
    """Return everything that decides what a step does, for `TrainingFolder.create`."""
    found = {
        **config.step_fields(),
        "checkpoint files": session.checkpoint_sha256(),
        **questions.sha256,
    }
    if config.head is None:  # as in folders from before there were any
        del found["head"]
    if config.data.labels is not None:
        found["labels"] = hashlib.sha256(config.data.labels.read_bytes()).hexdigest()
    if config.lora.init_from is not None:
        folder = adapter_folder(config.lora.init_from)
        # A folder that has moved is still the same.
        found["lora"]["init_from"] = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ADAPTER_FILES
        }
    return found


def _facts(
    config: TrainAdapterConfig,
    state: State,
    questions: Questions,
    lessons: AdapterLessons,
    session: Session,
) -> Facts:
    """Return how it was trained."""
    return {
        "model": config.model.path,
        "checkpoint_sha256": session.checkpoint_sha256(),
        "weights": config.weights.title,
        "lora": config.lora.form().model_dump(mode="json"),
        "head": config.head and config.head.model_dump(mode="json"),
        "step": state.best_step,
        "steps_taken": state.step,
        "benchmarks": [spec.model_dump(mode="json") for spec in config.benchmarks],
        "check": [spec.model_dump(mode="json") for spec in config.check],
        "sha256": dict(questions.sha256),
        "num_questions": dict(lessons.num_questions),
        "num_media": {
            "training": num_media(questions.training),
            "held_out": num_media(questions.judging),
        },
        "data": config.data.model_dump(mode="json"),
        "optim": config.optim.model_dump(mode="json"),
        "versions": {name: version(name) for name in _LIBRARIES},
        "held_out": state.best()["held_out"],
    }
