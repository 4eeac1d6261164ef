"""Media as pictures, for ways that are given pixels."""

from PIL import Image

from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.workers.session import Session


def pictures(session: Session, group: MediaGroup) -> list[Image.Image]:
    """Decode a group's media: a picture each, and of a video the frames that a run takes."""
    found = []
    for ref in group.media:
        request = session.look_up(group.root, ref, group.benchmark)
        found += [Image.fromarray(one) for one in session.decoded(request).frames.pixels_THWC]
    return found
