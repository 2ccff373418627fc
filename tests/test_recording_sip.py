"""Recordings of calls over SIP, on real sockets: each side is what its RTP timestamps say, to the sample."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from tests.in_reactor import in_reactor
from tests.recordings import Samples, files, place_of, the_recording
from tests.sip_house import PCMA_SILENCE, Telephone, bridge_of, pause, reactor, serving, until
from tests.test_calls_out import TOKEN, Client, address, calling
from voicemedia.audio.g711 import decode_alaw, encode_alaw
from voicemedia.audio.wav import write_wav
from voicemedia.config import Calls, Recording, Trunk
from voicemedia.sip_bridge.rtp_wire import read_rtp

Scene = TypeVar("Scene")
STILL_S = 0.06
"Fewer packets than this are what the buffers on the way make good."
ECHO = Trunk("test", agent="echo", stt="none", tts="none")


def noise(seed: int, packets: int) -> list[bytes]:
    """Make A-law packets of noise."""
    pcm = np.random.default_rng(seed).integers(-12000, 12000, 160 * packets).astype("<i2").tobytes()
    wire = encode_alaw(pcm)
    return [wire[at : at + 160] for at in range(0, len(wire), 160)]


async def steadily(folder: Path, scenario: Callable[[Path], Awaitable[Scene]]) -> Scene:
    """Play a scenario, each time in a folder of its own, until this process has not stood still in the middle of it.

    Telephone and server are in one process: when the machine does not let it run, sound is late and lies where it came.
    """
    seen: list[float] = []
    watch = LoopingCall(lambda: seen.append(reactor.seconds()))
    for number in count():
        seen.clear()
        watch.start(0.005)
        scene = await scenario(folder / str(number))
        watch.stop()
        if max(later - sooner for sooner, later in pairwise(seen)) < STILL_S:
            return scene
    raise AssertionError


def recorded(folder: Path) -> Callable[[], bool]:
    """Tell when the recording is complete: its file is as long as its head says, and no longer written."""
    return lambda: bool(files(folder)) and files(folder)[0].stat().st_size == 44 + 4 * len(the_recording(folder)[1])


def as_sent(phone: Telephone) -> Samples:
    """Draw what the telephone got on the time line of the timestamps."""
    packets = [read_rtp(datagram) for datagram in phone.sound.got]
    first = packets[0].timestamp
    places = [(packet.timestamp - first) % 2**32 for packet in packets]
    line = np.zeros(max(places) + 160, "<i2")
    for place, packet in zip(places, packets, strict=True):
        line[place : place + 160] = np.frombuffer(decode_alaw(packet.payload), "<i2")
    return line


def is_what_was_sent(right: Samples, sent: Samples) -> bool:
    """Tell whether our side is, but for A-law, what the telephone got, to the sample."""
    ours = through_alaw(right)
    loud_sent, loud_here = (np.flatnonzero(np.abs(line.astype(int)) > 1000) for line in (sent, ours))
    shift = int(loud_here[0] - loud_sent[0])
    # Packets are sent from the answer on, recorded for as long as the call is.
    here, there = ours[max(0, shift) :], sent[max(0, -shift) :]
    both = min(len(here), len(there))
    assert both > 8000
    # A-law has no silence, but two samples next to it.
    return bool((np.abs(here[:both].astype(int) - there[:both]) <= 16).all())


def through_alaw(line: Samples) -> Samples:
    return np.frombuffer(decode_alaw(encode_alaw(line.tobytes())), "<i2")


@in_reactor
async def test_both_sides_of_a_sip_call_are_recorded_to_the_sample(tmp_path: Path) -> None:
    async with serving(ECHO, recording=Recording(enabled=True, folder=str(tmp_path), routes=("/sip/test",))) as server:
        phone = Telephone(server)
        await phone.call()
        said = [*noise(1, 60), *[PCMA_SILENCE] * 40, *noise(2, 60)]
        await phone.talk(said)
        await pause(0.2)
        await phone.hang_up()
        sent = as_sent(phone)
        await phone.close()
        await until(lambda: not bridge_of(server).lines[0].calls.live)
        await until(recorded(tmp_path))
    rate_hz, left, right = the_recording(tmp_path)
    assert rate_hz == 8000
    # What the caller said, as his own numbers have it.
    begins = place_of(decode_alaw(b"".join(said)), left)
    assert begins >= 0
    # What he was sent, as our numbers have it: it is the same line, but for A-law.
    assert is_what_was_sent(right, sent)
    # And the echo comes after the voice, a slot or two later.
    at = place_of(decode_alaw(said[0]), through_alaw(right))
    assert 0 <= at - begins <= 60 * 8


@in_reactor
async def test_what_an_interruption_has_cut_was_not_sent_and_is_not_recorded(tmp_path: Path) -> None:
    scripted = "tests.scripted_talk"
    trunk = Trunk("test", agent="repeat", stt=scripted, tts=scripted)
    async with serving(trunk, recording=Recording(enabled=True, folder=str(tmp_path))) as server:
        phone = Telephone(server)
        await phone.call()
        # The greeting takes 1.6 s.
        await phone.talk([PCMA_SILENCE] * 30)
        (call,) = server.switchboard
        await phone.talk([*noise(1, 30), *[PCMA_SILENCE] * 50])
        assert call.diary.read()[0]["interrupted"]
        await phone.hang_up()
        sent = as_sent(phone)
        await phone.close()
        await until(lambda: not bridge_of(server).lines[0].calls.live)
        await until(recorded(tmp_path))
    _, left, right = the_recording(tmp_path)
    assert is_what_was_sent(right, sent)
    assert place_of(decode_alaw(b"".join(noise(1, 30))), left) >= 0


@in_reactor
async def test_what_was_said_before_a_bye_is_heard_although_it_is_read_after_it(tmp_path: Path) -> None:
    async with serving(ECHO, recording=Recording(enabled=True, folder=str(tmp_path))) as server:
        phone = Telephone(server)
        await phone.call()
        said = noise(1, 50)
        # All of it, and the BYE, is sent before the server has its turn.
        for packet in said:
            phone.say(packet)
        await phone.hang_up()
        await phone.close()
        await until(lambda: not bridge_of(server).lines[0].calls.live)
        await until(recorded(tmp_path))
    _, left, _ = the_recording(tmp_path)
    assert place_of(decode_alaw(b"".join(said)), left) >= 0


@in_reactor
async def test_what_was_lost_on_the_way_leaves_all_else_in_its_place(tmp_path: Path) -> None:
    said = noise(1, 100)
    left = await steadily(tmp_path, partial(lossy, said))
    # Behind a hole the first 4 ms are cross-faded.
    places = {
        place_of(decode_alaw(packet)[64:], left) - 32 - 160 * number
        for number, packet in enumerate(said)
        if number % 10 != 7
    }
    assert len(places) == 1


async def lossy(said: list[bytes], folder: Path) -> Samples:
    """Say this without every tenth packet; return what was recorded of it."""
    async with serving(ECHO, recording=Recording(enabled=True, folder=str(folder))) as server:
        phone = Telephone(server)
        await phone.call()
        for number, packet in enumerate(said):
            if number % 10 == 7:
                phone._sequence, phone._timestamp = phone._sequence + 1, phone._timestamp + 160
                await pause(0.02)
            else:
                await phone.talk([packet])
        await phone.hang_up()
        await phone.close()
        await until(lambda: not bridge_of(server).lines[0].calls.live)
        await until(recorded(folder))
    return the_recording(folder)[1]


@in_reactor
async def test_music_on_hold_is_recorded_as_it_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)
    music = np.random.default_rng(5).integers(-9000, 9000, 8000).astype("<i2").tobytes()
    (tmp_path / "music.wav").write_bytes(write_wav(music, 8000))
    left, right, sent = await steadily(tmp_path, partial(on_hold, tmp_path / "music.wav"))
    assert not left.any()
    assert is_what_was_sent(right, sent)
    assert place_of(decode_alaw(encode_alaw(music[:8000])), through_alaw(right)) >= 0


async def on_hold(music: Path, folder: Path) -> tuple[Samples, Samples, Samples]:
    """Hold a call; return both sides of its recording, and what was sent."""
    settings = Recording(enabled=True, folder=str(folder))
    async with calling(recording=settings, hold_music=str(music)) as (server, client, phone):
        call = await client.place(address(phone))
        await phone.take()
        await until(lambda: len(server.switchboard) == 1)
        held = Deferred.fromCoroutine(client.ask("POST", f"/{call['id']}/hold"))
        await until(lambda: len(phone.requests("INVITE")) == 2)
        phone.reply(phone.requests("INVITE")[1], "200 OK", phone.sdp(direction="recvonly", version=2))
        assert (await held)[0] == 200
        await pause(1.5)
        await client.ask("DELETE", f"/{call['id']}")
        await until(lambda: phone.requests("BYE"))
        phone.agree(phone.requests("BYE")[0])
        sent = as_sent(phone)
        await until(lambda: not len(server.switchboard))
        await until(recorded(folder))
    _, left, right = the_recording(folder)
    return left, right, sent


@in_reactor
async def test_a_pause_of_a_sip_call_is_silence_on_both_sides(tmp_path: Path) -> None:
    for line in await steadily(tmp_path, paused_between):
        coded = through_alaw(line)
        heard = [sum(place_of(decode_alaw(packet), coded) >= 0 for packet in noise(seed, 60)) for seed in (1, 2, 3)]
        assert heard[0] >= 55 and heard[2] >= 55
        assert heard[1] <= 5


async def paused_between(folder: Path) -> tuple[Samples, Samples]:
    """Say three noises, the recording paused at the second; return its sides."""
    async with serving(ECHO, recording=Recording(enabled=True, folder=str(folder))) as server:
        phone = Telephone(server)
        await phone.call()
        await phone.talk(noise(1, 60))
        (call,) = server.switchboard
        tape = server.switchboard.tape(call.caller.call_id)
        assert tape is not None
        tape.pause()
        await phone.talk(noise(2, 60))
        tape.resume()
        await phone.talk(noise(3, 60))
        await phone.hang_up()
        await phone.close()
        await until(lambda: not bridge_of(server).lines[0].calls.live)
        await until(recorded(folder))
    _, left, right = the_recording(folder)
    return left, right


@in_reactor
async def test_a_recording_is_paused_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)
    settings = Recording(enabled=True, folder=str(tmp_path))
    async with serving(ECHO, calls=Calls("CALLS_TOKEN"), recording=settings) as server:
        phone, client = Telephone(server), Client(server)
        await phone.call()
        await phone.talk(noise(1, 60))
        assert (await client.ask("POST", "/nobody/recording", paused=True))[0] == 404
        assert (await client.ask("POST", f"/{phone.call_id}/recording", paused=True))[0] == 200
        await phone.talk(noise(2, 50))
        assert (await client.ask("POST", f"/{phone.call_id}/recording", paused="yes"))[0] == 400
        await phone.hang_up()
        await until(lambda: not len(server.switchboard))
        await phone.close()
        await until(recorded(tmp_path))
    (path,) = files(tmp_path)
    assert "-sip-" in path.name
    _, left, right = the_recording(tmp_path)
    # What was said while it was paused is not there; the time is.
    assert len(left) > 8 * 1900 and not left[-8 * 500 :].any() and not right[-8 * 500 :].any()
    assert left.any() and right.any()


@in_reactor
async def test_a_call_that_is_not_recorded_cannot_be_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)
    async with serving(ECHO, calls=Calls("CALLS_TOKEN")) as server:
        phone, client = Telephone(server), Client(server)
        await phone.call()
        await until(lambda: len(server.switchboard))
        status, told = await client.ask("POST", f"/{phone.call_id}/recording", paused=True)
        assert status == 409 and "recording" in told["error"]["message"]
        await phone.close()
