"""Weight variants answer from what the unquantised model encoded: the tower stays unloaded."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.plan import MediaGroup, make_plan
from encodeonce.harness.training.prompts import run_calibration
from encodeonce.harness.workers.session import Session
from encodeonce.models.quantization.grid import Grid
from encodeonce.models.quantization.making.make import make_quantized
from encodeonce.models.quantization.making.recipe import Recipe
from encodeonce.models.spec import NONE, GenerationSpec, WeightsSpec
from encodeonce.models.vision.visual import Visual
from tests.asking import answered
from tests.jobs.scene import make_scene
from tests.models.quantization.making import make

NUM_QUESTIONS = 54


def config_of(path: Path) -> RunConfig:
    return RunConfig.model_validate(yaml.safe_load(path.read_text()))


class Store:
    """A run's media in its store, with nothing to encode missing ones."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.plan = make_plan(config)

    def fill(self) -> None:
        with Session(self.config, on_miss="encode") as session:
            for media in self.plan.media():
                request = session.look_up(media.root, media.ref, media.benchmark)
                session.features.ensure(request)

    def visuals(self) -> dict[tuple[Any, ...], list[Visual]]:
        """Return every group's media, all of them found in the store."""
        with Session(self.config, on_miss="error") as session:
            found = {g.media: [visual(session, g, ref) for ref in g.media] for g in self.groups}
            use = session.features.take_use()
        assert use.num_hits == use.num_units > 0
        assert use.num_encoded == 0
        return found

    @property
    def groups(self) -> tuple[MediaGroup, ...]:
        return self.plan.groups

    def decoder(self, weights: WeightsSpec) -> Any:
        session = Session(self.config)
        session.check_weights(weights)
        return session.decoder_slot.put(weights)


def visual(session: Session, group: MediaGroup, ref: MediaRef) -> Visual:
    return session.visual(session.look_up(group.root, ref, group.benchmark))


def test_variants_and_quantised_checkpoints_find_everything_in_the_models_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(tmp_path)
    made = make(scene.folder / "model", tmp_path / "awq").folder
    Store(config_of(scene.run_file())).fill()
    monkeypatch.setattr("encodeonce.models.family_bases.transformers.TransformersVision.load", None)
    variants: tuple[Mapping[str, Any] | str, ...] = (
        "none",
        "bnb-int8",
        "torchao-int8",
        {"method": "rtn", "options": {"group_size": 32}},
        {"method": "awq", "path": str(made)},
    )
    models = [str(scene.folder / "model"), str(made)]
    for path in models:
        model = {"path": path, "dtype": "float32", "device": "cpu"}
        store = Store(config_of(scene.run_file(model=model)))
        visuals = store.visuals()
        for variant in variants if path == models[0] else ("none",):
            decoder = store.decoder(WeightsSpec.model_validate(variant))
            for group in store.groups:
                answers = answered(
                    decoder, visuals[group.media], group.prompts, GenerationSpec(max_new_tokens=2)
                )
                assert len(answers) == len(group.prompts)


def test_calibration_without_features_says_what_to_type(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    config = config_of(scene.run_file())
    recipe = Recipe(method="awq", grid=Grid(group_size=32))
    calibration = run_calibration(config, num_prompts=2)
    with pytest.raises(ConfigError, match="encodeonce precompute RUN.yaml"):
        make_quantized(config.model, recipe, calibration, tmp_path / "awq", lambda *_: None)


@pytest.mark.slow
def test_on_the_demo_awq_stays_closer_to_the_model_than_rounding(tmp_path: Path) -> None:
    def config(split: str) -> RunConfig:
        return RunConfig.model_validate(
            {
                "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
                "benchmarks": [{"name": "demo", "options": {"split": split}}],
                "cache": {"path": tmp_path / "cache"},
                "output": tmp_path / "out",
            }
        )

    train, heldout = Store(config("train")), Store(config("heldout"))
    train.fill()
    heldout.fill()
    visuals = heldout.visuals()
    paths: dict[str, str] = {}
    grid = Grid(symmetric=True)
    for method in ("awq", "rtn"):
        recipe = Recipe(method=method, grid=grid, num_search_tokens=1024)  # type: ignore[arg-type]
        calibration = run_calibration(train.config, num_prompts=12)
        made = make_quantized(
            train.config.model, recipe, calibration, tmp_path / method, lambda *_: None
        )
        assert made.recipe.grid == grid
        paths[method] = str(made.folder)
    expected = log_probs(heldout, visuals, NONE)
    found = {
        method: log_probs(heldout, visuals, WeightsSpec(method=method, path=path))
        for method, path in paths.items()
    }
    assert divergence(expected, found["awq"]) < 0.9 * divergence(expected, found["rtn"])
    assert perplexity(heldout, found["awq"]) <= perplexity(heldout, found["rtn"])
    assert abs(perplexity(heldout, found["awq"]) - perplexity(heldout, expected)) < 0.02


def answer_ids(store: Store, decoder: Any) -> dict[str, list[int]]:
    """Return the tokens of each right answer and the end-of-text token."""
    samples = [sample for group in store.groups for sample in group.samples][:NUM_QUESTIONS]
    ids = {}
    for sample in samples:
        text = sample.target
        if sample.tags["form"] == "text":
            text = sample.choices[ord(sample.target) - ord("A")]
        tokens = decoder.tokenizer(text, add_special_tokens=False).input_ids
        ids[sample.id] = [*tokens, decoder.tokenizer.eos_token_id]
    return ids


def log_probs(
    store: Store, visuals: Mapping[Any, list[Visual]], weights: WeightsSpec
) -> dict[str, tuple[torch.Tensor, list[int]]]:
    """Return the log-probabilities (L, V) along right answers, by sample."""
    decoder = store.decoder(weights)
    wanted = answer_ids(store, decoder)
    found = {}
    for group in store.groups:
        for sample, prompt in zip(group.samples, group.prompts, strict=True):
            if ids := wanted.get(sample.id):
                logits = decoder.answer_logits(visuals[group.media], prompt, ids)
                found[sample.id] = (logits.float().log_softmax(-1), ids)
    return found


def divergence(expected: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """Return the mean KL(expected || found) per token, nats."""
    kl = [
        (one.exp() * (one - other)).sum(-1)
        for (one, _), (other, _) in zip(expected.values(), found.values(), strict=True)
    ]
    return float(torch.cat(kl).mean())


def perplexity(store: Store, found: Mapping[str, Any]) -> float:
    chosen = [one.gather(-1, torch.tensor(ids)[:, None]) for one, ids in found.values()]
    return math.exp(-float(torch.cat(chosen).mean()))
