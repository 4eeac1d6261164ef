"""What all sections of run files have in common."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A section of a run file: unknown keys are refused, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)
