"""Canonical keys: equal configurations have equal digests everywhere, different ones do not."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from encodeonce.cache_store.signature import Signature, canonical_json
from encodeonce.cache_store.unit_table import unit_digest

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
mappings = st.dictionaries(st.text(max_size=6), json_values, max_size=5)
names = st.text(max_size=12)

signatures = st.builds(
    Signature,
    tower=names,
    weights_sha256=names,
    tap=mappings,
    preprocess=mappings,
    decoder=names,
    dtype=names,
    numerics=mappings,
    codec=names,
    schema=st.integers(),
)


def shuffled(value: Any, rng: Any) -> Any:
    """Return an equal value whose mappings were filled in another order, tuples for lists."""
    if isinstance(value, Mapping):
        items = list(value.items())
        rng.shuffle(items)
        return {key: shuffled(item, rng) for key, item in items}
    if isinstance(value, list):
        return tuple(shuffled(item, rng) for item in value)
    return value


@settings(deadline=None)  # machines are busy
@given(signatures, st.randoms(use_true_random=False))
def test_the_order_in_which_a_configuration_was_written_does_not_matter(
    signature: Signature, rng: Any
) -> None:
    other = Signature(
        **{f.name: shuffled(getattr(signature, f.name), rng) for f in fields(signature)}
    )
    assert other.digest == signature.digest


@settings(deadline=None)  # machines are busy
@given(signatures, signatures, st.sampled_from([f.name for f in fields(Signature)]))
def test_any_changed_field_changes_the_digest(
    signature: Signature, other: Signature, name: str
) -> None:
    changed = replace(signature, **{name: getattr(other, name)})
    before = canonical_json(getattr(signature, name))
    assume(canonical_json(getattr(changed, name)) != before)
    assert changed.digest != signature.digest


@settings(deadline=None)  # machines are busy
@given(json_values)
def test_canonical_json_says_all_there_is(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@settings(deadline=None)  # machines are busy
@given(st.tuples(names, names), st.tuples(names, names))
def test_units_have_the_same_digest_only_if_media_and_name_are_the_same(
    left: tuple[str, str], right: tuple[str, str]
) -> None:
    # A media digest holds no NUL: that is what separates it from the unit's name.
    assume("\0" not in left[0] + right[0])
    assert (unit_digest(*left) == unit_digest(*right)) == (left == right)


@pytest.mark.parametrize("value", [float("nan"), {1: "a"}, {"a": {3}}, object(), {"a": b"b"}])
def test_what_json_would_rewrite_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"canonical|strings|JSON"):
        canonical_json(value)


PROGRAM = """
import json, sys
from encodeonce.cache_store.signature import Signature
print(json.dumps([Signature(**fields).digest for fields in json.load(sys.stdin)]))
"""


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_other_processes_and_hash_seeds_give_the_same_digests(hash_seed: str) -> None:
    examples: list[Signature] = []

    @settings(max_examples=60, database=None, derandomize=True)
    @given(signatures)
    def collect(signature: Signature) -> None:
        examples.append(signature)

    collect()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([signature.to_dict() for signature in examples]),
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [signature.digest for signature in examples]
