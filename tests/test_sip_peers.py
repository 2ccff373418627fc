"""Calls by SIP stacks nobody here wrote: SIPp and baresip."""

import socket
import wave
from pathlib import Path
from random import randrange
from typing import Any

import numpy as np
import pytest

from tests.in_reactor import in_reactor
from tests.peers import baresip
from tests.peers.baresip import needs_baresip
from tests.peers.sipp import SCENARIOS, built_in, needs_raw_sockets, needs_sipp, sipp
from tests.sip_house import ECHO, bridge_of, make_certificate, serving, until
from voicemedia.config import Trunk
from voicemedia.service import MediaServer

SECONDS = 3


def left_behind(server: MediaServer) -> int:
    """Count what calls have left."""
    bridge = bridge_of(server)
    return bridge.rtp_ports.lent + sum(len(line.calls.live) for line in bridge.lines) + len(server.switchboard)


@needs_sipp
@needs_raw_sockets
@in_reactor
async def test_the_recording_and_the_key_of_sipp_are_heard_without_a_loss(tmp_path: Path) -> None:
    async with serving() as server:
        file = await built_in(tmp_path, "uac_pcap")
        status, log = await sipp(tmp_path, bridge_of(server).ports.port, "-sf", str(file), "-m", "1")
        assert status == 0, log
        await until(lambda: not left_behind(server))
        # 236 packets of 30 ms; the key comes with a source and sequence of its own.
        assert server.metrics.frames_in == 236 * 30 // 20
        assert server.metrics.frames_concealed == 0 and not server.metrics.wire_errors
        diary = next(iter(server.switchboard._ended.values()))
        assert [turn["keys"] for turn in diary.read() if turn["keys"]] == ["1"]


@needs_sipp
@pytest.mark.parametrize("transport", ["u1", "t1"])
@pytest.mark.parametrize("name", sorted(path.stem for path in SCENARIOS.glob("*.xml")))
@in_reactor
async def test_a_scenario_of_sipp_goes_as_written(name: str, transport: str, tmp_path: Path) -> None:
    async with serving() as server:
        arguments = ("-sf", str(SCENARIOS / f"{name}.xml"), "-m", "2", "-r", "10", "-t", transport)
        status, log = await sipp(tmp_path, bridge_of(server).ports.port, *arguments)
        assert status == 0, log
        await until(lambda: not left_behind(server))


@needs_sipp
@pytest.mark.parametrize("name", ["uac", "regexp"])
@in_reactor
async def test_a_scenario_that_comes_with_sipp_goes_as_written(name: str, tmp_path: Path) -> None:
    async with serving() as server:
        status, log = await sipp(tmp_path, bridge_of(server).ports.port, "-sn", name, "-m", "2")
        assert status == 0, log
        await until(lambda: not left_behind(server))


def free_ports() -> int:
    """Find where baresip may listen, over UDP and TCP; it wants to be told, and takes the ports that follow."""
    while True:
        # Below the ports the system gives to everybody else.
        port = 2 * randrange(6_000, 15_000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def chirp() -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    """Make a sound that is never twice the same."""
    at = np.arange(8000 * SECONDS)
    return np.round(7000 * np.sin(2 * np.pi * (300 + at / 20) * at / 8000)).astype("<i2")


@needs_baresip
@pytest.mark.parametrize(
    ("codec", "srtp", "encryption"),
    [
        ("pcma", "never", ""),
        ("pcmu", "never", ""),
        ("pcma", "sdes", ";mediaenc=srtp-mand"),
        ("pcma", "dtls", ";mediaenc=dtls_srtp"),
        ("pcmu", "allow", ";mediaenc=dtls_srtp;rtcp_mux=yes"),
    ],
)
@in_reactor
async def test_baresip_hears_its_own_words_at_the_quality_of_the_codec(
    codec: str, srtp: Any, encryption: str, tmp_path: Path
) -> None:
    said = chirp()
    write_words(tmp_path / "said.wav", said)
    trunk = Trunk("test", agent="echo", stt="none", tts="none", srtp=srtp)
    async with serving(trunk) as server:
        uri = f"sip:bot@127.0.0.1:{bridge_of(server).ports.port}"
        port = free_ports()
        heard, log = await baresip.call(
            tmp_path,
            uri,
            tmp_path / "said.wav",
            codecs=codec + encryption,
            seconds=SECONDS + 2,
            port=port,
        )
        await until(lambda: not left_behind(server))
    assert "Call established" in log, log
    assert share_that_survived(said, heard) > 0.95


@needs_baresip
@pytest.mark.parametrize("encryption", ["", ";mediaenc=srtp-mand"])
@in_reactor
async def test_baresip_hears_its_words_over_tls(encryption: str, tmp_path: Path) -> None:
    said = chirp()
    write_words(tmp_path / "said.wav", said)
    async with serving(ECHO, **make_certificate(tmp_path)) as server:
        heard, log = await baresip.call(
            tmp_path,
            f"sip:bot@127.0.0.1:{bridge_of(server).ports.tls_port};transport=tls",
            tmp_path / "said.wav",
            codecs=f"pcma{encryption}",
            seconds=SECONDS + 2,
            port=free_ports(),
        )
        await until(lambda: not left_behind(server))
    assert "Call established" in log, log
    assert share_that_survived(said, heard) > 0.95


def write_words(path: Path, said: "np.ndarray[tuple[int], np.dtype[np.int16]]") -> None:
    """Write what baresip says; at the end of its file it would hang up."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(said.tobytes() + bytes(2 * 8000 * 10))


def share_that_survived(said: "np.ndarray[tuple[int], np.dtype[np.int16]]", heard: Path) -> float:
    """Tell which share of the frames that were said is in a recording, 35 dB above the noise or better."""
    with wave.open(str(heard)) as file:
        got = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
    # Frame by frame, since a busy machine puts a pause between two of them now and then.
    frames = said[8000:].astype(np.float64).reshape(-1, 160)
    ratios_db = [signal_to_noise_db(frame, got) for frame in frames]
    return float(np.mean(np.array(ratios_db) > 35))


@needs_baresip
@pytest.mark.parametrize(("codec", "rate_hz"), [("G722", 16_000), ("opus", 48_000)])
@in_reactor
async def test_baresip_hears_its_own_words_in_a_wideband_codec(codec: str, rate_hz: int, tmp_path: Path) -> None:
    at = np.arange(rate_hz * SECONDS) / rate_hz
    # A tone telephone sound has no room for, in pulses.
    said = np.round(7000 * np.sin(2 * np.pi * 5000 * at) * (at % 0.5 < 0.25)).astype("<i2")
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(said.tobytes() + bytes(2 * rate_hz * 10))
    codecs: Any = (codec,)
    async with serving(Trunk("test", codecs=codecs, agent="echo", stt="none", tts="none")) as server:
        uri = f"sip:bot@127.0.0.1:{bridge_of(server).ports.port}"
        heard, log = await baresip.call(
            tmp_path, uri, tmp_path / "said.wav", codecs=codec.lower(), seconds=SECONDS + 2, port=free_ports()
        )
        await until(lambda: not left_behind(server))
    assert "Call established" in log, log
    with wave.open(str(heard)) as file:
        got = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())[:, 0]
        got_hz = file.getframerate()
    power = np.abs(np.fft.rfft(got.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(got), 1 / got_hz)
    assert power[np.abs(hz - 5000) < 50].sum() > 0.9 * power.sum()


def signal_to_noise_db(
    frame: "np.ndarray[tuple[int], np.dtype[np.float64]]", sound: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> float:
    """Find a frame in a sound, and tell how well it has survived."""
    power = float((frame * frame).sum())
    errors = np.convolve(sound * sound, np.ones(len(frame)), "valid") - 2 * np.correlate(sound, frame, "valid") + power
    return float(10 * np.log10(power / max(1.0, float(errors.min()))))
