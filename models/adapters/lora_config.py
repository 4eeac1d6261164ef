"""What adapter_config.json says, and which of it can be computed here.

A field that is not known may change what an adapter computes, so none is ever passed over: a field
is read, is known to have no effect once an adapter is trained, or has to be switched off.

LoRA: Hu et al., 2021 (arXiv:2106.09685), section 4.1. Rank-stabilised scaling: Kalajdzievski, 2023
(arXiv:2312.03732).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encodeonce.models.checkpoint.files import CheckpointError, read_settings

CONFIG = "adapter_config.json"
MERGE = (
    "Merge it into its base model with peft (merge_and_unload, then save_pretrained), and give "
    "that folder as model.path"
)


class AdapterError(CheckpointError):
    """An adapter's checkpoint cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """How an adapter's products are scaled, and what its files have to look like."""

    file: Path
    r: int
    alpha: float
    use_rslora: bool = False
    has_bias: bool = False
    """Whether B adds a bias of its own."""
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    """Other ranks, by a pattern of the module's name."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    invocation: tuple[int, ...] = ()
    """Tokens from whose last occurrence in a prompt on it has effect (aLoRA); none: everywhere."""
    base: str | None = None
    """What the adapter was trained on, as its maker called it."""

    def rank(self, module: str) -> int:
        """Return the rank that a module's products have to have."""
        return int(_matching(self.rank_pattern, module, self.r))

    def scaling(self, module: str) -> float:
        """Return the factor of a module's product: alpha / r, or alpha / sqrt(r)."""
        alpha, rank = _matching(self.alpha_pattern, module, self.alpha), self.rank(module)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def _matching(patterns: Mapping[str, float], module: str, otherwise: float) -> float:
    """Return the value of the first pattern that the end of a name matches, as peft does."""
    for pattern, value in patterns.items():
        if re.match(rf"(?:.*\.)?(?:{pattern})$", module):
            return value
    return otherwise


_READ = {
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
    "init_lora_weights",
    "alora_invocation_tokens",
    "base_model_name_or_path",
}
_TRAINING = {
    "task_type",
    "auto_mapping",
    "peft_version",
    "revision",
    "inference_mode",
    "lora_dropout",
    "runtime_config",
}
_CHOICE = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
"""Which modules were adapted: the weights say so themselves."""
_SETTINGS = {
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "qalora_group_size",
    "megatron_core",
}
"""Of ways to begin (``init_lora_weights``), and of what another field switches on."""
_WITHOUT_EFFECT = _TRAINING | _CHOICE | _SETTINGS
_PLAIN_BEGINNINGS = ("gaussian", "orthogonal", "eva")

_REFUSED: Mapping[str, str] = {
    "use_dora": f"DoRA scales whole rows of the adapted weights. {MERGE}",
    "modules_to_save": f"whole modules were trained beside the adapter. {MERGE}",
    "trainable_token_indices": f"embeddings of tokens were trained. {MERGE}",
    "target_parameters": f"parameters that belong to no linear layer were adapted. {MERGE}",
    "fan_in_fan_out": f"the adapted weights are stored transposed. {MERGE}",
    "bias": f"biases of the base model were trained, so that the base is another. {MERGE}",
    "layer_replication": "layers of the base model were repeated. Save the model with its layers "
    "repeated, and give that folder as model.path",
    **dict.fromkeys(
        ("use_qalora", "use_bdlora", "arrow_config", "kasa_config", "velora_config"),
        "such adapters compute something else than B A x. Use a plain LoRA",
    ),
    "monteclora_config": "such adapters draw random weights. Use a plain LoRA",
}
_OFF: tuple[Any, ...] = (None, False, [], {}, "none")


def read_lora_config(folder: Path) -> LoraConfig:
    """Return what an adapter's configuration says.

    Raises:
        AdapterError: there is none, it is of another kind than LoRA, or it asks for something that
            is not handled here.
        CheckpointError: it is no JSON object.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise AdapterError(
            f"adapter: {folder} has no {CONFIG}; give a folder that peft's save_pretrained wrote"
        )
    fields = read_settings(file)
    kind = fields.get("peft_type")
    if kind != "LORA":
        raise AdapterError(f"{file}: peft_type is {kind!r}; LORA is handled")
    for name, value in fields.items():
        _check(file, name, value)
    return LoraConfig(
        file=file,
        r=_number(file, "r", fields.get("r", 8), int),
        alpha=_number(file, "lora_alpha", fields.get("lora_alpha", 8), float),
        use_rslora=_flag(file, "use_rslora", fields),
        has_bias=_flag(file, "lora_bias", fields),
        rank_pattern=_pattern(file, "rank_pattern", fields, int),
        alpha_pattern=_pattern(file, "alpha_pattern", fields, float),
        invocation=_tokens(file, "alora_invocation_tokens", fields),
        base=fields.get("base_model_name_or_path"),
    )


def _check(file: Path, name: str, value: Any) -> None:
    """Refuse a field under which an adapter is more than products of two matrices."""
    if name == "init_lora_weights":
        _check_beginning(file, value)
    elif name in _READ or name in _WITHOUT_EFFECT or value in _OFF:
        return
    elif name in _REFUSED:
        raise AdapterError(f"{file}: {name} is {value!r}: {_REFUSED[name]}")
    else:
        raise AdapterError(
            f"{file}: {name} is {value!r}, which is not known here, and may change what the "
            "adapter computes. If it changes nothing, delete the field"
        )


def _check_beginning(file: Path, value: Any) -> None:
    """Refuse weights that began as a part of the base, which was taken out of it."""
    if not isinstance(value, bool) and value not in _PLAIN_BEGINNINGS:
        raise AdapterError(
            f"{file}: init_lora_weights is {value!r}: such an adapter belongs to a base model that "
            "was changed when its training began. Save it again with peft's save_pretrained("
            "…, path_initial_model_for_weight_conversion=…), which converts it for the plain base"
        )


def _number(file: Path, name: str, value: Any, kind: type[int] | type[float]) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not value > 0 or math.isinf(value) or (kind is int and value != int(value)):
        wanted = "a whole number" if kind is int else "a number"
        raise AdapterError(f"{file}: {name} must be {wanted} above 0; got {value!r}")
    return kind(value)


def _flag(file: Path, name: str, fields: Mapping[str, Any]) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise AdapterError(f"{file}: {name} must be true or false; got {value!r}")
    return value


def _tokens(file: Path, name: str, fields: Mapping[str, Any]) -> tuple[int, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    is_list = isinstance(value, list) and bool(value)
    if not is_list or not all(type(one) is int and one >= 0 for one in value):
        raise AdapterError(f"{file}: {name} must be a list of token ids; got {value!r}")
    return tuple(value)


def _pattern(
    file: Path, name: str, fields: Mapping[str, Any], kind: type[int] | type[float]
) -> dict[str, Any]:
    patterns = fields.get(name) or {}
    if not isinstance(patterns, dict):
        raise AdapterError(f"{file}: {name} must be an object {{…}}; got {patterns!r}")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise AdapterError(f"{file}: {name} {pattern!r} is no pattern: {error}") from error
    return {
        pattern: _number(file, f"{name} {pattern!r}", value, kind)
        for pattern, value in patterns.items()
    }
