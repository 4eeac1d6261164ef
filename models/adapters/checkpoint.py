"""Reads LoRA adapters as peft saves them: JSON and safetensors. peft itself is not imported.

Shapes: R rank, I inputs and O outputs of a linear layer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import safe_open

from encodeonce.models.adapters.heads import HEAD_FILES, Head, read_head
from encodeonce.models.adapters.lora_config import (
    CONFIG,
    MERGE,
    AdapterError,
    LoraConfig,
    read_lora_config,
)
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.files import named_folder, refusing
from encodeonce.models.language.activation import Activation

WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (CONFIG, WEIGHTS)
"""What an adapter is made of."""
_KEY = re.compile(
    r"base_model\.model\.(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.(?:weight|bias))"
)
_COPY = re.compile(
    r"base_model\.model\.(?P<module>(?:.+\.)?(?:lm_head|embed_tokens))(?:\.base_layer)?\.weight"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """What is added to one linear layer: y + scaling (B A x + bias)."""

    a: torch.Tensor
    """(R, I) float32."""
    b: torch.Tensor
    """(O, R) float32."""
    bias: torch.Tensor | None
    """(O,) float32."""
    scaling: float

    @property
    def rank(self) -> int:
        """R."""
        return len(self.a)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter that has been read."""

    title: str
    file: Path
    """Its weights'."""
    base: str | None
    """What it was trained on, as its maker called it: a name, which may mean anything."""
    products: Mapping[str, LowRank]
    """By the adapted module's name in the model that it was trained on."""
    copies: Mapping[str, torch.Tensor]
    """Weights of the model itself: peft saves embeddings and head beside an adapter of the head.
    They are to be the same in the model here."""
    head: Head | None = None
    """A linear head that was trained with it here."""
    activation: Activation | None = None
    """What it begins at in a prompt (aLoRA); None: it is in force from the first token on."""

    def refuse_activated(self, where: str) -> None:
        """Refuse an activated LoRA.

        Raises:
            AdapterError: it is one; ``where`` says what cannot have it, and what to do instead.
        """
        if self.activation is not None:
            raise AdapterError(
                f"{self.file}: the adapter is an activated LoRA (alora_invocation_tokens), which "
                f"begins in the middle of a prompt: {where}"
            )


def adapter_folder(spec: AdapterSpec) -> Path:
    """Return the folder of an adapter, downloading it if necessary.

    Raises:
        AdapterError: there is no such folder, and no such hub repository can be reached.
    """
    folder = named_folder(spec.path, "adapter")
    if folder is not None:
        return folder.resolve()
    try:
        files = [*ADAPTER_FILES, *HEAD_FILES]
        return Path(snapshot_download(spec.path, revision=spec.revision, allow_patterns=files))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, OSError) as error:
        raise AdapterError(
            f"adapter {spec.path!r} is neither a folder here nor a hub repository that can be "
            f"reached ({type(error).__name__}). Give a folder that peft wrote, or org/name"
        ) from error


def read_adapter(spec: AdapterSpec) -> Adapter:
    """Read an adapter.

    Raises:
        AdapterError: it is no LoRA adapter, its files disagree, or it does more than is handled.
        CheckpointError: one of its files cannot be read.
    """
    folder = adapter_folder(spec)
    config = read_lora_config(folder)
    file = folder / WEIGHTS
    if not file.is_file():
        others = sorted(path.name for path in folder.glob("adapter_model.*"))
        words = f"it has {', '.join(others)}; pickles are not read. " if others else ""
        raise AdapterError(
            f"adapter: {folder} has no {WEIGHTS}. {words}Save it by peft 0.5 or later"
        )
    parts: dict[str, dict[str, torch.Tensor]] = {}
    copies: dict[str, torch.Tensor] = {}
    for key, tensor in _tensors(file).items():
        if copy := _COPY.fullmatch(key):
            copies[copy["module"]] = tensor
            continue
        match = _KEY.fullmatch(key)
        if match is None or ".base_layer" in match["module"]:
            raise AdapterError(f"{file}: {key} {_why_not(key)}")
        parts.setdefault(match["module"], {})[match["part"]] = _checked(file, key, tensor)
    if not parts:
        raise AdapterError(f"{file} holds no weights")
    products = {module: _product(file, config, module, some) for module, some in parts.items()}
    return Adapter(
        title=spec.title,
        file=file,
        base=config.base,
        products=products,
        copies=copies,
        head=read_head(folder),
        activation=Activation(config.invocation) if config.invocation else None,
    )


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    with refusing(file), safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def _why_not(key: str) -> str:
    """Return why a tensor of an adapter is refused."""
    if "lora_embedding" in key:
        return f"adapts an embedding; only linear layers are handled. {MERGE}"
    if "lora_magnitude_vector" in key:
        return f"belongs to DoRA. {MERGE}"
    if "lora_" in key:
        return f"is no factor of a linear layer's adapter. {MERGE}"
    return f"is a weight of the model itself, trained beside the adapter. {MERGE}"


def _checked(file: Path, key: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float32, the precision in which peft computes adapters."""
    if not tensor.is_floating_point():
        raise AdapterError(f"{file}: {key} holds {tensor.dtype}; floating point is expected")
    wide = tensor.float()
    if not wide.isfinite().all():
        raise AdapterError(f"{file}: {key} holds NaN or infinity; training went wrong")
    return wide


def _product(
    file: Path, config: LoraConfig, module: str, parts: Mapping[str, torch.Tensor]
) -> LowRank:
    """Return the product of a module's factors.

    Raises:
        AdapterError: a factor is missing, or shapes disagree with each other or the configuration.
    """
    missing = [name for name in ("lora_A.weight", "lora_B.weight") if name not in parts]
    if missing:
        raise AdapterError(f"{file}: {module} lacks {missing[0]}; save the adapter again by peft")
    a, b, bias = parts["lora_A.weight"], parts["lora_B.weight"], parts.get("lora_B.bias")
    if a.dim() != 2 or b.dim() != 2:
        raise AdapterError(
            f"{file}: {module} has factors of shapes {tuple(a.shape)} and {tuple(b.shape)}, so it "
            f"is no linear layer. {MERGE}"
        )
    if len(a) != b.shape[1] or (bias is not None and bias.shape != b.shape[:1]):
        raise AdapterError(
            f"{file}: {module} has factors of shapes {tuple(a.shape)} and {tuple(b.shape)}, which "
            "have no rank in common; save the adapter again by peft"
        )
    if len(a) != config.rank(module):
        raise AdapterError(
            f"{config.file} gives {module} the rank {config.rank(module)}, and its weights have "
            f"{len(a)}: the two files are not of one adapter"
        )
    if (bias is not None) != config.has_bias:
        raise AdapterError(
            f"{config.file} says lora_bias {config.has_bias}, and {module} has "
            f"{'a' if bias is not None else 'no'} bias: the two files are not of one adapter"
        )
    return LowRank(a=a, b=b, bias=bias, scaling=config.scaling(module))
