"""A run of packets is heard and counted as packet after packet would be, and ends with whatever was not expected."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio.g711 import decode_alaw, decode_mulaw
from voicemedia.config import Jitter
from voicemedia.interfaces import Caller, Goodbye
from voicemedia.metrics import Metrics
from voicemedia.sip_bridge.codec_wire import CODECS, Codec
from voicemedia.sip_bridge.offer_wire import Agreement
from voicemedia.sip_bridge.quality_wire import Quality
from voicemedia.sip_bridge.room import Room
from voicemedia.sip_bridge.rtcp_wire import Block, Reception, Report, read_rtcp
from voicemedia.sip_bridge.rtp_leg import RtpLeg
from voicemedia.sip_bridge.rtp_receiver_wire import RtpReceiver
from voicemedia.sip_bridge.rtp_wire import Packet, is_rtcp, read_rtp
from voicemedia.sip_bridge.run_wire import Run
from voicemedia.sip_bridge.udp_ports import PortPair

PEER: Final = ("192.0.2.1", 4000)
PEER_6: Final = ("2001:db8::1", 4000, 0, 0)
PCMA, KEY, NOISE = 8, 101, 13
TICKS = 160


def sound(number: int, *, ssrc: int = 7, size: int = TICKS, marker: bool = False) -> Packet:
    return Packet(PCMA, number % 65536, number * TICKS % 2**32, ssrc, bytes([number % 256]) * size, marker)


# --- the run itself ---


def test_a_run_expects_the_very_next_packet_and_no_other() -> None:
    run = Run(sound(5), TICKS, 8000, 0, 0.0)
    assert run.expects(sound(6).encode())
    for other in (sound(5), sound(7), sound(6, ssrc=8), sound(6, marker=True), sound(6)._replace(payload_type=0)):
        assert not run.expects(other.encode())
    assert not run.expects(b"") and not run.expects(sound(6).encode()[:11])
    run.take(20)
    assert run.expects(sound(7).encode()) and not run.expects(sound(6).encode()) and run.packets == 1


@pytest.mark.parametrize("last", [Packet(8, 65535, 800, 7, b""), Packet(8, 9, 2**32 - 160, 7, b"")])
def test_a_number_that_wraps_ends_the_run(last: Packet) -> None:
    run = Run(last, TICKS, 8000, 0, 0.0)
    following = Packet(8, (last.sequence + 1) % 65536, (last.timestamp + TICKS) % 2**32, 7, b"")
    assert not run.expects(following.encode()) and run.packets == 0


@given(st.lists(st.integers(0, 1500), min_size=1, max_size=30))
def test_the_jitter_of_a_run_is_that_of_its_packets(steps_ms: list[int]) -> None:
    plain, whole = Reception(sound(0), 8000, 0), Reception(sound(0), 8000, 0)
    run = whole.run(sound(0), TICKS)
    assert run is not None
    now_ms = 0
    for number, step_ms in enumerate(steps_ms, start=1):
        now_ms += step_ms
        plain.take(sound(number), now_ms)
        run.take(now_ms)
    whole.skip(run)
    assert whole.block(now_ms) == plain.block(now_ms) and whole.jitter_ms == plain.jitter_ms


# --- in a leg ---


class Hub:
    """Keeps what a leg wants to be told."""

    def __init__(self) -> None:
        self.takes: list[Any] = []

    def add(self, udp: object, take: Any) -> None:
        self.takes.append(take)

    def drain(self, udp: object) -> None: ...

    def remove(self, udp: object) -> None: ...


class Nothing:
    """A socket, and the ports it comes from."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendto(self, packet: bytes, target: object) -> None:
        self.sent.append(packet)

    def take_back(self, pair: PortPair) -> None: ...


class Ear:
    """Hears a leg."""

    def __init__(self) -> None:
        self.frames: list[tuple[bytes, bool]] = []
        self.keys = ""

    def hear(self, pcm: bytes, concealed: bool) -> None:
        self.frames.append((pcm, concealed))

    def digit(self, key: str) -> None:
        self.keys += key

    def said(self, text: str) -> None: ...
    def marked(self, number: int) -> None: ...
    def gone(self, why: Goodbye) -> None: ...


class Bench:
    """One leg, and beside it what every packet on its own would come to."""

    def __init__(self, peer: tuple[Any, ...] = PEER) -> None:
        self.peer = peer
        self.now_ms, self.hurried = 1000, list[Callable[[int], bool]]()
        hub, nothing, self.pcma = Hub(), Nothing(), CODECS["pcma"]
        self.sent = nothing.sent
        room: Any = Room(
            Jitter(),
            Metrics(),
            lambda: self.now_ms,
            self.hurried.append,
            hub,  # type: ignore[arg-type]
            nothing,  # type: ignore[arg-type]
            lambda: 1,
        )
        pair = PortPair(nothing, nothing, 4000)  # type: ignore[arg-type]
        self.leg = RtpLeg(Caller("c", "sip", 8000, "/"), pair, room, lambda host: True, lambda why: None)
        self.agree((PCMA, self.pcma))
        self.ear = Ear()
        self.leg.begin(self.ear)
        self.take = hub.takes[0]
        self.frames: list[tuple[bytes, bool]] = []
        self.receiver = RtpReceiver((20, 120), lambda frame, concealed: self.frames.append((frame, concealed)))
        self.quality = Quality(1, "c")

    def agree(self, *receive: tuple[int, Codec]) -> None:
        address = self.peer[0], self.peer[1]
        self.leg.agree(Agreement(*address, address, self.pcma, PCMA, receive, None, ((KEY, 8000),), 20))

    def came(self, datagram: bytes) -> None:
        self.take(datagram, self.peer, self.now_ms)
        packet = read_rtp(datagram)
        codec = self.receiver.codecs.get(packet.payload_type)
        if codec is not None:
            self.quality.take(packet, codec.clock_hz, self.now_ms)
            self.receiver.sound(packet, codec, self.now_ms)
            return
        self.quality.count(packet)
        if packet.payload_type == KEY:
            self.receiver.passed(packet)
        else:
            self.receiver.comfort_noise(packet, self.now_ms)

    def wait(self, ms: int) -> None:
        for _ in range(0, ms, 5):
            self.now_ms += 5
            self.hurried[:] = [look for look in self.hurried if look(self.now_ms)]
            self.receiver.due(self.now_ms)
            if self.now_ms % 20 == 0:
                self.leg.tick(self.now_ms)
                if not self.receiver.idle:
                    self.receiver.tick(self.now_ms)

    def compare(self) -> None:
        assert self.ear.frames == self.frames
        received, late, duplicate, reordered, _ = self.receiver.counts()
        counts = {
            "packets_in": received,
            "frames_in": self.receiver.frames,
            "frames_concealed": self.receiver.concealed,
            "late": late,
            "duplicate": duplicate,
            "reordered": reordered,
            **self.quality.totals(),
        }
        totals = self.leg.totals()
        assert {name: totals[name] for name in counts} == counts


def other(kind: int, number: int, payload: bytes) -> bytes:
    return Packet(kind, number % 65536, number * TICKS % 2**32, 7, payload).encode()


def extended(packet: Packet) -> bytes:
    datagram = packet.encode()
    return b"\x90" + datagram[1:12] + bytes(4) + datagram[12:]


def paused(packet: Packet) -> bytes:
    return packet._replace(timestamp=(packet.timestamp + 1600) % 2**32).encode()


EVENTS: Final[dict[str, Callable[[int], list[bytes]]]] = {
    "next": lambda number: [sound(number).encode()],
    "lost": lambda number: [],
    "twice": lambda number: [sound(number).encode()] * 2,
    "swapped with the one behind": lambda number: [sound(number + 1).encode(), sound(number).encode()],
    "late": lambda number: [sound(number - 6).encode(), sound(number).encode()],
    "short": lambda number: [sound(number, size=80).encode()],
    "with a marker": lambda number: [sound(number, marker=True).encode()],
    "of another source": lambda number: [sound(number, ssrc=9).encode()],
    "after a pause of the sender": lambda number: [paused(sound(number))],
    "with an extension": lambda number: [extended(sound(number))],
    "a key": lambda number: [other(KEY, number, bytes((5, 0x8A, 0, 160)))],
    "comfort noise": lambda number: [other(NOISE, number, b"\x40")],
}
"What a peer's next packet may be."


@given(
    st.sampled_from((PEER, PEER_6)),
    st.integers(0, 65535),
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from(sorted(EVENTS)), st.sampled_from((20, 20, 1200)))),
)
def test_a_leg_hears_and_counts_what_packet_after_packet_would_be(
    peer: tuple[Any, ...], number: int, stretches: list[tuple[int, str, int]]
) -> None:
    bench = Bench(peer)
    for straight, event, wait_ms in stretches:
        for _ in range(straight):
            bench.came(sound(number).encode())
            bench.wait(20)
            number += 1
        for datagram in EVENTS[event](number):
            bench.came(datagram)
        bench.wait(wait_ms)
        number += 1 + event.startswith("swapped")
    bench.compare()


def test_a_long_call_is_counted_whole_over_its_wraps_and_reports() -> None:
    bench = Bench()
    for number in range(65_000, 66_200):
        bench.came(sound(number).encode())
        bench.wait(20)
    bench.compare()
    assert bench.leg.totals()["packets_in"] == 1200 and bench.leg.totals()["lost"] == 0


def test_a_leg_whose_peer_is_heard_evenly_from_now_on_loses_nothing() -> None:
    bench = Bench()
    for number in range(60):
        if number == 20:
            bench.leg.play_evenly(True)
            bench.receiver.play_evenly(True)
        bench.came(sound(number).encode())
        bench.wait(20)
    bench.compare()
    assert bench.leg.totals()["packets_in"] == 60


def test_a_payload_type_that_means_something_else_from_now_on_is_decoded_so() -> None:
    bench = Bench()
    for number in range(20):
        if number in (0, 10):
            bench.agree((97, CODECS["pcma" if number == 0 else "pcmu"]))
        bench.take(sound(number)._replace(payload_type=97).encode(), PEER, bench.now_ms)
        bench.wait(20)
    decoded = [(decode_alaw if number < 10 else decode_mulaw)(sound(number).payload) for number in range(20)]
    assert [pcm for pcm, _ in bench.ear.frames] == decoded


def test_reports_know_what_has_come_in_a_run() -> None:
    bench = Bench()
    highest: list[tuple[int, int]] = []
    for number in range(1000):
        bench.came(sound(number).encode())
        bench.wait(20)
        highest += [(number, block.highest) for block in blocks(bench.sent)]
    bench.leg.ended(Goodbye.CALLER_HUNG_UP)
    highest += [(999, block.highest) for block in blocks(bench.sent)]
    assert len(highest) >= 3 and all(number == told for number, told in highest)


def blocks(sent: list[bytes]) -> list[Block]:
    """Take the report blocks out of what was sent."""
    reports = [part for packet in sent if is_rtcp(packet) for part in read_rtcp(packet) if isinstance(part, Report)]
    sent.clear()
    return [block for report in reports for block in report.blocks]


def test_keys_are_no_loss() -> None:
    bench = Bench()
    for number, event in enumerate(["next"] * 3 + ["a key"] * 3 + ["next"] * 3):
        for datagram in EVENTS[event](number):
            bench.came(datagram)
        bench.wait(20)
    assert bench.ear.keys == "555" and bench.leg.totals()["lost"] == 0
    bench.compare()
