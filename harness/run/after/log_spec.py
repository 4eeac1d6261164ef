"""The section `log` of a run file: experiment trackers that get a run's figures as it ends."""

from typing import Literal, Self

from pydantic import Field, model_validator

from encodeonce.harness.run.strict import Strict


class _Tracker(Strict):
    name: str | None = Field(
        default=None, min_length=1, description="The run's name there; by default its folder's."
    )


class WandbSpec(_Tracker):
    """Weights & Biases."""

    project: str = Field(default="encodeonce", min_length=1)
    entity: str | None = Field(default=None, description="User or team; your own by default.")
    group: str | None = None
    tags: tuple[str, ...] = ()
    mode: Literal["online", "offline"] | None = Field(
        default=None,
        description="'offline' writes to the run's folder, for `wandb sync`; by default what the "
        "environment variable WANDB_MODE says.",
    )


class TrackioSpec(_Tracker):
    """Trackio: a local database, in TRACKIO_DIR, or a Space."""

    project: str = Field(default="encodeonce", min_length=1)
    group: str | None = None
    space_id: str | None = Field(default=None, description="A Hugging Face Space; none: local.")


class MlflowSpec(_Tracker):
    """MLflow: a server or a database."""

    experiment: str = Field(default="encodeonce", min_length=1)
    tracking_uri: str | None = Field(
        default=None,
        min_length=1,
        description="E.g. sqlite:////data/mlflow.db, or a server; by default what "
        "MLFLOW_TRACKING_URI says.",
    )


class LogSpec(Strict):
    """Trackers by their names; ``{}`` takes a tracker's defaults."""

    wandb: WandbSpec | None = None
    trackio: TrackioSpec | None = None
    mlflow: MlflowSpec | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if not self.trackers():
            names = ", ".join(type(self).model_fields)
            raise ValueError(f"log names no tracker; known: {names}. E.g. log: {{trackio: {{}}}}")
        return self

    def trackers(self) -> dict[str, _Tracker]:
        """Return the trackers that are asked for, by name."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: spec for name, spec in found.items() if spec is not None}
