"""The model as it is; if its checkpoint is quantised already, as that is."""

from encodeonce.models.checkpoint.loading_hooks import Treatment
from encodeonce.models.quantization.checks import refuse_path
from encodeonce.models.quantization.method import Candidate, Options
from encodeonce.models.quantization.stored import check_stored, stored_treatment


class Unchanged(Options):
    """Nothing is done to the weights."""

    def check(self, candidate: Candidate) -> None:
        """Refuse a path, and a quantised model whose library is missing."""
        refuse_path(candidate, "none")
        check_stored(candidate)

    def treatment(self, candidate: Candidate) -> Treatment:
        """Return how the weights are loaded."""
        return stored_treatment(candidate)


QUANTIZER = Unchanged
