"""A short run of the fuzzer; the long one is `python tests/fuzz_sip.py 1000000`."""

import importlib.util
from pathlib import Path
from random import Random

import pytest

spec = importlib.util.spec_from_file_location("fuzz_sip", Path(__file__).parent / "fuzz_sip.py")
assert spec and spec.loader
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_but_wire_error_escapes(seed: int) -> None:
    good = sum(fuzz.try_one(raw) for raw in fuzz.inputs(10_000, seed))
    # Most mutations leave most headers whole: were this small, the fuzzer would test nothing.
    assert good > 10_000 * 3


def test_the_same_seed_gives_the_same_inputs() -> None:
    seeds = fuzz.corpus()
    assert fuzz.mutate(seeds[0], seeds, Random(7)) == fuzz.mutate(seeds[0], seeds, Random(7))
