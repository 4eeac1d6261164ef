"""Frame sampling: the field's conventions, and properties of every policy."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from encodeonce.datasets.media.info import MediaInfo, VideoIndex
from encodeonce.datasets.media.media import EmptyMedia
from encodeonce.datasets.media.sampling import (
    EveryInterval,
    FrameSampling,
    UniformInclusive,
    UniformInterior,
    clip_range,
    every_interval,
    uniform_inclusive,
    uniform_interior,
)

POLICIES = (
    UniformInclusive(num_frames=8),
    UniformInterior(num_frames=8),
    EveryInterval(fps=1.5, max_frames=6),
    EveryInterval(fps=2.0),
)

# Presentation times of a video of variable rate.
TIMES = st.lists(st.floats(0.001, 3.0), max_size=200).map(
    lambda steps: tuple(float(time) for time in np.cumsum([0.0, *steps]))
)


def a_video(timestamps_s: Sequence[float]) -> MediaInfo:
    return MediaInfo(
        kind="video",
        width=8,
        height=8,
        codec="h264",
        timestamps_s=tuple(timestamps_s),
        fps=25.0,
        backend="pyav",
        decoder="pyav",
        index=None,
    )


@given(st.integers(1, 5000), st.integers(1, 600))
def test_uniform_inclusive_is_numpy_linspace_from_first_to_last(N: int, n: int) -> None:
    indices = uniform_inclusive(N, n)
    if n < N:
        assert list(indices) == np.linspace(0, N - 1, n, dtype=int).tolist()
        assert indices[0] == 0
        assert n == 1 or indices[-1] == N - 1
    else:
        assert indices == tuple(range(N))


@given(st.integers(1, 5000), st.integers(1, 600))
def test_uniform_interior_leaves_the_ends_out(N: int, n: int) -> None:
    indices = uniform_interior(N, n)
    assert len(indices) == min(N, n)
    if n < N:
        assert list(indices) == [int(i * (N / (n + 1))) for i in range(1, n + 1)]
        assert indices[0] == N // (n + 1)


@given(TIMES, st.sampled_from(POLICIES), st.floats(0, 50), st.floats(0.01, 50))
def test_every_policy_gives_increasing_frames_within_the_clip(
    times: tuple[float, ...],
    policy: UniformInclusive | UniformInterior | EveryInterval,
    start_s: float,
    length_s: float,
) -> None:
    info, clip_s = a_video(times), (start_s, start_s + length_s)
    try:
        indices = policy.indices(info, clip_s)
    except EmptyMedia:
        assert not any(clip_s[0] <= time < clip_s[1] for time in times)
        return
    assert indices
    assert all(a < b for a, b in zip(indices, indices[1:], strict=False))
    assert all(clip_s[0] - 1e-6 <= times[i] < clip_s[1] for i in indices)


@given(TIMES, st.floats(0.1, 60.0))
def test_at_every_tick_the_frame_on_screen_is_chosen(times: tuple[float, ...], fps: float) -> None:
    indices = every_interval(times, fps, None)
    assert indices[0] == 0
    num_ticks = int((times[-1] + 5e-7) * fps) + 1
    shown = {max(i for i, time in enumerate(times) if time <= n / fps + 5e-7)
             for n in range(num_ticks)}  # fmt: skip
    assert set(indices) == shown


@pytest.mark.parametrize(("rate", "fps"), [(24, 1), (24, 2), (25, 1), (30, 2), (60, 4), (30, 30)])
def test_at_a_constant_rate_the_clock_agrees_with_the_stride(rate: int, fps: int) -> None:
    times = [number / rate for number in range(3000)]
    assert every_interval(times, fps, None) == tuple(range(0, 3000, rate // fps))


def test_too_many_frames_a_second_fall_back_on_uniform() -> None:
    times = [number / 10 for number in range(100)]
    assert every_interval(times, 5.0, max_frames=7) == uniform_inclusive(100, 7)
    assert len(every_interval(times, 0.5, max_frames=7)) == 5


def test_a_rate_above_the_video_gives_each_frame_once() -> None:
    assert every_interval([0.0, 0.5, 1.0], 100.0, None) == (0, 1, 2)


def test_a_clip_includes_its_start_and_not_its_end() -> None:
    info = a_video([0.0, 1 / 3, 2 / 3, 3 * (1 / 3), 4 / 3])
    assert clip_range(info, (1 / 3, 1.0)) == range(1, 3)
    assert clip_range(info, (1.0, float("inf"))) == range(3, 5)
    assert clip_range(info, None) == range(5)


def test_a_clip_beyond_the_end_is_empty() -> None:
    with pytest.raises(EmptyMedia, match=r"clip \[5.0, 6.0\) s: the video's 2 frames"):
        UniformInclusive(num_frames=4).indices(a_video([0.0, 0.5]), (5.0, 6.0))


@pytest.mark.parametrize("policy", POLICIES)
def test_an_image_is_its_one_frame(
    policy: UniformInclusive | UniformInterior | EveryInterval,
) -> None:
    assert policy.indices(a_video([0.0]), None) == (0,)


def test_a_policy_is_written_as_plain_yaml_values() -> None:
    adapter: TypeAdapter[FrameSampling] = TypeAdapter(FrameSampling)
    written = {"policy": "fps", "fps": 1, "max_frames": 64}
    assert adapter.validate_python(written) == EveryInterval(fps=1.0, max_frames=64)
    for policy in POLICIES:
        assert adapter.validate_python(policy.model_dump()) == policy


@pytest.mark.parametrize(
    "written",
    [
        {"policy": "uniform", "num_frames": 8},
        {"policy": "uniform_inclusive", "num_frames": 0},
        {"policy": "uniform_inclusive", "num_frames": 8, "fps": 1},
        {"policy": "fps", "fps": 0},
        {"policy": "fps", "fps": float("nan")},
        {"num_frames": 8},
    ],
)
def test_what_makes_no_policy_is_refused(written: dict[str, object]) -> None:
    adapter: TypeAdapter[FrameSampling] = TypeAdapter(FrameSampling)
    with pytest.raises(ValidationError):
        adapter.validate_python(written)


@given(st.lists(st.integers(-1000, 100_000), min_size=1, unique=True).map(sorted))
def test_an_index_survives_its_compact_form(pts: list[int]) -> None:
    index = VideoIndex(
        codec="h264",
        width=4,
        height=2,
        pts=tuple(pts),
        time_base=(1, 1000),
        keyframes=tuple(pts[::7]),
        orientation="",
        decord_refusal=None,
    )
    assert VideoIndex.from_json(index.to_json()) == index


def test_an_even_video_is_stored_in_a_few_numbers() -> None:
    index = VideoIndex(
        codec="h264",
        width=4,
        height=2,
        pts=tuple(range(0, 512 * 100_000, 512)),
        time_base=(1, 15360),
        keyframes=(),
        orientation="",
        decord_refusal=None,
    )
    assert len(index.to_json()["pts"]) == 2


def every_tick(timestamps_s: Sequence[float], fps: float) -> tuple[int, ...]:
    """Look at each tick, as the definition says."""
    num_ticks = int((timestamps_s[-1] + 5e-7) * fps) + 1
    ticks = np.arange(num_ticks) / fps + 5e-7
    return tuple(np.unique(np.searchsorted(timestamps_s, ticks, side="right") - 1).tolist())


@given(times=TIMES, fps=st.floats(0.01, 500.0))
def test_frames_on_screen_are_those_of_every_tick(times: Sequence[float], fps: float) -> None:
    assert every_interval(times, fps, None) == every_tick(times, fps)


@pytest.mark.parametrize("rate", [1, 8, 24, 25, 30, 50])
@pytest.mark.parametrize("fps", [0.5, 1.0, 2.0, 3.0, 7.0, 29.97, 100.0])
def test_frames_on_screen_at_constant_rates_are_those_of_every_tick(rate: int, fps: float) -> None:
    times = [frame / rate for frame in range(500)]
    assert every_interval(times, fps, None) == every_tick(times, fps)


@pytest.mark.parametrize("fps", [1e7, 1e12, 1e308, float("inf")])
def test_any_rate_above_the_videos_takes_every_frame_at_once(fps: float) -> None:
    times = [frame / 25 for frame in range(100_000)]
    assert every_interval(times, fps, None) == tuple(range(100_000))
