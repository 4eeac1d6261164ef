"""Adapters on a model that serves by the clock: beside its weights, or one of them in these."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from encodeonce.harness.serving.adapters.costs import FASTEST
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode
from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.adapters.merging import MergedWeights
from encodeonce.models.adapters.operators import Kind
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.synthetic.adapters import write_random_adapters


class ServedAdapters:
    """What of some adapters is where: carries out the modes of `modes.py`, mixed excepted."""

    def __init__(
        self, load: AdaptersLoad, decoder: PrefixDecoder, lora: str, *, merges: bool
    ) -> None:
        """Put them beside the weights.

        Args:
            load: which; they are numbered in this order.
            decoder: theirs alone until `close`.
            lora: how rows of different adapters are computed: a kind of operator, or
                `costs.FASTEST`.
            merges: whether they may be merged, for which the weights are copied.

        Raises:
            AdapterError: one does not fit the model, or its weights cannot be merged into.
        """
        self._decoder, self._mode = decoder, UNMERGED
        self._weights: MergedWeights | None = None
        with _folders(load, decoder) as specs:
            decoder.load_adapters(specs, kind=None if lora == FASTEST else cast(Kind, lora))
            if merges:
                read = [read_adapter(spec) for spec in specs]
                self._weights = MergedWeights(read, decoder.model, decoder.projector)

    def enter(self, mode: Mode) -> None:
        """Have what a mode says in the weights, and beside them."""
        if mode == self._mode:
            return
        if self._weights is not None:
            self._weights.switch(mode.adapter)
        bank = self._decoder.adapters
        assert bank is not None, "closed, or lost to somebody else"
        if mode == UNMERGED:
            bank.attach()
        else:
            bank.detach()
        self._mode = mode

    def close(self) -> None:
        """Leave the base alone."""
        self.enter(UNMERGED)
        self._decoder.drop_adapters()


@contextmanager
def _folders(load: AdaptersLoad, decoder: PrefixDecoder) -> Iterator[Sequence[AdapterSpec]]:
    """Yield where adapters are; random ones are gone afterwards."""
    if load.random is None:
        yield load.folders
        return
    with TemporaryDirectory() as folder:
        yield write_random_adapters(Path(folder), decoder.model, load.number, load.random.rank)
