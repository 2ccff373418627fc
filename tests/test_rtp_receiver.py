"""What comes as RTP is heard gapless and in order, whatever the peer does in mid stream."""

from collections.abc import Iterable

import numpy as np
import pytest

from voicemedia.audio.coding import Wish, make_encoding
from voicemedia.audio.g711 import decode_alaw, decode_mulaw
from voicemedia.sip_bridge.codec_wire import CODECS, Codec
from voicemedia.sip_bridge.rtp_receiver_wire import RtpReceiver
from voicemedia.sip_bridge.rtp_wire import Packet

SSRC = 7


class Ear:
    """A receiver, its frames, and a clock."""

    def __init__(self, rate_hz: int = 8000, **codecs: int) -> None:
        self.frames: list[tuple[bytes, bool]] = []
        self.receiver = RtpReceiver((20, 120), lambda frame, concealed: self.frames.append((frame, concealed)))
        self.receiver.begin(rate_hz)
        self.receiver.agree({number: CODECS[name.lower()] for name, number in codecs.items()})
        self.now_ms = 1_000

    def take(self, *packets: Packet, step_ms: int = 20) -> None:
        for packet in packets:
            codec = self.receiver.codecs.get(packet.payload_type)
            assert codec is not None
            self.receiver.sound(packet, codec, self.now_ms)
            self.wait(step_ms)

    def noise(self, packet: Packet) -> None:
        self.receiver.comfort_noise(packet, self.now_ms)

    def wait(self, ms: int) -> None:
        for _ in range(ms // 5):
            self.now_ms += 5
            self.receiver.due(self.now_ms)
            if self.now_ms % 20 == 0:
                self.receiver.tick(self.now_ms)

    @property
    def sound(self) -> bytes:
        return b"".join(frame for frame, _ in self.frames)

    @property
    def concealed(self) -> int:
        return sum(concealed for _, concealed in self.frames)


def packets(
    count: int, kind: int = 0, *, sequence: int = 100, timestamp: int = 5000, ssrc: int = SSRC, size: int = 160
) -> list[Packet]:
    """Make packets of G.711, each of a value of its own."""
    return [
        Packet(kind, (sequence + at) % 65536, (timestamp + at * size) % 2**32, ssrc, bytes([at + 1]) * size)
        for at in range(count)
    ]


def coded(codec: str, kind: int, seconds: float, lost: Iterable[int] = ()) -> list[Packet]:
    """Make packets of a tone in a codec."""
    at = np.arange(int(16000 * seconds))
    pcm = np.rint(8000 * np.sin(2 * np.pi * 500 * at / 16000)).astype("<i2").tobytes()
    encoding = make_encoding(codec, Wish(16000))
    made, timestamp = [], 777
    for number in range(len(pcm) // 640):
        for payload, ticks in encoding.feed(pcm[640 * number : 640 * number + 640]):
            made.append(Packet(kind, 4 + number, timestamp, SSRC, payload))
            timestamp += ticks
    return [packet for number, packet in enumerate(made) if number not in set(lost)]


def tone_share(pcm: bytes, rate_hz: int) -> float:
    """Return how much of a sound lies within 20 Hz of 500 Hz."""
    sound = np.frombuffer(pcm, "<i2").astype(np.float64)
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / rate_hz)
    return float(power[np.abs(hz - 500) < 20].sum() / power.sum())


@pytest.mark.parametrize("size", [80, 160, 240, 320])
def test_packets_of_any_length_become_frames(size: int) -> None:
    ear = Ear()
    ear.take(*packets(24, size=size), step_ms=size // 8)
    assert len(ear.sound) == 24 * size * 2 // 320 * 320 and not ear.concealed


@pytest.mark.parametrize("change", ["ssrc", "sequence", "timestamp", "both back", "both ahead"])
def test_a_peer_that_begins_anew_is_heard_on_without_a_hole(change: str) -> None:
    ear = Ear()
    ear.take(*packets(5))
    again = {
        "ssrc": packets(5, sequence=60000, timestamp=99, ssrc=8),
        "sequence": packets(5, sequence=30000, timestamp=5000 + 5 * 160),
        "timestamp": packets(5, sequence=105, timestamp=2**31),
        "both back": packets(5, sequence=40000, timestamp=4_000_000_000),
        "both ahead": packets(5, sequence=20000, timestamp=1_000_000),
    }[change]
    ear.take(*again)
    assert len(ear.frames) == 10 and not ear.concealed


def test_numbers_that_wrap_are_no_jump() -> None:
    ear = Ear()
    ear.take(*packets(10, sequence=65_531, timestamp=2**32 - 800))
    assert len(ear.frames) == 10 and not ear.concealed


def test_another_law_in_mid_stream_is_heard_as_what_it_is() -> None:
    ear = Ear()
    ear.take(*packets(3), *packets(3, 8, sequence=103, timestamp=5480))
    assert ear.frames[0][0] == decode_mulaw(bytes([1]) * 160)
    assert ear.frames[3][0] == decode_alaw(bytes([1]) * 160)
    assert not ear.concealed


@pytest.mark.parametrize(("codec", "kind"), [("G722", 9), ("opus", 107)])
@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_a_tone_is_a_tone_in_every_codec_and_at_every_rate_of_the_call(codec: str, kind: int, rate_hz: int) -> None:
    ear = Ear(rate_hz, **{codec: kind})
    ear.take(*coded(codec, kind, 1.0))
    assert tone_share(ear.sound, rate_hz) > 0.98
    assert len(ear.frames) in (49, 50) and not ear.concealed


@pytest.mark.parametrize(("codec", "kind"), [("G722", 9), ("opus", 107)])
def test_lost_packets_are_made_up_and_the_time_stays_true(codec: str, kind: int) -> None:
    ear = Ear(16000, **{codec: kind})
    ear.take(*coded(codec, kind, 1.0, lost=(10, 11, 30)))
    ear.wait(200)
    assert len(ear.frames) == 50 and ear.concealed == 3
    assert ear.receiver.concealed_ms == 60
    assert tone_share(ear.sound, 16000) > 0.9


def test_a_change_to_a_codec_with_another_clock_loses_nothing() -> None:
    ear = Ear(16000, G722=9, opus=107)
    ear.take(*coded("G722", 9, 0.4), *coded("opus", 107, 0.4), *packets(10))
    assert len(ear.frames) == 50 or len(ear.frames) == 49
    assert not ear.concealed
    assert ear.receiver.counts()[0] == 50


def test_a_packet_out_of_order_is_put_back_in_every_codec() -> None:
    for codec, kind in (("G722", 9), ("opus", 107)):
        ear, straight = Ear(16000, **{codec: kind}), Ear(16000, **{codec: kind})
        inorder = coded(codec, kind, 0.4)
        straight.take(*inorder)
        inorder[7], inorder[8] = inorder[8], inorder[7]
        ear.take(*inorder, inorder[9], step_ms=10)
        assert ear.frames == straight.frames


# --- comfort noise (RFC 3389) ---


def cn(sequence: int, timestamp: int, level: int = 50) -> Packet:
    return Packet(13, sequence, timestamp, SSRC, bytes([level]))


def test_a_described_pause_is_noise_in_real_time_and_no_loss() -> None:
    ear = Ear()
    ear.take(*packets(5))
    ear.noise(cn(105, 5800))
    ear.wait(1_000)
    made = len(ear.frames) - 5
    assert 44 <= made <= 48, "while it lasts it is heard, a little behind"
    ear.take(*packets(5, sequence=106, timestamp=5800 + 8000))
    assert len(ear.frames) == 60 and not ear.concealed
    assert ear.receiver.concealed_ms == 0 and ear.receiver.counts()[4] == 0
    pause = np.frombuffer(b"".join(frame for frame, _ in ear.frames[5:55]), "<i2").astype(np.float64)
    assert 20 * np.log10(np.sqrt(np.mean(pause * pause)) / 32767) == pytest.approx(-50, abs=1)


def test_speech_that_comes_back_sooner_than_the_noise_has_passed_is_not_cut() -> None:
    ear = Ear()
    ear.take(*packets(5))
    ear.noise(cn(105, 5800))
    ear.wait(90)
    ear.take(*packets(3, sequence=106, timestamp=5800 + 80 * 8))
    assert len(ear.frames) == 12 and not ear.concealed


def test_descriptions_in_a_row_are_one_pause() -> None:
    ear = Ear()
    ear.take(*packets(2))
    for number in range(5):
        ear.noise(cn(102 + number, 5320 + 1600 * number, 40 + number))
        ear.wait(200)
    ear.take(*packets(1, sequence=107, timestamp=5320 + 8000))
    assert len(ear.frames) == 53 and not ear.concealed


def test_what_was_lost_before_a_pause_is_made_up_and_the_pause_is_not() -> None:
    ear = Ear()
    ear.take(*packets(5)[:4])
    ear.noise(cn(105, 5800))
    ear.wait(400)
    ear.take(*packets(1, sequence=106, timestamp=5800 + 3200))
    assert len(ear.frames) == 5 + 20 + 1 and ear.concealed == 1


def test_a_pause_without_any_description_is_silence() -> None:
    ear = Ear()
    ear.take(*packets(2), *packets(2, sequence=102, timestamp=5320 + 1600))
    assert [frame for frame, _ in ear.frames[2:12]] == [bytes(320)] * 10
    assert len(ear.frames) == 14 and not ear.concealed


def test_codec_of_a_number_nobody_named_is_none() -> None:
    known: list[Codec | None] = [Ear().receiver.codecs.get(number) for number in (0, 8, 9, 99)]
    assert [codec.name if codec else None for codec in known] == ["PCMU", "PCMA", None, None]


# --- for a person instead of a recognizer ---


def test_played_evenly_there_is_a_frame_in_every_tick_however_packets_come() -> None:
    ear = Ear()
    ear.receiver.play_evenly(True)
    for burst in range(30):
        for packet in packets(5, sequence=100 + 5 * burst, timestamp=5000 + 800 * burst):
            codec = ear.receiver.codecs.get(0)
            assert codec is not None
            ear.receiver.sound(packet, codec, ear.now_ms)
        before = len(ear.frames)
        ear.wait(100)
        assert len(ear.frames) == before + 5
    assert ear.receiver.counts()[0] == 150 and ear.receiver.counts()[1] == 0


def test_played_evenly_the_silence_a_peer_does_not_send_is_no_loss_but_a_lost_packet_is() -> None:
    ear = Ear()
    ear.receiver.play_evenly(True)
    ear.take(*packets(100))
    ear.wait(2000)
    ear.take(*packets(100, sequence=200, timestamp=5000 + 200 * 160))
    assert ear.receiver.concealed_ms == pytest.approx(0, abs=1)
    stream = packets(100, sequence=300, timestamp=5000 + 300 * 160)
    del stream[50]
    ear.take(*stream)
    assert ear.receiver.concealed_ms == pytest.approx(20, abs=1)


def test_who_listens_can_change_in_mid_call_and_counts_go_on() -> None:
    ear = Ear()
    ear.take(*packets(5))
    ear.receiver.play_evenly(True)
    ear.take(*packets(50, sequence=105, timestamp=5800))
    ear.receiver.play_evenly(False)
    before = len(ear.frames)
    ear.take(*packets(5, sequence=155, timestamp=13800))
    assert len(ear.frames) == before + 5
    assert ear.receiver.counts()[0] == 60


def test_a_change_of_codec_is_played_evenly_too() -> None:
    ear = Ear(16000, G722=9, opus=107)
    ear.receiver.play_evenly(True)
    ear.take(*coded("G722", 9, 0.6), *coded("opus", 107, 0.6))
    assert len(ear.frames) == 60
    assert tone_share(b"".join(frame for frame, _ in ear.frames[40:58]), 16000) > 0.9


def test_a_damaged_packet_behind_a_hole_is_a_hole_more() -> None:
    ear = Ear(16_000, opus=107)
    stream = coded("opus", 107, 0.4, lost=(9,))
    # 20 ms in one frame, and padding that is not there (RFC 6716, section 3.2.5).
    stream[9] = stream[9]._replace(payload=b"\x4b\x41\xff")
    ear.take(*stream)
    ear.wait(200)
    ear.receiver.end()
    assert (len(ear.frames), ear.concealed, ear.receiver.damaged) == (20, 2, 1)
