"""Errors that may pass: the system's, about a file server or a network, not about what was asked.

Work that met one is worth another attempt after a while; any other error is the item's own fault.
"""

import errno

from encodeonce.cache_store.store import StoreNotWritable

_PASSING = frozenset(
    (
        errno.EIO,  # also what NFS mounted `soft` gives when its server is away
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOLINK,
        errno.EREMOTEIO,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
        errno.EMFILE,
        errno.ENFILE,
    )
)
_FFMPEG = "av."
"""FFmpeg says EIO and the like of damaged files, by exceptions of PyAV's that are OSErrors."""


def is_own_fault(error: Exception) -> bool:
    """Return whether an error is about what was asked, and so its outcome.

    Of the others, one that may pass is met again or not at another attempt, and a store that
    refuses to be written fails everything.
    """
    return not (may_pass(error) or isinstance(error, StoreNotWritable))


def may_pass(error: BaseException) -> bool:
    """Return whether an error, or one that it was raised from, may be gone at another attempt."""
    seen: BaseException | None = error
    while seen is not None:
        is_ours = not type(seen).__module__.startswith(_FFMPEG)
        if isinstance(seen, OSError) and is_ours and seen.errno in _PASSING:
            return True
        seen = seen.__cause__
    return False
