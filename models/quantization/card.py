"""The model card of a quantised checkpoint."""

import json
from collections.abc import Mapping
from typing import Any

_METHODS = {
    "awq": "AWQ ([arXiv:2306.00978](https://arxiv.org/abs/2306.00978)): channels scaled by their "
    "activations{clipped}, then rounded to nearest",
    "rtn": "rounding to nearest; no calibration",
}


def card(origin: Mapping[str, Any]) -> str:
    """Return the text of README.md.

    Args:
        origin: how the checkpoint was made.
    """
    grid = origin["grid"]
    zeros = "the middle of the grid" if grid["symmetric"] else "a zero of its own"
    clipped = ", large weights clipped where that lowers the error" if origin["clips"] else ""
    calibration = origin["calibration"]
    calibrated = "none" if calibration is None else f"`{json.dumps(calibration)}`"
    software = ", ".join(f"{name} {version}" for name, version in origin["software"].items())
    rows = {
        "base model": f"{origin['base']} (SHA-256 of its files {origin['base_sha256'][:16]}…)",
        "method": _METHODS[origin["method"]].format(clipped=clipped),
        "weights": f"{grid['num_bits']} bits; {grid['group_size']} inputs share a scale and "
        f"{zeros}",
        "quantised": "linear layers of the language model's decoder layers",
        "left as they are": "vision tower, projector, embeddings, head",
        "scales in": origin["dtype"],
        "calibration": calibrated,
        "made by": f"`encodeonce quantize` ({software})",
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    return (
        "---\nlibrary_name: transformers\ntags: [compressed-tensors, pack-quantized]\n---\n\n"
        f"# {origin['base']}, {grid['num_bits']} bits by {origin['method'].upper()}\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "transformers loads it with `compressed-tensors` installed. The licence is the base "
        "model's.\n\n"
        "Scores on the data it was calibrated on say little: evaluate it on other data.\n"
    )
