"""Recordings of calls, on every kind of leg, and what is left of them after a crash."""

import os
import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from twisted.internet.defer import Deferred, maybeDeferred

from tests.fakes import FakeLeg
from tests.house import ECHO, House
from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, serving, until
from tests.test_calls_out import TOKEN, Client
from tests.test_sip_bridge import tone
from voicemedia.audio.g711 import decode_alaw, decode_mulaw
from voicemedia.config import Calls, Route
from voicemedia.config import Recording as Settings
from voicemedia.recording import RecordedLeg, Recorder, Recording, WavFile

Sound = NDArray[np.int16]


def inline(work: Any, *args: Any, **kwargs: Any) -> "Deferred[Any]":
    """Run what blocks at once."""
    return maybeDeferred(work, *args, **kwargs)


def read(path: Path) -> tuple[int, Sound, Sound]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
        assert len(both) == file.getnframes()
    return file.getframerate(), both[:, 0], both[:, 1]


def record(house: House, folder: Path, *routes: str) -> Recorder:
    """Let a house record."""
    recorder = Recorder(Settings(enabled=True, folder=str(folder), routes=routes), house.reactor, lambda: house.now_ms)
    recorder.aside = inline
    house.server.switchboard.recorder = recorder
    return recorder


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.wav"))


def ramp(count: int) -> list[bytes]:
    """Make frames of mu-law that are each known again."""
    return [bytes([0x80 + number % 0x60]) * 160 for number in range(count)]


def test_a_carriers_call_is_recorded_caller_left_and_echo_right(tmp_path: Path) -> None:
    house = House()
    record(house, tmp_path)
    peer = house.call(sid="S/../1")
    said = ramp(50)
    for sound in said:
        peer.media(sound)
        house.pass_ms(20)
    house.pass_ms(500)
    peer.stop()
    house.pass_ms(100)
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.parent == tmp_path
    rate_hz, left, right = read(path)
    assert rate_hz == 8000
    wanted = np.frombuffer(decode_mulaw(b"".join(said)), "<i2")
    for side in (left, right):
        begins = int(np.argmax(side != 0))
        assert (side[begins : begins + len(wanted)] == wanted).all()
    later = int(np.argmax(right != 0)) - int(np.argmax(left != 0))
    assert 0 <= later <= 8 * 60, "an echo comes behind its sound"


def test_what_was_not_heard_because_the_caller_interrupted_is_not_recorded(tmp_path: Path) -> None:
    leg, now = FakeLeg(), [0]
    recording = Recording(tmp_path / "a" / "x.wav", leg.caller, inline, lambda: now[0])
    recorded = RecordedLeg(leg, recording, lambda: now[0])
    recorded.play(b"\5\0" * 160 * 50)
    now[0] = 300
    recorded.clear()
    assert leg.events == ["play", "clear"]
    now[0] = 1000
    recording.end()
    _, _, right = read(tmp_path / "a" / "x.wav")
    assert (right[:2400] == 5).all() and not right[2400:].any()


def test_a_pause_is_silence_and_both_sides_keep_their_time(tmp_path: Path) -> None:
    house = House()
    record(house, tmp_path)
    peer = house.call()
    (recording,) = house.server.switchboard.recordings.values()
    for number, sound in enumerate([b"\x90" * 160] * 150):
        if number in (50, 100):
            recording.pause(number == 50)
        peer.media(sound)
        house.pass_ms(20)
    peer.stop()
    house.pass_ms(100)
    _, left, right = read(files(tmp_path)[0])
    for side in (left, right):
        assert not side[8400:15600].any() and side[2000:7600].all() and side[16_800:22_000].all()
    assert house.server.switchboard.recordings == {}


def test_only_the_routes_that_are_named_are_recorded_and_by_default_none(tmp_path: Path) -> None:
    house = House(ECHO, Route("/other", agent="echo", stt="none", tts="none"))
    assert house.server.switchboard.recorder is None
    record(house, tmp_path, "/other")
    for path in ("/echo", "/other"):
        peer = house.call(path, sid=path[1:])
        peer.talk(200)
        peer.stop()
    house.pass_ms(100)
    assert len(files(tmp_path)) == 1


def test_a_disk_that_fails_costs_the_recording_and_not_the_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    house = House()
    record(house, tmp_path / "file")
    peer = house.call()
    peer.talk(2000, b"\x90" * 160)
    assert peer.heard()
    peer.stop()
    house.pass_ms(100)
    assert house.ended() == {"caller_hung_up": 1}


def test_a_disk_that_hangs_holds_no_sound_in_memory(tmp_path: Path) -> None:
    waiting: list[Any] = []

    def never(work: Any, *args: Any, **_: Any) -> "Deferred[Any]":
        waiting.append(args)
        return Deferred()

    house = House()
    record(house, tmp_path).aside = never
    peer = house.call()
    peer.talk(60_000)
    assert len(waiting) <= 41
    assert house.ended() == {}


CRASH = """
import sys, itertools
from pathlib import Path
from voicemedia.recording import WavFile
file = WavFile(Path(sys.argv[1]), 8000)
print("named", flush=True)
for number in itertools.count(1):
    file.append(number.to_bytes(2, "little") * 2000)
"""


@pytest.mark.parametrize("chance", range(5))
def test_a_file_whose_writer_was_killed_at_any_instant_can_be_read(chance: int, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with subprocess.Popen([sys.executable, "-c", CRASH, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"named\n"
        # It is somewhere in the middle of something.
        os.sched_yield()
        while path.stat().st_size < 40_000 * (chance + 1):
            pass
        writer.send_signal(signal.SIGKILL)
    _, left, right = read(path)
    assert (left == right).all()
    assert (left == np.repeat(np.arange(1, len(left) // 1000 + 1), 1000)).all()


def test_a_file_is_whole_after_every_piece(tmp_path: Path) -> None:
    file = WavFile(tmp_path / "x.wav", 16_000)
    for count in range(5):
        rate_hz, left, _ = read(tmp_path / "x.wav")
        assert (rate_hz, len(left)) == (16_000, 10 * count)
        file.append(bytes(40))
    file.close()
    assert [each.name for each in tmp_path.iterdir()] == ["x.wav"]


@in_reactor
async def test_a_sip_call_is_recorded_and_paused_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)
    settings = Settings(enabled=True, folder=str(tmp_path))
    async with serving(calls=Calls("CALLS_TOKEN"), recording=settings) as server:
        caller, client = Telephone(server), Client(server)
        await caller.call()
        said = tone(60)
        await caller.talk(said)
        assert (await client.ask("POST", "/nobody/recording", paused=True))[0] == 404
        assert (await client.ask("POST", f"/{caller.call_id}/recording", paused=True))[0] == 200
        await caller.talk(tone(50))
        assert (await client.ask("POST", f"/{caller.call_id}/recording", paused="yes"))[0] == 400
        await caller.hang_up()
        await until(lambda: not len(server.switchboard))
        await caller.close()
    (path,) = files(tmp_path)
    assert "-sip-" in path.name
    _, left, right = read(path)
    # What was said while it was paused is not there; the time is.
    assert len(left) > 8 * 1900 and not left[-8 * 500 :].any() and not right[-8 * 500 :].any()
    wanted = np.frombuffer(decode_alaw(b"".join(said[10:12])), "<i2")
    places = [[at for at in range(len(side) - 320) if (side[at : at + 320] == wanted).all()] for side in (left, right)]
    assert places[0] and places[1] and 0 <= places[1][0] - places[0][0] <= 8 * 100


@in_reactor
async def test_a_call_that_is_not_recorded_cannot_be_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)
    async with serving(calls=Calls("CALLS_TOKEN")) as server:
        caller, client = Telephone(server), Client(server)
        await caller.call()
        await until(lambda: len(server.switchboard))
        status, told = await client.ask("POST", f"/{caller.call_id}/recording", paused=True)
        assert status == 409 and "recording" in told["error"]["message"]
        await caller.close()
