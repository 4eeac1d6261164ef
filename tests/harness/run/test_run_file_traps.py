"""Run files that would silently mean something else, or end in a traceback."""

from pathlib import Path

import pytest

from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.read_config import load_config

MINIMAL = "model: {path: demo}\nbenchmarks: [{name: demo}]\noutput: out\n"


def load(tmp_path: Path, text: str) -> RunConfig:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'run.yaml'}")
    for words in ("Value error", "Input should", "Extra inputs", "Field required"):
        assert words not in message
    return message.replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("check_uncached: true", "line 4: check_uncached: must be a number; got true"),
        ("limit: true", "line 4: limit: must be a number; got true"),
        ("workers: {num_workers: yes}", "line 4: workers.num_workers: must be a number; got true"),
        ("vision:\n  micro_batch: true", "line 5: vision.micro_batch: must be a number; got true"),
        ("kv: {method: snapkv, keep: true}", "line 4: kv.keep: must be a number; got true"),
        ("kv: [full, {method: snapkv, keep: [1, true]}]", "kv.1.keep.1: must be a number"),
        ("kv: {method: snapkv, options: {window: true}}", "window: must be a number; got true"),
        ("frames: {policy: fps, fps: true, max_frames: 8}", "frames.fps: must be a number"),
    ],
)
def test_true_is_no_number(tmp_path: Path, more: str, message: str) -> None:
    assert f"/run.yaml, {message}" in refusal(tmp_path, MINIMAL + more) or message in refusal(
        tmp_path, MINIMAL + more
    )


def test_true_is_true_where_it_may_stand(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "fidelity: true\n").fidelity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "limit: 1\nlimit: 3\n", "line 5: the key 'limit' is there twice (first in line"),
        (MINIMAL + "workers:\n  num_workers: 1\n  num_workers: 1\n", "line 6: the key 'num_wor"),
        (MINIMAL + "kv: " + "[" * 100_000, "brackets are nested too deeply"),
        (MINIMAL + "kv: " + "[" * 100_000 + "]" * 100_000, "brackets are nested too deeply"),
        (MINIMAL + "kv: " + "{a: " * 9_999 + "1" + "}" * 9_999, "brackets are nested too deeply"),
        (MINIMAL + "limit: " + "1" * 10_000, "line 4: Exceeds the limit"),
        (MINIMAL + "limit: 2024-13-01", "line 4: month must be in 1..12"),
        (MINIMAL + "limit: [1, 2", "line 4: "),
        (MINIMAL + "limit: *there", "line 4: found undefined alias 'there'"),
        (MINIMAL + "limit: !!python/object:os.system x", "line 4: could not determine a constr"),
        (MINIMAL + "limit: \x07", "it is not YAML: unacceptable character"),
        (MINIMAL.replace("out\n", "''"), "line 3: output: the path is empty"),
        (MINIMAL.replace("out\n", ""), "line 3: output: must be a path; got null"),
        (MINIMAL.replace("output: out\n", ""), "line 1: output: is missing"),
        (MINIMAL + "cache: {path: ''}", "line 4: cache.path: the path is empty"),
        (MINIMAL + "limt: 3", "line 4: limt: unknown key. Allowed: "),
        (MINIMAL + "limt: 3", "Did you mean 'limit'?"),
        (MINIMAL + "cache:\n  on_miss: eror", "line 5: cache.on_miss: must be 'error' or 'encode'"),
        (MINIMAL + "cache:\n  on_miss: eror", "got 'eror'. Did you mean 'error'?"),
        (MINIMAL + "check_uncached: some", "check_uncached: must be a whole number or 'all'; got"),
        (MINIMAL + "check_uncached: -1", "check_uncached: must be at least 0"),
        (
            MINIMAL + "frames: {policy: fpss}",
            "frames.policy: must be one of fps, uniform_inclusive, uniform_interior; got 'fpss'",
        ),
        (
            "model: {path: demo}\noutput: out\nbenchmarks:\n- {name: demo}\n- {name: deno}\n",
            "line 5: no benchmark is called 'deno'; known: demo, ",
        ),
        (
            "model: {path: demo}\noutput: out\nbenchmarks: [{name: demo, options: {splt: test}}]\n",
            "line 3: benchmark 'demo': splt: unknown key. Allowed: split, folder. Did you mean "
            "'split'?",
        ),
        (MINIMAL + "kv: {method: snapkw}", "line 4: kv: there is no method 'snapkw'."),
        (MINIMAL + "kv: {method: snapkw}", "Did you mean 'snapkv'?"),
        (MINIMAL + "kv: {method: snapkv, options: {windw: 1}}", "Did you mean 'window'?"),
        (MINIMAL + "workers: 3", "workers: must be a mapping of keys (executor, num_workers, "),
        (MINIMAL.replace("{name: demo}", ""), "benchmarks: must have at least 1 entries; got []"),
        (MINIMAL.replace("out\n", "$NO_SUCH/x"), "the environment variable 'NO_SUCH' in"),
        (MINIMAL.replace("out\n", "~nobody-7/x"), "names a user that is not known here"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, text)


def test_paths_may_name_the_home_folder_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NAME", "runs")
    for written in ("~/runs/a", "$HOME/runs/a", "${HOME}/${NAME}/a"):
        text = MINIMAL.replace("out\n", f"{written}\ncache: {{path: {written!r}}}\n")
        config = load(tmp_path, text)
        assert config.output == config.cache.path == tmp_path / "runs" / "a"


def test_a_folder_of_an_earlier_run_keeps_its_literal_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "$HOME").mkdir()
    text = MINIMAL.replace("out\n", "$HOME\n")
    assert load(tmp_path, text).output == tmp_path / "$HOME"


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + MINIMAL) == load(tmp_path, MINIMAL)


def test_what_overrides_a_merged_key_is_not_there_twice(tmp_path: Path) -> None:
    text = MINIMAL + "workers: &w {num_workers: 3}\nvision: {}\n"
    merged = text.replace("vision: {}", "generation: {<<: {max_new_tokens: 3}, max_new_tokens: 7}")
    assert load(tmp_path, merged).generation.max_new_tokens == 7
