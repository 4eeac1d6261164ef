"""What a trained compressor is, as its file says: read without its weights."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from encodeonce.datasets.local_path import local_path
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.strict_json import JsonError, parse_json
from encodeonce.models.kv.spec import PositionPolicy

FORMAT: Literal["encodeonce compressor 1"] = "encodeonce compressor 1"
HEADER = "compressor.json"
SHIPPED = Path(__file__).parents[2] / "demo" / "compressors"
"""Compressors of the demo model, by name."""


class CompressorError(ValueError):
    """A compressor's files cannot be used."""


class CompressorForm(BaseModel):
    """Which tokens a compressor merges, and by what kind of nets. All of it decides bits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: int = Field(ge=2, description="f: so many neighbouring entries become one.")
    nets: Literal["by_modality", "shared"] = Field(
        default="by_modality",
        description="'by_modality': nets of their own for visual and for text tokens; 'shared': "
        "one pair for all tokens.",
    )
    text: Literal["compress", "raw"] = Field(
        default="raw", description="Whether text tokens are merged too, or stay as they are."
    )
    segments: Literal["runs", "visual_then_text", "whole"] = Field(
        default="runs",
        description="No group crosses the end of a segment. 'runs': maximal runs of visual or of "
        "text tokens; 'visual_then_text': all up to the last visual token, which counts as visual, "
        "and the rest; 'whole': the prompt is one segment, of text.",
    )
    skip: Literal["mean", "none"] = Field(
        default="mean",
        description="'mean': the net's output is added to the mean of the merged entries; 'none': "
        "it replaces them.",
    )
    positions: PositionPolicy = Field(
        default="original",
        description="The next token's position: behind all tokens ('original'), or behind the "
        "entries that are left ('compressed').",
    )
    num_sinks: int = Field(default=0, ge=0, description="First tokens that stay as they are.")
    min_groups: int = Field(
        default=2, ge=1, description="A segment of fewer groups stays as it is."
    )
    hidden: int | None = Field(
        default=None, ge=1, description="Width of the nets' inner layers; that of a head if null."
    )

    @model_validator(mode="after")
    def _merges_something(self) -> Self:
        if self.segments == "whole" and self.text == "raw":
            raise ValueError("segments: whole counts all tokens as text, so text: raw merges none")
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """The nets: one pair, for keys and for values, of each kind."""
        if self.nets == "shared":
            return ("any",)
        return ("visual", "text") if self.text == "compress" else ("visual",)

    def net_of(self, *, is_visual: bool) -> str | None:
        """Return the kind of net that merges a segment; None where it stays as it is."""
        if not is_visual and self.text == "raw":
            return None
        if self.nets == "shared":
            return "any"
        return "visual" if is_visual else "text"


class CompressorHeader(CompressorForm):
    """A compressor's form, and the model that it belongs to: the file ``compressor.json``."""

    format: Literal["encodeonce compressor 1"] = FORMAT
    layers: tuple[int, ...] = Field(
        min_length=1, description="The model's layers that are compressed, ascending."
    )
    head_width: int = Field(ge=1, description="D: width of a key head.")
    checkpoint_sha256: str | None = Field(
        default=None, description="Digest of the model's files; null if it is not known."
    )
    model: str = Field(description="The model's name when the compressor was trained.")
    weights: str = Field(default="none", description="The weight variant that it was trained on.")
    scope: Literal["question", "media"] = Field(
        default="media", description="What was compressed in training."
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Data, loss, steps, seed, versions, figures."
    )

    def form(self) -> CompressorForm:
        """Return the form alone."""
        return CompressorForm(**{name: getattr(self, name) for name in CompressorForm.model_fields})

    def check_model(self, checkpoint_sha256: str, where: str) -> None:
        """Refuse any model but the one it was trained on.

        Args:
            checkpoint_sha256: digest of the model's files.
            where: names the compressor, for the message.

        Raises:
            ValueError: the model is another.
        """
        if self.checkpoint_sha256 not in (None, checkpoint_sha256):
            raise ValueError(
                f"{where} was trained for {self.model} (checkpoint "
                f"{str(self.checkpoint_sha256)[:16]}), not for this model "
                f"({checkpoint_sha256[:16]}). Train one with: encodeonce train compressor "
                "TRAIN.yaml"
            )

    def check_shape(self, layers: Sequence[int], head_width: int, where: str) -> None:
        """Refuse a model of another shape.

        Args:
            layers: numbers of the language model's layers that have no sliding window.
            head_width: of its key heads.
            where: names the compressor, for the message.

        Raises:
            ValueError: the compressor's nets do not fit.
        """
        mine, its = (len(self.layers), self.head_width), (len(layers), head_width)
        if mine != its:
            raise ValueError(
                f"{where} is for {mine[0]} layers with heads of width {mine[1]}; this model has "
                f"{its[0]} of width {its[1]}"
            )
        if self.layers != tuple(layers):
            raise ValueError(
                f"{where} is for the layers {list(self.layers)}; those of this model without a "
                f"sliding window are {list(layers)}"
            )


def find_compressor(path: str) -> Path:
    """Return the folder or file that a user's path means; a name that ships is a path too.

    Raises:
        CompressorError: it is no path.
    """
    try:
        found = local_path(path)
    except ValueError as error:
        raise CompressorError(f"options.path: {error}") from error
    shipped = SHIPPED / path
    if not found.exists() and Path(path).name == path and (shipped / HEADER).is_file():
        return shipped
    return found


def read_header(folder: Path) -> CompressorHeader:
    """Return what a compressor is; a file is read again only if it changed.

    Raises:
        CompressorError: the folder holds no compressor, or a damaged one.
    """
    path = folder / HEADER
    try:
        stat = path.stat()
        return _read_header(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise CompressorError(
            f"{folder} holds no compressor: {HEADER} cannot be read ({error.strerror}). Train one "
            "with: encodeonce train compressor TRAIN.yaml"
        ) from error


@lru_cache(maxsize=64)
def _read_header(path: Path, mtime_ns: int, size: int) -> CompressorHeader:
    try:
        return checked(CompressorHeader, parse_json(path.read_bytes()))
    except (JsonError, Refused) as error:
        raise CompressorError(f"{path} does not describe a compressor: {error}") from error
