"""`voicemedia call sip` against a real server: every transport, both ways to send keys, a bad network."""

import argparse
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import DNSLookupError

from tests.fake_carrier_server import tone
from tests.in_reactor import in_reactor
from tests.sip_house import ECHO, Telephone, make_certificate, reactor, serving, until
from voicemedia.audio import libopus
from voicemedia.callers.call_command import add_arguments, place
from voicemedia.callers.sound import write_wav
from voicemedia.config import Config, Grpc, Sip, Trunk
from voicemedia.errors import ConfigError
from voicemedia.service import make_service

HANDS = ("--quiet", "0.3", "--wait-greeting", "0", "--answer-timeout", "3")


def arguments(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(line)


@pytest.fixture
def speech(tmp_path: Path) -> str:
    write_wav(tmp_path / "speech.wav", b"\xff" * 800 + tone(200) + b"\xff" * 1600)
    return str(tmp_path / "speech.wav")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Make a certificate that nobody has signed."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(
    ("transport", "codec"),
    [("udp", "PCMU"), ("udp", "PCMA"), ("tcp", "PCMU"), ("tls", "PCMA"), ("udp", "G722"), ("udp", "opus")],
)
@in_reactor
async def test_the_caller_hears_the_echo_of_its_words(
    transport: str, codec: str, speech: str, tmp_path: Path, certificate: dict[str, Any]
) -> None:
    heard = tmp_path / "heard.wav"
    codecs: Any = (codec,)
    async with serving(Trunk("test", codecs=codecs, agent="echo", stt="none", tts="none"), **certificate) as server:
        assert server.sip is not None
        ports = server.sip.ports
        port = ports.tls_port if transport == "tls" else ports.port
        way = ["--tls"] if transport == "tls" else []
        to = f"sip:bot@127.0.0.1:{port}" + ("" if way else f";transport={transport}")
        line = ["sip", speech, "--to", to, *way, "--codec", codec, *HANDS, "--insecure", "--record", str(heard)]
        assert await place(reactor, arguments(*line)) == 0
    with wave.open(str(heard)) as recording:
        sound = recording.readframes(recording.getnframes())
    assert max(abs(int.from_bytes(sound[at : at + 2], "little", signed=True)) for at in range(0, len(sound), 2)) > 3000


@pytest.mark.parametrize("srtp", ["sdes", "dtls"])
@in_reactor
async def test_an_encrypted_call_is_heard(srtp: Any, speech: str, tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    async with serving(Trunk("test", agent="echo", stt="none", tts="none", srtp=srtp)) as server:
        assert server.sip is not None
        to = f"sip:bot@127.0.0.1:{server.sip.ports.port}"
        line = ["sip", speech, "--to", to, "--srtp", srtp, *HANDS, "--record", str(heard)]
        assert await place(reactor, arguments(*line)) == 0
        assert not server.metrics.wire_errors
        refused = ["sip", speech, "--to", to, *HANDS, "--record", str(heard)]
        assert await place(reactor, arguments(*refused)) == 2, "in the clear it takes none"


@pytest.mark.parametrize(("option", "way"), [("--keys-by", "rfc4733"), ("--dtmf", "info"), ("--dtmf", "inband")])
@in_reactor
async def test_keys_arrive_however_they_are_sent(
    option: str, way: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(Trunk("test", agent="repeat", stt="none", tts="none", keys_by=way)) as server:
        assert server.sip is not None and server.port is not None
        http = cast(Any, server.port).getHost().port
        line = ["sip", "dtmf:42#", "--to", f"sip:bot@127.0.0.1:{server.sip.ports.port}", *HANDS]
        line += [option, way, "--json", "--url", f"ws://127.0.0.1:{http}", "--record", str(tmp_path / "heard.wav")]
        await place(reactor, arguments(*line))
        told = json.loads(capsys.readouterr().out)
    keys = [turn["keys"] for turn in told["server_turns"] if turn["who"] == "caller"]
    assert "".join(keys) == "42#"
    # Tones have to be heard first, so two may be known at once.
    assert len(keys) == 3 or way == "inband"


@in_reactor
async def test_words_get_through_a_bad_network(speech: str, tmp_path: Path) -> None:
    async with serving(ECHO) as server:
        assert server.sip is not None
        line = ["sip", speech, "--to", f"sip:bot@127.0.0.1:{server.sip.ports.port}", *HANDS]
        line += ["--loss", "0.05", "--jitter-ms", "60", "--reorder", "0.02", "--duplicate", "0.02"]
        assert await place(reactor, arguments(*line, "--record", str(tmp_path / "heard.wav"))) == 0
        assert server.metrics.frames_concealed > 0


@pytest.mark.parametrize(
    ("to", "complaint"),
    [
        ("http://x", "not a SIP address"),
        ("sip:bot@127.0.0.1:9", "did not take the call: status 503; it cannot be rea"),
        ("sip:bot@127.0.0.1:9;transport=tcp", "did not take the call: status 503; it cannot be rea"),
    ],
)
@in_reactor
async def test_a_call_that_does_not_come_about_says_why(
    to: str, complaint: str, speech: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await place(reactor, arguments("sip", speech, "--to", to)) == 2
    assert complaint in capsys.readouterr().err


@asynccontextmanager
async def called(speech: str, sound_at: str, *more: str) -> "AsyncIterator[tuple[Telephone, Deferred[int]]]":
    """Let a caller call a telephone, which wants its sound somewhere; give the caller's exit code to come."""
    async with serving() as server:
        phone = Telephone(server)
        to = f"sip:bob@127.0.0.1:{phone.port}"
        code = Deferred.fromCoroutine(place(reactor, arguments("sip", speech, "--to", to, *HANDS, *more)))
        invite = await phone.invited()
        phone.server = phone.signals.sources[0]
        phone.reply(invite, "200 OK", phone.sdp(formats="0").replace("c=IN IP4 127.0.0.1", f"c=IN IP4 {sound_at}"))
        yield phone, code
        await phone.close()


@in_reactor
async def test_a_name_in_the_sdp_is_looked_up_before_anything_is_sent_there(
    speech: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Deferred[str] = Deferred()
    resolve = reactor.resolve
    monkeypatch.setattr(reactor, "resolve", lambda name: asked if name == "sound.test" else resolve(name))
    async with called(speech, "sound.test", "--record", str(tmp_path / "heard.wav")) as (phone, code):
        await until(lambda: phone.requests("ACK"))
        assert not phone.sound.got
        asked.callback("127.0.0.1")
        await until(lambda: phone.sound.got)
        phone.ask("BYE")
        await code


@in_reactor
async def test_a_caller_whose_sound_is_wanted_nowhere_hangs_up(
    speech: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resolve = reactor.resolve
    nowhere = DNSLookupError("no such name")
    monkeypatch.setattr(reactor, "resolve", lambda name: fail(nowhere) if name == "x.invalid" else resolve(name))
    async with called(speech, "x.invalid", "--record", str(tmp_path / "heard.wav")) as (phone, code):
        await until(lambda: phone.requests("BYE"))
        phone.agree(phone.requests("BYE")[0])
        await code
    assert "x.invalid, which is not found" in capsys.readouterr().err


@in_reactor
async def test_a_codec_whose_library_is_not_here_is_named_before_anybody_is_called(
    speech: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libopus, "missing", lambda: "the extra `opus` is not installed")
    assert await place(reactor, arguments("sip", speech, "--to", "sip:bot@127.0.0.1:9", "--codec", "opus")) == 2
    assert "--codec opus: the extra `opus` is not installed" in capsys.readouterr().err


def test_a_trunk_whose_codec_has_no_library_here_is_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libopus, "missing", lambda: "the extra `opus` is not installed")
    trunk = Trunk("test", agent="echo", stt="none", tts="none", codecs=("opus", "PCMU"))
    config = Config(sip=Sip(enabled=True, port=0), trunks=(trunk,), grpc=Grpc(enabled=False), routes=())
    with pytest.raises(ConfigError, match=r"trunks\.test\.codecs: the extra"):
        make_service(config, reactor)
