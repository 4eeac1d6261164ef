"""The contract of every model family with the KV methods that merge. `tests.contracts.kv` has it.

Merged entries are no tokens', so the reference is a pass of the new tokens alone, each layer of
which finds the fork's entries in front of the tokens' own. It shares no code with the ragged cache.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.kv.forks import Fork
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.context import head_shape, whole_layers
from encodeonce.models.spec import GenerationSpec
from tests.asking import swept
from tests.compressors import write_random
from tests.contracts.forks import Forks
from tests.contracts.logits import NotedLogits, Tokens, assert_close
from tests.contracts.own_attention import attending_by

LONG = GenerationSpec(max_new_tokens=6, max_forks=1000)
FORMS: Sequence[dict[str, Any]] = (
    {},
    {"text": "compress", "segments": "visual_then_text", "skip": "none", "positions": "compressed"},
)


@contextmanager
def behind(model: Any, fork: Fork) -> Iterator[None]:
    """Let tokens see a fork's entries, and each other's up to their own."""

    def attend(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        layer = fork.layers[module.layer_idx]
        kept_keys, kept_values = layer.entries.keys, layer.entries.values
        assert isinstance(kept_keys, torch.Tensor) and isinstance(kept_values, torch.Tensor)
        num_groups, num_new = query.shape[1] // key.shape[1], query.shape[2]
        keys = torch.cat([kept_keys[None], key], dim=2).repeat_interleave(num_groups, 1)
        values = torch.cat([kept_values[None], value], dim=2).repeat_interleave(num_groups, 1)
        total = keys.shape[2]
        own = torch.arange(total - num_new, total)[:, None]
        hidden = torch.arange(total) > own
        if layer.window is not None:
            hidden |= torch.arange(total) <= own - layer.window
        scores = query @ keys.transpose(2, 3) * scaling
        taken = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ values
        return taken.transpose(1, 2).contiguous(), None

    with attending_by(model, "tests_behind", attend):
        yield


def expected_logits(
    decoder: Any, prefix: Any, fork: Fork, suffix: Sequence[int], answer: Sequence[int]
) -> torch.Tensor:
    """Return logits (T, V) before the answer's tokens that come of the compressed cache."""
    by_media = fork.num_tokens == prefix.num_tokens
    tokens = [*suffix, *answer[:-1]] if by_media else answer[:-1]
    first = fork.num_tokens + prefix.opening.position_offset
    if fork.positions == "compressed":
        whole = next(layer for layer in fork.layers if layer.window is None)
        first = whole.entries.lengths[0]
    positions = torch.arange(first, first + len(tokens))[None]
    assert int(positions.min()) >= 0
    with behind(decoder._model, fork), torch.inference_mode():
        output = decoder._model(
            input_ids=torch.tensor([tokens]), position_ids=positions, use_cache=False
        )
    logits: torch.Tensor = output.logits[0]
    return logits[len(suffix) - 1 :] if by_media else logits


class MergingContract:
    """Tests of a family under methods that merge; needs the fixtures of `FamilyContract`."""

    questions: Sequence[str]

    def visuals(self, model: Any) -> list[Any]:
        """Return a media item of a few dozen tokens."""
        raise NotImplementedError

    def merging(
        self, decoder: Any, visuals: Sequence[Any], folder: Path
    ) -> Iterator[tuple[str, float, dict[str, Any]]]:
        """Yield methods that merge, with budgets and options.

        Args:
            decoder: of the model.
            visuals: the media item.
            folder: for files.
        """
        yield "look_m", 0.4, {}
        prefix = decoder.prefill(visuals)
        layers = tuple(n for n, layer in enumerate(prefix.layers) if not layer.is_sliding)
        assert whole_layers(decoder.model.config) == layers, "not what the configuration says"
        _, width = head_shape(decoder.model.config)
        for number, form in enumerate(FORMS):
            path = write_random(folder / str(number), layers, width, **form)
            yield "ccm", 0.25, {"path": str(path)}

    @pytest.mark.parametrize("scope", ["question", "media"])
    def test_decoding_over_merged_entries_sees_exactly_them(
        self,
        models: dict[str, Any],
        scope: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        model = models[list(models)[-1]]
        decoder, visuals, question = model.decoder, self.visuals(model), self.questions[0]
        settings = [
            KVSpec(method=name, keep=keep, scope=scope, options=options)
            for name, keep, options in self.merging(decoder, visuals, tmp_path)
        ]
        forks, logits = Forks(monkeypatch), NotedLogits(monkeypatch)
        table = swept(decoder, visuals, [question], LONG, [FULL, *settings])
        prefix = decoder.prefill(visuals)
        for fork, (answer,) in zip(forks.made, table[1:], strict=True):
            got = logits.of(answer)
            expected = expected_logits(
                decoder, prefix, fork, prefix.suffix(question), got.token_ids
            )
            first = len(got.token_ids) - len(expected)
            assert_close(
                Tokens(got.token_ids[first:], got.logits_TV[first:]),
                Tokens(expected.argmax(-1).tolist(), expected),
            )
