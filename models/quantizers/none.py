"""The model as it is."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from encodeonce.models.spec import ModelSpec


class Unchanged(BaseModel):
    """No quantisation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def check(self, path: str | None, model: ModelSpec, folder: Path) -> None:
        """Refuse a path."""


QUANTIZER = Unchanged
