"""Adapters on a model that serves by the clock: beside its weights, in them, or both."""

from collections.abc import Sequence
from typing import cast

from encodeonce.harness.serving.adapters.costs import FASTEST, PEFT
from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode, mixed
from encodeonce.harness.serving.adapters.parity import difference, logits_under, refuse, tokens_of
from encodeonce.harness.serving.adapters.peft_model import (
    adapted_by_peft,
    check_names,
    following,
    shared_copy,
)
from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import Adapter
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.merging import MergedWeights
from encodeonce.models.adapters.operators import Kind
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.rows import mixes_rows
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.adapting import BASE

_ROWS = 16
"""Adapters that are compared with peft's when serving begins."""
_OTHERS = 4
"""Rows under other adapters, beside the one in the weights and the base, that are compared."""


class ServedAdapters:
    """What of some adapters is where on a decoder: carries out the modes of `modes.py`.

    Copies of the weights, and peft's model, are made when they are first needed, and then kept.

    Attributes:
        decoder: the one that they are on.
    """

    def __init__(
        self,
        specs: Sequence[AdapterSpec],
        read: Sequence[Adapter],
        decoder: PrefixDecoder,
        text: str,
    ) -> None:
        """Put them beside the weights.

        Args:
            specs: where they are.
            read: what they are, numbered in order.
            decoder: theirs alone from now on.
            text: of a question, which other ways to compute them are tried on.

        Raises:
            AdapterError: one does not fit the model, or its rows depend on each other.
        """
        if mixes_rows(decoder.model):
            raise AdapterError(
                "adapters: under these weights a row's answer depends on the rows beside it, as "
                "bitsandbytes' int8 looks for outliers over the whole batch; requests under "
                "adapters are decoded as one batch, so use other weights, e.g. bnb-nf4"
            )
        decoder.hold_adapters(read)
        assert decoder.adapters is not None
        self.decoder = decoder
        self._bank: AdapterBank = decoder.adapters
        self._specs, self._read, self._mode = specs, read, UNMERGED
        self._weights: MergedWeights | None = None
        self._by_peft: PrefixDecoder | None = None
        self._token_ids = tokens_of(decoder.tokenizer, text)

    def begin(self, lora: str, *, merges: bool) -> PrefixDecoder:
        """Get ready for a policy; return the decoder that serves under it.

        Args:
            lora: how rows of different adapters are computed: a kind of operator,
                `costs.FASTEST`, or `costs.PEFT`.
            merges: whether they may be merged, for which the weights are copied.

        Raises:
            AdapterError: the weights cannot be merged into, or peft cannot compute the adapters.
        """
        if lora == PEFT:
            return self._with_peft()
        self._bank.kind = None if lora == FASTEST else cast(Kind, lora)
        if merges:
            self._mergeable()
        return self.decoder

    def enter(self, mode: Mode) -> None:
        """Have what a mode says in the weights, and beside them."""
        if mode == self._mode:
            return
        if self._weights is not None:
            self._weights.switch(mode.adapter)
        if mode.kind == "merged":
            self._bank.detach()
        else:
            self._bank.attach(mode.adapter)
        self._mode = mode

    def check_mixed(self) -> str:
        """Compare mixed rows with rows beside the weights, for each adapter in the weights.

        Returns:
            A sentence with the largest difference.

        Raises:
            AdapterError: it is too large.
        """
        self._mergeable()
        count, model, worst = len(self._bank.titles), self.decoder.model, 0.0
        for number in range(count):
            others = [(number + n) % count for n in range(1, min(_OTHERS + 1, count))]
            rows = [number, *others, BASE]
            self.enter(UNMERGED)
            expected = logits_under(model, self._token_ids, rows)
            self.enter(mixed(number))
            by = difference(logits_under(model, self._token_ids, rows), expected)
            self.enter(UNMERGED)
            refuse(
                f"adapters.allow_mixed: with {self._bank.titles[number]!r} in the weights, logits "
                "of mixed rows",
                by,
                "set allow_mixed: false, or model.dtype: float32",
            )
            worst = max(worst, by)
        return _agreed("mixed rows", worst)

    def check_peft(self) -> str:
        """Compare peft's mixed batches with ours, as `check_mixed` does."""
        twin = self._with_peft()
        rows = [*range(min(_ROWS, len(self._bank.titles))), BASE]
        expected = logits_under(self.decoder.model, self._token_ids, rows)
        by = difference(logits_under(twin.model, self._token_ids, rows), expected)
        refuse("policy peft_mixed: peft's logits", by, "leave peft_mixed out, and report it to us")
        return _agreed("peft's batches", by)

    def _mergeable(self) -> MergedWeights:
        if self._weights is None:
            model, projector = self.decoder.model, self.decoder.projector
            self._weights = MergedWeights(self._read, model, projector)
        return self._weights

    def _with_peft(self) -> PrefixDecoder:
        if self._by_peft is None:
            check_names(self.decoder.model, self._read)
            self._bank.detach()  # its hooks would be copied
            twin = adapted_by_peft(shared_copy(self.decoder.model), self._specs)
            self._bank.attach()
            self._by_peft = self.decoder.through(following(twin))
        return self._by_peft


def _agreed(what: str, by: float) -> str:
    how = f"within {by:.2g} of the largest of" if by else "bit for bit"
    return (
        f"When serving began, logits of {what} were {how} those with all adapters beside the "
        "weights."
    )
