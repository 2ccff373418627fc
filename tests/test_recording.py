"""Recordings of whole calls, on a fake clock: who said what when, to the sample."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from typing import ParamSpec, TypeVar

import numpy as np
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from tests.browsers import Page
from tests.house import ECHO, House, Peer
from tests.netem import netem
from tests.recordings import Disk, at_once, files, place_of, recording_house, the_recording
from tests.scripted_talk import sound_of
from voicemedia.audio.g711 import decode_mulaw, encode_mulaw
from voicemedia.callers.playback import Playback
from voicemedia.config import Recording, Route, Voice

T = TypeVar("T")
P = ParamSpec("P")
SCRIPTED = "tests.scripted_talk"
TALK = Route("/talk", agent="repeat", stt=SCRIPTED, tts=SCRIPTED)
TWILIO = Route("/twilio", "twilio", agent="repeat", stt=SCRIPTED, tts=SCRIPTED)
PAGE = Route("/audio-stream", "browser", agent="repeat", stt=SCRIPTED, tts=SCRIPTED)
VOICE = Voice(detector="energy", hangover_ms=300, ignore_first_ms=0)
GREETING = sound_of("Hello. Say something, and I will repeat it.", 8000)
GREETING_MS = len(GREETING) // 16


def wave(ms: int, seed: int = 0, rate_hz: int = 8000) -> bytes:
    """Make s16le sound that is like itself nowhere else, and as loud all over."""
    noise = np.random.default_rng(seed).integers(-12000, 12000, ms * rate_hz // 1000)
    return noise.astype("<i2").tobytes()


def through_mulaw(pcm: bytes) -> bytes:
    return decode_mulaw(encode_mulaw(pcm))


class Carrier:
    """A carrier that plays what it is sent in real time."""

    def __init__(self, house: House, path: str = "/talk", sid: str = "S1") -> None:
        self.house, self.playback = house, Playback()
        self.began_ms = house.now_ms
        self.peer: Peer = house.call(path, sid)
        self._listen()

    def say(self, pcm: bytes) -> None:
        """Speak in real time."""
        ulaw = encode_mulaw(pcm)
        for at in range(0, len(ulaw), 160):
            self.peer.media(ulaw[at : at + 160])
            self._listen()
            self.pass_ms(20)

    def quiet(self, ms: int) -> None:
        self.say(bytes(16 * ms))

    def pass_ms(self, ms: int) -> None:
        for _ in range(ms // 5):
            self.house.pass_ms(5)
            self._listen()

    def _listen(self) -> None:
        now_ms = self.house.now_ms - self.began_ms
        for message in self.peer.got():
            match message:
                case {"event": "media", "media": {"payload": str(payload)}}:
                    self.playback.play(b64decode(payload), now_ms)
                case {"event": "mark", "mark": {"name": str(name)}}:
                    self.playback.mark(name, now_ms)
                case {"event": "clear"}:
                    self._back(self.playback.clear(now_ms))
        self._back(self.playback.due(now_ms))

    def _back(self, names: list[str]) -> None:
        for name in names:
            self.peer.event("mark", {"name": name})

    def heard(self) -> bytes:
        """Return all that was played to the caller, from the start of the call to now."""
        return decode_mulaw(self.playback.heard(self.house.now_ms - self.began_ms))

    def hang_up(self) -> None:
        self.peer.stop()
        self.house.pass_ms(2000)


def talking(folder: Path, *routes: Route, **sections: object) -> House:
    return recording_house(folder, *(routes or (TALK,)), **{"voice": VOICE, **sections})


@pytest.mark.parametrize("route", [TALK, TWILIO], ids=lambda route: str(route.carrier))
def test_both_sides_of_a_carriers_call_lie_where_they_were_heard(tmp_path: Path, route: Route) -> None:
    house = talking(tmp_path, route)
    carrier = Carrier(house, route.path)
    carrier.quiet(GREETING_MS + 400)
    said = wave(700)
    said_at = 8 * (house.now_ms - carrier.began_ms)
    carrier.say(said)
    carrier.quiet(3000)
    heard = carrier.heard()
    samples = 8 * (house.now_ms - carrier.began_ms)
    carrier.hang_up()
    rate_hz, left, right = the_recording(tmp_path)
    assert rate_hz == 8000
    assert (len(left), len(right)) == (samples, samples)
    assert place_of(through_mulaw(said), left) == said_at
    assert not left[:said_at].any() and not left[said_at + len(said) // 2 :].any()
    # To the last sample, with greeting and answer where the carrier has played them.
    assert through_mulaw(right.tobytes()) == heard
    assert len(np.flatnonzero(right)) > len(GREETING) // 2


def test_what_an_interruption_has_cut_is_not_recorded_as_heard(tmp_path: Path) -> None:
    house = talking(tmp_path)
    carrier = Carrier(house)
    carrier.quiet(640)
    carrier.say(wave(500))
    carrier.quiet(2500)
    heard = carrier.heard()
    carrier.hang_up()
    (turn, *_) = json.loads(house.get("/calls/C-S1/turns")[1])
    assert turn["interrupted"]
    _, left, right = the_recording(tmp_path)
    assert through_mulaw(right.tobytes()) == heard
    assert 640 * 8 < np.flatnonzero(right == 0)[0] < 800 * 8 < GREETING_MS * 8
    assert place_of(through_mulaw(wave(500)), left) == 640 * 8


@pytest.mark.parametrize("seed", range(3))
def test_what_the_network_loses_leaves_the_rest_in_its_place(tmp_path: Path, seed: int) -> None:
    house = recording_house(tmp_path)
    peer, packets = house.call(), 500
    said = through_mulaw(wave(packets * 20, seed))
    wire = encode_mulaw(said)
    arrivals = netem(seed, loss=0.05, jitter_ms=60, reorder=0.05, duplicate=0.05).arrivals(range(0, packets * 20, 20))
    began_ms = house.now_ms
    for arrival in arrivals:
        while house.now_ms < began_ms + arrival.at_ms:
            house.pass_ms(1, 1)
        at = arrival.number * 160
        peer.media(wire[at : at + 160], chunk=arrival.number + 1, timestamp=str(arrival.number * 20))
    house.pass_ms(500)
    peer.stop()
    house.pass_ms(1000)
    _, left, _ = the_recording(tmp_path)
    came = {arrival.number for arrival in arrivals}
    # Behind a hole the first 4 ms are cross-faded.
    found = {number: place_of(said[320 * number + 64 : 320 * (number + 1)], left) for number in came}
    (shift,) = {place - 160 * number - 32 for number, place in found.items() if place >= 0}
    assert 0 <= shift <= 8 * 60
    # All but what came after it had been given up.
    assert sum(place >= 0 for place in found.values()) > 0.97 * len(came)


def test_a_carrier_that_sends_nothing_while_its_caller_is_silent_is_silent(tmp_path: Path) -> None:
    house = recording_house(tmp_path)
    carrier = Carrier(house, "/echo")
    first, second = wave(400, 1), wave(400, 2)
    carrier.say(first)
    carrier.pass_ms(5000)
    carrier.say(second)
    heard = carrier.heard()
    carrier.hang_up()
    _, left, right = the_recording(tmp_path)
    assert place_of(through_mulaw(first), left) == 0
    assert place_of(through_mulaw(second), left) == 5400 * 8
    assert right.tobytes() == heard


@pytest.mark.parametrize("ppm", [-200, 200])
def test_a_caller_whose_clock_is_not_ours_is_where_he_was_after_minutes(tmp_path: Path, ppm: int) -> None:
    house = recording_house(tmp_path, Route("/still", agent="repeat", stt="none", tts="none"))
    peer = house.call("/still")
    packets, word = 4 * 60 * 50, encode_mulaw(wave(20))
    for number in range(packets):
        peer.media(word if number == packets - 10 else b"\xff" * 160)
        if number == packets - 10:
            said_s = house.reactor.seconds()
        house.reactor.advance(0.02 * (1 + ppm / 1e6))
    peer.stop()
    house.pass_ms(1500)
    _, left, _ = the_recording(tmp_path)
    assert abs(np.flatnonzero(left)[0] - said_s * 8000) <= 2
    # Uncorrected he would be 48 ms off.
    assert abs(said_s * 8000 - (packets - 10) * 160) > 300


def streaming_page(house: House) -> Page:
    return Page(house, "sessionId=S1&stream=1")


def test_both_sides_of_a_browsers_call_lie_where_they_were_heard(tmp_path: Path) -> None:
    house = talking(tmp_path, PAGE)
    began_ms = house.now_ms
    page = streaming_page(house)
    page.say(4000, bytes(640))
    said = wave(500, rate_hz=16_000)
    for at in range(0, len(said), 640):
        page.say(20, said[at : at + 640])
    page.say(4000, bytes(640))
    page.got()
    page.peer.text({"type": "close"})
    page.leave()
    house.pass_ms(40_000, 50)
    rate_hz, left, right = the_recording(tmp_path)
    assert rate_hz == 16_000
    assert place_of(said, left) == 4000 * 16
    loud = np.flatnonzero(right)
    greeting, answer = sound_of("Hello. Say something, and I will repeat it."), sound_of("You said: 25 frames.")
    assert len(loud) == len(greeting + answer) // 2
    # What the page was sent, in its order; the greeting at the first tick.
    assert right[loud].tobytes() == greeting + answer == page.sound
    assert loud[0] <= 20 * 16
    assert place_of(answer, right[len(greeting) // 2 + loud[0] :]) > 0
    assert house.now_ms - began_ms > 40_000


def test_a_question_sent_when_it_was_over_lies_before_its_answer(tmp_path: Path) -> None:
    house = talking(tmp_path, PAGE)
    page = Page(house)
    house.pass_ms(5600)
    page.say(400, bytes(640))  # the room is quiet
    house.pass_ms(2000)
    said = wave(1500, rate_hz=16_000)
    page.send("webm_audio", data=b64encode(said).decode(), mimeType="audio/pcm", size=len(said))
    page.send("end_of_speech")
    house.pass_ms(4000)
    page.leave()
    house.pass_ms(40_000, 50)
    _, left, right = the_recording(tmp_path)
    asked = place_of(said, left)
    assert asked == (8000 - 1500 + 20) * 16
    answered = np.flatnonzero(right[6000 * 16 :])[0] + 6000 * 16
    # It came, was understood and answered in one moment, that of its last frame.
    assert answered == asked + len(said) // 2 - 20 * 16


def test_a_pause_is_silence_on_both_sides(tmp_path: Path) -> None:
    house = recording_house(tmp_path)
    carrier = Carrier(house, "/echo")
    tape = house.server.switchboard.tape("C-S1")
    assert tape is not None
    said = wave(3000)
    carrier.say(said[:16000])
    tape.pause()
    assert tape.paused
    carrier.say(said[16000:32000])
    tape.resume()
    carrier.say(said[32000:])
    carrier.hang_up()
    _, left, right = the_recording(tmp_path)
    assert left[:8000].tobytes() == through_mulaw(said[:16000])
    assert not left[8000:16000].any() and not right[8000:16000].any()
    assert left[16000:24000].tobytes() == through_mulaw(said[32000:])
    assert right[16800:23000].all() or len(np.flatnonzero(right[16800:23000])) > 6000


def test_nothing_is_recorded_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    house = House()
    house.call().talk(2000)
    assert house.server.recorder is None
    assert list(tmp_path.rglob("*")) == []
    assert "recording" not in str(house.counted())


def test_only_the_routes_named_are_recorded(tmp_path: Path) -> None:
    other = Route("/other", agent="echo", stt="none", tts="none")
    house = recording_house(
        tmp_path, ECHO, other, recording=Recording(enabled=True, folder=str(tmp_path), routes=("/other",))
    )
    for path in ("/echo", "/other"):
        peer = house.call(path, path[1:])
        peer.talk(1000)
        peer.stop()
    house.pass_ms(1500)
    assert [path.name for path in files(tmp_path)] == ["000001.000-smartflo-C-other.wav"]


@pytest.mark.parametrize(
    ("call_id", "name"),
    [
        ("CA12", "CA12"),
        ("../../etc/passwd", "etc_passwd"),
        ("a@b;c=d e\0\n", "a_b_c_d_e"),
        ("...", "call"),
        ("\u0905\u0906", "call"),
        ("x" * 120, "x" * 80),
    ],
)
def test_a_call_of_any_name_has_a_file_of_a_harmless_name(tmp_path: Path, call_id: str, name: str) -> None:
    house = recording_house(tmp_path)
    peer = house.call(callSid=call_id)
    peer.talk(1000)
    peer.stop()
    house.pass_ms(1500)
    (path,) = files(tmp_path)
    assert path.parent.parent == tmp_path
    assert path.name == f"000000.000-smartflo-{name}.wav"


def test_calls_of_one_name_in_the_same_moment_have_a_file_each(tmp_path: Path) -> None:
    house = recording_house(tmp_path)
    peers = [house.call(sid=f"S{number}", callSid="same") for number in range(3)]
    for peer in peers:
        peer.talk(500)
    house.pass_ms(1500)
    assert [path.name for path in files(tmp_path)] == [
        "000000.000-smartflo-same-2.wav",
        "000000.000-smartflo-same-3.wav",
        "000000.000-smartflo-same.wav",
    ]


def test_a_recording_can_be_read_during_the_call(tmp_path: Path) -> None:
    house = recording_house(tmp_path)
    peer = house.call()
    said = wave(5000)
    for number in range(250):
        peer.media(encode_mulaw(said[320 * number : 320 * (number + 1)]))
        house.pass_ms(20)
        if number % 50 == 25 and number > 100:
            _, left, _ = the_recording(tmp_path)
            assert len(left) >= (number - 52) * 160
            assert left[: len(left) - 320].tobytes() == through_mulaw(said)[: 2 * (len(left) - 320)]


def test_the_longest_recording_ends_and_the_call_goes_on(tmp_path: Path) -> None:
    house = recording_house(tmp_path, recording=Recording(enabled=True, folder=str(tmp_path), max_minutes=1))
    peer = house.call()
    peer.talk(70_000, b"\x80" * 160)
    assert len(house.server.switchboard) == 1
    assert house.counted()["recordings_active"] == 0
    assert len(the_recording(tmp_path)[1]) == 60 * 8000
    assert house.counted()["recording_seconds_total"] == 60


def test_mulaw_takes_half_the_room(tmp_path: Path) -> None:
    house = recording_house(tmp_path, recording=Recording(enabled=True, folder=str(tmp_path), format="mulaw"))
    peer = house.call()
    said = encode_mulaw(wave(2000))
    for at in range(0, len(said), 160):
        peer.talk(20, said[at : at + 160])
    peer.stop()
    house.pass_ms(1500)
    (path,) = files(tmp_path)
    assert path.read_bytes()[58::2] == said
    assert path.stat().st_size == 58 + 2 * len(said)


# --- the disk ---


class SmallDisk:
    """A disk that at times takes no file of more than 70 kB."""

    full = False

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        limit = getrlimit(RLIMIT_FSIZE)
        try:
            setrlimit(RLIMIT_FSIZE, (70_000 if self.full else limit[0], limit[1]))
            return at_once(work, *args, **kwargs)
        finally:
            setrlimit(RLIMIT_FSIZE, limit)


class Log:
    """What is logged while it is open."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: dict[str, object]) -> None:
        self.lines.append(str(event["log_format"]).format(**event))

    def __enter__(self) -> "Log":
        globalLogPublisher.addObserver(self)  # type: ignore[arg-type]
        return self

    def __exit__(self, *_exc: object) -> None:
        globalLogPublisher.removeObserver(self)  # type: ignore[arg-type]

    def of(self, word: str) -> list[str]:
        return [line for line in self.lines if word in line]


def test_a_recording_is_logged_and_counted(tmp_path: Path) -> None:
    house = recording_house(tmp_path)
    with Log() as log:
        peer = house.call()
        peer.talk(3000)
        assert house.counted()["recordings_active"] == 1
        peer.stop()
        house.pass_ms(1500)
    (path,) = files(tmp_path)
    assert log.of("recorded in") == [f"call C-S1: 3.0 s recorded in {path}, 0.0 s of sound dropped"]
    counted = house.counted()
    assert counted["recordings_active"] == 0
    assert counted["recording_seconds_total"] == 3
    assert counted["recording_dropped_seconds_total"] == 0


def test_a_full_disk_harms_no_call_is_said_once_and_recording_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = SmallDisk()
    house = recording_house(tmp_path, aside=disk)
    peer, said = house.call(), wave(9000)
    with Log() as log:
        for number in range(450):
            disk.full = 100 <= number < 300
            peer.talk(20, encode_mulaw(said[320 * number : 320 * (number + 1)]))
            if number == 290:
                assert house.get("/health")[1]["providers"]["recording"]["reason"] == "File too large"
        assert len(peer.heard()) > 8900 * 8
        peer.stop()
        house.pass_ms(1500)
    assert log.of("sound is") == ["sound is not recorded: File too large", "sound is recorded again"]
    assert house.server.troubles()["recording"] == ""
    _, left, _ = the_recording(tmp_path)
    assert len(left) == 9 * 8000
    true = np.frombuffer(through_mulaw(said), "<i2")
    assert np.array_equal(left[:8000], true[:8000]) and np.array_equal(left[-16000:], true[-16000:])
    assert 3 < house.counted()["recording_dropped_seconds_total"] < 12


def test_what_the_configuration_wants_free_is_left_alone(tmp_path: Path) -> None:
    house = recording_house(tmp_path, recording=Recording(enabled=True, folder=str(tmp_path), min_free_mb=1 << 40))
    peer = house.call()
    peer.talk(2000)
    peer.stop()
    house.pass_ms(1500)
    assert files(tmp_path) == []
    assert house.counted()["recording_dropped_seconds_total"] > 1.5
    house.pass_ms(1000)
    assert house.server.troubles()["recording"] == ""


def test_a_folder_that_cannot_be_written_harms_no_call(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, and no folder")
    house = recording_house(tmp_path / "taken")
    with Log() as log:
        peer = house.call()
        peer.talk(2000, b"\x80" * 160)
        assert len(peer.heard()) > 1500 * 8
        peer.stop()
        house.pass_ms(1500)
    assert len(log.of("sound is not recorded")) == 1
    assert house.ended() == {"caller_hung_up": 1}


def test_sound_waits_for_a_slow_disk_and_what_is_too_much_is_dropped_and_counted(tmp_path: Path) -> None:
    disk = Disk()
    house = recording_house(tmp_path, aside=disk, recording=Recording(enabled=True, folder=str(tmp_path), queue_s=5))
    peer, said = house.call(), wave(20_000)
    for number in range(1000):
        peer.talk(20, encode_mulaw(said[320 * number : 320 * (number + 1)]))
        if number == 900:
            # One batch is on its way, and a look for old recordings; all else waits in bounded memory.
            assert len(disk.waiting) == 2
            disk.turn()
    peer.stop()
    for _ in range(3):
        house.pass_ms(1000)
        disk.turn()
    _, left, _ = the_recording(tmp_path)
    true = np.frombuffer(through_mulaw(said), "<i2")
    assert len(left) == 20 * 8000
    kept = left != 0
    assert np.array_equal(left[kept], true[kept])
    assert 5 < len(np.flatnonzero(left)) / 8000 < 9
    dropped = house.counted()["recording_dropped_seconds_total"]
    assert 22 < dropped < 32  # of both sides


def test_a_server_that_stops_writes_what_is_there(tmp_path: Path) -> None:
    house = recording_house(tmp_path, aside=at_once)
    house.call().talk(1500, b"\x80" * 160)
    stopped = house.server.stopService()
    for _ in range(60):
        house.pass_ms(1000, 100)
    assert stopped.called
    assert len(the_recording(tmp_path)[1]) > 1400 * 8


def test_a_disk_that_hangs_holds_up_no_server_that_stops(tmp_path: Path) -> None:
    house = recording_house(tmp_path, aside=Disk())
    house.call().talk(1500)
    with Log() as log:
        stopped = house.server.stopService()
        for _ in range(90):
            house.pass_ms(1000, 100)
    assert stopped.called
    assert len(log.of("did not take the end of recordings")) == 1


def test_recordings_older_than_the_history_are_deleted(tmp_path: Path) -> None:
    old, young = (tmp_path / day / "x.wav" for day in ("1970-01-01", "1970-01-02"))
    for path, age_days in ((old, 91), (young, 89)):
        path.parent.mkdir()
        path.write_bytes(b"")
        stamp = -age_days * 24 * 3600
        __import__("os").utime(path, (stamp, stamp))
    house = recording_house(tmp_path)
    house.pass_ms(1500)
    assert files(tmp_path) == [young]
    assert not old.parent.exists()


def test_an_echo_lies_beside_what_it_echoes(tmp_path: Path) -> None:
    house = recording_house(tmp_path)
    carrier = Carrier(house, "/echo")
    carrier.quiet(300)
    carrier.say(wave(5000))
    carrier.hang_up()
    _, left, right = the_recording(tmp_path)
    assert len(np.flatnonzero(left)) > 39_000
    assert np.array_equal(left, right)
