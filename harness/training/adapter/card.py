"""The model card of an adapter: what it is, for which model, and how good it was."""

from collections.abc import Mapping
from typing import Any

from encodeonce.harness.training.adapter.config import TrainAdapterConfig


def model_card(config: TrainAdapterConfig, facts: Mapping[str, Any]) -> str:
    """Return README.md of an adapter's folder."""
    lora = config.lora
    rows = "\n".join(
        f"| {title} | {100 * facts['base'][title]['accuracy']:.1f} % | "
        f"{100 * one['accuracy']:.1f} % | {one['loss']:.4f} |"
        for title, one in facts["held_out"].items()
    )
    modules = lora.target_modules
    targets = modules if isinstance(modules, str) else ", ".join(modules)
    return f"""---
library_name: peft
base_model: {config.model.path}
---

# A LoRA adapter for {config.model.path}

Rank {lora.r}, alpha {lora.alpha:g}{", rank-stabilised" if lora.rslora else ""}, on {targets}. It \
adapts the language model alone, so features of the vision tower that were stored for the base are \
its own. peft loads it; encodeonce answers under it:

```yaml
adapters: [none, PATH]
```

PATH is this folder. The base's files have the digest `{facts["checkpoint_sha256"]}`; it was \
trained beside their weight variant `{facts["weights"]}`.

## How it was trained

{chr(10).join(f"- {line}" for line in _recipe(config, facts))}

## Held-out questions

| questions | base | with the adapter | loss, nats a token |
|---|---:|---:|---:|
{rows}
"""


def _recipe(config: TrainAdapterConfig, facts: Mapping[str, Any]) -> list[str]:
    """Return how it was trained."""
    optim, media = config.optim, facts["num_media"]
    learnt = ", ".join(f"{name} ({count})" for name, count in facts["num_questions"].items())
    labels = "the benchmarks' targets" if config.data.labels is None else config.data.labels.name
    versions = ", ".join(f"{name} {one}" for name, one in facts["versions"].items())
    return [
        f"questions: {learnt}; answers: {labels}",
        f"media: {media['training']} for training, {media['held_out']} that only validation saw",
        f"{facts['steps_taken']} steps of Adam, learning rate {optim.lr:g}, schedule "
        f"{optim.schedule}, {optim.prefixes_per_step} × {config.data.questions_per_prefix} "
        f"questions a step, seed {optim.seed}",
        f"kept: step {facts['step']}, the best by validation",
        f"versions: {versions}",
    ]
