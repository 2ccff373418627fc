"""The small parts of dialogs: route sets, session timers, reliable provisionals, transfers, keys, reasons."""

from pathlib import Path

import pytest

from voicemedia.errors import WireError
from voicemedia.sip_bridge.dialog_wire import Dialog, key_of_request
from voicemedia.sip_bridge.dtmf_wire import Key, key_in, relay
from voicemedia.sip_bridge.framing_wire import read_datagram
from voicemedia.sip_bridge.headers_wire import Headers
from voicemedia.sip_bridge.prack_wire import RAck, ReliableReceiver, ReliableSender, wants_reliable
from voicemedia.sip_bridge.reason_wire import Reason, cause_of, reasons_in
from voicemedia.sip_bridge.refer_wire import Replaces, Transfer, last_report, refer_to, reported, sipfrag
from voicemedia.sip_bridge.session_timer_wire import SessionTerms, SessionTimer, agree, agreed, ask, too_short
from voicemedia.sip_bridge.sip_wire import CSeq, Message, Request, Response
from voicemedia.sip_bridge.uri_wire import Uri

WILD = Path(__file__).parent / "vectors/sip/wild"


def wild(name: str) -> Request:
    message = read_datagram((WILD / f"{name}.sip").read_bytes())
    assert isinstance(message, Request)
    return message


def invite(*fields: tuple[str, str], method: str = "INVITE") -> Request:
    base = [("From", "<sip:a@a>;tag=1"), ("To", "<sip:b@b>"), ("Call-ID", "c"), ("CSeq", f"1 {method}")]
    return Request(Headers([*base, *fields]), b"", method, "sip:b@b")


def ok(request: Request, *fields: tuple[str, str]) -> Response:
    response = request.answer(200, to_tag="t")
    for name, value in fields:
        response.headers.add(name, value)
    return response


# --- dialogs ---


def test_the_callee_takes_the_record_route_as_it_stands() -> None:
    dialog = Dialog.answering(wild("kamailio_r2_on"), "ours")
    bye = dialog.request("BYE")
    assert bye.headers.all("route") == [
        "<sip:192.0.2.1;r2=on;lr;ftag=8d5.f+1>",
        "<sip:198.51.100.7:5061;transport=tls;r2=on;lr;ftag=8d5.f+1>",
    ]
    assert bye.uri == "sip:alice@10.1.2.3:49152;transport=tls;alias=198.51.100.99~49152~3"
    assert (bye.headers.one("from"), bye.headers.one("to")) == (
        "sip:bot@example.net;tag=ours",
        "<sip:alice@example.org>;tag=8d5.f+1",
    )
    assert str(dialog.next_hop) == "sip:192.0.2.1;r2=on;lr;ftag=8d5.f+1"


def test_the_caller_turns_the_record_route_round() -> None:
    request = invite()
    routes = [
        ("Record-Route", "<sip:p2;r2=on;lr>, <sip:p2:5061;transport=tls;r2=on;lr>"),
        ("Record-Route", "<sip:p1;lr>"),
    ]
    dialog = Dialog.calling(request, ok(request, *routes, ("Contact", "<sip:b@phone>")))
    bye = dialog.request("BYE")
    assert bye.headers.all("route") == ["<sip:p1;lr>", "<sip:p2:5061;transport=tls;r2=on;lr>", "<sip:p2;r2=on;lr>"]
    assert bye.uri == "sip:b@phone" and bye.cseq == CSeq(2, "BYE")


def test_a_strict_router_gets_itself_in_the_request_uri() -> None:
    request = invite()
    routes = [("Record-Route", "<sip:p2;lr>"), ("Record-Route", "<sip:strict;method=INVITE?a=b>")]
    dialog = Dialog.calling(request, ok(request, *routes, ("Contact", "<sip:b@phone;x=1?h=1>")))
    bye = dialog.request("BYE")
    assert bye.uri == "sip:strict"
    assert bye.headers.all("route") == ["<sip:p2;lr>", "<sip:b@phone;x=1>"]


def test_the_2xx_may_change_route_and_target_of_an_early_dialog() -> None:
    request = invite()
    dialog = Dialog.calling(request, ok(request, ("Contact", "<sip:b@early>"), ("Record-Route", "<sip:p;lr>")))
    dialog.confirm(ok(request, ("Contact", "<sip:b@late>")))
    assert (str(dialog.target), dialog.route) == ("sip:b@late", [])


def test_a_bad_contact_leaves_the_old_target() -> None:
    dialog = Dialog.answering(wild("twilio_invite"), "t")
    before = dialog.target
    dialog.refresh(invite(("Contact", "<sip:broken")))
    assert dialog.target is before
    dialog.refresh(invite(("Contact", "<sip:new@h>")))
    assert str(dialog.target) == "sip:new@h"


def test_older_requests_are_out_of_order() -> None:
    dialog = Dialog.answering(wild("twilio_invite"), "t")
    seen = []
    for number in (2, 5, 4, 5, 6):
        request = invite(method="INFO")
        request.headers.replace("cseq", f"{number} INFO")
        seen.append(dialog.in_order(request))
    assert seen == [True, True, False, True, True]


def test_both_sides_name_a_dialog_alike() -> None:
    request = invite(("Contact", "<sip:a@phone>"))
    callee = Dialog.answering(request, "t")
    caller = Dialog.calling(request, ok(request, ("Contact", "<sip:b@phone>")))
    assert key_of_request(caller.request("BYE")) == callee.key
    assert key_of_request(callee.request("BYE")) == caller.key


@pytest.mark.parametrize(
    "fields",
    [[("Contact", "<sip:a")], [("Contact", "*")], [("Contact", "<sip:a@b>"), ("Record-Route", "nonsense")]],
)
def test_what_makes_no_dialog_is_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(WireError):
        Dialog.answering(invite(*fields), "t")


def test_without_a_contact_the_caller_is_reached_at_its_from() -> None:
    assert str(Dialog.answering(invite(), "t").target) == "sip:a@a"


# --- session timers ---

OURS = SessionTerms(1800, 90)


@pytest.mark.parametrize(
    ("fields", "said", "refreshing"),
    [
        # (Supported, Session-Expires, Min-SE) of the caller -> what we say, whether we refresh.
        (("timer", "1800", ""), "1800;refresher=uac", False),
        (("timer", "1800;refresher=uas", ""), "1800;refresher=uas", True),
        (("timer", "3600", "300"), "1800;refresher=uac", False),
        (("timer", "3600", "2000"), "2000;refresher=uac", False),
        (("timer", "600", ""), "600;refresher=uac", False),
        (("timer", "", ""), "1800;refresher=uac", False),
        (("", "1800;refresher=uac", ""), "1800;refresher=uas", True),
        (("", "", ""), "", None),
        (("timer", "soon", ""), "1800;refresher=uac", False),
    ],
)
def test_a_callee_settles_the_timer(fields: tuple[str, str, str], said: str, refreshing: bool | None) -> None:
    names = ("Supported", "Session-Expires", "Min-SE")
    request = invite(*((name, value) for name, value in zip(names, fields, strict=True) if value))
    response = ok(request)
    timer = agree(request, response, OURS, 0)
    assert (response.headers.first("session-expires") or "") == said
    assert (timer.refreshing if timer else None) is refreshing
    assert (response.headers.first("require") == "timer") is (refreshing is False)


def test_a_caller_reads_the_timer_from_the_2xx() -> None:
    request = invite()
    ask(request, OURS)
    assert request.headers.first("session-expires") == "1800"
    timer = agreed(ok(request, ("x", "600;refresher=uas")), 5)
    assert timer and (timer.interval_s, timer.refreshing) == (600, False)
    assert agreed(ok(request), 5) is None


def test_too_short_a_session_is_refused_to_those_who_know() -> None:
    assert too_short(invite(("Session-Expires", "60"), ("k", "timer")), OURS)
    assert not too_short(invite(("Session-Expires", "60")), OURS)
    assert not too_short(invite(("Session-Expires", "90"), ("k", "timer")), OURS)


@pytest.mark.parametrize(("refreshing", "story"), [(True, "refresh@450 expired@868"), (False, "expired@868")])
def test_a_session_timer_wakes_in_time(refreshing: bool, story: str) -> None:
    timer = SessionTimer(900, refreshing, 0)
    told: list[str] = []
    while not told or "expired" not in told[-1]:
        at_ms = timer.next_due_ms
        assert timer.due(at_ms - 1) is None
        found = timer.due(at_ms)
        told.append(f"{found.name.lower() if found else 'nothing'}@{at_ms // 1000}")
    assert " ".join(told) == story


def test_a_short_session_is_given_up_a_third_before_its_end() -> None:
    assert SessionTimer(90, False, 1000).next_due_ms == 1000 + 60_000


# --- PRACK ---


def test_reliable_responses_are_numbered_and_acknowledged_one_by_one() -> None:
    request = invite(("Supported", "100rel"))
    sender, receiver = ReliableSender(7), ReliableReceiver()
    for number in (7, 8):
        response = request.answer(183, to_tag="t")
        sender.mark(response)
        assert response.headers.first("rseq") == str(number)
        rack = receiver.take(response)
        assert rack == RAck(number, CSeq(1, "INVITE")) and receiver.take(response) is None
        assert not sender.acknowledged(invite(("RAck", f"{number} 2 INVITE"), method="PRACK"))
        assert sender.acknowledged(invite(("RAck", str(rack)), method="PRACK"))
        assert not sender.acknowledged(invite(("RAck", str(rack)), method="PRACK"))


def test_a_reliable_response_that_came_too_early_is_not_acknowledged() -> None:
    receiver = ReliableReceiver()
    responses = []
    for rseq in ("5", "7", "6", "x"):
        response = invite().answer(180)
        response.headers.extend([("Require", "100rel"), ("RSeq", rseq)])
        responses.append(receiver.take(response))
    assert [rack.rseq if rack else None for rack in responses] == [5, None, 6, None]
    assert receiver.take(invite().answer(180)) is None


@pytest.mark.parametrize("text", ["", "7", "7 INVITE", "x 1 INVITE", "7 x INVITE"])
def test_a_bad_rack_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        RAck.parse(text)


def test_whether_reliability_is_wanted() -> None:
    assert wants_reliable(invite(("Require", "100rel"))) == "required"
    assert wants_reliable(invite(("k", "timer, 100REL"))) == "supported"
    assert wants_reliable(invite()) == ""


# --- transfers ---


def refer(value: str, *fields: tuple[str, str]) -> Request:
    return invite(("Refer-To", value), *fields, method="REFER")


def test_an_attended_transfer_names_the_call_to_replace() -> None:
    replaces = Replaces("98@1 2.x", "to+1", "from/2", early_only=True)
    transfer = Transfer.parse(refer(refer_to(Uri.parse("sips:c@c;x=1"), replaces)))
    assert (str(transfer.target), transfer.replaces) == ("sips:c@c;x=1", replaces)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("sip:c@c", "sip:c@c"),
        ("<tel:+15551234>", "tel:+15551234"),
        ('"C, D" <sip:c@c;method=INVITE?Subject=x>', "sip:c@c"),
    ],
)
def test_a_blind_transfer_names_a_target(value: str, target: str) -> None:
    transfer = Transfer.parse(refer(value, ("b", "<sip:boss@x>"), ("Refer-Sub", "false")))
    assert (str(transfer.target), transfer.replaces, transfer.referred_by) == (target, None, "<sip:boss@x>")
    assert not transfer.reports


@pytest.mark.parametrize("value", ["", "nobody", "<sip:c@c?Replaces=x>", "<sip:c@c"])
def test_a_bad_refer_is_refused(value: str) -> None:
    with pytest.raises(WireError):
        Transfer.parse(refer(value))


def test_a_report_is_a_status_line() -> None:
    notify = Message(Headers([("Subscription-State", "terminated;reason=noresource")]), sipfrag(486))
    assert (notify.body, reported(notify), last_report(notify)) == (b"SIP/2.0 486 Busy Here\r\n", 486, True)
    assert not last_report(Message(Headers([("Subscription-State", "active;expires=60")])))
    for body in (b"", b"SIP/2.0 2000 x", b"SIP/2.0 99 x", b"hello"):
        with pytest.raises(WireError):
            reported(Message(body=body))


# --- keys ---


@pytest.mark.parametrize(
    ("content_type", "body", "key"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=250\r\n", Key("5", 250)),
        ("application/dtmf-relay", b"Signal= *\nDuration= 160", Key("*", 160)),
        ("application/dtmf-relay", b"signal=11\r\n", Key("#")),
        ("application/dtmf-relay", b"Signal=d\r\nDuration=x", Key("D")),
        ("application/dtmf", b"7", Key("7")),
        ("APPLICATION/DTMF;x=y", b"Signal=1", Key("1")),
        ("text/plain", b"5", None),
    ],
)
def test_a_key_is_found_in_an_info(content_type: str, body: bytes, key: Key | None) -> None:
    assert key_in(Message(Headers([("Content-Type", content_type)]), body)) == key


@pytest.mark.parametrize("body", [b"", b"Signal=", b"Signal=E", b"Signal=99", b"\xff", b"Duration=5"])
def test_a_bad_key_is_refused(body: bytes) -> None:
    with pytest.raises(WireError, match="bad_dtmf"):
        key_in(Message(Headers([("Content-Type", "application/dtmf-relay")]), body))


def test_our_keys_can_be_read() -> None:
    for key in "0123456789*#ABCD":
        assert key_in(Message(Headers([("c", "application/dtmf-relay")]), relay(key, 90))) == Key(key, 90)


# --- reasons ---


def test_a_reason_carries_the_telephone_networks_cause() -> None:
    (reason,) = reasons_in(wild("metaswitch_branch"))
    assert reason == Reason("Q.850", 16, "Normal call clearing")
    assert str(reason) == 'Q.850;cause=16;text="Normal call clearing"'


@pytest.mark.parametrize(
    ("values", "status", "cause"),
    [
        (["SIP;cause=486, Q.850;cause=17"], 0, 17),
        (['SIP;cause=200;text="a, b"'], 486, 17),
        ([], 404, 1),
        ([], 0, 16),
        (["Q.850;cause=x", 'Q.850;text="open', "Q.850;;"], 0, 16),
    ],
)
def test_the_cause_is_as_said_or_as_the_status_maps(values: list[str], status: int, cause: int) -> None:
    assert cause_of(Message(Headers([("Reason", value) for value in values])), status) == cause
