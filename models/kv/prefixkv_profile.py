"""PrefixKV's offline configuration: what each layer keeps, averaged over calibration samples."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.local_path import local_path
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.strict_json import JsonError, parse_json


class Profile(BaseModel):
    """Written by `encodeonce calibrate prefixkv`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["encodeonce prefixkv profile 1"] = "encodeonce prefixkv profile 1"
    checkpoint_sha256: str = Field(description="Digest of the model's files.")
    model: str = Field(description="The model's name when calibrated.")
    data_sha256: str = Field(description="Digest of the calibration samples.")
    num_samples: int = Field(ge=1)
    layers: Mapping[str, Sequence[float]] = Field(
        description="By budget: the fraction of its prompt's tokens that each layer keeps."
    )

    def shares(self, keep: float, num_layers: int) -> Sequence[float]:
        """Return the layers' fractions at a budget.

        Raises:
            ValueError: the profile has no such budget, or another number of layers.
        """
        found = self.layers.get(f"{keep:g}")
        if found is None:
            raise ValueError(
                f"the prefixkv profile was not calibrated for keep {keep:g}; it holds "
                f"{', '.join(self.layers)}. Calibrate again with --keep {keep:g}."
            )
        if len(found) != num_layers:
            raise ValueError(
                f"the prefixkv profile is for a model with {len(found)} layers; this one has "
                f"{num_layers}"
            )
        return found

    def check_model(self, checkpoint_sha256: str) -> None:
        """Refuse any other model.

        Raises:
            ValueError: the model's files have another digest.
        """
        if checkpoint_sha256 != self.checkpoint_sha256:
            raise ValueError(
                f"the prefixkv profile was calibrated on {self.model} (checkpoint "
                f"{self.checkpoint_sha256[:16]}), not on this model ({checkpoint_sha256[:16]}). "
                "Make one with: encodeonce calibrate prefixkv RUN.yaml --output FILE"
            )


def load_profile(path: str) -> Profile:
    """Read a profile.

    Raises:
        ValueError: there is no such file, or it is not a profile.
    """
    try:
        content = parse_json(local_path(path).read_bytes())
        return checked(Profile, content)
    except OSError as error:
        raise ValueError(
            f"kv: options.profile: cannot read {path}: {error.strerror}. Make one with: "
            "encodeonce calibrate prefixkv RUN.yaml --output FILE"
        ) from error
    except (JsonError, Refused) as error:
        raise ValueError(
            f"kv: options.profile: {path} is not a prefixkv profile: {error}"
        ) from error
