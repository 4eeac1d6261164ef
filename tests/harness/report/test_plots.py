"""Figures: marks lie where their values say, and any text stays mere text."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.harness.report.charts.plots import (
    Axis,
    Bar,
    Part,
    Point,
    Series,
    heat_map,
    line_chart,
    stacked_bars,
    svg_file,
    waterfall,
)
from encodeonce.harness.report.charts.svg import Scale, linear_ticks, wrapped

SVG = "{http://www.w3.org/2000/svg}"
Y = Axis(title="accuracy, %", low=0.0, high=100.0)


def drawn(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg_file(picture))


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in drawn(picture).iter(f"{SVG}text")]


def notes(picture: str) -> list[str]:
    return [element.text or "" for element in drawn(picture).iter(f"{SVG}title")]


def test_a_curve_goes_through_its_points() -> None:
    points = (Point(x=1.0, y=0.0), Point(x=2.0, y=50.0), Point(x=3.0, y=100.0))
    picture = line_chart([Series(name="a", points=points)], x=Axis(title="x"), y=Y, title="t")
    (path,) = [
        p.get("d") for p in drawn(picture).iter(f"{SVG}path") if p.get("class") == "eo-line eo-l0"
    ]
    assert path is not None
    numbers = [float(n) for n in re.findall(r"[\d.]+", path)]
    xs, ys = numbers[::2], numbers[1::2]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[2], "more is further up"


def test_a_logarithmic_axis_puts_equal_ratios_equally_far_apart() -> None:
    scale = Scale(low=1.0, high=1000.0, start_px=0.0, end_px=300.0, kind="log")
    assert scale.px(10.0) == pytest.approx(100.0)
    assert scale.px(100.0) == pytest.approx(200.0)
    assert scale.ticks() == [1.0, 10.0, 100.0, 1000.0]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_within_the_range(low: float, width: float) -> None:
    ticks = linear_ticks(low, low + width)
    assert 2 <= len(ticks) <= 8
    slack = 1e-6 * (abs(low) + width)
    assert low - slack <= ticks[0] and ticks[-1] <= low + width + slack


def test_an_interval_is_a_whisker_from_end_to_end() -> None:
    point = Point(x=1.0, y=50.0, low=40.0, high=70.0)
    picture = line_chart([Series(name="a", points=(point,))], x=Axis(title="x"), y=Y, title="t")
    (whisker,) = [
        p.get("d") or ""
        for p in drawn(picture).iter(f"{SVG}path")
        if p.get("class") == "eo-line eo-l0"
    ]
    _, low, _, high = (float(n) for n in re.findall(r"[\d.]+", whisker))
    (mark,) = [p for p in drawn(picture).iter(f"{SVG}path") if p.get("class") == "eo-c0"][:1]
    middle = float(re.findall(r"[\d.]+", mark.get("d") or "")[1])
    assert (middle - high) / (low - middle) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("count", [1, 9, 40])
def test_many_series_all_have_a_line_in_the_legend(count: int) -> None:
    series = [Series(name=f"method {n}", points=(Point(x=n + 1.0, y=n),)) for n in range(count)]
    picture = line_chart(series, x=Axis(title="bytes", scale="log"), y=Y, title="t")
    assert {f"method {n}" for n in range(count)} <= set(texts(picture))


def test_no_points_make_an_empty_chart() -> None:
    assert "accuracy, %" in texts(line_chart([], x=Axis(title="x"), y=Y, title="t"))


def test_bars_of_nothing_begin_at_zero() -> None:
    picture = stacked_bars([Bar(name="a", parts=())], x=Axis(title="seconds"), title="t")
    assert "0" in texts(picture) and "-1" not in texts(picture)


@pytest.mark.parametrize(("value", "words"), [(0.0, "above 0"), (float("nan"), "finite")])
def test_what_cannot_be_drawn_is_refused(value: float, words: str) -> None:
    series = [Series(name="a", points=(Point(x=value, y=1.0),))]
    with pytest.raises(ValueError, match=words):
        line_chart(series, x=Axis(title="x", scale="log"), y=Y, title="t")


def test_a_heat_map_shades_by_value_and_leaves_gaps() -> None:
    picture = heat_map(
        ["full", "snapkv@0.5"],
        ["none", "int4"],
        [[0.9, 0.8], [0.7, None]],
        [["90 %", "80 %"], ["70 %", "-"]],
        title="accuracy",
    )
    cells = list(drawn(picture).iter(f"{SVG}rect"))
    assert [cell.get("fill-opacity") for cell in cells] == ["0.90", "0.49", "0.08", None]
    assert "snapkv@0.5, none: 70 %" in notes(picture)
    with pytest.raises(ValueError, match="2 x 1"):
        heat_map(["a", "b"], ["c"], [[1.0]], [["1"]], title="t")


BARS = (
    Bar(name="uncached", parts=(Part(name="decode", value=3.0), Part(name="prefill", value=1.0))),
    Bar(name="cached", parts=(Part(name="prefill", value=1.0),)),
)


def lengths(picture: str) -> list[ElementTree.Element]:
    """Return the bars; the legend's squares have no note."""
    return [r for r in drawn(picture).iter(f"{SVG}rect") if len(r)]


@pytest.mark.parametrize("draw", [stacked_bars, waterfall])
def test_a_long_time_is_not_written_as_a_power_of_ten(draw: Callable[..., str]) -> None:
    parts = (Part(name="decode", value=1999.6), Part(name="read", value=0.12345))
    picture = draw([Bar(name="uncached", parts=parts)], x=Axis(title="ms"), title="t")
    assert notes(picture)[:2] == ["uncached, decode: 2000", "uncached, read: 0.123"]


@pytest.mark.parametrize("draw", [stacked_bars, waterfall])
def test_bars_are_as_long_as_their_values(draw: Callable[..., str]) -> None:
    picture = draw(BARS, x=Axis(title="seconds"), title="t")
    decode, prefill, again = (
        (float(r.get("x") or 0), float(r.get("width") or 0)) for r in lengths(picture)
    )
    assert decode[1] == pytest.approx(3 * prefill[1], rel=0.01)
    assert prefill[0] == pytest.approx(decode[0] + decode[1], abs=0.2)
    assert again[1] == pytest.approx(prefill[1], abs=0.2)
    assert again[0] == pytest.approx(decode[0], abs=0.2)


def test_parts_of_one_name_have_one_colour_and_one_line_in_the_legend() -> None:
    picture = stacked_bars(BARS, x=Axis(title="seconds"), title="t")
    kinds = [r.get("class") for r in lengths(picture)]
    assert kinds == ["eo-c0 eo-gap", "eo-c1 eo-gap", "eo-c1 eo-gap"]
    assert texts(picture).count("prefill") == 1


@given(st.text(max_size=30))
def test_any_name_is_text_and_nothing_else(name: str) -> None:
    hostile = f'"><script>alert(1)</script>{name}\x00\ud800'
    series = [Series(name=hostile, points=(Point(x=1.0, y=1.0, note=hostile),))]
    bars = [Bar(name=hostile, parts=(Part(name=hostile, value=1.0),))]
    for picture in (
        line_chart(series, x=Axis(title=hostile), y=Y, title=hostile),
        heat_map([hostile], [hostile], [[1.0]], [[hostile]], title=hostile),
        stacked_bars(bars, x=Axis(title=hostile), title=hostile),
        waterfall(bars, x=Axis(title=hostile), title=hostile),
    ):
        tags = {element.tag.removeprefix(SVG) for element in drawn(picture).iter()}
        assert tags <= {"svg", "style", "path", "rect", "text", "title", "g"}
        svg_file(picture).encode("utf-8")


def test_a_name_without_room_takes_two_lines_parted_at_a_comma() -> None:
    name = "StreamingLLM 50 %, before the question"
    columns = ["bitsandbytes NF4", "b", "c", "d"]
    figure = heat_map([name, "full cache"], columns, [[1.0] * 4] * 2, [["1"] * 4] * 2, title="t")
    assert {"StreamingLLM 50 %,", "before the question", "full cache"} <= set(texts(figure))
    assert f"{name}, bitsandbytes NF4: 1" in notes(figure)
    heights = {float(r.get("height") or 0) for r in drawn(figure).iter(f"{SVG}rect")}
    assert heights == {38.0}
    bars = [Bar(name=f"bitsandbytes NF4 · {name}", parts=(Part(name="prefill", value=1.0),))]
    words = texts(stacked_bars(bars, x=Axis(title="seconds"), title="t"))
    assert words[:2] == ["bitsandbytes NF4 · StreamingLLM 50 %,", "before the question"]


def test_what_two_lines_cannot_hold_is_cut() -> None:
    assert wrapped("short", 100) == ["short"]
    assert wrapped("x" * 30, 78) == ["x" * 9 + "…"]
    assert wrapped("ab cd ef gh ij kl", 50) == ["ab cd", "ef gh…"]


def test_heat_maps_with_the_same_ends_have_the_same_shades() -> None:
    for values in ([[0.5, 1.0]], [[0.5, 0.75]]):
        picture = heat_map(["r"], ["a", "b"], values, [["x", "y"]], title="t", ends=(0.0, 1.0))
        assert 'fill-opacity="0.49"' in picture


def test_a_number_wider_than_its_cell_is_left_to_the_note() -> None:
    columns = [str(number) for number in range(20)]
    picture = heat_map(["r"], columns, [[1.0] * 20], [["12.34"] * 20], title="t")
    assert not [text for text in texts(picture) if text.startswith("1") and "…" in text]
    assert "12.34" not in texts(picture)
    assert notes(picture)[0] == "r, 0: 12.34"
