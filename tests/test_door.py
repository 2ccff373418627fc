"""Who is let in at a route's door, and what the others are told."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.house import ECHO, TWILIO, House
from voicemedia.config import Config, Limits, Route, Server, read_config
from voicemedia.protocols.twilio_wire import signature

SECRET, TOKEN = "s3 cret/ü%41", "12345"
FORBIDDEN = {"error": {"code": "forbidden", "message": "You may not call here."}}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_SECRET", SECRET)
    monkeypatch.setenv("DOOR_TOKEN", TOKEN)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the door logs, and the warnings of the start."""
    seen: list[str] = []

    @implementer(ILogObserver)
    def watch(event: LogEvent) -> None:
        if event["log_namespace"].endswith("Door") or event["log_format"] == "{warning}":
            seen.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(watch)
    yield seen
    globalLogPublisher.removeObserver(watch)


def with_secret() -> House:
    return House(msgspec.structs.replace(ECHO, secret_env="DOOR_SECRET"))


@pytest.mark.parametrize(
    "path",
    [
        "/echo/s3%20cret%2F%C3%BC%2541",
        "/echo/s3%20cret/%C3%BC%2541",
        "/echo/s3%20cret%2f%c3%bc%2541/",
        "/echo?secret=s3+cret/%C3%BC%2541",
        "/echo/?token=s3%20cret%2F%C3%BC%2541",
        "/echo?a=1&token=wrong&token=s3%20cret%2F%C3%BC%2541",
    ],
)
def test_the_secret_lets_in_from_path_or_query_however_it_is_encoded(path: str) -> None:
    assert with_secret().connect(path).status == 101


@pytest.mark.parametrize(
    "path",
    [
        "/echo",
        "/echo/",
        "/echo/wrong",
        "/echo?secret=",
        "/echo?secret=wrong",
        "/echo/s3%20cret%2F%C3%BCA",
        "/echo/%FF%FE",
    ],
)
def test_without_the_secret_nobody_gets_in(path: str, lines: list[str]) -> None:
    house = with_secret()
    peer = house.connect(path)
    assert (peer.status, msgspec.json.decode(peer.body)) == (403, FORBIDDEN)
    assert house.server.metrics.peers_denied == 1
    assert len(lines) == 1
    assert lines[0].startswith("127.0.0.1 was refused on /echo: secret ")
    assert "cret" not in lines[0].removesuffix("secret wrong").removesuffix("secret missing")
    house.pass_ms(100)
    assert len(house.server._sockets) == 0


def test_the_secret_is_asked_for_by_each_route_itself() -> None:
    house = House(
        msgspec.structs.replace(ECHO, secret_env="DOOR_SECRET"), Route("/open", agent="echo", stt="none", tts="none")
    )
    assert house.connect("/open").status == 101
    assert house.connect("/echo").status == 403


ALLOW = msgspec.structs.replace(ECHO, allow=("192.0.2.0/24", "2001:db8::7"))
BEHIND_PROXY = Server(trusted_proxies=("10.0.0.0/8",))


@pytest.mark.parametrize(
    ("peer_ip", "forwarded", "status"),
    [
        ("192.0.2.9", "", 101),
        ("::ffff:192.0.2.9", "", 101),
        ("2001:db8::7", "", 101),
        ("2001:db8::8", "", 403),
        ("203.0.113.1", "", 403),
        # A proxy's word counts only if the proxy is ours.
        ("203.0.113.1", "192.0.2.9", 403),
        ("10.0.0.1", "192.0.2.9", 101),
        ("::ffff:10.0.0.1", "192.0.2.9", 101),
        ("10.0.0.1", "", 403),
        ("10.0.0.1", "203.0.113.1", 403),
        # What stands in front was written by the caller itself.
        ("10.0.0.1", "192.0.2.9, 203.0.113.1", 403),
        ("10.0.0.1", "203.0.113.1, 192.0.2.9", 101),
        ("10.0.0.1", "192.0.2.9, 10.0.0.2", 101),
        ("10.0.0.1", "192.0.2.9,10.0.0.2 ,10.0.0.3", 101),
        ("10.0.0.1", "unknown", 403),
        ("10.0.0.1", ",,", 403),
    ],
)
def test_the_address_decides_through_trusted_proxies_only(peer_ip: str, forwarded: str, status: int) -> None:
    house = House(ALLOW, server=BEHIND_PROXY)
    assert house.connect(peer_ip=peer_ip, x_forwarded_for=forwarded).status == status


def test_a_chain_of_nothing_but_proxies_begins_at_the_first() -> None:
    house = House(msgspec.structs.replace(ECHO, allow=("10.1.2.3",)), server=BEHIND_PROXY)
    assert house.connect(peer_ip="10.0.0.1", x_forwarded_for="10.1.2.3, 10.0.0.2").status == 101
    assert house.connect(peer_ip="10.0.0.1", x_forwarded_for="10.1.2.4, 10.0.0.2").status == 403


def test_proxies_that_write_lines_of_their_own_are_understood() -> None:
    house = House(ALLOW, server=BEHIND_PROXY)
    two_lines = "192.0.2.9\r\nX-Forwarded-For: 10.0.0.2"
    assert house.connect(peer_ip="10.0.0.1", x_forwarded_for=two_lines).status == 101


# --- Twilio's signature ---


def twilio(**server: Any) -> House:
    return House(msgspec.structs.replace(TWILIO, token_env="DOOR_TOKEN"), server=Server(**server))


@pytest.mark.parametrize(
    ("public_url", "signed", "status"),
    [
        ("", "ws://127.0.0.1:8000/twilio?x=1", 101),
        ("", "wss://here:8000/twilio?x=1", 403),
        ("https://voice.example.com", "wss://voice.example.com/twilio?x=1", 101),
        ("https://voice.example.com/", "wss://voice.example.com:443/twilio?x=1", 101),
        ("wss://voice.example.com:8443", "wss://voice.example.com:8443/twilio?x=1", 101),
        ("https://voice.example.com", "wss://voice.example.com/twilio", 403),
        ("https://voice.example.com", "wss://evil.example.com/twilio?x=1", 403),
    ],
)
def test_twilios_signature_is_over_the_address_as_twilio_sees_it(public_url: str, signed: str, status: int) -> None:
    house = twilio(public_url=public_url)
    peer = house.connect("/twilio?x=1", x_twilio_signature=signature(TOKEN, signed))
    assert peer.status == status


def test_without_or_with_a_wrong_signature_nobody_gets_in(lines: list[str]) -> None:
    house = twilio()
    url = "ws://here:8000/twilio"
    for given in ("", "x", "\xe9", signature("other token", url)):
        assert house.connect("/twilio", x_twilio_signature=given).status == 403
    assert [line.rpartition(" ")[2] for line in lines] == ["missing", "wrong", "wrong", "wrong"]
    assert House(TWILIO).connect("/twilio").status == 101


# --- room ---


def test_a_full_server_says_when_to_come_again() -> None:
    house = House(limits=Limits(max_calls=2))
    first = house.call()
    second = house.connect()
    refused = house.connect()
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert msgspec.json.decode(refused.body) == {
        "error": {"code": "unavailable", "message": "full: limits.max_calls = 2"}
    }
    assert house.get("/streaming/stats")[1]["refused_sessions"] == 1
    assert house.counted()["calls_refused_total"] == 1
    second.lose()
    assert house.connect().status == 101
    first.stop()
    assert house.connect().status == 503, "a socket whose stream has ended may start another"
    first.lose()
    assert house.connect().status == 101


def test_a_full_route_leaves_room_on_the_others() -> None:
    house = House(msgspec.structs.replace(ECHO, max_calls=1), TWILIO)
    house.connect()
    assert house.connect().status == 503
    assert house.connect("/twilio").status == 101


def test_a_handshake_that_autobahn_refuses_takes_no_place() -> None:
    house = House(limits=Limits(max_calls=1))
    assert house.connect(Sec_WebSocket_Version="99").status == 400
    assert house.connect(Sec_WebSocket_Key="short").status == 400
    assert house.connect().status == 101


def test_a_handshake_that_autobahn_refuses_is_told_why_in_json() -> None:
    refused = House().connect(Sec_WebSocket_Version="99")
    error = msgspec.json.decode(refused.body)["error"]
    assert error["code"] == "bad_request" and "version 99" in error["message"]
    assert refused.headers["content-length"] == str(len(refused.body))
    assert "13" in refused.headers["sec-websocket-version"], "a client may try again (RFC 6455, section 4.4)"


def test_the_configuration_reads_its_secrets_once_at_the_start(tmp_path: Any) -> None:
    file = tmp_path / "voicemedia.toml"
    file.write_text('[[routes]]\npath = "/a"\nagent = "echo"\nstt = "none"\ntts = "none"\nsecret_env = "DOOR_SECRET"\n')
    config: Config = read_config(str(file))
    assert SECRET not in repr(config)
    assert SECRET not in repr(House(*config.routes).__dict__)


def test_an_open_address_without_a_rule_is_a_warning_of_the_start(lines: list[str]) -> None:
    House()
    assert lines == []
    House(server=Server(host="0.0.0.0"))
    assert [line for line in lines if "/echo" in line]
