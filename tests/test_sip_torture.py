"""RFC 4475's messages, each with the reactions its manifest allows."""

import json
from pathlib import Path
from typing import Any

import pytest

from voicemedia.errors import WireError
from voicemedia.sip_bridge.flow_wire import Flow, Incoming, Transmit
from voicemedia.sip_bridge.framing_wire import Stream, read_datagram
from voicemedia.sip_bridge.reaction_wire import Abilities, bad_response, refusal
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.user_agent_wire import UserAgent

TORTURE = Path(__file__).parents[2] / "shared/vectors/sip"
MANIFEST: list[dict[str, Any]] = json.loads((TORTURE / "rfc4475/manifest.json").read_text()) if TORTURE.exists() else []
CASES = [entry for entry in MANIFEST if (TORTURE / entry["file"]).exists()]

needs_vectors = pytest.mark.skipif(not CASES, reason="../shared/vectors/sip/rfc4475 is not there")


def reaction(message: Request | Response | None) -> str:
    if message is None:
        return "drop"
    if isinstance(message, Response):
        return "drop" if bad_response(message) else "accept"
    refused = refusal(message)
    if refused is None:
        return "accept"
    return str(refused.status) if refused.response(message, "tag") else "drop"


def over_udp(raw: bytes) -> Request | Response | None:
    try:
        return read_datagram(raw)
    except WireError:
        return None


def over_tcp(raw: bytes) -> Request | Response | None:
    for item in Stream().feed(raw):
        assert isinstance(item, Request | Response)
        return item
    return None


@needs_vectors
def test_all_fifty_are_there() -> None:
    assert sum(entry["file"].startswith("rfc4475/") for entry in CASES) == 50


@needs_vectors
@pytest.mark.parametrize("entry", CASES, ids=lambda entry: entry["file"])
def test_the_reaction_over_udp_is_one_the_rfc_allows(entry: dict[str, Any]) -> None:
    found = reaction(over_udp((TORTURE / entry["file"]).read_bytes()))
    assert found in entry["uas_reaction"] or entry["uas_reaction"] == ["must not crash"]


# RFC 4475 means these for UDP: over TCP the first waits for its body, the others have no length or no end.
TCP_DIFFERS = {"clerr": ("drop",), "inv2543": ("400",), "baddn": ("drop",), "test": ("drop",)}


@needs_vectors
@pytest.mark.parametrize("entry", CASES, ids=lambda entry: entry["file"])
def test_the_reaction_over_tcp_is_one_the_rfc_allows(entry: dict[str, Any]) -> None:
    found = reaction(over_tcp((TORTURE / entry["file"]).read_bytes()))
    assert found in TCP_DIFFERS.get(Path(entry["file"]).stem, entry["uas_reaction"])


@needs_vectors
@pytest.mark.parametrize("entry", CASES, ids=lambda entry: entry["file"])
def test_a_whole_user_agent_reacts_alike(entry: dict[str, Any]) -> None:
    agent = UserAgent(lambda: "token", lambda: 0.5)
    message = over_udp((TORTURE / entry["file"]).read_bytes())
    if message is None:
        return
    agent.receive(message, Flow("UDP", "192.0.2.1:5060", ("198.51.100.9", 5060)), 0)
    outputs = agent.outputs()
    sent = [output.message.encode() for output in outputs if isinstance(output, Transmit)]
    statuses = [raw.split(b" ", 2)[1].decode() for raw in sent]
    called = any(isinstance(output, Incoming) for output in outputs)
    found = "accept" if called or statuses == ["200"] else "".join(statuses) or "drop"
    if isinstance(message, Response):
        # An answer to nothing of ours: whether well or ill formed, nothing follows.
        assert found == "drop"
    else:
        assert found in entry["uas_reaction"] or entry["uas_reaction"] == ["must not crash"]


@needs_vectors
def test_the_bad_display_name_is_found_when_its_empty_line_is_mended() -> None:
    message = over_udp((TORTURE / "rfc4475/baddn.dat").read_bytes() + b"\r\n")
    assert isinstance(message, Request) and not message.trouble
    refused = refusal(message)
    assert refused and (refused.status, refused.reason) == (400, "Bad From Header")


@needs_vectors
def test_unknown_extensions_are_named_in_the_answer() -> None:
    message = over_udp((TORTURE / "rfc4475/bext01.dat").read_bytes())
    assert isinstance(message, Request)
    refused = refusal(message)
    assert refused
    answer = refused.response(message, "tag")
    assert answer and answer.headers.first("unsupported") == "nothingSupportsThis, nothingSupportsThisEither"


@needs_vectors
@pytest.mark.parametrize("entry", CASES, ids=lambda entry: entry["file"])
def test_whatever_can_be_read_comes_back_the_same(entry: dict[str, Any]) -> None:
    message = over_udp((TORTURE / entry["file"]).read_bytes())
    if message is None or (isinstance(message, Request) and message.trouble):
        return
    again = over_udp(message.encode())
    assert again is not None
    length = ("content-length", "l")
    assert [field for field in again.headers if field[0].lower() not in length] == [
        field for field in message.headers if field[0].lower() not in length
    ]
    assert again.body == message.body


def invite(head: str, body: bytes = b"") -> Request:
    fields = (
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n"
        "Call-ID: x\r\nCSeq: 1 INVITE\r\n"
    )
    message = read_datagram(f"INVITE sip:c@d SIP/2.0\r\n{fields}{head}\r\n\r\n".encode() + body)
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Accept: application/sdp;level=1", None),
        ("Accept: */*", None),
        ("Accept: text/plain, image/gif", 406),
        ('Accept: text/plain, "', None),
        ("Require: 100rel, TIMER", None),
        ("Require: precondition", 420),
        ('Require: "', 420),
        ('Supported: <, "', None),
        ("Max-Forwards: 0", None),
        ("Content-Encoding: gzip\r\nContent-Type: application/sdp", 415),
        ("Content-Type: text/plain\r\nContent-Disposition: render; handling=optional", None),
        ("Content-Type: multipart/mixed;boundary=a", 415),
    ],
)
def test_an_invite_is_validated(head: str, status: int | None) -> None:
    refused = refusal(invite(head, b"v=0\r\n" if "Content-Type" in head else b""))
    assert (refused.status if refused else None) == status


def test_an_oversized_body_gets_413_and_an_overlong_uri_414() -> None:
    request = invite("Content-Type: application/sdp", b"v=0\r\n" * 9)
    small = refusal(request, Abilities(body_limit=10))
    assert small and small.status == 413
    request.uri = "sip:" + "a" * 3000 + "@b"
    long = refusal(request)
    assert long and long.status == 414


@pytest.mark.parametrize("via", [None, "", ","])
def test_a_request_without_a_way_back_goes_no_further(via: str | None) -> None:
    request = invite("")
    request.headers.remove("via")
    if via is not None:
        request.headers.put_first("Via", via)
    refused = refusal(request)
    assert refused and refused.kind in ("missing_via", "bad_via")


def test_a_broken_ack_is_never_answered() -> None:
    request = invite("Require: nothing")
    request.method = "ACK"
    refused = refusal(request)
    assert refused and refused.response(request, "tag") is None
