"""The cap on keys and values: what is reserved for whom, and who still fits.

While a prompt is prefilled and compressed, all of its entries are there; afterwards, those that
stay. With `preempt` "none" the longest answer is reserved from the beginning, so that whoever is
admitted can end. Otherwise room is reserved one token ahead.

A prefix that is shared counts once. It stays when nobody needs it any more, until the room is
needed: the least recently used goes first.
"""

from collections.abc import Callable, Sequence

from encodeonce.harness.serving.config import Preemption
from encodeonce.harness.serving.request import Demand, Request


class Ledger:
    """Reservations of bytes under a cap.

    Attributes:
        peak: the most bytes that were reserved at a time, resident prefixes included.
    """

    def __init__(
        self,
        cap: int,
        preempt: Preemption,
        *,
        shares_prefixes: bool,
        on_evict: Callable[[str], None] = lambda media: None,
    ) -> None:
        """Begin with nothing reserved.

        Args:
            cap: bytes.
            preempt: whether room is reserved for whole answers.
            shares_prefixes: whether prefixes stay and are shared.
            on_evict: called with the media of a prefix that has to go.
        """
        self._on_evict = on_evict
        self._cap, self._preempt, self._shares = cap, preempt, shares_prefixes
        self._reserved: dict[Request, int] = {}
        self._users: dict[str, set[Request]] = {}
        """Of each resident prefix, in the order of last use."""
        self._prefix_bytes: dict[str, int] = {}
        self._sum = 0
        self.peak = 0

    @property
    def reserved(self) -> int:
        """Bytes that are reserved now, resident prefixes included."""
        return self._sum

    def least(self, demand: Demand) -> int:
        """Return the bytes that a request needs when it is alone."""
        prefix = demand.prefix_bytes if self._shares else 0
        own = max(demand.full_bytes - prefix, demand.end_bytes - self._within(demand))
        return prefix + own

    def is_resident(self, media: str) -> bool:
        """Return whether a prefix is in memory, and may be shared."""
        return media in self._users

    def fits(self, some: Sequence[Request], ahead: int = 0) -> bool:
        """Return whether some more requests have room.

        Args:
            some: to be prefilled together.
            ahead: bytes that will be needed beside them, for a step of those that run.
        """
        pinned = {media for media, users in self._users.items() if users}
        wanted = {one.demand.media for one in some} if self._shares else set()
        free = sum(
            size for media, size in self._prefix_bytes.items() if media not in pinned | wanted
        )
        new = {
            one.demand.media: one.demand.prefix_bytes
            for one in some
            if self._shares and not self.is_resident(one.demand.media)
        }
        need = sum(self._first(one) for one in some) + sum(new.values()) + ahead
        return self._sum - free + need <= self._cap

    def admit(self, request: Request) -> None:
        """Reserve what a request needs until it is compressed; it must fit."""
        demand = request.demand
        if self._shares:
            request.is_hit = self.is_resident(demand.media)
            users = self._users.pop(demand.media, set())
            users.add(request)
            self._users[demand.media] = users
            if not request.is_hit:
                self._make_room(demand.prefix_bytes)
                self._prefix_bytes[demand.media] = demand.prefix_bytes
                self._sum += demand.prefix_bytes
        self._reserve(request, self._first(request))

    def shrink(self, request: Request) -> None:
        """Reserve what a request needs once it is compressed."""
        self._unpin(request)
        self._reserve(request, self._later(request))

    def return_to(self, request: Request) -> None:
        """Reserve what a request needs that was swapped out; it must fit, see `fits_again`."""
        self._reserve(request, self._later(request))

    def fits_again(self, request: Request, ahead: int = 0) -> bool:
        """Return whether a request that was swapped out has room."""
        return self._sum - self._evictable() + self._later(request) + ahead <= self._cap

    def has_room(self, num_bytes: int) -> bool:
        """Return whether so many bytes more could be reserved, prefixes that nobody uses gone."""
        return self._sum - self._evictable() + num_bytes <= self._cap

    def grow(self, request: Request) -> None:
        """Reserve one more token, where answers are not reserved whole."""
        if self._preempt != "none":
            self._reserve(request, self._reserved[request] + request.demand.token_bytes)

    def release(self, request: Request) -> None:
        """Give back all that a request had; its prefix stays."""
        self._unpin(request)
        self._sum -= self._reserved.pop(request, 0)

    def _within(self, demand: Demand) -> int:
        """Return the bytes of a shared prefix that are part of an uncompressed cache."""
        return demand.prefix_bytes if self._shares and not demand.is_compressed else 0

    def _first(self, request: Request) -> int:
        demand = request.demand
        prefix = demand.prefix_bytes if self._shares else 0
        return max(demand.full_bytes - prefix, self._later(request))

    def _later(self, request: Request) -> int:
        demand = request.demand
        num_tokens = request.num_emitted + 1
        if self._preempt == "none":
            num_tokens = demand.max_tokens
        own = demand.kept_bytes - self._within(demand)
        return own + num_tokens * demand.token_bytes

    def _reserve(self, request: Request, num_bytes: int) -> None:
        self._make_room(num_bytes - self._reserved.get(request, 0))
        self._sum += num_bytes - self._reserved.get(request, 0)
        self._reserved[request] = num_bytes
        assert self._sum <= self._cap, f"{self._sum} bytes are reserved of {self._cap}"
        self.peak = max(self.peak, self._sum)

    def _make_room(self, num_bytes: int) -> None:
        """Let prefixes go that nobody uses, the least recently used first."""
        for media in [media for media, users in self._users.items() if not users]:
            if self._sum + num_bytes <= self._cap:
                return
            del self._users[media]
            self._sum -= self._prefix_bytes.pop(media)
            self._on_evict(media)

    def _evictable(self) -> int:
        return sum(self._prefix_bytes[media] for media, users in self._users.items() if not users)

    def _unpin(self, request: Request) -> None:
        self._users.get(request.demand.media, set()).discard(request)
