"""Where measurements are written."""

import re
from datetime import datetime

from encodeonce.harness.bench.machine import hardware


def file_name(model_name: str, when: datetime) -> str:
    """Return a name by date, model and hardware, e.g. ``2026-11-21-longva-7b-nvidia-h200.json``."""
    words = f"{when:%Y-%m-%d} {model_name} {hardware()['device']}"
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-") + ".json"
