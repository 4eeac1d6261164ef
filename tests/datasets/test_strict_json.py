"""Bad JSON is one sentence, whatever is bad about it."""

from pathlib import Path

import pytest

from encodeonce.datasets.strict_json import MAX_DEPTH, JsonError, parse_json, read_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("  \n", "it is empty"),
        ('{"a": ', "it is not JSON: Expecting value at column 7, got the end"),
        ('{\n"a": 1,,\n"b": 2}', "line 2, column 8, got ',"),
        ("[" * 100_000, "nested more than 100 deep"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 100 deep"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "nested more than 100 deep"),
        ('{"id": ' + "1" * 10_000 + "}", "thousands of digits; write it in quotes"),
        ('{"answer": NaN}', "NaN is not JSON; write null"),
        ("[-Infinity]", "-Infinity is not JSON"),
        (b'{"a": "\xff"}', "it is not UTF-8: byte 8 is 0xff"),
    ],
)
def test_what_is_wrong_is_said(text: str | bytes, message: str) -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_what_is_nested_as_deep_as_allowed_is_read() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(text) == parse_json("[" + text[1:])
    assert parse_json("[" + "[], " * 1000 + "[]]") == [[]] * 1001


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == parse_json('\ufeff{"a": 1}') == {"a": 1}


def test_a_key_given_twice_is_refused_where_it_matters() -> None:
    text = '{"a": {"b": 1, "b": 2}}'
    assert parse_json(text) == {"a": {"b": 2}}
    with pytest.raises(JsonError, match="the key 'b' is there twice"):
        parse_json(text, unique_keys=True)


def test_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JsonError, match=r"absent\.json cannot be read: No such file"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(JsonError, match=r"a\.json: it is not JSON"):
        read_json(tmp_path / "a.json")
