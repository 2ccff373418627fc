"""Throw broken messages at the media-stream reader: nothing but `WireError` may come out.

`python -m tests.fuzz_wire 5000000 --seed 7` tries millions; the same seed tries the same inputs.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable

from tests.wire_vectors import load, message
from voicemedia.errors import WireError
from voicemedia.protocols.media_stream_session_wire import MediaStreamSession
from voicemedia.protocols.smartflo_wire import SMARTFLO, parse_incoming_event
from voicemedia.protocols.twilio_wire import TWILIO

VECTORS = [message(vector) for folder in ("smartflo", "twilio") for vector in load(folder)]

VALUES = (
    b"null", b"true", b"-1", b"0.5", b"1e999", b"7", b"9" * 400, b'""', b'"x"', b'"1"', b'"S1"', b'"AA=="',
    b'"\\u00e9"', b'"L16"', b'"opus"', b"[]", b"{}", b'{"digit":"1"}', b'{"payload":""}', b'"media"', b'"start"',
    b'"stop"', b'"m1"',
)  # fmt: skip
"What may stand behind a colon."

TOKENS = (
    *VALUES, b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b":", b",", b"\x00", b"\xff", b"\xc3",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"==", b"=", b"_", b" ", b"\n", b'"event":"start",', b'"streamSid":"S1",',
    b'"mediaFormat":{"encoding":"L16"},', b"[" * 2000,
)  # fmt: skip

Mutation = Callable[[random.Random, bytearray], None]


def flip(dice: random.Random, text: bytearray) -> None:
    text[dice.randrange(len(text))] ^= 1 << dice.randrange(8)


def cut(dice: random.Random, text: bytearray) -> None:
    start = dice.randrange(len(text))
    del text[start : start + dice.choice((1, 2, 8, len(text)))]


def insert(dice: random.Random, text: bytearray) -> None:
    at = dice.randrange(len(text))
    text[at:at] = dice.choice(TOKENS)


def overwrite(dice: random.Random, text: bytearray) -> None:
    token = dice.choice(TOKENS)
    at = dice.randrange(len(text))
    text[at : at + len(token)] = token


def repeat(dice: random.Random, text: bytearray) -> None:
    start, length = dice.randrange(len(text)), dice.randrange(1, 40)
    text[start:start] = text[start : start + length]


def graft(dice: random.Random, text: bytearray) -> None:
    other = dice.choice(VECTORS) or b"{}"
    start = dice.randrange(len(other))
    at = dice.randrange(len(text))
    text[at : at + dice.randrange(20)] = other[start : start + dice.randrange(40)]


def value(dice: random.Random, text: bytearray) -> None:
    """Put another value behind a colon, so that the result is often still JSON."""
    colons = [at for at, byte in enumerate(text) if byte == 0x3A]
    if colons:
        at = dice.choice(colons) + 1
        ends = [end for end in (text.find(b",", at), text.find(b"}", at)) if end > 0]
        text[at : min(ends, default=at)] = dice.choice(VALUES)


MUTATIONS: tuple[Mutation, ...] = (flip, cut, insert, overwrite, repeat, graft, *[value] * 14)


def mutant(dice: random.Random) -> bytes:
    """Return a vector, mutated up to four times."""
    text = bytearray(dice.choice(VECTORS) or b"{}")
    for _ in range(dice.randrange(5)):
        if text:
            dice.choice(MUTATIONS)(dice, text)
    return bytes(text)


def session(dice: random.Random) -> MediaStreamSession:
    """Return a socket, live more often than not."""
    fresh = MediaStreamSession(
        dice.choice((SMARTFLO, TWILIO)), implicit_start=dice.random() < 0.3, binary_audio=dice.random() < 0.3
    )
    if dice.random() < 0.7:
        fresh.receive(b'{"event":"start","streamSid":"S1"}')
        assert fresh.writer is not None
        fresh.writer.mark("m1")
    return fresh


def fuzz(inputs: int, seed: int) -> Counter[str]:
    """Try that many inputs; return how often each event or kind of error came out.

    :raises Exception: whatever else came out, with the input in a note.
    """
    dice = random.Random(seed)
    outcomes: Counter[str] = Counter()
    socket = session(dice)
    for number in range(inputs):
        if number % 50 == 0:
            socket = session(dice)
        raw = mutant(dice)
        try:
            outcomes[outcome(socket, dice, raw)] += 1
        except Exception as error:
            error.add_note(f"input {number} of seed {seed}: {raw!r}")
            raise
    return outcomes


def outcome(socket: MediaStreamSession, dice: random.Random, raw: bytes) -> str:
    """Give one input to one of the doors; name what came out."""
    door = dice.randrange(10)
    try:
        if door == 0:
            return type(parse_incoming_event(raw)).__name__
        if door == 1:
            return ",".join(type(event).__name__ for event in socket.receive_binary(raw))
        happened = socket.receive(raw if door > 3 else raw.decode("utf-8", "surrogateescape"))
    except WireError as error:
        return error.kind
    # What the carrier named must be fit to be written back.
    if socket.writer is not None:
        socket.writer.media(b"\xff" * 160)
        socket.writer.clear()
    return ",".join(type(event).__name__ for event in happened)


def main() -> None:
    """Fuzz from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcomes = fuzz(options.inputs, options.seed)
    for name, times in outcomes.most_common():
        sys.stdout.write(f"{times:10,}  {name}\n")
    sys.stdout.write(f"{outcomes.total():10,}  inputs tried\n")


if __name__ == "__main__":
    main()
