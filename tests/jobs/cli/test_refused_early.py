"""What a command line or run file asks for in vain is refused when it is read, not during work."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.harness.run.check_device import check_device
from encodeonce.harness.run.config import ConfigError
from encodeonce.harness.run.read_config import load_config
from encodeonce.jobs.cli.app import app
from encodeonce.jobs.cli.run import _check_device
from encodeonce.models.checkpoint.files import CheckpointError, device
from encodeonce.models.spec import ModelSpec

RUN = """\
model:
  path: no/such/model
  device: {device}
benchmarks: [{{name: demo}}]
workers: {{executor: {executor}}}
cache: {{path: {folder}/cache}}
output: {folder}/out
"""


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def run_file(folder: Path, device: str = "cuda", executor: str = "local") -> Path:
    path = folder / "run.yaml"
    path.write_text(RUN.format(folder=folder, device=device, executor=executor))
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def refusal(*words: object) -> str:
    done = call(*words)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert done.stderr.startswith("encodeonce: ")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize(
    "words",
    [
        ("run", "{}"),
        ("precompute", "{}"),
        ("eval", "{}"),
        ("calibrate", "prefixkv", "{}", "--output", "profile.json"),
        ("quantize", "no/such/model", "made", "--run", "{}"),
    ],
    ids=lambda words: words[0],
)
def test_a_gpu_that_is_not_there_is_refused_by_file_and_line(
    tmp_path: Path, words: tuple[str, ...], executor: str
) -> None:
    path = run_file(tmp_path, executor=executor)
    message = refusal(*(word.format(path) for word in words))
    assert f"{path}, line 3: model.device: cuda asks for a GPU, and torch sees none" in message
    assert "use auto or cpu" in message
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_cluster_and_a_dry_run_need_no_gpu_here(tmp_path: Path) -> None:
    path = run_file(tmp_path, executor="ray")
    _check_device(path, load_config(path), "auto")
    # It goes on to the model, which is not there either.
    assert "no/such/model" in refusal("precompute", path, "--dry-run")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:", "meta", "", "CUDA"])
def test_what_is_no_device_is_refused_by_file_and_line(tmp_path: Path, name: str) -> None:
    path = run_file(tmp_path, device=f"'{name}'")
    with pytest.raises(ConfigError, match=f"line 3: model.device: must be auto, .*got '{name}'"):
        load_config(path)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert device(ModelSpec(path="demo", device="cuda:1")).index == 1
    with pytest.raises(CheckpointError, match="cuda:2 asks for a GPU, and torch sees 2 of them"):
        device(ModelSpec(path="demo", device="cuda:2"))
    path = run_file(tmp_path, device="cuda:2")
    with pytest.raises(ConfigError, match="line 3: model.device: cuda:2 asks"):
        check_device(path, load_config(path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--method awq needs calibration: give --text FILE or --run RUN.yaml; --method rtn"),
        (("--text", "absent.txt", "--device", "cuda"), "--device: cuda asks for a GPU"),
        (("--method", "rtn", "--dtype", "fp8"), "--dtype: must be 'float32', 'bfloat16' or "),
        (("--method", "rtn", "--device", "tpu"), "--device: must be auto, cpu, cuda or"),
    ],
)
def test_quantize_refuses_before_it_looks_for_the_model(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert message in refusal("quantize", "no/such/model", tmp_path / "made", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("kv", "--keep", "2"), "--keep: must be at most 1; got 2.0"),
        (("kv", "--method", "snapkw"), "no method 'snapkw'. Allowed: full, adakv"),
        (("kv", "--device", "cuda"), "--device: cuda asks for a GPU"),
        (("prefix", "--device", "cuda:x"), "--device: must be auto, cpu, cuda or"),
        (("quant", "rtm"), "weights 'rtm': no weights method is called 'rtm'"),
        (("quant", "{method: rtn"), "weights '{method: rtn': line 1: "),
        (("quant", "[rtn]"), "weights '[rtn]': must be a mapping of keys (method, path,"),
        (("quant", "{method: rtn, options: {bits: 3}}"), "bits: unknown key. Allowed: num_bits"),
        (("quant", "{metod: rtn}"), "metod: unknown key. Allowed: method, path, label, options"),
    ],
)
def test_bench_refuses_its_options_in_our_words(words: tuple[str, ...], message: str) -> None:
    found = refusal("bench", *words)
    assert message in found
    assert "\\x00" not in found
