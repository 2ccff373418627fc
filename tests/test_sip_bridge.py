"""Calls over real loopback sockets: signalling and sound, as a telephone sees the server."""

import gc
import json
import math
import random
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.in_reactor import in_reactor
from tests.sip_house import ECHO, PCMA_SILENCE, Socket, Telephone, bridge_of, header, pause, reactor, serving, until
from voicemedia.audio.g711 import encode_alaw
from voicemedia.config import Trunk
from voicemedia.service import MediaServer
from voicemedia.sip_bridge.rtcp_wire import Bye, Report, read_rtcp, write_rtcp
from voicemedia.sip_bridge.rtp_wire import Packet, read_rtp
from voicemedia.sip_bridge.telephone_event_wire import press

HERE_ONLY = Trunk("test", ("127.0.0.1",), agent="echo", stt="none", tts="none")
TORTURE = Path(__file__).parent.parent.parent / "shared" / "vectors" / "sip" / "rfc4475"


@asynccontextmanager
async def phone(server: MediaServer, host: str = "127.0.0.1") -> AsyncIterator[Telephone]:
    made = Telephone(server, host)
    try:
        yield made
    finally:
        await made.close()


def tone(packets: int, samples: int = 160) -> list[bytes]:
    """Make A-law packets of two tones that repeat nowhere near."""
    wave = [
        int(9000 * math.sin(2 * math.pi * 431 * at / 8000) + 5000 * math.sin(2 * math.pi * 1217.3 * at / 8000))
        for at in range(packets * samples)
    ]
    pcm = b"".join(each.to_bytes(2, "little", signed=True) for each in wave)
    wire = encode_alaw(pcm)
    return [wire[at : at + samples] for at in range(0, len(wire), samples)]


def packets_of(socket: Socket) -> list[Packet]:
    """Return the sound that came, after looking whether it is numbered without a gap and timed by its length."""
    packets = [read_rtp(datagram) for datagram in socket.got]
    for one, other in pairwise(packets):
        assert (other.sequence - one.sequence) % 65536 == 1
        assert (other.timestamp - one.timestamp) % 2**32 in (len(one.payload), *range(0, 80_000, 80))
    return packets


def voiced(wire: bytes) -> bytes:
    """Leave the silence out: on a busy machine the telephone is late, and there is a pause in what it said."""
    return wire.replace(PCMA_SILENCE[:1], b"")


def came_back(said: list[bytes], socket: Socket) -> bool:
    """Tell whether all of it came back, to the bit and in order."""
    return voiced(b"".join(said)) in voiced(b"".join(packet.payload for packet in packets_of(socket)))


@in_reactor
async def test_a_call_is_answered_hears_and_is_heard_to_the_bit() -> None:
    async with serving() as server, phone(server) as caller:
        answer = await caller.call()
        assert answer.startswith("SIP/2.0 200 OK\r\n")
        assert "m=audio" in answer and "a=rtpmap:8 PCMA/8000" in answer
        said = tone(40)
        await caller.talk(said)
        await until(lambda: came_back(said, caller.sound))
        assert read_rtp(caller.sound.got[0]).marker
        assert (await caller.hang_up()).startswith("SIP/2.0 200")
        await until(lambda: not bridge_of(server).lines[0].calls.live)
        assert server.switchboard.ended_by == {"caller_hung_up": 1}
        assert bridge_of(server).rtp_ports.lent == 0


@in_reactor
async def test_a_server_of_both_families_meets_an_ipv4_caller_with_ipv4_addresses() -> None:
    async with serving(host="::") as server, phone(server) as caller:
        answer = await caller.call()
        assert "\r\nc=IN IP4 127.0.0.1\r\n" in answer
        assert header(answer, "Contact") == f"<sip:127.0.0.1:{bridge_of(server).ports.port}>"
        assert header(answer, "Via").endswith(f"rport={caller.port};received=127.0.0.1")
        said = tone(40)
        await caller.talk(said)
        await until(lambda: came_back(said, caller.sound))
        assert {source[0] for source in caller.sound.sources} == {"127.0.0.1"}


@in_reactor
async def test_a_call_that_is_over_leaves_nothing_to_the_garbage_collector() -> None:
    async with serving() as server, phone(server) as caller:
        await caller.call()
        (call,) = bridge_of(server).lines[0].calls
        left = weakref.ref(call)
        del call
        gc.disable()
        try:
            await caller.hang_up()
            await until(lambda: left() is None)
        finally:
            gc.enable()


@pytest.mark.parametrize("samples", [80, 240, 320])
@in_reactor
async def test_packets_of_any_length_are_taken_and_the_peers_length_is_sent(samples: int) -> None:
    async with serving() as server, phone(server) as caller:
        await caller.call(caller.sdp(f"a=ptime:{samples // 8}\n"))
        said = tone(9600 // samples, samples)
        await caller.talk(said)
        await until(lambda: came_back(said, caller.sound))
        assert {len(read_rtp(datagram).payload) for datagram in caller.sound.got} == {samples}


@in_reactor
async def test_an_invite_without_offer_is_given_one() -> None:
    async with serving() as server, phone(server) as caller:
        caller.request("INVITE")
        answer = await caller.answer()
        assert "m=audio" in answer
        caller.request("ACK", caller.sdp(), cseq=1)
        said = tone(20)
        await caller.talk(said)
        await until(lambda: came_back(said, caller.sound))


@in_reactor
async def test_a_key_in_the_sound_or_in_an_info_is_one_key() -> None:
    async with serving() as server, phone(server) as caller:
        await caller.call()
        await until(lambda: len(server.switchboard) == 1)
        diary = next(iter(server.switchboard)).diary
        for packet in press("7", 101, 8000, duration_ms=100):
            caller.ssrc, caller._sequence, caller._timestamp = 0x0E05384E, packet.sequence, packet.timestamp
            caller.say(packet.payload, kind=101)

        def keys() -> list[object]:
            return [turn["keys"] for turn in diary.read() if turn["who"] == "caller"]

        # Two sockets: which is read first is nobody's promise.
        await until(lambda: keys() == ["7"])
        caller.request("INFO", "Signal=#\nDuration=160\n", kind="dtmf-relay")
        assert (await caller.answer("INFO")).startswith("SIP/2.0 200")
        await until(lambda: keys() == ["7", "#"])


@in_reactor
async def test_a_caller_on_hold_hears_nothing_and_is_not_hung_up() -> None:
    async with serving(no_rtp_s=1) as server, phone(server) as caller:
        await caller.call()
        caller.say()
        caller.request("INVITE", caller.sdp(direction="inactive", version=2))
        answer = await caller.answer()
        assert "a=inactive" in answer
        caller.request("ACK", cseq=caller._cseq)
        await pause(0.1)
        caller.sound.got.clear()
        await pause(1.5)
        assert not caller.sound.got
        assert len(server.switchboard) == 1
        caller.request("INVITE", caller.sdp(version=3))
        assert "a=inactive" not in await caller.answer()
        caller.request("ACK", cseq=caller._cseq)
        said = tone(20)
        await caller.talk(said)
        await until(lambda: came_back(said, caller.sound))


@in_reactor
async def test_a_caller_whose_sound_stays_away_is_hung_up() -> None:
    async with serving(no_rtp_s=1) as server, phone(server) as caller:
        await caller.call()
        await until(lambda: caller.requests("BYE"))
        assert "Q.850;cause=102" in caller.requests("BYE")[0].replace(" ", "")
        caller.agree(caller.requests("BYE")[0])
        assert server.switchboard.ended_by == {"peer_vanished": 1}


@in_reactor
async def test_a_caller_who_is_silent_on_purpose_is_there_as_long_as_its_reports_come() -> None:
    async with serving(no_rtp_s=1) as server, phone(server) as caller:
        await caller.call()
        await caller.talk(tone(5))
        caller.say(bytes([60]), kind=13)
        report = write_rtcp(Report(caller.ssrc))
        for _ in range(8):
            await pause(0.2)
            caller.reports.transport.write(report, (caller.sound_to[0], caller.sound_to[1] + 1))  # type: ignore[union-attr]
        assert len(server.switchboard) == 1
        assert server.metrics.frames_concealed == 0 and server.metrics.frames_in > 60
        await until(lambda: caller.requests("BYE"))
        caller.agree(caller.requests("BYE")[0])


@in_reactor
async def test_sound_from_another_port_of_the_caller_is_followed() -> None:
    async with serving() as server, phone(server) as caller:
        await caller.call()
        nat = Socket()
        port = reactor.listenUDP(0, nat, interface="127.0.0.1")
        for payload in tone(30):
            caller.say(payload, socket=nat)
            await pause(0.02)
        await until(lambda: len(nat.got) > 20)
        await port.stopListening()


@in_reactor
async def test_a_stranger_can_neither_speak_nor_listen() -> None:
    async with serving(HERE_ONLY) as server, phone(server) as caller:
        await caller.call()
        caller.say()
        stranger = Socket()
        port = reactor.listenUDP(0, stranger, interface="127.9.9.9")
        for payload in tone(10):
            caller.say(payload, socket=stranger)
            await pause(0.01)
        assert not stranger.got
        assert server.metrics.wire_errors["sip", "rtp_from_elsewhere"] == 10
        await port.stopListening()


@in_reactor
async def test_who_is_no_trunk_gets_no_answer_at_all() -> None:
    async with serving(HERE_ONLY) as server, phone(server, "127.0.0.9") as scanner, phone(server) as friend:
        scanner.request("OPTIONS")
        scanner.request("INVITE", scanner.sdp())
        friend.request("OPTIONS")
        assert (await friend.answer("OPTIONS")).startswith("SIP/2.0 200")
        assert not scanner.signals.got
        assert server.metrics.wire_errors["sip", "stranger"] == 2


@pytest.mark.parametrize(("full", "status"), [(503, "503"), (486, "486"), (480, "480")])
@in_reactor
async def test_a_full_trunk_says_so_as_configured(full: int, status: str) -> None:
    trunk = Trunk("test", agent="echo", stt="none", tts="none", max_calls=1, full=full)  # type: ignore[arg-type]
    async with serving(trunk) as server, phone(server) as one, phone(server) as other:
        await one.call()
        answer = await other.call()
        assert answer.startswith(f"SIP/2.0 {status} ")
        assert ("Retry-After: " in answer) is (full == 503)


@in_reactor
async def test_a_call_with_nothing_we_can_speak_is_refused() -> None:
    async with serving() as server, phone(server) as caller:
        answer = await caller.call(caller.sdp("a=rtpmap:18 G729/8000\n", formats="18"))
        assert answer.startswith("SIP/2.0 488")
        await until(lambda: bridge_of(server).rtp_ports.lent == 0)


@in_reactor
async def test_a_canceled_or_retransmitted_call_is_one_call() -> None:
    async with serving() as server, phone(server) as caller:
        caller.request("INVITE", caller.sdp(), cseq=1, branch="same")
        caller.request("INVITE", caller.sdp(), cseq=1, branch="same")
        await caller.answer()
        caller.request("ACK", cseq=1)
        await until(lambda: len(server.switchboard) == 1)
        caller._cseq = 1
        await caller.hang_up()
        await until(lambda: len(server.switchboard) == 0)
        assert server.switchboard.total == 1


@in_reactor
async def test_an_answer_that_is_not_acknowledged_comes_again() -> None:
    async with serving() as server, phone(server) as caller:
        caller.request("INVITE", caller.sdp())
        await until(lambda: len([text for text in caller.responses() if text.startswith("SIP/2.0 200")]) == 3)
        assert len(server.switchboard) == 0
        await caller.answer()
        caller.request("ACK", cseq=1)
        await until(lambda: len(server.switchboard) == 1)


@in_reactor
async def test_our_reports_come_and_the_call_ends_with_a_goodbye() -> None:
    async with serving() as server, phone(server) as caller:
        await caller.call()
        await caller.talk(tone(10))
        await caller.hang_up()
        await until(lambda: caller.reports.got)
        report, _, goodbye = read_rtcp(caller.reports.got[-1])
        assert isinstance(report, Report) and report.packets >= 9 and report.blocks[0].ssrc == caller.ssrc
        assert goodbye == Bye((report.ssrc,))


@in_reactor
async def test_the_quality_of_a_call_is_in_its_record_and_in_the_metrics() -> None:
    async with serving() as server, phone(server) as caller:
        await caller.call()
        said = tone(60)
        await caller.talk(said[:20])
        caller._sequence, caller._timestamp = caller._sequence + 3, caller._timestamp + 480
        await caller.talk(said[20:40])
        caller._sequence, caller._timestamp = caller._sequence - 1, caller._timestamp - 160
        await caller.talk(said[39:60])
        await pause(0.2)
        (live,) = bridge_of(server).lines[0].calls
        totals = dict(live.leg.totals())
        await caller.hang_up()
        await until(lambda: not len(server.switchboard))
        assert (totals["packets_in"], totals["lost"], totals["duplicate"]) == (61, 2, 1)
        assert totals["concealed_ms"] == 60 and 60 <= totals["r"] <= 93 and 300 <= totals["mos_hundredths"] <= 441
        text = server.metrics.text().decode()
        assert 'voicemedia_rtp_received_total{route="/sip/test"} 61.0' in text
        assert 'voicemedia_call_r_count{route="/sip/test"} 1.0' in text


@in_reactor
async def test_a_server_that_stops_refuses_new_calls_and_says_goodbye_to_old_ones() -> None:
    async with serving() as server, phone(server) as one, phone(server) as other:
        await one.call()
        server.switchboard.draining = True
        assert (await other.call()).startswith("SIP/2.0 503")
        server.switchboard._everybody(lambda live: live.hang_up())
        await until(lambda: one.requests("BYE"))
        one.agree(one.requests("BYE")[0])
        assert server.switchboard.ended_by == {"drained": 1}


@in_reactor
async def test_noise_on_the_sound_port_hurts_nobody() -> None:
    chance = random.Random(1)
    async with serving() as server, phone(server) as caller:
        await caller.call()
        for size in range(200):
            caller.sound.transport.write(chance.randbytes(size), caller.sound_to)  # type: ignore[union-attr]
        said = tone(20)
        await caller.talk(said)
        await until(lambda: came_back(said[10:], caller.sound))


@in_reactor
async def test_a_trunk_registers_with_its_password_is_called_and_takes_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_PASSWORD", "secret")
    registrar = Socket()
    port = reactor.listenUDP(0, registrar, interface="127.0.0.1")
    at = f"127.0.0.1:{port.getHost().port}"
    account = Trunk(
        "provider",
        ("192.0.2.0/24",),
        server=at,
        register=True,
        user="alice",
        secret_env="PROVIDER_PASSWORD",
        agent="echo",
        stt="none",
        tts="none",
    )

    def answer(status: str, header: str) -> None:
        lines = registrar.got[-1].decode().split("\r\n\r\n")[0].split("\r\n")[1:]
        kept = [line for line in lines if line.lower().startswith(("via:", "from:", "to:", "call-id:", "cseq:"))]
        text = "\r\n".join([f"SIP/2.0 {status}", *kept, header, "Content-Length: 0", "", ""])
        registrar.transport.write(text.encode(), registrar.sources[-1])  # type: ignore[union-attr]

    async with serving(account) as server:
        line = bridge_of(server).lines[0]
        await until(lambda: registrar.got)
        assert "not registered" in line.trouble
        answer("401 Unauthorized", 'WWW-Authenticate: Digest realm="p", nonce="n", qop="auth,auth-int"')
        await until(lambda: len(registrar.got) == 2)
        request = registrar.got[-1].decode()
        assert 'Authorization: Digest username="alice", realm="p"' in request and "secret" not in request
        contact = next(text for text in request.split("\r\n") if text.startswith("Contact:"))
        answer("200 OK", contact)
        await until(lambda: not line.trouble)
        # The provider calls from the address it was registered at, though that is none of `peers`.
        async with phone(server) as caller:
            assert (await caller.call()).startswith("SIP/2.0 200")
    assert "expires=0" in registrar.got[-1].decode()
    await port.stopListening()


@pytest.mark.skipif(not TORTURE.exists(), reason="the messages of RFC 4475 are not here")
@in_reactor
async def test_torture_gets_the_answers_its_manifest_allows_and_calls_go_on() -> None:
    manifest = json.loads((TORTURE / "manifest.json").read_text())
    cases = [entry for entry in manifest if (TORTURE.parent / entry["file"]).exists()]
    # Without rport answers go to the port of the Via, which is mostly 5060.
    source = Socket()
    port = reactor.listenUDP(5060, source, interface="127.77.5.1")
    async with serving(ECHO) as server, phone(server) as caller:
        for entry in cases:
            message = (TORTURE.parent / entry["file"]).read_bytes()
            before = len(source.got)
            source.transport.write(message, caller.server)  # type: ignore[union-attr]
            await pause(0.03)
            # A 200 nobody acknowledges comes again and again.
            fresh = set(source.got[before:]) - set(source.got[:before])
            statuses = {got.split()[1].decode() for got in fresh if got.startswith(b"SIP/2.0 ")} - {"100"}
            allowed = set(entry["uas_reaction"])
            if entry["kind"] != "request" or allowed == {"drop"}:
                assert not statuses, entry["file"]
            elif allowed <= {"400", "416", "420", "501", "505", "405", "drop"} and statuses:
                assert statuses <= allowed, (entry["file"], statuses)
        assert (await caller.call()).startswith("SIP/2.0 200")
        said = tone(10)
        await caller.talk(said)
        await until(lambda: came_back(said, caller.sound))
        for line in bridge_of(server).lines:
            for call in tuple(line.calls.live):
                call.hang_up(0)
    await port.stopListening()
