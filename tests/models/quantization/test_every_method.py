"""The contract of every weight method; a new file in `quantization/methods/` is picked up."""

import importlib
import inspect
from pathlib import Path

import pytest

from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.family import find_family
from encodeonce.models.quantization.method import Options, find_candidate
from encodeonce.models.quantization.registry import WeightsError, load_quantizer, quantizer_names
from encodeonce.models.spec import WeightsSpec
from tests.fixtures.tiny.parts import write_no_weights
from tests.fixtures.tiny_models import write_tiny_llava
from tests.models.quantization.making import spec


@pytest.fixture(params=quantizer_names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_says_what_it_is_and_what_its_options_are(name: str) -> None:
    module = importlib.import_module(
        f"encodeonce.models.quantization.methods.{name.replace('-', '_')}"
    )
    assert issubclass(module.QUANTIZER, Options)
    assert inspect.getdoc(module)
    assert inspect.getdoc(module.QUANTIZER)
    assert module.QUANTIZER.display_name.strip()
    for option, field in module.QUANTIZER.model_fields.items():
        assert field.description, option
        assert not field.is_required(), f"{option}: the name alone must be enough"


def test_unknown_options_are_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(WeightsError, match=f"method '{name}': no_such_option: .*Allowed: "):
        load_quantizer(WeightsSpec(method=name, options={"no_such_option": 1}))


def test_it_is_frozen(name: str) -> None:
    quantizer = load_quantizer(WeightsSpec(method=name))
    with pytest.raises(ValueError, match="frozen"):
        quantizer.check = None  # type: ignore[assignment, method-assign]


def test_checking_loads_nothing_and_what_passes_can_be_loaded(name: str, tmp_path: Path) -> None:
    model = spec(write_tiny_llava(tmp_path, hidden_size=128, intermediate_size=256))
    _, folder = find_family(model)
    weights = WeightsSpec(method=name)
    quantizer, found = load_quantizer(weights), find_candidate(weights, model, folder)
    write_no_weights(folder)  # loading them would fail
    try:
        quantizer.check(found)
    except WeightsError as error:
        assert "path of a" in str(error)  # it reads a checkpoint that is quantised already
        return
    assert isinstance(quantizer.loading_hooks(found), LoadingHooks)
