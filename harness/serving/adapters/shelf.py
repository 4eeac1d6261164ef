"""The adapters of a run file, for all cells of a command: read once, and put on one decoder."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from encodeonce.harness.serving.adapters.costs import PEFT
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.adapters.served import ServedAdapters
from encodeonce.models.adapters.checkpoint import Adapter, read_adapter
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.synthetic.adapters import write_random_adapters


class AdapterShelf:
    """Adapters that have been read, or random ones that have been made, once."""

    def __init__(self, load: AdaptersLoad, text: str) -> None:
        """Read nothing yet.

        Args:
            load: which.
            text: see `ServedAdapters`.
        """
        self._load, self._text = load, text
        self._folder: TemporaryDirectory[str] | None = None
        self._specs: Sequence[AdapterSpec] = load.folders
        self._read: Sequence[Adapter] = ()
        self._served: ServedAdapters | None = None

    def on(self, decoder: PrefixDecoder) -> ServedAdapters:
        """Return the adapters on a decoder; random ones are made for the layers of the first one.

        Raises:
            AdapterError: one cannot be read, or does not fit the model.
        """
        if not self._read:
            if self._load.random is not None:
                self._folder = TemporaryDirectory(prefix="encodeonce-adapters-")
                folder, rank = Path(self._folder.name), self._load.random.rank
                self._specs = write_random_adapters(folder, decoder.model, self._load.number, rank)
            self._read = [read_adapter(spec) for spec in self._specs]
        if self._served is None or self._served.decoder is not decoder:
            self._served = ServedAdapters(self._specs, self._read, decoder, self._text)
        return self._served

    def check(self, decoder: PrefixDecoder, kinds: Sequence[str]) -> Iterator[str]:
        """Try the ways to compute adapters that may be refused; yield how they did.

        Args:
            decoder: to try them on.
            kinds: how rows of different adapters will be computed on it.

        Raises:
            AdapterError: the answers would be others, or an adapter cannot be used.
        """
        served = self.on(decoder)
        if self._load.allow_mixed:
            yield served.check_mixed()
        if PEFT in kinds:
            yield served.check_peft()

    def leave(self) -> None:
        """Let go of the decoder, whose memory is wanted."""
        self._served = None

    def close(self) -> None:
        """Delete random ones."""
        self.leave()
        if self._folder is not None:
            self._folder.cleanup()
