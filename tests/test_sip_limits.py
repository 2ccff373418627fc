"""What a trunk may take, how it answers, and how keys travel, as a telephone sees it."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from twisted.internet.testing import MemoryReactorClock

from tests.in_reactor import in_reactor
from tests.sip_house import ECHO, PCMA_SILENCE, Telephone, bridge_of, header, pause, serving, until
from voicemedia.audio.g711 import decode_alaw, encode_alaw
from voicemedia.config import Config, Server, Sip, Trunk, exposure_warnings
from voicemedia.service import MediaServer
from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.hop_wire import reachable, target_of
from voicemedia.sip_bridge.pace_wire import Pace
from voicemedia.sip_bridge.rtp_wire import read_rtp
from voicemedia.sip_bridge.sip_ports import Ears, SipPorts
from voicemedia.sip_bridge.tone_detector_wire import ToneDetector
from voicemedia.sip_bridge.tones_wire import key_tone
from voicemedia.sip_bridge.uri_wire import Uri

WORDS = bytes(range(160))


def trunk(**changes: object) -> Trunk:
    return msgspec.structs.replace(ECHO, **changes)


@asynccontextmanager
async def phones(server: MediaServer, count: int) -> AsyncIterator[list[Telephone]]:
    made = [Telephone(server) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            await each.close()


@pytest.mark.parametrize(("full", "line"), [(503, "Retry-After"), (486, ""), (480, "")])
@in_reactor
async def test_a_trunk_that_is_full_says_so_as_it_was_told_to(full: int, line: str) -> None:
    async with serving(trunk(max_calls=1, full=full)) as server, phones(server, 2) as (first, second):
        await first.call()
        answer = await second.call()
        assert answer.startswith(f"SIP/2.0 {full} ") and (f"\r\n{line}" in answer)
        assert ("Retry-After" in answer) is (full == 503)
        assert (await first.hang_up()).startswith("SIP/2.0 200")


@in_reactor
async def test_no_more_calls_begin_in_a_second_than_the_trunk_has() -> None:
    async with serving(trunk(calls_per_s=2, full=486)) as server, phones(server, 3) as three:
        answers = [(await each.call())[8:11] for each in three]
        assert answers == ["200", "200", "486"]
        assert bridge_of(server).rtp_ports.lent == 2


def test_a_pace_counts_any_second() -> None:
    pace = Pace(2)
    assert [pace.admits(at) for at in (0, 10, 20, 999, 1000, 1009, 1010)] == [1, 1, 0, 0, 1, 0, 1]
    assert all(Pace(0).admits(0) for _ in range(1000))


@in_reactor
async def test_a_call_lasts_no_longer_than_the_trunk_allows() -> None:
    async with serving(trunk(max_call_s=1)) as server, phones(server, 1) as (phone,):
        await phone.call()
        await until(lambda: phone.requests("BYE"), 12)
        phone.agree(phone.requests("BYE")[0])
        assert server.switchboard.ended_by == {"too_long": 1}


@in_reactor
async def test_it_rings_before_it_is_answered_where_the_trunk_says_so() -> None:
    async with serving(trunk(answer_after_s=0.3)) as server, phones(server, 1) as (phone,):
        phone.request("INVITE", phone.sdp())
        await until(lambda: any(text.startswith("SIP/2.0 180") for text in phone.responses()))
        assert not len(server.switchboard) and "m=audio" not in phone.responses()[-1]
        assert (await phone.answer()).startswith("SIP/2.0 200")
        phone.request("ACK", cseq=1)
        await until(lambda: len(server.switchboard) == 1)


@in_reactor
async def test_the_agent_speaks_before_the_answer_where_early_media_is_on() -> None:
    async with serving(trunk(answer_after_s=0.5, early_media=True)) as server, phones(server, 1) as (phone,):
        phone.request("INVITE", phone.sdp())
        await until(lambda: any(text.startswith("SIP/2.0 183") for text in phone.responses()))
        progress = next(text for text in phone.responses() if text.startswith("SIP/2.0 183"))
        phone.sound_to = ("127.0.0.1", int(progress.partition("m=audio ")[2].split()[0]))
        await until(lambda: len(server.switchboard) == 1)
        (talk,) = server.switchboard
        await phone.talk([WORDS] * 8)
        await until(lambda: any(WORDS in got for got in phone.sound.got))
        assert (await phone.answer()).startswith("SIP/2.0 200")
        phone.request("ACK", cseq=1)
        await phone.talk([WORDS[::-1]] * 8)
        await until(lambda: any(WORDS[::-1] in got for got in phone.sound.got))
        assert list(server.switchboard) == [talk] and server.switchboard.total == 1


@in_reactor
async def test_a_caller_who_gives_up_while_it_rings_leaves_nothing_behind() -> None:
    async with serving(trunk(answer_after_s=5, early_media=True)) as server, phones(server, 1) as (phone,):
        phone.request("INVITE", phone.sdp(), branch="same")
        await until(lambda: len(server.switchboard) == 1)
        phone.request("CANCEL", cseq=1, branch="same")
        await until(lambda: any(text.startswith("SIP/2.0 487") for text in phone.responses()))
        phone.request("ACK", cseq=1, branch="same")
        await until(lambda: not bridge_of(server).rtp_ports.lent)
        assert server.switchboard.ended_by == {"caller_hung_up": 1}


@pytest.mark.parametrize(("session_s", "asked"), [(0, False), (300, True)])
@in_reactor
async def test_a_session_timer_is_asked_for_as_the_trunk_has_it(session_s: int, asked: bool) -> None:
    async with serving(trunk(session_s=session_s)) as server, phones(server, 1) as (phone,):
        text = phone.sdp()
        size = len(text.replace("\n", "\r\n"))
        phone.send(
            f"INVITE sip:bot@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:{phone.port};branch=z9hG4bKt;rport\n"
            f"Max-Forwards: 70\nFrom: <sip:a@phone>;tag=me\nTo: <sip:bot@127.0.0.1>\nCall-ID: {phone.call_id}\n"
            f"CSeq: 1 INVITE\nSupported: timer\nContact: <sip:me@127.0.0.1:{phone.port}>\n"
            f"Content-Type: application/sdp\nContent-Length: {size}\n\n{text}"
        )
        answer = await phone.answer()
        assert ("Session-Expires" in answer) is asked
        assert not asked or header(answer, "Session-Expires").startswith(f"{session_s};")
        phone._cseq = 1
        phone.request("ACK", cseq=1)


@in_reactor
async def test_the_agent_is_told_the_headers_that_are_meant_for_it() -> None:
    async with serving() as server, phones(server, 1) as (phone,):
        lines = "X-Ticket: 4711\nx-ticket: 2\nUser-to-User: 56a390;encoding=hex\nSubject:  a\n  b\n"
        phone.request("INVITE", phone.sdp(), lines=lines)
        await phone.answer()
        phone.request("ACK", cseq=1)
        await until(lambda: len(server.switchboard) == 1)
        told = next(iter(server.switchboard)).caller.parameters
        assert (told["x-ticket"], told["user-to-user"], told["trunk"]) == ("4711", "56a390;encoding=hex", "test")
        assert told["subject"].split() == ["a", "b"] and "via" not in told


# --- keys ---


@in_reactor
async def test_keys_in_the_sound_itself_are_heard_where_the_trunk_says_so() -> None:
    async with serving(trunk(keys_by="inband")) as server, phones(server, 1) as (phone,):
        await phone.call(phone.sdp(formats="8"))
        await until(lambda: len(server.switchboard) == 1)
        diary = next(iter(server.switchboard)).diary
        wire = encode_alaw(key_tone("4", 100, 8000) + key_tone("2", 100, 8000))
        await phone.talk([PCMA_SILENCE] * 5 + [wire[at : at + 160] for at in range(0, len(wire), 160)])
        await until(lambda: [turn["keys"] for turn in diary.read() if turn["who"] == "caller"] == ["4", "2"])


@pytest.mark.parametrize("way", ["rfc4733", "info", "inband"])
@in_reactor
async def test_keys_are_sent_the_way_of_the_trunk(way: str) -> None:
    async with serving(trunk(keys_by=way)) as server, phones(server, 1) as (phone,):
        await phone.call()
        await until(lambda: len(server.switchboard) == 1)
        (call,) = bridge_of(server).lines[0].calls
        call.press("7")
        if way == "info":
            await until(lambda: phone.requests("INFO"))
            phone.agree(phone.requests("INFO")[0])
            assert "Signal=7" in phone.requests("INFO")[0]
            return
        await pause(0.4)
        packets = [read_rtp(got) for got in phone.sound.got]
        events = {packet.payload[0] for packet in packets if packet.payload_type == 101}
        sound = b"".join(decode_alaw(packet.payload) for packet in packets if packet.payload_type == 8)
        assert (events, ToneDetector(8000).feed(sound)) == ({"rfc4733": {7}}.get(way, set()), ["7"] * (way == "inband"))


# --- what is said at the start ---


@pytest.mark.parametrize(
    ("peers", "open_"),
    [
        (("0.0.0.0/0",), True),
        (("192.0.2.0/24", "::/0"), True),
        (("16.0.0.0/4",), True),
        (("198.51.100.0/24",), False),
        (("10.0.0.0/8", "2001:db8::/32"), False),
    ],
)
def test_a_trunk_that_is_open_to_nearly_everybody_is_warned_of(peers: tuple[str, ...], open_: bool) -> None:
    config = Config(server=Server(), sip=Sip(enabled=True, host="0.0.0.0"), trunks=(Trunk("t", peers),))
    assert [("whole network" in warning) for warning in exposure_warnings(config)] == [True] * open_
    quiet = msgspec.structs.replace(config, sip=Sip(enabled=False, host="0.0.0.0"))
    assert exposure_warnings(quiet) == []


def test_a_trunk_that_may_call_everybody_is_warned_of() -> None:
    careless = Trunk("t", ("192.0.2.0/24",), dial_prefixes=("",))
    config = Config(server=Server(), sip=Sip(enabled=True, host="192.0.2.1"), trunks=(careless,))
    assert exposure_warnings(config) == ["trunk t may call every number there is: name prefixes in dial_prefixes"]


# --- ways ---


@pytest.mark.parametrize(
    ("contact", "comes_from", "goes_to"),
    [
        ("192.168.1.7:5060", ("8.8.8.8", 31_000), ("8.8.8.8", 31_000)),
        ("10.0.0.1:5070", ("8.8.8.8", 31_000), ("8.8.8.8", 31_000)),
        ("8.8.4.4:5070", ("8.8.8.8", 31_000), ("8.8.4.4", 5070)),
        ("192.168.1.7:5060", ("192.168.1.1", 5060), ("192.168.1.7", 5060)),
        ("proxy.example.com", ("8.8.8.8", 31_000), ("proxy.example.com", 5060)),
    ],
)
def test_a_telephone_behind_a_nat_is_reached_where_it_comes_from(
    contact: str, comes_from: tuple[str, int], goes_to: tuple[str, int]
) -> None:
    flow = Flow("UDP", "192.0.2.1:5060", comes_from)
    assert reachable(target_of(Uri.parse(f"sip:me@{contact}"), flow), flow) == goes_to


@pytest.mark.parametrize(
    ("given", "four", "six"),
    [
        ("192.0.2.7", "192.0.2.7", "::1"),
        (("192.0.2.7", "2001:db8::7"), "192.0.2.7", "2001:db8::7"),
        (("2001:db8::7",), "127.0.0.1", "2001:db8::7"),
        ("", "127.0.0.1", "::1"),
    ],
)
def test_peers_are_told_the_public_address_of_their_own_family(
    given: str | tuple[str, ...], four: str, six: str
) -> None:
    settings = Sip(host="::", port=5060, public_address=given)
    ears = Ears(lambda host: True, lambda *_: None, lambda *_: None, lambda *_: None, lambda kind: None, lambda: 0)
    ports = SipPorts(settings, MemoryReactorClock(), ears)
    assert (ports.address("127.0.0.1"), ports.address("::1")) == (four, six)
    assert ports.local("UDP", "::1") == f"[{six}]:5060"


@pytest.mark.parametrize("given", ["example.com", "192.0.2.0/24", ("192.0.2.7", "192.0.2.8"), ("192.0.2.7", "")])
def test_a_public_address_that_is_none_is_refused_at_the_start(given: str | tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="public_address"):
        Sip(public_address=given)
