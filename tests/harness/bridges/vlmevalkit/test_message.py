"""VLMEvalKit's messages in the form that our models take."""

from pathlib import Path

from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.bridges.vlmevalkit.message import PLANNED, read_message
from encodeonce.harness.run.plan import PlannedMedia


def test_media_come_first_and_texts_are_joined(tmp_path: Path) -> None:
    message = [
        {"type": "text", "value": "Look closely.", "role": "system"},
        {"type": "text", "value": ""},
        {"type": "image", "value": str(tmp_path / "1.png")},
        {"type": "text", "value": "Which is larger?"},
        {"type": "image", "value": str(tmp_path / "2.png")},
    ]
    media, question = read_message(message, "sizes")
    assert [one.ref for one in media] == [
        MediaRef(kind="image", path="1.png"),
        MediaRef(kind="image", path="2.png"),
    ]
    assert all((one.root, one.benchmark) == (tmp_path, "sizes") for one in media)
    assert question == "Look closely.\nWhich is larger?"


def test_a_link_into_a_download_cache_is_followed(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "5f"
    blob.parent.mkdir()
    blob.write_bytes(b"video")
    link = tmp_path / "snapshot.mp4"
    link.symlink_to(blob)
    [one], _ = read_message([{"type": "video", "value": str(link)}], "d")
    assert (one.root, one.ref) == (blob.parent, MediaRef(kind="video", path="5f"))


def test_our_own_benchmarks_say_which_media_they_mean(tmp_path: Path) -> None:
    ref = MediaRef(kind="video", path="clips/a.mp4", clip_s=(1.0, 2.5))
    planned = PlannedMedia(root=tmp_path, ref=ref, benchmark="ours")
    part = {"type": "video", "value": str(tmp_path / "clips" / "a.mp4"), PLANNED: planned}
    assert read_message([part, {"type": "text", "value": "What?"}], "ours") == ((planned,), "What?")


def test_a_message_may_be_of_text_alone() -> None:
    assert read_message([{"type": "text", "value": "What?"}], "d") == ((), "What?")
