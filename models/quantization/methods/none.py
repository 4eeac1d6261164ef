"""The model as it is; if its checkpoint is quantised already, as that is."""

from typing import ClassVar

from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.quantization.checks import refuse_path
from encodeonce.models.quantization.method import Candidate, Options
from encodeonce.models.quantization.stored import check_stored, stored_hooks


class Unchanged(Options):
    """Nothing is done to the weights."""

    display_name: ClassVar[str] = "original weights"

    def check(self, candidate: Candidate) -> None:
        """Refuse a path, and a quantised model whose library is missing."""
        refuse_path(candidate, "none")
        check_stored(candidate)

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are loaded."""
        return stored_hooks(candidate)


QUANTIZER = Unchanged
