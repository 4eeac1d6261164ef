"""Makes specs of a command's options, and refuses in the options' names what they may not hold."""

from typing import Any, TypeVar

from pydantic import BaseModel

from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.strict_yaml import YamlError, parse_yaml
from encodeonce.models.checkpoint.files import CheckpointError, device
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.spec import ModelSpec, WeightsSpec

Spec = TypeVar("Spec", bound=BaseModel)


def from_options(kind: type[Spec], **options: Any) -> Spec:
    """Return the spec whose keys are options of the same names.

    Raises:
        ValueError: an option holds what its key may not; names every one.
    """
    try:
        return checked(kind, options)
    except Refused as error:
        raise ValueError("; ".join(f"--{problem.words}" for problem in error.problems)) from error


def model_from_options(path: str, dtype: str, device_name: str) -> ModelSpec:
    """Return a command's model, on a device that this machine has.

    Raises:
        ValueError: an option holds what it may not, or there is no such device.
    """
    if not path:
        raise ValueError("the model must be a folder, a hub id or 'demo'; got an empty text")
    spec = from_options(ModelSpec, path=path, dtype=dtype, device=device_name)
    try:
        device(spec)
    except CheckpointError as error:
        raise ValueError(f"--{error}") from error
    return spec


def weights_from_text(text: str) -> WeightsSpec:
    """Return a weight variant written as in a run file: ``rtn``, ``{method: awq, path: FOLDER}``.

    Raises:
        ValueError: it is no YAML, no variant, or its method is unknown.
    """
    try:
        spec = checked(WeightsSpec, parse_yaml(text.encode()).value)
        load_quantizer(spec)
    except (YamlError, Refused, ValueError) as error:
        words = str(error).removeprefix("weights: ")
        raise ValueError(f"weights {text!r}: {words}") from error
    return spec


def mapping_from_option(name: str, text: str | None) -> dict[str, Any]:
    """Return a mapping that an option holds as YAML or JSON; an empty one without the option.

    Raises:
        ValueError: it is no mapping.
    """
    if text is None:
        return {}
    example = f"write --{name} '{{path: demo-9}}'"
    try:
        found = parse_yaml(text.encode()).value
    except YamlError as error:
        raise ValueError(f"--{name}: {error}; {example}") from error
    if not isinstance(found, dict):
        raise ValueError(f"--{name} is a mapping; got {text!r}: {example}")
    return found
