"""Whole calls between two user agents on a fake network: what is on the wire, and what the owners are told."""

import pytest

from tests.sip_net import Host, Net, answering
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.flow_wire import (
    Ended,
    Incoming,
    KeyPressed,
    Progress,
    TransferAsked,
    TransferReport,
)
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.outgoing_wire import OutgoingCall
from voicemedia.sip_bridge.reaction_wire import Abilities
from voicemedia.sip_bridge.refer_wire import Replaces
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.user_agent_wire import Settings

QUIET = Settings(session=SessionTerms(0))
"No session timers: the ladder shows only what the test is about."


def pair(settings: Settings = QUIET) -> tuple[Net, Host, Host]:
    net = Net()
    return net, net.host("a", settings), net.host("b", settings)


def up(settings: Settings = QUIET) -> tuple[Net, Host, Host, OutgoingCall, IncomingCall]:
    """Return a call that is up, with the ladder cleared."""
    net, a, b = pair(settings)
    answering(b)
    call = a.dial("b")
    net.run(200)
    assert call.state is b.calls[0].state is CallState.UP
    net.ladder.clear()
    return net, a, b, call, b.calls[0]


def ended(host: Host) -> tuple[bool, int, int]:
    """Return how the one call of a host ended: by the peer, status, cause."""
    (event,) = [event for event in host.events if isinstance(event, Ended)]
    return event.by_peer, event.status, event.cause


def first(method: str, times: int = 1) -> "Losing":
    return Losing(method, times)


class Losing:
    """Loses the first few of a kind of message: `INVITE`, `200 INVITE`."""

    def __init__(self, what: str, times: int) -> None:
        self.what, self.times = what, times

    def __call__(self, message: Request | Response) -> bool:
        name = message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"
        self.times -= name == self.what
        return name == self.what and self.times >= 0


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
    assert a.said() == "Progress Answered MediaChanged Ended"
    assert b.said() == "Incoming MediaChanged Answered Ended"
    assert (ended(a), ended(b)) == ((False, 200, 16), (True, 200, 16))
    net.run(60_000)
    assert not a.agent.dialogs and not b.agent.dialogs and a.agent.next_due_ms is b.agent.next_due_ms is None


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


# --- changes of a running session ---


def held(call: Call) -> bool | None:
    return call.media.agreement.held if call.media and call.media.agreement else None


def test_hold_and_resume() -> None:
    net, a, b, call, other = up()
    assert call.media
    call.media.direction = "sendonly"
    net.do(lambda: call.session.reoffer(net.now_ms))
    assert net.ladder == ["a>b INVITE", "b>a 200 INVITE", "a>b ACK"]
    assert held(other) is True
    call.media.direction = "sendrecv"
    net.do(lambda: call.session.reoffer(net.now_ms))
    assert held(other) is False
    assert a.said().count("MediaChanged") == b.said().count("MediaChanged") == 3


def test_a_refused_change_leaves_the_session() -> None:
    net, _, _, call, other = up()
    assert call.media and other.media
    before = other.media.agreement
    call.media.terms = type(call.media.terms)("a.test", 4000, ())
    net.do(lambda: call.session.reoffer(net.now_ms))
    assert net.ladder == ["a>b INVITE", "b>a 488 INVITE", "a>b ACK"]
    assert call.up and other.up and other.media.agreement is before


def test_offers_that_cross_get_491_and_are_made_again_one_after_the_other() -> None:
    net, _, _, call, other = up()

    def both() -> None:
        call.session.reoffer(net.now_ms)
        other.session.reoffer(net.now_ms)

    net.do(both, 10_000)
    assert net.ladder[:4] == ["a>b INVITE", "b>a INVITE", "b>a 491 INVITE", "a>b 491 INVITE"]
    # The callee tries again within 2 s, the caller, who made the Call-ID, after 2.1 to 4.
    assert net.ladder[6:] == ["b>a INVITE", "a>b 200 INVITE", "b>a ACK", "a>b INVITE", "b>a 200 INVITE", "a>b ACK"]


def test_a_change_wanted_too_early_waits_for_the_ack() -> None:
    net, a, b = pair()
    answering(b)
    a.drop = first("ACK")
    a.dial("b")
    net.run(100)
    net.do(lambda: b.calls[0].session.reoffer(net.now_ms))
    net.run(1000)
    assert net.ladder[-5:] == ["b>a 200 INVITE", "a>b ACK", "b>a INVITE", "a>b 200 INVITE", "b>a ACK"]


def test_a_change_nobody_answers_ends_the_call() -> None:
    net, a, b, call, _ = up()
    b.drop = lambda message: True
    net.do(lambda: call.session.reoffer(net.now_ms))
    net.run(40_000)
    assert "a>b BYE" in net.ladder and ended(a)[1] == 408
    assert b.said().endswith("Ended")


def incoming(host: Host, net: Net, call: Call, method: str, body: bytes, **headers: str) -> None:
    """Send a request of the test's own making in a call's dialog."""
    request = call.in_dialog(method, "application/sdp", body)
    for name, value in headers.items():
        request.headers.add(name.replace("_", "-"), value)
    net.do(lambda: call.send(request, net.now_ms))


def test_a_re_invite_without_offer_is_answered_with_one() -> None:
    net, a, _b, call, _other = up()
    incoming(a, net, call, "INVITE", b"")
    response = net.sent[-1]
    assert isinstance(response, Response) and response.status == 200 and b"m=audio" in response.body


def test_a_late_offer_is_answered_in_the_ack_and_without_answer_the_call_ends() -> None:
    net, a, b = pair()
    answering(b)
    call = a.dial("b")
    sent = net.sent[0]
    assert isinstance(sent, Request)
    # The INVITE was put on the wire with its offer; here it comes without.
    bare = Request(sent.headers.copy(), b"", sent.method, sent.uri)
    bare.headers.remove("content-type")
    bare.headers.replace("via", "SIP/2.0/UDP a.test:5060;branch=z9hG4bKlate")
    bare.headers.replace("call-id", "late")
    b.agent.receive(bare, b.flow("a"), 0)
    net.flush(b)
    net.run(50)
    late = b.calls[0]
    response = next(m for m in net.sent if isinstance(m, Response) and m.call_id == "late" and m.status == 200)
    assert b"m=audio" in response.body and late.state is CallState.ANSWERED
    ack = Request(bare.headers.copy(), b"", "ACK", "sip:b.test:5060")
    ack.headers.replace("to", response.headers.one("to"))
    ack.headers.replace("cseq", "1 ACK")
    answer = a.media().answer(response.body)
    assert answer
    ack.set_body("application/sdp", answer[0])
    b.agent.receive(ack, b.flow("a"), 60)
    net.flush(b)
    assert late.up and late.media and late.media.agreement
    assert call


def test_an_update_changes_the_session_too() -> None:
    net, a, _b, call, other = up()
    assert call.media and other.media
    call.media.direction = "inactive"
    incoming(a, net, call, "UPDATE", call.media.offer())
    assert net.ladder == ["a>b UPDATE", "b>a 200 UPDATE"]
    assert other.media.agreement and other.media.agreement.held and not other.media.agreement.receiving


def test_a_request_older_than_the_last_is_refused() -> None:
    net, a, _b, call, _ = up()
    call.dialog.local_seq = -1
    incoming(a, net, call, "INFO", b"")
    assert net.ladder == ["a>b INFO", "b>a 500 INFO"]


def test_options_in_a_call_and_outside_say_what_we_can() -> None:
    net, a, _b, call, _ = up()
    incoming(a, net, call, "OPTIONS", b"")
    response = net.sent[-1]
    assert isinstance(response, Response) and "INVITE" in (response.headers.first("allow") or "")


def test_a_request_in_no_dialog_gets_481() -> None:
    net, a, b, call, _ = up()
    b.agent.dialogs.clear()
    incoming(a, net, call, "INFO", b"")
    assert net.ladder == ["a>b INFO", "b>a 481 INFO", "a>b BYE", "b>a 481 BYE"]
    assert ended(a)[1] == 481


# --- session timers ---


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_the_refresher_refreshes_at_half_time(method: str) -> None:
    allow = tuple(name for name in Settings().abilities.allow if name in (method, "ACK", "BYE", "INVITE"))
    net, _a, _b, call, other = up(Settings(session=SessionTerms(600), abilities=Abilities(allow)))
    assert call.session.timer and call.session.timer.refreshing
    assert other.session.timer and not other.session.timer.refreshing
    net.run(290_000)
    assert net.ladder == []
    net.run(310_000)
    assert net.ladder[:2] == [f"a>b {method}", f"b>a 200 {method}"]
    net.run(1_600_000)
    assert call.up and other.up and net.ladder.count(f"a>b {method}") == 5


def test_without_refresh_both_sides_end_the_call_before_its_time() -> None:
    net, a, b, call, other = up(Settings(session=SessionTerms(600)))
    a.drop = lambda message: True
    net.run(567_000)
    assert other.up and not call.up
    net.run(700_000)
    assert ended(b)[:2] == (True, 408) and ended(a)[:2] == (True, 408)


def test_a_session_too_short_is_asked_for_again_longer() -> None:
    net = Net()
    a, b = net.host("a", Settings(session=SessionTerms(100))), net.host("b", Settings(session=SessionTerms(1800, 300)))
    answering(b)
    call = a.dial("b")
    net.run(200)
    assert net.ladder[:5] == ["a>b INVITE", "b>a 422 INVITE", "a>b ACK", "a>b INVITE", "b>a 180 INVITE"]
    assert call.up and call.session.timer and call.session.timer.interval_s == 300


# --- keys and transfers ---


def test_a_key_comes_in_an_info() -> None:
    net, _a, b, call, _ = up()
    net.do(lambda: call.send_key("#", net.now_ms, 250))
    event = b.last(KeyPressed)
    assert isinstance(event, KeyPressed) and (event.key.key, event.key.duration_ms) == ("#", 250)
    assert net.ladder == ["a>b INFO", "b>a 200 INFO"]


def test_a_blind_transfer_is_reported() -> None:
    net, a, b, call, other = up()
    net.do(lambda: call.transfers.ask(Uri.parse("sip:carol@c.test"), net.now_ms))
    event = b.last(TransferAsked)
    assert isinstance(event, TransferAsked) and str(event.transfer.target) == "sip:carol@c.test"
    net.do(lambda: other.transfers.accept(net.now_ms))
    net.do(lambda: other.transfers.report(180, net.now_ms))
    net.do(lambda: other.transfers.report(200, net.now_ms))
    assert net.ladder == ["a>b REFER", "b>a 202 REFER", *["b>a NOTIFY", "a>b 200 NOTIFY"] * 3]
    reports = [(event.status, event.last) for event in a.events if isinstance(event, TransferReport)]
    assert reports == [(100, False), (180, False), (200, True)]


def test_a_refused_transfer_is_reported_once() -> None:
    net, a, _b, call, other = up()
    net.do(lambda: call.transfers.ask(Uri.parse("sip:carol@c.test"), net.now_ms))
    net.do(lambda: other.transfers.refuse(net.now_ms))
    assert net.ladder == ["a>b REFER", "b>a 603 REFER"]
    event = a.last(TransferReport)
    assert isinstance(event, TransferReport) and (event.status, event.last) == (603, True)


def test_a_call_that_replaces_another_ends_it() -> None:
    net, a, b, call, other = up()
    c = net.host("c", QUIET)
    replaces = Replaces(call.dialog.call_id, other.dialog.local_tag, other.dialog.remote_tag)
    request = c.agent.new_request("INVITE", Uri.parse("sip:bot@b.test"), "<sip:c@c.test>", "<sip:bot@b.test>")
    request.headers.add("Replaces", str(replaces))
    request.headers.add("Contact", "<sip:c.test:5060>")
    request.set_body("application/sdp", c.media().offer())
    net.do(
        lambda: c.agent.request(Exchange(request, c.flow("b"), Uri.parse("sip:b.test"), lambda *_: None), net.now_ms)
    )
    event = b.last(Incoming)
    assert isinstance(event, Incoming) and event.replaces is other
    assert not other.up and ended(a)[0]


# --- forks ---


def fork(net: Net, a: Host, tag: str, status: int) -> Response:
    """Let another phone answer the INVITE of `a`."""
    invite = next(m for m in net.sent if isinstance(m, Request) and m.method == "INVITE")
    response = invite.answer(status, to_tag=tag)
    response.headers.add("Contact", f"<sip:{tag}@b.test:5060>")
    answer = net.hosts["b"].media().answer(invite.body)
    assert answer
    response.set_body("application/sdp", answer[0])
    net.do(lambda: a.agent.receive(response, a.flow("b"), net.now_ms), 50)
    return response


def test_the_second_phone_picked_up_is_acknowledged_and_hung_up() -> None:
    net, a, b = pair()
    answering(b, 60_000)
    call = a.dial("b")
    net.run(100)
    for tag in ("one", "two"):
        fork(net, a, tag, 183)
    net.ladder.clear()
    fork(net, a, "two", 200)
    assert call.up and call.dialog.remote_tag == "two" and str(call.dialog.target) == "sip:two@b.test:5060"
    fork(net, a, "one", 200)
    fork(net, a, "one", 200)
    assert net.ladder == ["a>b ACK", "a>b ACK", "a>b BYE", "b>a 481 BYE", "a>b ACK"]
    assert a.said().count("Answered") == 1 and call.up


def test_a_transport_that_breaks_ends_the_call() -> None:
    net = Net()
    a, b = net.host("a", QUIET, "TCP"), net.host("b", QUIET, "TCP")
    a.dial("b")
    invite = net.sent[0]
    net.do(lambda: a.agent.unsent(invite, net.now_ms), 0)
    assert ended(a)[1] == 503
    assert b.events == []
