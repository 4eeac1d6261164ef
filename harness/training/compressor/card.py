"""The model card of a compressor: what it is, for which model, and how good it was."""

from encodeonce.harness.training.folder import State
from encodeonce.models.kv.trained.header import CompressorHeader


def model_card(header: CompressorHeader, state: State) -> str:
    """Return README.md of a compressor's folder."""
    facts, figures = header.training, state.best()["held_out"]
    media = facts["num_media"]
    names = ", ".join(spec["label"] or spec["name"] for spec in facts["benchmarks"])
    rows = "\n".join(
        f"| {name} | {_percent(one['accuracy'])} | {_number(one['kl'])} | "
        f"{_percent(one['agreement'])} | {_percent(one['kept'])} |"
        for name, one in figures.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    output = "the mean of a group plus the net's output" if header.skip == "mean" else "the net's"
    merged = f"{{method: ccm, compression_factor: {header.factor}, scope: {header.scope}, "
    trained = [
        f"{facts['steps_taken']} steps of Adam, learning rate {facts['optim']['lr']:g}, "
        f"schedule {facts['optim']['schedule']}, seed {facts['optim']['seed']}",
        f"loss {facts['loss']['name']}; answers: {facts['data']['answer']}",
        f"media: {media['training']} for training, {media['held_out']} that only validation saw",
        f"kept: step {facts['step']}, the best by validation",
        f"versions: {versions}",
    ]
    return f"""# A KV compressor for {header.model}

It merges {header.factor} neighbouring entries of the KV cache into one, in {len(header.layers)} \
layers, after FastCache (arXiv:2503.08461).

```yaml
kv:
  - {merged}options: {{path: PATH}}}}
```

PATH is this folder. The compressor fits one model only, {header.model}, whose files have the \
digest `{header.checkpoint_sha256}`; it was trained on its weight variant `{header.weights}`.

| merging | |
|---|---|
| nets | {header.nets}; text tokens: {header.text} |
| groups | of {header.factor} tokens, within segments: {header.segments} |
| output | {output} |
| next token's position | {header.positions} |

## How it was trained

Distilled from the full cache, on {names}.

{chr(10).join(f"- {line}" for line in trained)}

## Held-out questions

| cache | accuracy | KL to full, nats | token agreement | bytes kept |
|---|---:|---:|---:|---:|
{rows}

`random` keeps as many entries, chosen at random. Bytes count the question's own entries, which \
are never merged under scope `media`.
"""


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
