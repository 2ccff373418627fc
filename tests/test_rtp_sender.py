"""What leaves as RTP leaves at the beginning of its slot, sound and silence alike."""

import pytest

from voicemedia.audio.coding import Wish, make_encoding
from voicemedia.audio.g711 import encode_alaw
from voicemedia.sip_bridge.rtp_sender_wire import RtpSender
from voicemedia.sip_bridge.rtp_wire import Packet, read_rtp

FRAME = bytes(range(64)) * 5
SOUND, SILENCE = encode_alaw(FRAME), b"\xd5" * 160


class Bench:
    """A sender and what it sent, by the time it left."""

    def __init__(self) -> None:
        self.sender = RtpSender((7, 100, 5000))
        self.sender.agree(8, make_encoding("PCMA", Wish(8000)))
        self.sender.sending = True
        self.now_ms = 1000
        self.sent: list[tuple[int, Packet]] = []

    def tick(self, play: int = 0, off_ms: int = 0) -> None:
        """Pass one tick, `off_ms` from its time, in which so many frames are played first."""
        for _ in range(play):
            self.play()
        self._send(self.sender.tick(self.now_ms + off_ms))
        self.now_ms += 20

    def play(self) -> None:
        self._send(self.sender.play(FRAME))

    def _send(self, packets: list[bytes]) -> None:
        self.sent += [(self.now_ms, read_rtp(packet)) for packet in packets]

    @property
    def story(self) -> str:
        """What left: sound, or silence."""
        return "".join({SOUND: "s", SILENCE: "-"}[packet.payload] for _, packet in self.sent)

    @property
    def off_ms(self) -> list[int]:
        """How far from its place on the clock of its timestamps each packet left."""
        began_ms, first = self.sent[0]
        return [at_ms - began_ms - (packet.timestamp - first.timestamp) // 8 for at_ms, packet in self.sent]


def test_silence_and_speech_leave_on_one_clock() -> None:
    bench = Bench()
    for frames in (1, 1, 1, 0, 0, 1, 1, 0):
        bench.tick(frames)
    assert bench.story == "sss--ss-"
    assert set(bench.off_ms) == {0}


def test_a_voice_that_is_a_frame_ahead_bridges_ticks_that_are_late() -> None:
    bench = Bench()
    bench.tick(2)
    for late_ms in (9, 0, 19, 4, 0):
        bench.tick(1, late_ms)
    assert bench.story == "ssssss"
    assert set(bench.off_ms) == {0}


def test_after_a_first_tick_that_was_late_the_others_have_the_true_time() -> None:
    bench = Bench()
    played: list[int] = []
    bench.sender.played = lambda frame, at_ms: played.append(at_ms)
    bench.tick(1, 7)
    for _ in range(3):
        bench.tick(1)
    assert bench.story == "ssss" and set(bench.off_ms) == {0}
    # For a recording they are end to end all the same.
    assert played == [1007, 1027, 1047, 1067]


def test_the_first_sound_after_a_silence_leaves_at_once_and_those_behind_it_on_the_clock() -> None:
    bench = Bench()
    bench.tick()
    bench.now_ms -= 13
    bench.play()
    bench.play()
    bench.now_ms += 13
    for _ in range(3):
        bench.tick()
    assert bench.story == "-ss-"
    assert bench.off_ms == [0, -13, 0, 0]


def test_sound_is_not_ahead_of_its_slot_twice() -> None:
    bench = Bench()
    for _ in range(3):
        bench.tick()
        bench.now_ms -= 20
        bench.play()
        bench.now_ms += 20
    assert bench.story == "-ss" and bench.off_ms == [0, -20, 0]


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_mark_is_passed_with_the_last_frame_before_it(frames: int) -> None:
    bench = Bench()
    for _ in range(frames):
        bench.play()
    bench.sender.mark(5)
    for tick in range(frames):
        assert (tick, bench.sender.marks) == (tick, ())
        bench.tick()
    bench.tick()
    assert bench.sender.marks == (5,)


def test_what_is_cleared_does_not_leave_and_its_marks_come_back() -> None:
    bench = Bench()
    bench.tick(3)
    bench.sender.mark(5)
    bench.sender.clear()
    bench.tick()
    assert bench.story == "s-" and bench.sender.marks == (5,)


def test_while_nothing_may_be_sent_the_clock_goes_on() -> None:
    bench = Bench()
    bench.tick()
    bench.sender.sending = False
    bench.tick(1)
    bench.tick()
    bench.sender.sending = True
    bench.tick()
    assert bench.story == "--" and bench.off_ms == [0, 0] and bench.sent[1][1].marker


def test_frames_of_slots_that_were_missed_leave_together() -> None:
    bench = Bench()
    bench.tick(2)
    bench.now_ms += 20
    bench.tick(1)
    assert bench.story == "sss" and bench.off_ms == [0, 20, 0]


def test_a_stall_is_passed_over_and_what_follows_has_a_marker() -> None:
    bench = Bench()
    for _ in range(3):
        bench.tick()
    bench.now_ms += 400
    bench.tick()
    markers = [packet.marker for _, packet in bench.sent]
    assert markers == [True, False, False, True]
    assert bench.off_ms == [0] * 4
