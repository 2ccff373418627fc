"""A bug of ours, met while one call is worked on, ends that call cleanly; the call beside it goes on."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, bridge_of, serving, until
from voicemedia.config import Trunk
from voicemedia.service import MediaServer
from voicemedia.sip_bridge import call_wire, rtp_leg, trunk_calls, user_agent_wire
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.offer_wire import Negotiation
from voicemedia.sip_bridge.quality_wire import Quality
from voicemedia.sip_bridge.redialing import Redialing
from voicemedia.sip_bridge.reinvite_wire import Session
from voicemedia.sip_bridge.rtp_receiver_wire import RtpReceiver
from voicemedia.sip_bridge.rtp_sender_wire import RtpSender
from voicemedia.sip_bridge.sip_ports import SipPorts
from voicemedia.sip_bridge.succession import Succession
from voicemedia.sip_bridge.transactions_wire import Transactions
from voicemedia.sip_bridge.transfer_wire import Transfers
from voicemedia.sip_bridge.trunk_call import Order, TrunkCall
from voicemedia.switchboard import Switchboard

SLOW = Trunk("test", agent="echo", stt="none", tts="none", answer_after_s=1)
RINGING = Trunk("test", agent="echo", stt="none", tts="none", answer_after_s=60)
CALLING = Trunk("test", agent="echo", stt="none", tts="none", dial_prefixes=("+91",), server="127.0.0.1")


class Bug(Exception):
    """Stands for any exception that nobody has thought of."""


@dataclass
class Fault:
    """A place of our code that is made to raise."""

    monkeypatch: pytest.MonkeyPatch
    owner: Any
    name: str
    times: int = 1
    "How often it raises; then it works again, for other calls."

    def lay(self) -> None:
        real = getattr(self.owner, self.name)

        def broken(*args: Any, **kwargs: Any) -> Any:
            if self.times:
                self.times -= 1
                raise Bug(self.name)
            return real(*args, **kwargs)

        self.monkeypatch.setattr(self.owner, self.name, broken)


async def bystander(server: MediaServer) -> Telephone:
    phone = Telephone(server)
    assert (await phone.call()).startswith("SIP/2.0 200")
    # Only then is its ACK here.
    await until(lambda: phone.sound.got)
    return phone


async def all_well(server: MediaServer, beside: Telephone, caught: Callable[[type[Exception]], int]) -> None:
    """See that nothing is left of the call that met the bug, and that the one beside it still talks."""
    bridge = bridge_of(server)
    (line,) = bridge.lines
    await until(lambda: bridge.rtp_ports.lent == 1 and len(line.calls.live) == 1)
    before = len(beside.sound.got)
    await until(lambda: len(beside.sound.got) > before + 2)
    assert (await beside.hang_up()).startswith("SIP/2.0 200")
    await until(lambda: bridge.rtp_ports.lent == 0 and not line.calls.live and not line.agent.dialogs)
    assert caught(Bug) == 1
    assert server.metrics.bugs == 1
    assert server.switchboard.total == sum(server.switchboard.ended_by.values())


def reason_of(server: MediaServer, phone: Telephone) -> str:
    (line,) = bridge_of(server).lines
    return line.calls.cards[phone.call_id].reason


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (user_agent_wire, "key_of_request"),
        (user_agent_wire, "stamp"),
        (user_agent_wire, "invitation"),
        (user_agent_wire, "IncomingCall"),
        (Transactions, "receive_request"),
        (IncomingCall, "start"),
        (trunk_calls, "caller_of"),
        (trunk_calls, "TrunkCall"),
        (trunk_calls, "Negotiation"),
        (rtp_leg, "RtpSender"),
        (rtp_leg, "make_encoding"),
        (Negotiation, "answer"),
        (IncomingCall, "answer"),
        (TrunkCall, "agreed"),
        (Session, "accept"),
        (SipPorts, "send"),
    ],
)
@in_reactor
async def test_an_invite_that_meets_a_bug_is_refused_and_no_other_call_is_harmed(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    async with serving() as server:
        beside, phone = await bystander(server), Telephone(server)
        # What has no recipient tag has no dialog to look for.
        phone.to_tag = ";tag=old" if name == "key_of_request" else ""
        Fault(monkeypatch, owner, name).lay()
        phone.request("INVITE", phone.sdp())
        answer = await phone.answer()
        phone.request("ACK", cseq=1)
        if answer.startswith("SIP/2.0 2"):
            # The bug came after the answer.
            await until(lambda: phone.requests("BYE"))
            phone.agree(phone.requests("BYE")[0])
        else:
            assert answer.startswith("SIP/2.0 500")
        phone.to_tag = ""
        await all_well(server, beside, caught)
        await phone.close()


Act = Callable[[Telephone], Coroutine[Any, Any, None]]


async def hold(phone: Telephone) -> None:
    phone.request("INVITE", phone.sdp(direction="sendonly", version=2))


async def update(phone: Telephone) -> None:
    phone.request("UPDATE", phone.sdp(direction="sendonly", version=2))


async def info(phone: Telephone) -> None:
    phone.request("INFO", "Signal=5\n", kind="dtmf-relay")


async def refer(phone: Telephone) -> None:
    phone.request("REFER", lines="Refer-To: <sip:+919800000002@127.0.0.1>\n")


async def notify(phone: Telephone) -> None:
    phone.request("NOTIFY", lines="Event: refer\nSubscription-State: active\n")


async def options(phone: Telephone) -> None:
    phone.request("OPTIONS")


@pytest.mark.parametrize(
    ("act", "owner", "name"),
    [
        (hold, Session, "invited"),
        (hold, Negotiation, "answer"),
        (hold, Session, "agree"),
        (hold, TrunkCall, "agreed"),
        (hold, Session, "accept"),
        (update, Session, "updated"),
        (update, Negotiation, "answer"),
        (info, call_wire, "key_in"),
        (info, TrunkCall, "told"),
        (refer, Transfers, "asked"),
        (refer, Succession, "asked"),
        (notify, Transfers, "notified"),
        (options, user_agent_wire.UserAgent, "allow"),
    ],
)
@in_reactor
async def test_a_request_in_a_call_that_meets_a_bug_ends_the_call(
    act: Act, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    async with serving() as server:
        beside, phone = await bystander(server), await bystander(server)
        Fault(monkeypatch, owner, name).lay()
        await act(phone)
        await until(lambda: phone.requests("BYE"))
        assert "Q.850;cause=41" in phone.requests("BYE")[0]
        phone.agree(phone.requests("BYE")[0])
        # Whatever was asked has an answer: ours, or that there was a bug.
        await until(lambda: [text for text in phone.responses(_method(act)) if not text.startswith("SIP/2.0 1")])
        await all_well(server, beside, caught)
        assert "bug" in reason_of(server, phone)
        assert server.switchboard.ended_by["failed"] == 1
        phone.to_tag = ""
        await phone.close()


def _method(act: Act) -> str:
    return "INVITE" if act is hold else act.__name__.upper()


@in_reactor
async def test_a_bug_that_is_met_with_the_ack_ends_the_call(
    monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    for owner, name in [
        (Session, "acknowledged"),
        (IncomingCall, "came_up"),
        (Switchboard, "answer"),
    ]:
        async with serving() as server:
            beside, phone = await bystander(server), Telephone(server)
            phone.request("INVITE", phone.sdp())
            await phone.answer()
            Fault(monkeypatch, owner, name).lay()
            phone.request("ACK", cseq=1)
            # Should the bug have kept the ACK from being seen, the 200 comes again, and so does the ACK.
            phone.signals.got.clear()
            await until(partial(_said, phone))
            if not phone.requests("BYE"):
                phone.request("ACK", cseq=1)
            await until(partial(phone.requests, "BYE"))
            phone.agree(phone.requests("BYE")[0])
            await all_well(server, beside, caught)
            phone.to_tag = ""
            await phone.close()
            await beside.close()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (RtpReceiver, "sound"),
        (Quality, "take"),
        (rtp_leg, "read_rtp"),
        (Quality, "take_rtcp"),
        (RtpSender, "tick"),
    ],
)
@in_reactor
async def test_a_packet_of_sound_that_meets_a_bug_ends_its_call(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    async with serving() as server:
        phone = await bystander(server)
        Fault(monkeypatch, owner, name).lay()
        phone.say()
        report = b"\x80\xc9\x00\x01\x00\x00\x12\x34"
        await until(lambda: phone.sound.got)
        phone.sound.transport.write(report, phone.sound_to)  # type: ignore[union-attr]
        await until(lambda: phone.requests("BYE"))
        phone.agree(phone.requests("BYE")[0])
        phone.to_tag = ""
        beside = await bystander(server)
        await all_well(server, beside, caught)
        await phone.close()


@in_reactor
async def test_a_bug_at_the_end_of_a_call_leaves_nothing_of_it_behind(
    monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    for owner, name in [
        (TrunkCall, "over"),
        (Quality, "goodbye"),
        (trunk_calls.TrunkCalls, "_close"),
        (rtp_leg, "score"),
        (RtpReceiver, "end"),
    ]:
        async with serving() as server:
            beside, phone = await bystander(server), await bystander(server)
            Fault(monkeypatch, owner, name).lay()
            assert (await phone.hang_up()).startswith("SIP/2.0 200")
            await all_well(server, beside, caught)
            assert sum(server.switchboard.ended_by.values()) == 2
            phone.to_tag = ""
            await phone.close()


def _said(phone: Telephone) -> list[str]:
    return phone.requests("BYE") + phone.responses()


@in_reactor
async def test_a_timer_that_meets_a_bug_ends_its_call(
    monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    async with serving(SLOW) as server:
        phone = Telephone(server)
        Fault(monkeypatch, IncomingCall, "answer").lay()
        phone.request("INVITE", phone.sdp())
        assert (await phone.answer()).startswith("SIP/2.0 500")
        phone.request("ACK", cseq=1)
        beside = Telephone(server)
        beside.request("INVITE", beside.sdp())
        await beside.answer()
        beside.request("ACK", cseq=1)
        await all_well(server, beside, caught)
        await phone.close()


@in_reactor
async def test_an_alarm_of_a_call_that_meets_a_bug_ends_it(
    monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    async with serving() as server:
        beside, phone = await bystander(server), Telephone(server)
        Fault(monkeypatch, Session, "_again").lay()
        phone.request("INVITE", phone.sdp())
        await phone.answer()
        # The 200 is not acknowledged: it is to come again after half a second.
        await until(lambda: server.metrics.bugs)
        phone.request("ACK", cseq=1)
        await until(lambda: phone.requests("BYE"))
        phone.agree(phone.requests("BYE")[0])
        await all_well(server, beside, caught)
        phone.to_tag = ""
        await phone.close()


@in_reactor
async def test_a_cancel_that_meets_a_bug_ends_the_call(
    monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    async with serving(RINGING) as server:
        phone = Telephone(server)
        phone.request("INVITE", phone.sdp(), branch="same")
        await until(lambda: phone.responses())
        Fault(monkeypatch, IncomingCall, "canceled").lay()
        phone.request("CANCEL", cseq=1, branch="same")
        assert (await phone.answer()).startswith("SIP/2.0 500")
        assert phone.responses("CANCEL")
        (line,) = bridge_of(server).lines
        await until(lambda: not line.calls.live and not line.agent.dialogs and not bridge_of(server).rtp_ports.lent)
        assert caught(Bug) == 1
        await phone.close()


@pytest.mark.parametrize(
    ("owner", "name", "status"),
    [
        (user_agent_wire.UserAgent, "_authenticate", "180 Ringing"),
        (trunk_calls.TrunkCalls, "_progressed", "180 Ringing"),
        (Negotiation, "accept", "183 Session Progress"),
        (Negotiation, "accept", "200 OK"),
        (trunk_calls.TrunkCalls, "_answered", "200 OK"),
        (Redialing, "ended", "486 Busy Here"),
    ],
)
@in_reactor
async def test_a_response_that_meets_a_bug_ends_the_call_it_is_for(
    owner: Any, name: str, status: str, monkeypatch: pytest.MonkeyPatch, caught: Callable[[type[Exception]], int]
) -> None:
    async with serving(CALLING) as server:
        beside, phone = await bystander(server), Telephone(server)
        (line,) = bridge_of(server).lines
        call = place(line, phone)
        invite = await phone.invited()
        Fault(monkeypatch, owner, name).lay()
        phone.reply(invite, status, phone.sdp() if status[0] == "2" or status.startswith("183") else "")
        await until(lambda: call.card.state == "ended")
        if status[0] == "1":
            # One that is provisional must have been seen before it may be canceled.
            phone.reply(invite, status)
            await until(lambda: phone.requests("CANCEL"))
            phone.agree(phone.requests("CANCEL")[0])
            phone.reply(invite, "487 Request Terminated")
        if status[0] == "2":
            await until(lambda: phone.requests("BYE"))
            phone.agree(phone.requests("BYE")[0])
        await all_well(server, beside, caught)
        phone.theirs = ""
        await phone.close()


def place(line: Any, phone: Telephone) -> TrunkCall:
    """Call a telephone out of a trunk."""
    order = Order(f"sip:+919800000001@127.0.0.1:{phone.port}", lambda call: None)
    placed: TrunkCall = line.calls.place(order)
    return placed


@pytest.mark.parametrize("name", ["called_by_us", "TrunkCall"])
@in_reactor
async def test_a_call_that_cannot_be_placed_for_a_bug_is_not_left_ringing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(CALLING) as server:
        phone = Telephone(server)
        (line,) = bridge_of(server).lines
        Fault(monkeypatch, trunk_calls, name).lay()
        with pytest.raises(Bug):
            place(line, phone)
        line.flush()
        invite = await phone.invited()
        phone.reply(invite, "200 OK", phone.sdp())
        await until(lambda: phone.requests("BYE"))
        phone.agree(phone.requests("BYE")[0])
        await until(lambda: not line.agent.dialogs)
        assert bridge_of(server).rtp_ports.lent == 0
        phone.theirs = ""
        await phone.close()
