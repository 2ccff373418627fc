"""A call whose sound the peer removes for a while: port 0 in an offer or an answer (RFC 3264, section 8.2)."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import pytest
from msgspec.structs import replace

from tests.in_reactor import in_reactor
from tests.sip_house import ECHO, Telephone, bridge_of, serving, until
from tests.test_sip_offer import OURS, negotiation, sdp
from voicemedia.interfaces import Goodbye
from voicemedia.sip_bridge.sdp_wire import Session

REMOVED = "m=audio 0 RTP/AVP 0\n"


def ports(description: bytes) -> list[int]:
    return [media.port for media in Session.parse(description).media]


def test_removed_sound_is_kept_in_mind_and_taken_up_again() -> None:
    ours = negotiation()
    first = ours.answer(sdp("m=audio 40 RTP/AVP 0\n"))
    found = ours.answer(sdp(REMOVED))
    assert first and found
    assert ports(found[0]) == [0]
    assert found[1] == replace(first[1], removed=True, sending=False, receiving=False)
    again = ours.answer(sdp("m=audio 42 RTP/AVP 0\n"))
    assert again and ports(again[0]) == [OURS.port]
    assert not again[1].removed and again[1].sending and again[1].port == 42


def test_our_own_offer_does_not_bring_back_what_the_peer_has_removed_unless_it_is_asked_for_anew() -> None:
    ours = negotiation()
    assert ours.answer(sdp("m=audio 40 RTP/AVP 0\n")) and ours.answer(sdp(REMOVED))
    assert ports(ours.offer()) == [0]
    agreement = ours.accept(sdp(REMOVED))
    assert agreement and agreement.removed
    assert ports(ours.offer(anew=True)) == [OURS.port]
    agreement = ours.accept(sdp("m=audio 40 RTP/AVP 0\n"))
    assert agreement and not agreement.removed


def test_an_answer_may_remove_the_sound_of_a_call_that_has_some() -> None:
    ours = negotiation()
    assert ours.answer(sdp("m=audio 40 RTP/AVP 0\n"))
    ours.offer()
    agreement = ours.accept(sdp(REMOVED))
    assert agreement and agreement.removed


@pytest.mark.parametrize("lines", ["m=audio 40 RTP/AVP 18\n", "m=video 0 RTP/AVP 31\n", "", REMOVED])
def test_what_removes_nothing_is_still_refused(lines: str) -> None:
    ours = negotiation()
    if lines != REMOVED:
        assert ours.answer(sdp("m=audio 40 RTP/AVP 0\n"))
    assert ours.answer(sdp(lines)) is None


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@in_reactor
async def test_a_call_goes_on_without_its_sound_until_that_is_taken_up_again(method: str) -> None:
    async with serving(ECHO, no_rtp_s=5) as server:
        phone = Telephone(server)
        await phone.call()
        await until(lambda: phone.sound.got)
        (call,) = bridge_of(server).lines[0].calls
        removed = phone.sdp(version=2).replace(f"m=audio {phone.sound_port}", "m=audio 0")
        phone.request(method, removed)
        answer = await phone.answer(method)
        assert answer.startswith("SIP/2.0 200") and "m=audio 0 " in answer
        if method == "INVITE":
            phone.request("ACK", cseq=phone._cseq)
        # Nothing is sent, and nobody is given up for being silent however long it lasts.
        packets, long_ago_ms = call.leg.totals()["packets_out"], call.home.now_ms - 60_000
        call.leg.last_message_ms = long_ago_ms
        await until(lambda: call.leg.last_message_ms > long_ago_ms)
        assert call.leg.totals()["packets_out"] == packets
        phone.request(method, phone.sdp(version=3))
        assert f"m=audio {call.pair.port} " in await phone.answer(method)
        if method == "INVITE":
            phone.request("ACK", cseq=phone._cseq)
        before = len(phone.sound.got)
        await until(lambda: len(phone.sound.got) > before)
        await phone.hang_up()
        await until(lambda: server.switchboard.ended_by[Goodbye.CALLER_HUNG_UP.value] == 1)
        assert bridge_of(server).rtp_ports.lent == 0
        await phone.close()
