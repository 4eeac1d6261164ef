"""Gives a LLaVA checkpoint's tower the names that checkpoints on the Hub have.

transformers 5 saves ``vision_tower.embeddings…``, and reads that as well as what the Hub has,
``vision_tower.vision_model.embeddings…``. vLLM 0.32 reads the Hub's only.

Run as `python -m encodeonce.models.checkpoint.hub_names FOLDER...`.
"""

import argparse
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from encodeonce.models.checkpoint.files import CheckpointError

WEIGHTS = "model.safetensors"
_SAVED, _ON_THE_HUB = "vision_tower.", "vision_tower.vision_model."


def rename_tower(folder: Path) -> bool:
    """Rename the tower's weights in a checkpoint of one file; no weight changes.

    Args:
        folder: a LLaVA checkpoint with a CLIP tower, as ``save_pretrained`` leaves it.

    Returns:
        Whether there was anything to rename.

    Raises:
        CheckpointError: there are no such weights.
    """
    file = folder / WEIGHTS
    if not file.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}; give the folder of a LLaVA checkpoint")
    with safe_open(file, framework="pt") as opened:
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata()
    towers = [name for name in weights if name.startswith(_SAVED)]
    if not towers:
        raise CheckpointError(f"{file} holds no weights named {_SAVED}*: it is no LLaVA checkpoint")
    if all(name.startswith(_ON_THE_HUB) for name in towers):
        return False
    named = {
        name.replace(_SAVED, _ON_THE_HUB, 1) if name in towers else name: weight
        for name, weight in weights.items()
    }
    beside = file.with_suffix(".renamed")
    save_file(named, beside, metadata)
    beside.chmod(file.stat().st_mode)
    beside.replace(file)
    return True


def main() -> None:
    """Read the command line and rename."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    for folder in parser.parse_args().folders:
        try:
            words = "renamed" if rename_tower(folder) else "nothing to rename"
            sys.stdout.write(f"{folder}: {words}\n")
        except CheckpointError as error:
            parser.error(str(error))


if __name__ == "__main__":
    main()
