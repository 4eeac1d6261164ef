"""The viewer's page: files that are the same for every run, and the policy they are under.

Its scripts are a few hundred lines without a library. A table library would be ten times that, and
makes markup of cells; the one thing wanted of it, a window on very many rows, is a short file
(table.js). They are plain scripts, not modules: a page on a disk may not load modules.
"""

from functools import cache
from importlib.resources import files

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""Only the page's own files, and nothing inline: what a model wrote can only ever be text. Images
are frames, which come as data."""

POLICY_ON_DISK = POLICY.replace("'self'", "'self' file:")
"""The same for an export. To Firefox, no file on a disk is of the same origin as another; a page
from a server cannot load ``file:``, whatever its policy says."""

TYPES = {
    "index.html": "text/html; charset=utf-8",
    "viewer.css": "text/css; charset=utf-8",
    **{
        f"{name}.js": "text/javascript; charset=utf-8"
        for name in ("data", "rows", "table", "detail", "viewer")
    },
}
"""The page's files, with their media types."""


@cache
def page_file(name: str, policy: str = POLICY) -> bytes:
    """Return the content of one of `TYPES`; in the page, the policy has its place."""
    content = (files("encodeonce.harness.viewer") / "static" / name).read_bytes()
    return content.replace(b"{{ policy }}", policy.encode("ascii"))
