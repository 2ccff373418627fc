"""Mutate the SIP corpus and read every typed view of what comes out: nothing but `WireError` may escape.

Run by hand: `python tests/fuzz_sip.py 1000000 [seed]`; prints what was accepted and the slowest inputs.
"""

import gc
import heapq
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import thread_time_ns

sys.path.insert(0, str(Path(__file__).parent.parent))

from voicemedia.errors import WireError
from voicemedia.sip_bridge.body_wire import body_of
from voicemedia.sip_bridge.caller_wire import origin_of, session_id
from voicemedia.sip_bridge.codec_wire import G722, OPUS, PCMA, PCMU
from voicemedia.sip_bridge.dialog_wire import Dialog
from voicemedia.sip_bridge.digest_wire import Credentials, Guard
from voicemedia.sip_bridge.dtmf_wire import key_in
from voicemedia.sip_bridge.framing_wire import Stream, read_datagram
from voicemedia.sip_bridge.offer_wire import Negotiation, Terms
from voicemedia.sip_bridge.prack_wire import RAck
from voicemedia.sip_bridge.reaction_wire import bad_response, refusal
from voicemedia.sip_bridge.reason_wire import cause_of
from voicemedia.sip_bridge.refer_wire import Transfer
from voicemedia.sip_bridge.sdp_wire import Session
from voicemedia.sip_bridge.session_timer_wire import wanted
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.transactions_wire import server_key

HERE = Path(__file__).parent
PIECES = [
    *(b'"', b"\\", b"<", b">", b",", b";", b"=", b":", b"@", b"%", b"%00", b"[", b"]", b"?", b"/", b"*", b"|"),
    *(b"\0", b"\x7f", b"\xff", b"\xd9\xa1", b"\xc2\xa0", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n ", b"\r\n\r\n"),
    *(
        b"-1",
        b"0",
        b"4294967296",
        b"9" * 40,
        b"SIP/2.0",
        b"sip:",
        b"z9hG4bK",
        b";lr",
        b"tag=",
        b"inline:",
        b"a=crypto:",
    ),
    *(
        b"m=audio 9 RTP/AVP 0\r\n",
        b"Digest ",
        b"Content-Length: 3\r\n",
        b"Via: ",
        b"Accept: ",
        b"To: ",
        b"v=0\r\n",
        b"IN IP6 ::1",
    ),
]


TERMS = Terms("192.0.2.1", 4000, (PCMU, PCMA, G722, OPUS), srtp="allow", fingerprint=("sha-256", bytes(32)))
GUARD = Guard("here", b"key", lambda algorithm, user: "")
CREDENTIALS = Credentials("u", "p", lambda: "c")


def offered() -> Negotiation:
    """Return a negotiation that waits for an answer."""
    ours = Negotiation(TERMS, 1, bytes)
    ours.offer()
    return ours


def judged(request: Request) -> None:
    """Judge a request, as a user agent does: whatever is wrong with it, this says so and raises nothing."""
    try:
        if refusal(request) is None:
            server_key(request)
    except WireError as error:
        raise AssertionError(f"neither refused nor taken: {error}") from error


def corpus() -> list[bytes]:
    """Return the wild vectors and, where they are, those of RFC 4475."""
    shared = HERE.parents[1] / "shared/vectors/sip/rfc4475"
    paths = [*sorted((HERE / "vectors/sip/wild").glob("*.sip")), *sorted(shared.glob("*.dat"))]
    return [path.read_bytes() for path in paths]


def mutate(seed: bytes, others: list[bytes], random: Random) -> bytes:
    """Return `seed` with one to six changes."""
    raw = bytearray(seed)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(raw) + 1)
        end = min(len(raw), at + random.choice((0, 1, 1, 3, 20, 200)))
        match random.randrange(6):
            case 0:
                raw[at:end] = b""
            case 1:
                raw[at:end] = random.choice(PIECES)
            case 2:
                raw[at:at] = random.choice(PIECES) * random.choice((1, 1, 2, 50))
            case 3:
                raw[at:end] = raw[at:end] * 3
            case 4:
                other = random.choice(others)
                start = random.randrange(len(other))
                raw[at:end] = other[start : start + random.randrange(200)]
            case _:
                raw[at:end] = bytes(random.randrange(256) for _ in range(end - at))
    return bytes(raw)


def views(message: Request | Response) -> Iterator[Callable[[], object]]:
    """Yield every typed view there is."""
    yield lambda: message.vias
    yield lambda: message.sender
    yield lambda: message.recipient
    yield lambda: (message.call_id, message.cseq, message.content_type)
    yield lambda: message.contact
    yield lambda: message.addresses("record-route")
    yield lambda: message.via.stamped("192.0.2.1", 5060).reply_to
    yield lambda: message.number("max-forwards", 70)
    sdp = message.body
    login = message.headers.first("authorization") or ""
    yield lambda: GUARD.check(login, "REGISTER", 0)
    yield lambda: CREDENTIALS.answer([login], "INVITE", "sip:a@b")
    yield lambda: body_of(message, "application/sdp")
    yield lambda: Session.parse(sdp).encode()
    yield lambda: Negotiation(TERMS, 1, bytes).answer(sdp)
    yield lambda: offered().accept(sdp)
    yield lambda: (key_in(message), origin_of(message), session_id(message))
    yield lambda: (cause_of(message), wanted(message), RAck.parse(message.headers.one("rack")))
    if isinstance(message, Request):
        yield lambda: Dialog.answering(message, "t").request("BYE").encode()
        yield lambda: Transfer.parse(message)
        yield lambda: judged(message)
        yield lambda: message.answer(400, to_tag="t").encode()
    else:
        yield lambda: bad_response(message)


def try_one(raw: bytes) -> int:
    """Read `raw` both ways; return how many of its views were good."""
    good = 0
    Stream().feed(raw)
    try:
        message = read_datagram(raw)
    except WireError:
        return 0
    message.encode()
    for view in views(message):
        try:
            view()
            good += 1
        except WireError:
            continue
    return good


def inputs(count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` mutated messages; the same for the same seed."""
    random = Random(seed)
    seeds = corpus()
    for _ in range(count):
        yield mutate(random.choice(seeds), seeds, random)


def main(count: int, seed: int) -> None:
    """Fuzz and report the slowest inputs in CPU time, each taken again to tell a slow input from a busy machine."""
    slowest: list[tuple[int, bytes]] = []
    good = 0
    gc.disable()
    for raw in inputs(count, seed):
        began = thread_time_ns()
        good += try_one(raw)
        spent = thread_time_ns() - began
        if len(slowest) < 20:
            heapq.heappush(slowest, (spent, raw))
        elif spent > slowest[0][0]:
            heapq.heapreplace(slowest, (spent, raw))
    sys.stdout.write(f"{count} inputs, {good / count:.2f} good views each, nothing but WireError escaped\n")
    again = sorted((min(map(spent_on, [raw] * 5)), spent, len(raw)) for spent, raw in slowest)
    for best, first, size in again[-5:]:
        sys.stdout.write(f"{size} bytes: {best / 1e6:.3f} ms at best of 5, {first / 1e6:.3f} ms when met\n")


def spent_on(raw: bytes) -> int:
    """Return the CPU nanoseconds one input takes."""
    began = thread_time_ns()
    try_one(raw)
    return thread_time_ns() - began


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
