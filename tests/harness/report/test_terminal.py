"""Tables in a terminal: readable in wide and in narrow ones."""

from rich.console import Console

from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.report.terminal import print_report

STAGES = Table(
    columns=("variants", "look up", "prefill", "compress", "generate"),
    rows=(
        ("original weights: shared by 13 caches", "1.6", "178.9", "-", "-"),
        ("  each of 12 compressed", "-", "-", "10.6", "25.9"),
    ),
)


def printed(table: Table, width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        print_report(console, [Section(title="Time", table=table)])
    return [line.rstrip() for line in capture.get().splitlines()]


def test_where_there_is_room_a_row_is_a_line() -> None:
    lines = printed(STAGES, 120)
    head = "  variants                                look up   prefill   compress   generate"
    assert lines[1] == head
    assert [line.split()[-1] for line in lines[2:4]] == ["-", "25.9"]


def test_where_room_is_short_heads_and_words_are_broken_and_no_number_is_cut() -> None:
    lines = printed(STAGES, 54)
    assert max(map(len, lines)) <= 54
    assert "look" in lines[1] and "up prefill compress generate" in lines[2]
    text = "\n".join(lines)
    assert all(number in text for number in ("1.6", "178.9", "10.6", "25.9"))
    assert "…" not in text


def test_only_the_columns_that_a_terminal_has_room_for_are_printed() -> None:
    columns, rows = ("name", "id", "p"), (("a b", "a", "1"),)
    table = Table(columns=columns, rows=rows, num_words=2, narrow=(1, 2))
    assert printed(table, 80)[1:3] == ["  id   p", "  a    1"]


def test_a_table_without_heads_is_words() -> None:
    table = Table(columns=("", ""), rows=(("model", "a " * 40),))
    assert printed(table, 40)[1].startswith("  model")
