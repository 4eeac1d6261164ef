"""Adapters that peft made, read and computed here, against peft itself: `make test-peft`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.adapters.combining import How, combined
from encodeonce.models.adapters.form import LoraForm
from encodeonce.models.adapters.learning import LearntLora
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.operators import KINDS, Kind
from encodeonce.models.adapters.sites import Sites
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.adapters.writing import write_adapter
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.kv.spec import FULL
from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.likelihood import extended_inputs
from encodeonce.models.spec import GenerationSpec, VisionSpec
from tests.compressors import DEMO_LAYERS
from tests.contracts.family import Model, Scene
from tests.contracts.logits import TOLERANCE, NotedLogits

peft = pytest.importorskip("peft", reason="peft is not installed: make test-peft")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

OUTSIDE = ".*(vision_tower|multi_modal_projector).*"
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "attention": {"r": 8, "target_modules": ["q_proj", "v_proj"]},
    "all": {"r": 16, "target_modules": "all-linear"},
    "rslora, bias": {
        "r": 4,
        "use_rslora": True,
        "lora_bias": True,
        "target_modules": ["up_proj", "down_proj", "o_proj"],
    },
    "patterns": {
        "r": 8,
        "lora_alpha": 32,
        "target_modules": ["q_proj", "k_proj"],
        "rank_pattern": {"k_proj": 2},
        "alpha_pattern": {"k_proj": 7, r".*\.2\.self_attn\.q_proj": 3},
        "layers_to_transform": [2, 3],
        "layers_pattern": "layers",
    },
    "head": {"r": 5, "target_modules": ["q_proj", "lm_head"]},
    "gaussian": {"r": 8, "target_modules": ["gate_proj"], "init_lora_weights": "gaussian"},
}
TITLES = list(SHAPES)
IDS = torch.arange(10, 192).reshape(7, 26)
INDEX = (0, 1, BASE, 2, 3, 1, 4)


def whole() -> Any:
    return LlavaForConditionalGeneration.from_pretrained(DEMO_CHECKPOINT).eval()


def noisy(model: Any) -> Any:
    """Give every factor of an adapter weights that do something."""
    noise = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=noise)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters as peft saves them."""
    root, found = tmp_path_factory.mktemp("peft"), {}
    for title, fields in SHAPES.items():
        config = peft.LoraConfig(**{"exclude_modules": OUTSIDE, **fields})
        found[title] = root / title
        noisy(peft.get_peft_model(whole(), config)).save_pretrained(found[title])
    return found


def specs(folders: Mapping[str, Path]) -> list[AdapterSpec]:
    return [AdapterSpec(path=str(folder)) for folder in folders.values()]


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=ids).logits)


@pytest.fixture(scope="module")
def expected(folders: Mapping[str, Path]) -> torch.Tensor:
    """Each row by peft, alone."""
    rows = []
    for row, number in enumerate(INDEX):
        model = whole()
        if number != BASE:
            model = peft.PeftModel.from_pretrained(model, folders[TITLES[number]])
        rows.append(logits(model, IDS[row : row + 1]))
    return torch.cat(rows)


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_rows_together_are_peft_one_by_one(
    folders: Mapping[str, Path], expected: torch.Tensor, kind: Kind | None
) -> None:
    model = whole()
    plain = logits(model, IDS)
    bank = AdapterBank([read_adapter(spec) for spec in specs(folders)], model, kind=kind)
    with bank.using(INDEX):
        mixed = logits(model, IDS)
    assert (mixed - expected).abs().max() <= TOLERANCE * expected.abs().max()
    assert torch.equal(mixed[2], plain[2])
    assert min((mixed - plain).abs().amax((1, 2))[[0, 1, 3, 4, 5, 6]]) > 0.01


def test_answers_decoded_together_are_pefts(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From stored features, behind shared prefixes, against one plain pass of peft's model."""
    model, question = Model(DEMO_CHECKPOINT, VisionSpec()), "How often is the 3 shown?"
    decoder, noted = model.decoder, NotedLogits(monkeypatch)
    visuals = [model.visual(Scene("video", range(0, 9, 2), (64, 64), seed=1))]
    decoder.load_adapters(specs(folders))
    engine = decoder.engine(GenerationSpec(max_new_tokens=6), [FULL])
    for number in range(len(TITLES)):
        engine.ask(number, decoder.prefill(visuals, adapter=number), [question], number)
    found = engine.finish()
    decoder.adapters.detach()
    prefix = decoder.prefill(visuals, adapter=BASE)
    for number, title in enumerate(TITLES):
        ((answer,),) = found[number]
        fresh = whole()
        adapted = peft.PeftModel.from_pretrained(fresh, folders[title])
        token_ids = [*prefix.suffix(question), *answer.token_ids[:-1]]
        inputs = extended_inputs(decoder.model, prefix.opening.inputs, token_ids)
        with torch.inference_mode():
            plain = adapted(**inputs).logits[0, -len(answer.token_ids) :]
        ours = noted.of(answer).logits_TV
        assert (ours - plain).abs().max() <= TOLERANCE * plain.abs().max()
        assert list(answer.token_ids) == plain.argmax(-1).tolist()


def saved(folder: Path, save: Mapping[str, Any] | None = None, **fields: Any) -> Path:
    """Have peft make and save an adapter."""
    config = peft.LoraConfig(**{"exclude_modules": OUTSIDE, "target_modules": ["q_proj"], **fields})
    peft.get_peft_model(whole(), config).save_pretrained(folder, **(save or {}))
    return folder


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"bias": "lora_only"}, "bias is 'lora_only'"),
        ({"target_modules": ["embed_tokens"]}, "adapts an embedding"),
        ({"init_lora_weights": "pissa"}, "belongs to a base model that was changed"),
        ({"init_lora_weights": "olora"}, "belongs to a base model that was changed"),
        ({"exclude_modules": None}, "of the vision tower"),
        ({"exclude_modules": None, "target_modules": ["linear_1"]}, "of the projector"),
    ],
)
def test_what_peft_saves_of_other_kinds_is_refused(
    tmp_path: Path, fields: Mapping[str, Any], words: str
) -> None:
    folder = saved(tmp_path, **fields)
    with pytest.raises(AdapterError, match="adapter_") as refused:
        Sites(whole()).find(read_adapter(AdapterSpec(path=str(folder))))
    assert words in str(refused.value)


def test_every_default_of_pefts_configuration_is_read(tmp_path: Path) -> None:
    adapter = read_adapter(AdapterSpec(path=str(saved(tmp_path))))
    kinds: Sequence[str] = sorted({path.rpartition(".")[2] for path in adapter.products})
    assert kinds == ["q_proj"] and len(adapter.products) == DEMO_LAYERS


@pytest.mark.parametrize(
    "form",
    [
        LoraForm(r=3),
        LoraForm(r=4, alpha=3, rslora=True, target_modules=("q_proj", "down_proj")),
    ],
)
def test_plain_peft_loads_what_was_trained_and_computes_the_same(
    tmp_path: Path, form: LoraForm
) -> None:
    model = whole().requires_grad_(False)
    lora = LearntLora(model, form)
    with torch.no_grad():
        for b in lora.b:
            b.normal_(std=0.1, generator=torch.Generator().manual_seed(3))
    write_adapter(tmp_path, lora.products(), form, "demo")
    with lora.attached():
        ours = logits(model, IDS)
    adapted = peft.PeftModel.from_pretrained(whole(), tmp_path)
    theirs = logits(adapted, IDS)
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()
    assert (ours - logits(model, IDS)).abs().max() > 0.01
    names = [name for name, _ in adapted.named_modules() if name.endswith("lora_A.default")]
    assert len(names) == len(lora.names) and not any("vision_tower" in name for name in names)


def test_trained_factors_get_pefts_gradients(tmp_path: Path) -> None:
    form, model = LoraForm(r=3), whole().requires_grad_(False)
    lora = LearntLora(model, form)
    with torch.no_grad():
        for b in lora.b:
            b.normal_(std=0.1, generator=torch.Generator().manual_seed(3))
    write_adapter(tmp_path, lora.products(), form, "demo")
    adapted = peft.PeftModel.from_pretrained(whole(), tmp_path, is_trainable=True)
    with lora.attached():
        model(input_ids=IDS, labels=IDS).loss.backward()
    adapted(input_ids=IDS, labels=IDS).loss.backward()
    theirs = {name: one.grad for name, one in adapted.named_parameters() if "lora_" in name}
    for number, name in enumerate(lora.names):
        for part, ours in (("A", lora.a[number].grad), ("B", lora.b[number].grad)):
            other = theirs[f"base_model.model.{name}.lora_{part}.default.weight"]
            assert torch.allclose(ours, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize(("how", "theirs"), [("cat", "cat"), ("svd", "svd"), ("ties", "ties_svd")])
def test_adapters_are_merged_in_weight_space_as_by_peft(
    tmp_path: Path, how: How, theirs: str, weight: float
) -> None:
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], exclude_modules=OUTSIDE)
    folders = [tmp_path / name for name in ("one", "other")]
    for seed, folder in enumerate(folders):
        model = peft.get_peft_model(whole(), config)
        noise = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=noise)
        model.save_pretrained(folder)
    adapted = peft.PeftModel.from_pretrained(whole(), folders[0], adapter_name="one")
    adapted.load_adapter(folders[1], adapter_name="other")
    more = {} if how == "cat" else {"svd_rank": 3}
    if how == "ties":
        more["density"] = 0.2
    adapted.add_weighted_adapter(["one", "other"], [weight, weight], "both", theirs, **more)
    read = [read_adapter(AdapterSpec(path=str(folder))).products for folder in folders]
    for name, ours in combined(read, how, weight, max_rank=3).items():
        module = adapted.base_model.model.get_submodule(name)
        product = module.lora_B["both"].weight @ module.lora_A["both"].weight
        wanted = module.scaling["both"] * product.detach()
        assert (ours.scaling * ours.b @ ours.a - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_an_activated_adapter_begins_where_pefts_does(tmp_path: Path) -> None:
    """Twice in a prompt, at its end, and in none."""
    invocation = [40, 41]
    fields = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    config = peft.LoraConfig(**fields, exclude_modules=OUTSIDE, alora_invocation_tokens=invocation)
    noisy(peft.get_peft_model(whole(), config)).save_pretrained(tmp_path)
    ids = torch.arange(100, 148).reshape(3, 16)
    ids[0, 3:5] = ids[0, 9:11] = ids[1, 14:] = torch.tensor(invocation)
    adapted = peft.PeftModel.from_pretrained(whole(), tmp_path)
    theirs = logits(adapted, ids)
    model = whole()
    plain = logits(model, ids)
    (adapter,) = read = [read_adapter(AdapterSpec(path=str(tmp_path)))]
    assert adapter.activation is not None
    numbers = [*adapter.activation.numbers(0, ids[:2].tolist()), [BASE] * 16]
    with AdapterBank(read, model).using(numbers):
        ours = logits(model, ids)
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()
    for row, start in enumerate((9, 14, 16)):
        moved = (theirs[row] - plain[row]).abs().amax(-1)
        assert not moved[:start].any() and (moved[start:] > 1e-3).all()
