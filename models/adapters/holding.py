"""The adapters of a decoder: beside its weights, or in them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import Adapter, read_adapter
from encodeonce.models.adapters.merging import MergedWeights
from encodeonce.models.adapters.operators import Kind
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.answer import LoadedWeights
from encodeonce.models.language.activation import Activation
from encodeonce.models.language.adapting import BASE


class HoldsAdapters(ABC):
    """What a decoder is as far as adapters are concerned.

    Attributes:
        adapters: beside the weights; None where there are none.
        merged: which of some adapters is in the weights, where they take turns there.
    """

    loaded: LoadedWeights
    adapters: AdapterBank | None = None
    merged: MergedWeights | None = None

    @property
    @abstractmethod
    def model(self) -> Any:
        """The transformers model, without its tower."""

    @property
    @abstractmethod
    def projector(self) -> nn.Module | None:
        """What features go through; None where they are stored behind it."""

    def load_adapters(
        self,
        specs: Sequence[AdapterSpec],
        *,
        kind: Kind | None = None,
        are_merged: bool = False,
    ) -> None:
        """Put LoRA adapters beside the model; `adapters` numbers them in this order.

        Each answer is under the adapter that its prefix was prefilled under. Those of the base keep
        their bits.

        Args:
            specs: adapters with different titles, in place of any that were there before.
            kind: see `AdapterBank`.
            are_merged: whether they take turns in the weights instead; `merged` says and decides
                which is there.

        Raises:
            AdapterError: one is no adapter of this model, or is not handled; or weights that are to
                be merged are quantised or shared.
        """
        self.hold_adapters(list(map(read_adapter, specs)), kind=kind, are_merged=are_merged)

    def hold_adapters(
        self, read: Sequence[Adapter], *, kind: Kind | None = None, are_merged: bool = False
    ) -> None:
        """Do as `load_adapters` with adapters that have been read."""
        if are_merged:
            self.drop_adapters()
            self.merged = MergedWeights(read, self.model, self.projector)
            nbytes = self.merged.nbytes
        else:
            bank = AdapterBank(read, self.model, self.projector, kind=kind)
            self.drop_adapters()
            self.adapters = bank
            nbytes = bank.nbytes
        parts = {**self.loaded.bytes_by_part, "adapters": nbytes}
        self.loaded = replace(self.loaded, bytes_by_part=parts)

    def drop_adapters(self) -> None:
        """Leave the base alone."""
        if self.adapters is not None:
            self.adapters.detach()
        self.adapters = None
        parts = {k: n for k, n in self.loaded.bytes_by_part.items() if k != "adapters"}
        self.loaded = replace(self.loaded, bytes_by_part=parts)

    @property
    def has_activated(self) -> bool:
        """Whether an adapter begins behind its prefix (aLoRA), which then is the base's."""
        return self.adapters is not None and any(self.adapters.activations)

    def activation(self, number: int) -> Activation | None:
        """Return where an adapter begins in a prompt; None: everywhere, as the base does.

        Raises:
            ValueError: there is no adapter of this number.
        """
        count = 0 if self.adapters is None else len(self.adapters.titles)
        if not BASE <= number < count:
            raise ValueError(
                f"adapter {number} of {count}; they are numbered from 0, {BASE} is the base"
            )
        if self.adapters is None or number == BASE:
            return None
        return self.adapters.activations[number]

    def close(self) -> None:
        """Take the adapters off the model; all else goes with the decoder."""
        if self.adapters is not None:
            self.adapters.detach()
