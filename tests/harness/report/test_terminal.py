"""Tables in a terminal: readable in wide and in narrow ones, and whole in pipes."""

import io

import pytest
from rich.cells import cell_len

from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.report.terminal import print_report

STAGES = Table(
    columns=("variants", "look up", "prefill", "compress", "generate"),
    rows=(
        ("original weights: shared by 13 caches", "1.6", "178.9", "-", "-"),
        ("  each of 12 compressed", "-", "-", "10.6", "25.9"),
    ),
)


def printed(table: Table, width: int | None) -> list[str]:
    """Return the lines of a section with a table; without a width, those that a pipe gets."""
    file = io.StringIO()
    print_report(PlainConsole(file=file, width=width), [Section(title="Time", table=table)])
    return file.getvalue().splitlines()


def some_results(name: str, num_rows: int = 3) -> Table:
    heads = ("accuracy, %", "Δ to full cache, points", "kept", "KV a question", "tokens/s")
    cells = ("94.4 (81.9 to 98.5)", "-58.3 (-75.2 to -33.1)", "100.0 %", "552.1 KiB", "109")
    rows = tuple((f"{name}-{n}", *cells) for n in range(num_rows))
    return Table(columns=("variant", *heads), rows=rows)


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


@pytest.mark.parametrize("width", [20, 40, 60, 80, 81, 100, 200, None])
@pytest.mark.parametrize(
    "name", ["none/prefixkv@0.5:media", "awq/expected_attention@0.05(first=4,vnorm=False):media"]
)
def test_no_name_and_no_number_is_cut_at_any_width(name: str, width: int | None) -> None:
    table = some_results(name)
    lines = printed(table, width)
    for row in table.rows:
        for cell in row[1:]:
            assert any(cell in line for line in lines) or width == 20
        assert any(row[0] in line.split() for line in lines)
    longest = max(len(f"  {row[0]}") for row in table.rows)
    assert width is None or max(map(len, lines)) <= max(width, longest)
    assert "…" not in "".join(lines)


def test_the_columns_of_a_wide_table_go_on_below_beside_their_rows_names() -> None:
    table = some_results("none/prefixkv@0.5:media")
    lines = printed(table, 60)[1:]
    blocks = "\n".join(lines).strip("\n").split("\n\n")
    assert len(blocks) == 3
    for block in blocks:
        rows = [line for line in block.splitlines() if "prefixkv" in line]
        assert [row.split()[0] for row in rows] == [row[0] for row in table.rows]
    heads = " ".join(" ".join(lines).split())
    assert all(" ".join(head.split()) in heads for head in ("kept", "KV a question", "tokens/s"))


def test_where_no_column_fits_beside_its_name_a_table_is_turned() -> None:
    lines = printed(some_results("none/prefixkv@0.5:media", 2), 30)[1:]
    assert lines[0] == "  none/prefixkv@0.5:media-0"
    assert "    tokens/s" in "\n".join(lines)
    assert lines.count("      94.4 (81.9 to 98.5)") == 2


def test_a_pipe_gets_every_row_on_a_line_of_its_own_without_blanks_behind_it() -> None:
    table = some_results("awq/expected_attention@0.05(first=4,vnorm=False):media")
    lines = printed(table, None)
    assert len(lines) == 1 + 1 + len(table.rows) + 1
    assert lines == [line.rstrip() for line in lines]
    assert max(map(len, lines)) > 100


def test_text_without_spaces_is_broken_beside_its_characters_but_not_in_a_name() -> None:
    table = Table(
        columns=("sample", "question"), rows=(("问题一二三", "视频中显示了什么" * 8),), num_words=2
    )
    lines = printed(table, 40)
    assert any("问题一二三" in line for line in lines)
    assert max(cell_len(line) for line in lines) <= 40
    assert (
        "".join(line.replace("问题一二三", "").strip() for line in lines[2:])
        == "视频中显示了什么" * 8
    )


def test_a_message_in_a_pipe_is_one_line_and_in_a_terminal_breaks_no_path() -> None:
    path = f"/data/{'folder/' * 20}clip.mp4"
    message = f"cannot read {path}: no such file or directory"
    for width, lines in ((None, 1), (40, 3)):
        file = io.StringIO()
        PlainConsole(file=file, width=width).print(message, style="red")
        written = file.getvalue()
        assert len(written.splitlines()) == lines
        assert path in written


def test_a_terminal_limits_lines_and_so_does_the_variable_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert PlainConsole(file=io.StringIO()).room is None
    monkeypatch.setenv("COLUMNS", "0")
    assert PlainConsole(file=io.StringIO()).room is None
    monkeypatch.setenv("COLUMNS", "72")
    assert PlainConsole(file=io.StringIO()).room == 72
