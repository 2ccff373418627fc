"""SIGTERM and SIGHUP in the middle of a call, to the real server."""

import os
import pty
import select
import signal
import socket
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.real_caller import START, Wire
from tests.test_start import PATIENCE_S, TWISTD, Started
from voicemedia.signals import ECHO_S, impatience

CONFIG = """
[server]
port = 0
[limits]
drain_s = 2
[grpc]
enabled = false
[[routes]]
path = "/echo"
agent = "echo"
stt = "none"
tts = "none"
"""


@pytest.fixture
def server(tmp_path: Path) -> Started:
    (tmp_path / "voicemedia.toml").write_text(CONFIG)
    return Started(Path(sys.executable), (*TWISTD, "-n", "voicemedia", "--config", "voicemedia.toml"), tmp_path)


def test_a_call_goes_on_until_the_goodbye_and_is_closed_with_1000(server: Started) -> None:
    with server, Wire(server.port()) as caller:
        caller.send(START)
        caller.echo()
        server.process.send_signal(signal.SIGTERM)
        # The line is read from the pipe: from now on the port is closed.
        server.wait_for("drain_s")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port()), PATIENCE_S)
        for _ in range(25):
            caller.echo()
        assert caller.close_code() == 1000
        assert server.process.wait(PATIENCE_S) == -signal.SIGTERM
        server.stop()
        (ended,) = [line for line in server.lines if "why" in line]
        assert (ended["call"], ended["why"]) == ("C-S1", "drained")
        assert not [line for line in server.lines if line["level"] in ("warn", "error", "critical")]


def test_a_call_that_ends_by_itself_ends_the_drain(server: Started) -> None:
    with server, Wire(server.port()) as caller:
        caller.send(START)
        caller.echo()
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("drain_s")
        caller.send({"event": "stop", "streamSid": "S1"})
        assert caller.close_code() == 1000
        assert server.process.wait(PATIENCE_S) == -signal.SIGTERM


def test_a_server_that_is_stopped_while_it_starts_has_no_fault(tmp_path: Path) -> None:
    config = CONFIG.replace('stt = "none"', 'stt = "pocketsphinx"').replace('tts = "none"', 'tts = "espeak"')
    (tmp_path / "voicemedia.toml").write_text(config)
    command = (*TWISTD, "-n", "voicemedia", "--config", "voicemedia.toml")
    with Started(Path(sys.executable), command, tmp_path) as server:
        # The port is open before the recognizer's process hears.
        server.port()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == -signal.SIGTERM
        server.stop()
        assert server.lines
        assert not [line for line in server.lines if line["level"] in ("warn", "error", "critical")]


def test_who_asks_twice_waits_for_no_more_than_a_goodbye(tmp_path: Path) -> None:
    (tmp_path / "voicemedia.toml").write_text(CONFIG.replace("drain_s = 2", "drain_s = 3600"))
    command = (*TWISTD, "-n", "voicemedia", "--config", "voicemedia.toml")
    with Started(Path(sys.executable), command, tmp_path) as server, Wire(server.port()) as caller:
        caller.send(START)
        caller.echo()
        server.process.send_signal(signal.SIGINT)
        server.wait_for("drain_s")
        caller.echo()
        while not select.select([caller.socket], [], [], 0.2)[0]:
            server.process.send_signal(signal.SIGINT)
        assert caller.close_code() == 1000
        assert server.process.wait(PATIENCE_S) == -signal.SIGINT
        server.stop()
        assert not [line for line in server.lines if line["level"] in ("warn", "error", "critical")]


def test_the_echo_of_a_signal_is_no_impatience() -> None:
    clock, hastened = Clock(), list[bool]()
    again = impatience(lambda: hastened.append(True), clock)
    clock.advance(ECHO_S / 2)
    again()
    assert hastened == []
    clock.advance(ECHO_S)
    again()
    assert hastened == [True]


def test_a_hangup_of_no_terminal_costs_no_call(server: Started) -> None:
    with server, Wire(server.port()) as caller:
        caller.send(START)
        caller.echo()
        server.process.send_signal(signal.SIGHUP)
        assert server.wait_for("signal")["file"] == "standard output"
        caller.echo()
        caller.send({"event": "stop", "streamSid": "S1"})
        assert server.stop() == -signal.SIGTERM


def test_who_closes_the_terminal_stops_the_server_as_sigterm_does(tmp_path: Path) -> None:
    (tmp_path / "voicemedia.toml").write_text(CONFIG)
    command = (*TWISTD, "-n", "voicemedia", "--config", "voicemedia.toml")
    terminal, stdin = pty.openpty()
    try:
        with Started(Path(sys.executable), command, tmp_path, stdin=stdin) as server, Wire(server.port()) as caller:
            caller.send(START)
            caller.echo()
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("drain_s")
            caller.echo()
            caller.send({"event": "stop", "streamSid": "S1"})
            assert caller.close_code() == 1000
            assert server.process.wait(PATIENCE_S) == -signal.SIGTERM
    finally:
        os.close(terminal)
        os.close(stdin)
