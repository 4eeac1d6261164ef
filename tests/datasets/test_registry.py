"""Benchmarks by name."""

import pytest

from encodeonce.datasets.registry import benchmark_names, load_benchmark
from encodeonce.datasets.sample import BenchmarkError


def test_the_folder_listing_is_the_registry() -> None:
    assert {"demo", "questions"} <= set(benchmark_names())


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(BenchmarkError, match=r"known: demo, .*Did you mean 'demo'\?"):
        load_benchmark("dmo", {})


@pytest.mark.parametrize("name", ["../probe", "demo.py", "", "benchmarks.demo"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(BenchmarkError, match="no benchmark is called"):
        load_benchmark(name, {})


def test_an_unknown_option_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(BenchmarkError, match=r"spilt: .*Allowed: split"):
        load_benchmark("demo", {"spilt": "train"})
