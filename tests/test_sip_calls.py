"""Calls come and go between two user agents on a fake network: what is on the wire, what the owners are told."""

import re

import pytest

from tests.sip_net import QUIET, Host, Net, Weather, answering, ended, first, pair, up
from voicemedia.sip_bridge.call_wire import CallState
from voicemedia.sip_bridge.flow_wire import (
    Destination,
    Ended,
    Incoming,
    Progress,
)
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.user_agent_wire import Settings


def test_a_call_rings_is_answered_and_hung_up() -> None:
    net, a, b = pair()
    answering(b, 3000)
    call = a.dial("b")
    net.run(4000)
    net.do(lambda: call.hang_up(net.now_ms))
    assert net.ladder == [
        "a>b INVITE",
        "b>a 180 INVITE",
        "b>a 200 INVITE",
        "a>b ACK",
        "a>b BYE",
        "b>a 200 BYE",
    ]
    assert a.said() == "Progress MediaChanged Answered Ended"
    assert b.said() == "Incoming MediaChanged Answered Ended"
    assert (ended(a), ended(b)) == ((False, 200, 16), (True, 200, 16))
    net.run(60_000)
    assert not a.agent.dialogs and not b.agent.dialogs and a.agent.next_due_ms is b.agent.next_due_ms is None


def test_a_callee_without_a_contact_is_reached_where_the_call_went() -> None:
    net, a, b = pair()
    answering(b)
    net.weather = Weather(
        mangle=lambda raw: re.sub(rb"\r\nContact:[^\r]*", b"", raw) if raw.startswith(b"SIP/2.0") else raw
    )
    call = a.dial("b")
    net.run(200)
    assert call.up and b.calls[0].up
    net.do(lambda: call.hang_up(net.now_ms))
    assert ended(b) == (True, 200, 16) and net.ladder[-2:] == ["a>b BYE", "b>a 200 BYE"]


@pytest.mark.parametrize("header", [b"Supported", b"Allow"])
def test_a_list_that_is_none_does_not_keep_a_call_from_being_answered(header: bytes) -> None:
    net, a, b = pair(Settings())
    answering(b)
    net.weather = Weather(mangle=lambda raw: raw.replace(header + b": ", header + b': "'))
    call = a.dial("b")
    net.run(200)
    assert call.up and b.calls[0].up


def test_silence_gets_a_100_after_200_ms() -> None:
    net, a, _ = pair()
    a.dial("b")
    net.run(230)
    assert net.ladder == ["a>b INVITE", "b>a 100 INVITE"]


def test_the_callee_hangs_up() -> None:
    net, a, b, _, answered = up()
    net.do(lambda: answered.hang_up(net.now_ms))
    assert net.ladder == ["b>a BYE", "a>b 200 BYE"]
    assert (ended(a)[0], ended(b)[0]) == (True, False)


@pytest.mark.parametrize(("status", "cause"), [(486, 17), (480, 18), (503, 41), (603, 21)])
def test_a_refused_call_ends_with_the_status_and_a_cause(status: int, cause: int) -> None:
    net, a, b = pair()
    a.dial("b")
    net.run(10)
    net.do(lambda: b.calls[0].refuse(status, net.now_ms))
    net.run(40_000)
    assert net.ladder == ["a>b INVITE", f"b>a {status} INVITE", "a>b ACK"]
    assert (ended(a), ended(b)) == ((True, status, cause), (False, status, cause))


def test_a_refusal_carries_what_the_owner_wants_said() -> None:
    net, a, b = pair()
    a.dial("b")
    net.run(20)
    net.do(lambda: b.calls[0].refuse(503, net.now_ms, headers=(("Retry-After", "30"),)))
    event = a.last(Ended)
    assert isinstance(event, Ended) and event.response and event.response.headers.first("retry-after") == "30"


def test_nobody_there_is_a_408_after_32_s() -> None:
    net = Net()
    a = net.host("a", QUIET)
    a.dial("nobody")
    net.run(32_000)
    assert net.ladder == ["a>nobody INVITE (lost)"] * 7
    assert ended(a) == (True, 408, 102)


def test_an_offer_in_which_nothing_fits_gets_488() -> None:
    net, a, b = pair()
    answering(b)
    a.dial("b", a.media(srtp="sdes"))
    net.run(200)
    assert net.ladder == ["a>b INVITE", "b>a 180 INVITE", "b>a 488 INVITE", "a>b ACK"]
    assert (ended(a)[1], ended(b)[1]) == (488, 488)


# --- what gets lost ---


def test_a_lost_200_is_repeated_until_its_ack_and_answered_once() -> None:
    net, a, b = pair()
    answering(b)
    b.drop = first("200 INVITE", 2)
    call = a.dial("b")
    net.run(40_000)
    assert net.ladder[2:] == ["b>a 200 INVITE (lost)"] * 2 + ["b>a 200 INVITE", "a>b ACK"]
    assert call.up and b.calls[0].up
    assert a.said().count("Answered") == b.said().count("Answered") == 1


def test_a_lost_ack_is_sent_again_when_the_200_comes_again() -> None:
    net, a, b = pair()
    answering(b)
    a.drop = first("ACK", 2)
    a.dial("b")
    net.run(40_000)
    assert net.ladder[2:] == ["b>a 200 INVITE", "a>b ACK (lost)"] * 2 + ["b>a 200 INVITE", "a>b ACK"]
    acks = [message for message in net.sent if isinstance(message, Request) and message.method == "ACK"]
    assert len({ack.via.branch for ack in acks}) == 1


def test_without_any_ack_the_callee_says_bye_after_32_s() -> None:
    net, a, b = pair()
    answering(b)
    a.drop = first("ACK", 99)
    a.dial("b")
    net.run(31_000)
    assert b.calls[0].state is CallState.ANSWERED
    net.run(33_000)
    assert net.ladder[-2:] == ["b>a BYE", "a>b 200 BYE"]
    assert net.ladder.count("b>a 200 INVITE") == 11
    assert (ended(a)[0], ended(b)[:2]) == (True, (True, 408))


def test_hanging_up_before_the_ack_waits_for_it() -> None:
    net, a, b = pair()
    answering(b)
    a.drop = first("ACK")
    a.dial("b")
    net.run(100)
    net.do(lambda: b.calls[0].hang_up(net.now_ms))
    assert net.ladder[-1] == "a>b ACK (lost)"
    net.run(1000)
    assert net.ladder[-4:] == ["b>a 200 INVITE", "a>b ACK", "b>a BYE", "a>b 200 BYE"]


# --- CANCEL ---


def test_hanging_up_while_it_rings_cancels() -> None:
    net, a, b = pair()
    answering(b, 60_000)
    call = a.dial("b")
    net.run(1000)
    net.ladder.clear()
    net.do(lambda: call.hang_up(net.now_ms))
    assert net.ladder == ["a>b CANCEL", "b>a 200 CANCEL", "b>a 487 INVITE", "a>b ACK"]
    assert (ended(a), ended(b)) == ((False, 487, 16), (True, 487, 16))


def test_a_cancel_waits_for_the_first_response() -> None:
    net, a, b = pair()
    answering(b, 60_000)
    b.drop = first("180 INVITE")
    call = a.dial("b")
    net.run(20)
    net.do(lambda: call.hang_up(net.now_ms), 0)
    assert net.ladder == ["a>b INVITE", "b>a 180 INVITE (lost)"]
    net.run(1000)
    assert net.ladder[2:] == [
        "a>b INVITE",
        "b>a 180 INVITE",
        "a>b CANCEL",
        "b>a 200 CANCEL",
        "b>a 487 INVITE",
        "a>b ACK",
    ]


def test_a_cancel_that_meets_the_200_becomes_a_bye() -> None:
    net, a, b = pair()
    answering(b, 1000)
    call = a.dial("b")
    net.run(1015)
    net.do(lambda: call.hang_up(net.now_ms))
    assert net.ladder[2:] == ["b>a 200 INVITE", "a>b CANCEL", "a>b ACK", "a>b BYE", "b>a 200 CANCEL", "b>a 200 BYE"]
    assert (ended(a)[1], ended(b)[1]) == (200, 200)


def test_a_call_that_answers_neither_invite_nor_cancel_is_given_up() -> None:
    net, a, b = pair()
    answering(b, 60_000)
    call = a.dial("b")
    net.run(100)
    b.drop = lambda message: True
    net.do(lambda: call.hang_up(net.now_ms))
    net.run(40_000)
    assert ended(a) == (False, 487, 16)


# --- early media and PRACK ---


def early(host: Host, *, answer: bool) -> None:
    """Let a host open the sound with a 183, and perhaps answer."""

    def on_event(event: object) -> None:
        if isinstance(event, Incoming):
            call, media = event.call, host.media()
            call.progress(media, host.net.now_ms)
            if answer:
                call.answer(media, host.net.now_ms)

    host.on_event = on_event


def test_a_reliable_183_is_acknowledged_before_the_200_which_needs_no_answer_then() -> None:
    net, a, b = pair()
    early(b, answer=True)
    call = a.dial("b")
    net.run(200)
    assert net.ladder == ["a>b INVITE", "b>a 183 INVITE", "a>b PRACK", "b>a 200 PRACK", "b>a 200 INVITE", "a>b ACK"]
    assert call.up and call.media and call.media.agreement
    progress = a.last(Progress)
    assert isinstance(progress, Progress) and progress.agreement
    assert a.said() == "Progress MediaChanged Answered"
    final = next(m for m in net.sent if isinstance(m, Response) and m.status == 200 and m.cseq.method == "INVITE")
    assert final.body == b""


def test_a_reliable_183_is_repeated_until_its_prack() -> None:
    net, a, b = pair()
    early(b, answer=True)
    b.drop = first("183 INVITE", 2)
    a.drop = first("PRACK")
    call = a.dial("b")
    net.run(5000)
    assert net.ladder.count("a>b PRACK") == 1 and net.ladder.count("a>b PRACK (lost)") == 1
    assert call.up


def test_without_any_prack_the_call_is_refused() -> None:
    net, a, b = pair()
    early(b, answer=False)
    a.drop = first("PRACK", 99)
    a.dial("b")
    net.run(40_000)
    assert ended(b)[1] == 500


def test_a_peer_without_100rel_gets_its_183_once_and_the_answer_again_in_the_200() -> None:
    abilities = Settings().abilities
    plain = Settings(session=SessionTerms(0), abilities=type(abilities)(supported=("timer",)))
    net = Net()
    a, b = net.host("a", plain), net.host("b", QUIET)
    early(b, answer=True)
    call = a.dial("b")
    net.run(200)
    assert net.ladder == ["a>b INVITE", "b>a 183 INVITE", "b>a 200 INVITE", "a>b ACK"]
    bodies = [m.body for m in net.sent if isinstance(m, Response)]
    assert call.up and bodies[0] == bodies[1] != b""


def test_a_long_ring_is_repeated_every_minute() -> None:
    net, a, b = pair()
    answering(b, 150_000)
    a.dial("b")
    net.run(149_000)
    assert net.ladder == ["a>b INVITE", *["b>a 180 INVITE"] * 3]


def test_an_incoming_call_nobody_answers_is_refused_in_the_end() -> None:
    net, a, b = pair()
    a.dial("b")
    net.run(200_000)
    assert (ended(a)[1], ended(b)[1]) == (480, 480)


@pytest.mark.parametrize(("expires", "over_s"), [("2", 2), ("0", 180), ("soon", 180), ("7200", 180)])
def test_a_caller_that_says_how_long_it_waits_is_not_kept_longer(expires: str, over_s: int) -> None:
    net, a, b = pair()
    b.on_event = lambda event: event.call.ring(net.now_ms) if isinstance(event, Incoming) else None
    call = a.dial("b", headers=(("Expires", expires),))
    net.run(over_s * 1000 - 500)
    assert call.state is b.calls[0].state is CallState.STARTING
    net.run(over_s * 1000 + 500)
    assert (ended(a)[1], ended(b)[1]) == ((487, 487) if over_s == 2 else (480, 480))


@pytest.mark.parametrize(
    ("uri", "transport", "contact"),
    [
        ("sips:bot@b.test:5060", "TLS", "<sips:b.test:5060>"),
        ("sip:bot@b.test:5060", "TLS", "<sip:b.test:5060;transport=tls>"),
        ("sips:bot@b.test:5060", "TCP", "<sip:b.test:5060;transport=tcp>"),
    ],
)
def test_who_calls_by_a_sips_address_is_given_one(uri: str, transport: str, contact: str) -> None:
    net = Net()
    a, b = net.host("a", QUIET, transport), net.host("b", QUIET, transport)
    answering(b)
    call = a.agent.dial(Destination(uri, "<sip:a@a.test>"), a.media(), a.flow("b"), 0)
    net.flush(a)
    net.run(200)
    assert call.up
    answers = [message for message in net.sent if isinstance(message, Response) and message.status == 200]
    assert [answer.headers.first("contact") for answer in answers] == [contact]
    net.do(lambda: b.calls[0].hang_up(net.now_ms))
    assert ended(a)[1] == 200
