"""The viewer's page: files that are the same for every run, and the policy they are under."""

from functools import cache
from importlib.resources import files

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""Only the page's own files, and nothing inline: what a model wrote can only ever be text. Images
are frames, which come as data."""

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
def page_file(name: str) -> bytes:
    """Return the content of one of `TYPES`; in the page, the policy has its place."""
    content = (files("encodeonce.harness.viewer") / "static" / name).read_bytes()
    return content.replace(b"{{ policy }}", POLICY.encode("ascii"))
