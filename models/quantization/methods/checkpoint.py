"""The language side of a checkpoint that somebody has quantised already."""

from typing import ClassVar

from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.quantization.checks import refuse_other_model, stored_quantization
from encodeonce.models.quantization.method import Candidate, Options
from encodeonce.models.quantization.registry import WeightsError
from encodeonce.models.quantization.stored import check_stored, stored_hooks


class Checkpoint(Options):
    """``path`` names the checkpoint; its config.json says how it is quantised."""

    display_name: ClassVar[str] = "quantised checkpoint"

    def check(self, candidate: Candidate) -> None:
        """Refuse a checkpoint that is not quantised, or is not of this model."""
        if candidate.path is None:
            raise WeightsError(
                "weights 'checkpoint' needs the path of a quantised checkpoint: "
                "{method: checkpoint, path: org/name-AWQ}"
            )
        if stored_quantization(candidate) is None:
            raise WeightsError(
                f"weights 'checkpoint': {candidate.path!r} is not quantised (no "
                "quantization_config in its config.json). Make it model.path of a run of its own."
            )
        refuse_other_model(candidate)
        check_stored(candidate)

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are loaded."""
        return stored_hooks(candidate)


QUANTIZER = Checkpoint
