"""Calls that are up: hold, glare, session timers, keys, transfers, and the second phone that is picked up."""

import pytest

from tests.sip_net import QUIET, Host, Net, answering, ended, first, pair, up
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.flow_wire import (
    Incoming,
    KeyPressed,
    MediaRefused,
    TransferAsked,
    TransferReport,
)
from voicemedia.sip_bridge.reaction_wire import Abilities
from voicemedia.sip_bridge.refer_wire import Replaces
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.user_agent_wire import Settings

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
    net, a, _, call, other = up()
    assert call.media and other.media
    before = other.media.agreement
    call.media.terms = type(call.media.terms)("a.test", 4000, ())
    net.do(lambda: call.session.reoffer(net.now_ms))
    assert net.ladder == ["a>b INVITE", "b>a 488 INVITE", "a>b ACK"]
    assert call.up and other.up and other.media.agreement is before
    event = a.last(MediaRefused)
    assert isinstance(event, MediaRefused) and event.status == 488


def test_a_2xx_without_an_answer_leaves_the_session() -> None:
    net, a, b, call, other = up()
    assert call.media
    before = call.media.agreement
    b.drop = empty
    net.do(lambda: call.session.reoffer(net.now_ms))
    assert net.ladder == ["a>b INVITE", "b>a 200 INVITE", "a>b ACK"]
    assert call.up and other.up and call.media.agreement is before
    event = a.last(MediaRefused)
    assert isinstance(event, MediaRefused) and event.status == 488
    b.drop = lambda message: False
    net.do(lambda: call.session.reoffer(net.now_ms))
    assert a.said().count("MediaChanged") == 2


def empty(message: Request | Response) -> bool:
    """Lose the body of a message, and not the message."""
    message.body = b""
    return False


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


def test_a_peer_that_allows_updates_and_takes_none_is_refreshed_by_invites() -> None:
    net, _a, b, call, other = up(Settings(session=SessionTerms(600)))

    def deny(message: Request | Response) -> bool:
        if isinstance(message, Response) and message.cseq.method == "UPDATE":
            message.status, message.reason = 501, "Not Implemented"
        return False

    b.drop = deny
    net.run(310_000)
    assert net.ladder == ["a>b UPDATE", "b>a 501 UPDATE", "a>b INVITE", "b>a 200 INVITE", "a>b ACK"]
    net.run(1_600_000)
    assert call.up and other.up and net.ladder.count("b>a 200 INVITE") == 5


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
    headers = (("Replaces", str(replaces)), ("Referred-By", "<sip:a@a.test>"))
    net.do(lambda: c.dial("b", headers=headers))
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
