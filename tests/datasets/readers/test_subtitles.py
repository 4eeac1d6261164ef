"""Subtitle files as people write them, and which of their lines belong to which frames."""

from pathlib import Path

import pytest

from encodeonce.datasets.readers.subtitles import Subtitle, on_screen, read_srt, read_timed_json
from encodeonce.datasets.sample import BenchmarkError


def srt(folder: Path, content: str) -> Path:
    path = folder / "a.srt"
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "1\n00:00:01,500 --> 00:01:02,000\nhello\n\n2\n01:00:00,000 --> 01:00:01,000\nyou\n",
        "\ufeff1\r\n00:00:01,500 --> 00:01:02,000\r\nhello\r\n\r\n2\r\n"
        "01:00:00,000 --> 01:00:01,000\r\nyou\r\n\r\n",
        "00:00:01.500 --> 00:01:02.000 X1:40\n<i>hello</i>\n \n\n"
        "3\n00:02:00,0 --> 00:02:01,0\n<b></b>\n\n1:00:00,000 --> 1:00:01,000\nyou",
    ],
    ids=["plain", "windows", "loose"],
)
def test_forms_of_srt(content: str, tmp_path: Path) -> None:
    assert read_srt(srt(tmp_path, content)) == (
        Subtitle(start_s=1.5, end_s=62.0, text="hello"),
        Subtitle(start_s=3600.0, end_s=3601.0, text="you"),
    )


def test_a_text_may_hold_empty_lines_and_numbers(tmp_path: Path) -> None:
    content = (
        "1\n00:00:01,0 --> 00:00:02,0\none\n\nstill one\n\n2\n00:00:02,0 --> 00:00:03,0\n7\n\n"
        "3\n00:00:03,0 --> 00:00:04,0\n1984\n"
    )
    assert [line.text for line in read_srt(srt(tmp_path, content))] == [
        "one still one",
        "7",
        "1984",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b and c > d", "a < b and c > d"),
        ("I <3 you > me", "I <3 you > me"),
        ("if a <b and c> d", "if a <b and c> d"),
        ("<vector<int>> and std::cout << x", "<vector<int>> and std::cout << x"),
        ("<laughs> Hello", "<laughs> Hello"),
        ("<i>so</i> <B>loud</B><br/>", "so loud"),
        ("one<br>two<BR />three", "one two three"),
        ("5:3 → 2:1 and 00:05 -> 00:06", "5:3 → 2:1 and 00:05 -> 00:06"),
        ('<font color="#fff" size=12>white</font>', "white"),
        ("<font face='a b'>x</font> < y", "x < y"),
        ("{\\an8}hello {\\i1}there{\\i0}", "hello there"),
        ("{\\pos(10,20)\\c&HFF&}red", "red"),
        ("the set {1, 2} and {x}", "the set {1, 2} and {x}"),
        ("x &lt;b&gt; y &amp; z&nbsp;&#233;", "x <b> y & z é"),
        ("AT&T, R&D; &notit &copy 2020", "AT&T, R&D; &notit &copy 2020"),
        ("&lt;i&gt; stays", "<i> stays"),
        ("a --> b", "a --> b"),
        ("1 --> 2, ratio --> 3:4", "1 --> 2, ratio --> 3:4"),
        ("x² = 4", "x² = 4"),
        ("100", "100"),
        ("first\n\n100", "first 100"),
        ("100\n\nlast", "100 last"),
        ("1\n2\n7", "1 2 7"),
        ("²", "²"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_no_text_is_lost(text: str, expected: str, tmp_path: Path) -> None:
    times = "00:00:01,000 --> 00:00:02,000"
    after = "00:00:03,000 --> 00:00:04,000"
    for content in (
        f"1\n{times}\n{text}\n\n2\n{after}\nworld\n",
        f"1\n{times}\n{text}\n2\n{after}\nworld",  # without an empty line
        f"1\n\n{times}\n\n{text}\n\n\n2\n\n{after}\n\nworld\n\n",  # too many of them
        f"41\n{times}\n{text}\n\n0042\n{after}\nworld\n",
        f"{times}\n{text}\n\n{after}\nworld",  # without numbers
    ):
        assert [one.text for one in read_srt(srt(tmp_path, content))] == [expected, "world"]
    at_the_end = f"1\n{after}\nworld\n\n2\n{times}\n{text}\n"
    assert [one.text for one in read_srt(srt(tmp_path, at_the_end))] == ["world", expected]


@pytest.mark.parametrize(
    ("rest", "text"),
    [(" X1:40 X2:600 Y1:20 Y2:50", "a"), (" align:start position:0%", "a"), (" well", "well a")],
)
def test_what_follows_the_times(rest: str, text: str, tmp_path: Path) -> None:
    path = srt(tmp_path, f"1\n00:00:01,0 --> 00:00:02,0{rest}\na\n")
    assert [one.text for one in read_srt(path)] == [text]


def test_a_subtitle_without_text_lends_its_number_to_nobody(tmp_path: Path) -> None:
    path = srt(tmp_path, "1\n00:00:01,0 --> 00:00:02,0\n2\n00:00:02,0 --> 00:00:03,0\nb\n")
    assert [one.text for one in read_srt(path)] == ["b"]


@pytest.mark.parametrize(
    "line",
    [
        "00:01 --> 00:02",
        "00:00:05,000 -->",
        "--> 00:00:06,000",
        "-00:00:01,0 --> 00:00:02,0",
        "00:00:05,000 -> 00:00:06,000",
        "00:00:05,000 → 00:00:06,000",
        "00:00:05;000 --> 00:00:06;000",
        "2 00:00:05,000 --> 00:00:06,000",
    ],
)
def test_broken_times_are_named_by_their_line(line: str, tmp_path: Path) -> None:
    content = f"1\n00:00:01,0 --> 00:00:02,0\na\n\n2\n{line}\nb\n"
    with pytest.raises(BenchmarkError, match=rf"a\.srt, line 6: .*got '{line}'"):
        read_srt(srt(tmp_path, content))


def test_an_empty_file_has_no_subtitles(tmp_path: Path) -> None:
    assert read_srt(srt(tmp_path, "\n")) == ()


@pytest.mark.parametrize("content", ["1\nno times\n", "1\n00:01 --> 00:02\nx\n", "<html></html>"])
def test_a_block_without_times_is_refused(content: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"a\.srt, line \d: expected .*'00:01:02,345 -->"):
        read_srt(srt(tmp_path, content))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchmarkError, match="cannot be read"):
        read_srt(tmp_path / "a.srt")


def test_times_of_a_longer_video_become_those_of_the_part(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '[{"start": "00:01:40.500", "end": "00:01:41.000", "line": " a "},'
        ' {"timestamp": [104, null], "text": "b"}]'
    )
    assert read_timed_json(tmp_path / "a.json", offset_s=100.0, duration_s=9.0) == (
        Subtitle(start_s=0.5, end_s=1.0, text="a"),
        Subtitle(start_s=4.0, end_s=9.0, text="b"),
    )


def test_a_subtitle_is_taken_once_from_its_start_until_before_its_end() -> None:
    lines = [
        Subtitle(start_s=0.0, end_s=1.0, text="a"),
        Subtitle(start_s=1.0, end_s=2.0, text="b"),
        Subtitle(start_s=1.5, end_s=9.0, text="c"),
    ]
    assert on_screen(lines, [1.0, 1.1]) == ["b"]
    assert on_screen(lines, [8.9, 0.0, 8.0]) == ["a", "c"]
    assert on_screen(lines, [9.0]) == []


def test_times_that_are_none_are_refused(tmp_path: Path) -> None:
    for start in ("-00:00:01", "1", "00:00:01:5", ""):
        text = f'[{{"start": "{start}", "end": "00:00:02", "line": "a"}}]'
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(BenchmarkError, match="is not a time like '00:01:02.345'"):
            read_timed_json(tmp_path / "a.json", offset_s=0.0, duration_s=9.0)
