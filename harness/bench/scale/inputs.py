"""What `measure` measures on: a store of tiny features, a file of questions, a run's records."""

import hashlib
import json
from pathlib import Path

import numpy as np
import yaml

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.signature import FeatureKey, Signature
from encodeonce.cache_store.store import Entry
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.read_config import load_config

UNITS_A_MEDIA = 32
QUESTIONS_A_MEDIA = 5
MEDIA_A_PUT = 64
"""As many media share a pack."""

SIGNATURE = Signature(
    tower="scale",
    weights_sha256="0" * 64,
    tap={},
    preprocess={},
    decoder="none",
    dtype="float32",
)


def media_of(number: int) -> str:
    """Return the digest of a media item that does not exist."""
    return hashlib.sha256(f"media {number}".encode()).hexdigest()


def keys_of(count: int) -> list[FeatureKey]:
    """Return the first keys of `write_store`."""
    digest = SIGNATURE.digest
    return [
        FeatureKey(media_of(number // UNITS_A_MEDIA), digest, f"frame:{number % UNITS_A_MEDIA}")
        for number in range(count)
    ]


def write_store(folder: Path, size: int) -> None:
    """Write a store of ``size`` units, two numbers each, 32 a media item."""
    store = Hdf5Store(folder, codec="raw")
    num_media = -(-size // UNITS_A_MEDIA)
    for first in range(0, num_media, MEDIA_A_PUT):
        many = range(first, min(first + MEDIA_A_PUT, num_media))
        store.put([entry_of(n, min(UNITS_A_MEDIA, size - n * UNITS_A_MEDIA)) for n in many])
    store.close()


def entry_of(media: int, num_units: int) -> Entry:
    """Return tiny features of a media item that does not exist."""
    return Entry(
        signature=SIGNATURE,
        media=media_of(media),
        units=tuple(f"frame:{unit}" for unit in range(num_units)),
        features=Features({"main": np.full((num_units, 1, 2), media, np.float32)}),
        provenance={"benchmark": "scale", "file": f"{media}.mp4", "host": "scale"},
    )


def write_questions(folder: Path, size: int) -> None:
    """Write ``size`` questions, five a video, and a run file that asks them."""
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for number in range(size):
            line = {
                "id": f"sample-{number}",
                "video": f"{number // QUESTIONS_A_MEDIA:06d}.mp4",
                "question": f"What happens after the event number {number} in the video?",
                "choices": ["a dog runs", "a cat sleeps", "a car stops", "nothing happens"],
                "answer": "ABCD"[number % 4],
            }
            file.write(json.dumps(line) + "\n")
    (folder / "media").mkdir()
    options = {"file": str(folder / "questions.jsonl"), "media_root": str(folder / "media")}
    run_file = {
        "model": {"path": "demo"},
        "benchmarks": [{"name": "questions", "options": options}],
        "output": str(folder / "out"),
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(run_file), encoding="utf-8")


def write_records(folder: Path, size: int) -> None:
    """Write a run's folder with ``size`` answers and the journal of their media."""
    write_questions(folder, size)
    config = load_config(folder / "run.yaml").model_copy(update={"output": folder})
    RunFolder.create(config, checkpoint_sha256="0" * 64, samples_sha256="0" * 64, variants={})
    with (folder / "precompute.jsonl").open("w", encoding="utf-8") as file:
        for media in range(-(-size // QUESTIONS_A_MEDIA)):
            file.write(json.dumps(_outcome(media)) + "\n")
    with (folder / "records.jsonl").open("w", encoding="utf-8") as file:
        for number in range(size):
            file.write(json.dumps(_record(number)) + "\n")


def _outcome(media: int) -> dict[str, object]:
    use = {"num_units": 32, "num_encoded": 32, "num_frames_decoded": 32, "bytes_written": 9_437_184}
    return {
        "item": f"media/{media:06d}.mp4",
        "status": "ok",
        "value": {
            "media": media_of(media),
            "signature": SIGNATURE.digest,
            "cache": use,
            "seconds": {"decode": 0.5, "preprocess": 0.1, "encode": 1.2, "write": 0.05},
        },
        "error": None,
        "attempts": 1,
        "seconds": 2.0,
        "worker": "node-1:4711",
        "finished_at": _time(media * QUESTIONS_A_MEDIA),
    }


def _record(number: int) -> dict[str, object]:
    media, letter = number // QUESTIONS_A_MEDIA, "ABCD"[number % 4]
    is_first = number % QUESTIONS_A_MEDIA == 0
    use = {"num_units": 32, "num_hits": 32, "bytes_read": 9_437_184} if is_first else {}
    seconds = {"read": 0.02, "prefill": 1.1, "question": 0.1, "generate": 0.3}
    return {
        "run": "0" * 64,
        "benchmark": "questions",
        "sample": f"sample-{number}",
        "group": media_of(media)[:16],
        "variant": "none/full",
        "question": f"What happens after the event number {number} in the video?",
        "target": letter,
        "choices": ["a dog runs", "a cat sleeps", "a car stops", "nothing happens"],
        "tags": {"task": f"task {number % 7}", "duration": ("short", "long")[number % 2]},
        "media_sha256": [media_of(media)],
        "text": letter,
        "token_ids": [319, 2],
        "extracted": letter,
        "score": float(number % 3 > 0),
        "error": None,
        "logits_sha256": media_of(number),
        "first_logits": {str(token): 10.0 - token / 7 for token in range(8)},
        "num_visual_units": 32,
        "num_prompt_tokens": 4700,
        "num_prefix_tokens": 4650,
        "num_generated_tokens": 2,
        "seconds": seconds if is_first else {"question": 0.1, "generate": 0.3},
        "cache": use,
        "peak_bytes": 16_000_000_000,
        "worker": "node-1:4711",
        "finished_at": _time(number),
    }


def _time(number: int) -> str:
    hours, seconds = divmod(number // 20, 3600)
    days, hours = divmod(hours, 24)
    minutes, seconds = divmod(seconds, 60)
    return f"2026-01-{1 + days:02d}T{hours:02d}:{minutes:02d}:{seconds:02d}.000000+00:00"
