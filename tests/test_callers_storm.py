"""A storm accounts for every frame: what came back, what did not, and why."""

import argparse
import audioop
import os
import socket
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread

from tests.fake_carrier_server import EchoBrain, FakeServer
from tests.in_reactor import in_reactor
from voicemedia.callers.client_wire import (
    CLOSE,
    PING,
    TEXT,
    FrameReader,
    HandshakeRefused,
    check_response,
    frame,
    request,
)
from voicemedia.callers.numbered import FRAME_BYTES, NumberedReader, numbered_frame
from voicemedia.callers.process_use import read_use
from voicemedia.callers.smartflo import Smartflo
from voicemedia.callers.storm import Progress, StormPlan, run_storm
from voicemedia.callers.storm_command import ProgressBar, add_arguments, as_text, plan, run
from voicemedia.callers.storm_report import Spread, StormReport, spread
from voicemedia.callers.twilio import Twilio
from voicemedia.errors import ConfigError

# --- numbered sound ---


def test_a_numbered_frame_survives_decoding_and_encoding() -> None:
    for number in (0, 1, 0xABCDEF, 0xFFFFFF):
        ulaw = numbered_frame(number, 0x1234)
        assert audioop.lin2ulaw(audioop.ulaw2lin(ulaw, 2), 2) == ulaw
        assert audioop.max(audioop.ulaw2lin(ulaw, 2), 2) <= 132
        assert len(ulaw) == FRAME_BYTES


@pytest.mark.parametrize("size", [1, 7, 160, 161, 480, 5000])
def test_frames_are_found_however_the_stream_is_cut(size: int) -> None:
    stream = b"".join(numbered_frame(number, 9) for number in range(50))
    reader = NumberedReader(9)
    found = [number for at in range(0, len(stream), size) for number in reader.read(stream[at : at + size])]
    assert found == list(range(50))
    assert (reader.damaged, reader.foreign, reader.other_bytes) == (0, 0, 0)


# "0 1": frames 0 and 1; "s5": 5 bytes of silence; "c7": half of frame 7; "x3": frame 3 with one byte altered;
# "f4": frame 4 of another call. Then what is found, and (damaged, foreign, other bytes).
STREAMS = [
    ("silence between is skipped", "0 s5 1 s400 2", "0 1 2", (0, 0, 405)),
    ("the stream begins in mid-frame", "c0 1 2", "1 2", (1, 0, 80)),
    ("a frame cut short does not take the next with it", "0 c1 2 3", "0 2 3", (1, 0, 80)),
    ("an altered frame is damaged", "0 x1 2", "0 2", (1, 0, 160)),
    ("another call's frame is foreign", "0 f1 2", "0 2", (0, 1, 0)),
    ("a repeated frame is told twice", "0 0 1", "0 0 1", (0, 0, 0)),
]


@pytest.mark.parametrize(("stream", "found", "counted"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS])
def test_what_is_no_frame_is_counted(stream: str, found: str, counted: tuple[int, int, int]) -> None:
    reader = NumberedReader(9)
    sound = b"".join(piece(word) for word in stream.split())
    assert " ".join(str(number) for number in reader.read(sound)) == found
    assert (reader.damaged, reader.foreign, reader.other_bytes) == counted


def piece(word: str) -> bytes:
    kind, number = (word[0], int(word[1:])) if word[0].isalpha() else ("", int(word))
    ulaw = bytearray(numbered_frame(number, 8 if kind == "f" else 9))
    if kind == "s":
        return b"\xff" * number
    if kind == "x":
        ulaw[70] ^= 1
    return bytes(ulaw[:80] if kind == "c" else ulaw)


# --- the client's end of a WebSocket ---


def server_frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    first = (0x80 if final else 0) | opcode
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def test_messages_are_read_however_the_stream_is_cut() -> None:
    messages = [(TEXT, b"a" * size) for size in (0, 1, 125, 126, 65535, 65536)] + [(PING, b"p"), (CLOSE, b"\x03\xe8")]
    stream = b"".join(server_frame(*message) for message in messages)
    chance = Random(1)
    for most in (10, 1000, 200_000):
        reader, at, got = FrameReader(), 0, []
        while at < len(stream):
            size = chance.randint(1, most)
            got += reader.read(stream[at : at + size])
            at += size
        assert got == messages


def test_fragments_are_joined_around_control_frames() -> None:
    stream = server_frame(TEXT, b"one ", final=False) + server_frame(PING, b"") + server_frame(0, b"two")
    assert FrameReader().read(stream) == [(PING, b""), (TEXT, b"one two")]


@pytest.mark.parametrize("size", [5, 200, 70_000])
def test_a_frame_of_ours_is_masked_with_zeros(size: int) -> None:
    octets = frame(TEXT, b"x" * size)
    assert octets[0] == 0x81
    assert octets[1] & 0x80
    assert octets.endswith(b"\0\0\0\0" + b"x" * size)


def test_the_handshake_is_the_one_of_the_rfc() -> None:
    key = b"the sample nonce"
    asked = request("server.example.com", "/chat", key, {"X-A": "b"}).decode()
    assert "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in asked
    assert asked.endswith("X-A: b\r\n\r\n")
    # RFC 6455, section 1.3.
    check_response(b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", key)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5", "503 Service Unavailable"),
        (b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: nonsense", "wrong Sec-WebSocket-Accept"),
        (b"HTTP/1.1 101 Switching", "wrong Sec-WebSocket-Accept"),
        (b"", "no answer"),
    ],
)
def test_a_refused_handshake_says_why(head: bytes, reason: str) -> None:
    with pytest.raises(HandshakeRefused, match=reason):
        check_response(head, b"the sample nonce")


# --- the storm ---


async def stormed(make_brain: Callable[[], Any], path: str = "/vendor-stream", **changes: Any) -> StormReport:
    from twisted.internet import reactor

    server = FakeServer(reactor, make_brain)
    carrier = Twilio if path == "/twilio" else Smartflo
    plan = StormPlan(server.url(path), carrier, **{"calls": 3, "seconds": 0.5, "ramp_per_s": 50.0, **changes})
    try:
        report: StormReport = await deferToThread(run_storm, plan)
    finally:
        await maybeDeferred(server.stop)
    return report


@pytest.mark.parametrize(("path", "packet_ms"), [("/vendor-stream", 20), ("/vendor-stream", 100), ("/twilio", 40)])
@in_reactor
async def test_a_faithful_echo_returns_every_frame(path: str, packet_ms: int) -> None:
    report = await stormed(EchoBrain, path, packet_ms=packet_ms, pid=os.getpid())
    assert report.good
    assert report.answered == 3
    assert report.sent == report.received > 45
    assert report.other_ms == 0
    assert 0 < report.round_trip_ms.p50 <= report.round_trip_ms.p99 <= report.round_trip_ms.max
    # The kernel counts in ticks of 10 ms: so short a storm may well cost none.
    assert report.cpu_ms_per_call_second is not None
    assert report.memory_bytes_per_call is not None


@in_reactor
async def test_lost_and_repeated_frames_are_counted() -> None:
    def mangle(chunk: int, ulaw: bytes) -> list[bytes]:
        return {5: [], 7: [ulaw, ulaw], 9: [ulaw[:80] + b"\xff" * 80]}.get(chunk, [ulaw])

    report = await stormed(lambda: EchoBrain(mangle), calls=2)
    assert (report.lost, report.duplicated, report.damaged) == (4, 2, 2)
    assert not report.good


@in_reactor
async def test_calls_refused_are_told_by_reason() -> None:
    report = await stormed(EchoBrain, "/nowhere", calls=2)
    assert report.failures == {"handshake: 404 Not Found": 2}
    assert report.answered == 0


def nobody_listens() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{free.getsockname()[1]}/"


def test_no_server_is_told_by_reason() -> None:
    report = run_storm(StormPlan(nobody_listens(), Smartflo, calls=2, seconds=0.1))
    assert report.failures == {"connect: Connection refused": 2}


def test_progress_is_shown_while_it_lasts() -> None:
    shown: list[Progress] = []
    run_storm(StormPlan(nobody_listens(), Smartflo, calls=1, seconds=0.1), shown.append)
    assert shown[0].phase == "ramp"


@pytest.mark.parametrize("url", ["wss://h/", "http://h/", "ws:///x"])
def test_an_address_of_no_use_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        run_storm(StormPlan(url, Smartflo, calls=1, seconds=0.1))


# --- the command ---


def arguments(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(line)


def test_the_default_storm_goes_to_the_echo() -> None:
    made = plan(arguments("smartflo", "--calls", "7"))
    assert (made.url, made.calls, made.packet_ms) == ("ws://127.0.0.1:8000/vendor-stream/echo", 7, 20)


def test_no_server_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments("smartflo", "--calls", "1", "--seconds", "0.1", "--url", nobody_listens())) == 2
    told = capsys.readouterr()
    assert "failed       1 calls: connect: Connection refused" in told.out
    assert "is the server running (`make run`)?" in told.err


def test_a_process_that_does_not_exist_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments("smartflo", "--calls", "1", "--pid", "4194305", "--url", nobody_listens())) == 2
    assert "--pid 4194305: No such file" in capsys.readouterr().err


def test_the_meters_of_a_process_are_read() -> None:
    use = read_use(os.getpid())
    assert use.cpu_ms > 0
    assert use.resident_bytes > 10_000_000


def test_a_storm_against_another_agent_is_told_so() -> None:
    assert 'agent = "echo"' in as_text(StormReport(calls=1, answered=1, sent=100, lost=100, other_ms=1500.0))
    assert 'agent = "echo"' not in as_text(StormReport(calls=1, answered=1, sent=100, lost=100))


def test_the_report_names_what_matters() -> None:
    report = StormReport(calls=2, answered=2, sent=100, received=99, lost=1, cpu_ms_per_call_second=1.234)
    report.memory_bytes_per_call = 102_400
    report.generator_late_ms = Spread(p99=11.0)
    report.failures["handshake: 503 Service Unavailable"] = 3
    text = as_text(report)
    assert "1 lost" in text
    assert "1.23 ms CPU per call-second, 100 KB memory per call" in text
    assert "3 calls: handshake: 503" in text
    assert "could not keep its pace" in text


def test_a_spread_of_nothing_is_zero() -> None:
    assert spread(np.zeros(0)) == Spread()
    assert spread(np.arange(101.0)) == Spread(50, 95, 99, 100)


def test_the_bar_draws_itself_on_a_terminal_and_tells_lines_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    for terminal in (True, False):
        bar = ProgressBar(terminal)
        bar.show(Progress("storm", 0.5, 3, 100, 2))
        bar.end()
    drawn, told = capsys.readouterr().err.split("\n")[:2]
    assert drawn.startswith("\rstorm [###############...............] 3 calls up, 100 frames sent, 2 not back yet")
    assert told == "storm: 50%, 3 calls up, 100 frames sent, 2 not back yet"
