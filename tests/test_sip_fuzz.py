"""A short run of the fuzzer; the long one is `python tests/fuzz_sip.py 1000000`."""

from random import Random

import pytest

from tests import fuzz_sip as fuzz


@pytest.mark.parametrize("seed", range(4))
def test_nothing_but_wire_error_escapes(seed: int) -> None:
    good = sum(fuzz.try_one(raw) for raw in fuzz.inputs(10_000, seed))
    # Most mutations leave most headers whole: were this small, the fuzzer would test nothing.
    assert good > 10_000 * 3


def test_the_same_seed_gives_the_same_inputs() -> None:
    seeds = fuzz.corpus()
    assert fuzz.mutate(seeds[0], seeds, Random(7)) == fuzz.mutate(seeds[0], seeds, Random(7))
