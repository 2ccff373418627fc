"""Broken messages by the hundred thousand (`WIRE_FUZZ_INPUTS` for more)."""

import os

from tests.fuzz_wire import fuzz

INPUTS = int(os.environ.get("WIRE_FUZZ_INPUTS", "100000"))
KINDS = {"not_json", "bad_utf8", "not_object", "no_event", "missing_field", "wrong_type", "bad_base64", "bad_digit"}
EVENTS = {"Start", "Media", "Dtmf", "Mark", "Stop", "Custom", "Stop,Start", "Start,Media"}


def test_nothing_but_a_wire_error_comes_out_of_broken_messages() -> None:
    outcomes = fuzz(INPUTS, seed=1)
    assert outcomes.total() == INPUTS
    # The inputs are worth something: every kind of end was reached.
    assert outcomes.keys() >= KINDS | EVENTS
