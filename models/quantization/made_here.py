"""Recognise checkpoints that `encodeonce quantize` has written, and check how they were made."""

from collections.abc import Mapping
from typing import Any

from encodeonce.models.checkpoint.files import read_settings
from encodeonce.models.family import find_family
from encodeonce.models.quantization.checks import layer_widths, stored_quantization
from encodeonce.models.quantization.int4_linear import check_int4
from encodeonce.models.quantization.method import Candidate
from encodeonce.models.quantization.packed import Kernel
from encodeonce.models.quantization.registry import WeightsError

ORIGIN_FILE = "encodeonce_quantization.json"
"""Stands beside the quantised weights."""


def stored_as(candidate: Candidate, method: str, kinds: tuple[str, ...]) -> Mapping[str, Any]:
    """Return what a checkpoint says about its quantisation, which must be of one of ``kinds``."""
    stored = stored_quantization(candidate)
    kind = None if stored is None else stored.get("quant_method")
    if stored is None or kind not in kinds:
        raise WeightsError(
            f"weights {method!r} reads checkpoints of the kind {' or '.join(kinds)}; "
            f"{candidate.path!r} is {'not quantised' if kind is None else kind}. Other quantised "
            "checkpoints: method: checkpoint."
        )
    return stored


def check_made_by(candidate: Candidate, method: str) -> None:
    """Refuse a checkpoint that `encodeonce quantize` did not make by this method."""
    named = candidate.model.model_copy(update={"path": str(candidate.source)})
    family, folder = find_family(named)
    path = family.language_folder(folder) / ORIGIN_FILE
    if not path.is_file():
        raise WeightsError(
            f"weights {method!r}: {candidate.path!r} was not made by `encodeonce quantize` (no "
            f"{ORIGIN_FILE}). Write method: checkpoint for it."
        )
    made_by = read_settings(path).get("method")
    if made_by != method:
        raise WeightsError(
            f"weights {method!r}: {candidate.path!r} was made by {made_by}. Write method: "
            f"{made_by}, so that the report calls it what it is."
        )


def check_kernel(candidate: Candidate, kernel: Kernel, stored: Mapping[str, Any]) -> None:
    """Refuse a kernel that cannot compute with a stored checkpoint's weights here."""
    if kernel is not Kernel.INT4:
        return
    groups = stored.get("config_groups")
    weights = next(iter(groups.values()))["weights"] if groups else stored
    num_bits = weights.get("num_bits", weights.get("bits", 4))
    if num_bits != 4:
        raise WeightsError(f"kernel 'int4' is for 4 bits; {candidate.path!r} has {num_bits}")
    check_int4(candidate, weights["group_size"], layer_widths(candidate))
