"""`voicemedia call` against a real socket: what it prints, records and returns."""

import argparse
import json
import re
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import maybeDeferred

from tests.fake_carrier_server import AnswerBrain, FakeServer, tone
from tests.in_reactor import in_reactor
from voicemedia.callers.call_command import add_arguments, destination, place, read_lines
from voicemedia.callers.script import Keys, Turn
from voicemedia.callers.sound import write_wav
from voicemedia.callers.talk import Exchange
from voicemedia.callers.told import ToldTurn
from voicemedia.errors import ConfigError


def arguments(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(line)


@pytest.fixture
def speech(tmp_path: Path) -> str:
    write_wav(tmp_path / "speech.wav", b"\xff" * 800 + tone(200) + b"\xff" * 1600)
    return str(tmp_path / "speech.wav")


async def called(server: FakeServer, *line: str) -> int:
    from twisted.internet import reactor

    try:
        return await place(reactor, arguments(*line))
    finally:
        await maybeDeferred(server.stop)


def served(make_brain: Callable[[], Any], tells: bool = False) -> FakeServer:
    from twisted.internet import reactor

    return FakeServer(reactor, make_brain, tells)


@in_reactor
async def test_a_conversation_is_shown_turn_by_turn_and_recorded(
    speech: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = served(AnswerBrain, tells=True)
    heard = tmp_path / "heard.wav"
    line = ["smartflo", speech, "--url", server.url(), "--quiet", "0.1", "--record", str(heard), "--stereo"]
    assert await called(server, *line) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f"Calling {server.url()} as smartflo, 20 ms packets, call CA")
    assert any("caller  two idlis   [speech.wav, 0.2 s]" in text for text in shown)
    # How long exactly is the machine's affair; test_callers_carrier has it on a clock of its own.
    assert any(re.search(r"agent   noted   \[after \d+ ms, \d\.\d s\]", text) for text in shown)
    assert any(re.match(r"1 of 1 answered, latency \d+ ms", text) for text in shown)
    with wave.open(str(heard)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        assert file.getnframes() > 8000


@in_reactor
async def test_json_tells_the_whole_call(speech: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = served(AnswerBrain, tells=True)
    line = ["twilio", speech, "dtmf:1", "--url", server.url("/twilio"), "--quiet", "0.1", "--json"]
    assert await called(server, *line, "--record", str(tmp_path / "h.wav")) == 0
    whole = json.loads(capsys.readouterr().out)
    assert [turn["said"] for turn in whole["turns"]] == ["greeting", "speech.wav", "keys 1"]
    assert [turn["understood"] for turn in whole["turns"]] == ["two idlis"] * 3
    assert whole["turns"][1]["server_latency_ms"] == {"think": 3.5}
    assert whole["server_turns"][1]["heard_text"] == "noted"
    assert whole["turns"][1]["latency_ms"] >= 380
    assert whole["ended"] == "the caller hung up"
    assert whole["carrier_rules_broken"] == {}


@in_reactor
async def test_a_server_that_does_not_answer_is_status_1(
    speech: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = served(lambda: AnswerBrain(dumb=True))
    line = ["smartflo", speech, "--url", server.url(), "--answer-timeout", "0.5", "--quiet", "0.1"]
    assert await called(server, *line, "--record", str(tmp_path / "h.wav")) == 1
    shown = capsys.readouterr().out
    assert "no answer" in shown
    assert "caller  (not told)   [speech.wav, 0.2 s]" in shown


@in_reactor
async def test_no_server_is_status_2_with_the_cure(speech: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = served(AnswerBrain)
    await server.stop()
    assert await called(server, "smartflo", speech, "--url", server.url()) == 2
    told = capsys.readouterr().err
    assert f"no server at {server.url()}" in told
    assert "start it with `make run`" in told


@in_reactor
async def test_a_recording_that_cannot_be_written_is_status_2_before_any_call(
    speech: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = served(AnswerBrain)
    record = tmp_path / "nowhere" / "heard.wav"
    assert await called(server, "smartflo", speech, "--url", server.url(), "--record", str(record)) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"voicemedia call: cannot write {record}: No such file or directory\n")


@in_reactor
async def test_a_refused_handshake_is_status_2_with_the_servers_reason(
    speech: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = served(AnswerBrain)
    assert await called(server, "smartflo", speech, "--url", server.url("/nowhere")) == 2
    assert "WebSocket connection upgrade failed [404]: Not Found" in capsys.readouterr().err


@in_reactor
async def test_a_file_that_is_no_wav_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "song.mp3").write_bytes(b"ID3")
    server = served(AnswerBrain)
    assert await called(server, "smartflo", str(tmp_path / "song.mp3")) == 2
    assert "song.mp3 is not a WAV file; convert it with: ffmpeg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "url"),
    [
        (["smartflo"], "ws://127.0.0.1:8000/vendor-stream"),
        (["twilio"], "ws://127.0.0.1:8000/twilio"),
        (["twilio", "--url", "wss://voice.example"], "wss://voice.example/twilio"),
        (["smartflo", "--url", "ws://h:1/vendor-stream/echo?a=b"], "ws://h:1/vendor-stream/echo?a=b"),
        (["smartflo", "--secret", "s/1"], "ws://127.0.0.1:8000/vendor-stream/s%2F1"),
    ],
)
def test_where_to_call_follows_from_the_carrier_and_the_options(line: list[str], url: str) -> None:
    assert destination(arguments(*line)).url == url


def test_an_address_that_is_no_websocket_is_refused() -> None:
    with pytest.raises(ConfigError, match="must begin with ws:// or wss://"):
        destination(arguments("smartflo", "--url", "http://127.0.0.1:8000/"))


def test_keys_may_stand_between_the_files(speech: str) -> None:
    lines = read_lines([speech, "dtmf:12#", speech], "9")
    assert [line.keys if isinstance(line, Keys) else getattr(line, "name", "") for line in lines] == [
        "speech.wav",
        "12#",
        "speech.wav",
        "9",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "call smartflo a.wav dtmf:1 b.wav --loss 0.1 --json",
        "call smartflo --loss 0.1 a.wav dtmf:1 --json b.wav",
        "call --json --loss=0.1 smartflo a.wav dtmf:1 b.wav",
    ],
)
def test_options_may_stand_anywhere(line: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser.add_subparsers(dest="command").add_parser("call"))
    args = parser.parse_args(line.split())
    assert (args.carrier, args.lines, args.loss, args.json) == ("smartflo", ["a.wav", "dtmf:1", "b.wav"], 0.1, True)


def test_an_unknown_option_and_an_unknown_carrier_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for line, told in (["smartflo", "--bogus"], "--bogus"), (["pigeon", "a.wav"], "invalid choice: 'pigeon'"):
        with pytest.raises(SystemExit) as stopped:
            arguments(*line)
        assert stopped.value.code == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("items", [[], ["dtmf:"], ["dtmf:12x"]])
def test_nothing_to_say_and_keys_that_do_not_exist_are_refused(items: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"nothing to say|keys are"):
        read_lines(items, None)


@pytest.mark.parametrize(
    "wrong",
    [["--loss", "2"], ["--packet-ms", "15"], ["--param", "novalue"], ["--quiet", "-1"]],
)
def test_impossible_values_are_usage_errors(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        arguments("smartflo", "a.wav", *wrong)
    assert stopped.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_keys_pressed_in_a_row_are_shown_together() -> None:
    told = [ToldTurn("caller", keys="4"), ToldTurn("agent", "Yes?"), ToldTurn("caller", keys="2"), ToldTurn("caller")]
    exchange = Exchange(Turn(Keys("42"), 0, 0, 0), [*told, ToldTurn("caller", "two"), ToldTurn("caller", keys="#")])
    assert exchange.text("caller") == "keys 42 two keys #"
