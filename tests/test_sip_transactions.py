"""The transaction machines: total tables, and every timer of RFC 3261 in a line.

A scenario tells what happens when: `180@100` a response comes (client) or is given to be sent (server), `INVITE@600`
the request comes again, `ACK@900`, `!@300` the transport breaks, `@32000` time passes. The outcome tells what is
sent when (`INVITE@500`), passed on (`^200@900`), and `timeout`, `broken`, `over`.
"""

import re
from itertools import product

import pytest

from voicemedia.sip_bridge.agenda_wire import Agenda
from voicemedia.sip_bridge.framing_wire import read_datagram
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.transaction_tables_wire import KINDS, Event, Kind
from voicemedia.sip_bridge.transaction_wire import (
    Broken,
    ClientTransaction,
    Output,
    Pass,
    Send,
    ServerTransaction,
    TimedOut,
    Timing,
    cancel_of,
)
from voicemedia.sip_bridge.transactions_wire import Transactions


def request(method: str = "INVITE", branch: str = "z9hG4bKx", to_tag: str = "") -> Request:
    message = read_datagram(
        (
            f"{method} sip:bot@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch={branch}\r\nRoute: <sip:p;lr>\r\n"
            f"From: <sip:a@a>;tag=1\r\nTo: <sip:bot@b>{to_tag}\r\nCall-ID: c\r\nCSeq: 7 {method}\r\n\r\n"
        ).encode()
    )
    assert isinstance(message, Request)
    return message


def scenarios(text: str) -> pytest.MarkDecorator:
    """Read `udp: name`, the scenario on the next line, the outcome from `->` on."""
    rows = []
    for block in re.split(r"\n(?=\S)", text.strip()):
        title, story = block.split("\n", 1)
        way, _, name = title.partition(": ")
        scenario, outcome = (" ".join(part.split()) for part in story.split("->"))
        rows.append(pytest.param(way, scenario, outcome, id=name))
    return pytest.mark.parametrize(("way", "scenario", "outcome"), rows)


def word(output: Output) -> str:
    match output:
        case Send(Request() as message):
            return message.method
        case Send(Response() as message):
            return str(message.status)
        case Pass(Request() as message):
            return f"^{message.method}"
        case Pass(Response() as message):
            return f"^{message.status}"
        case TimedOut():
            return "timeout"
        case _:
            return "broken"


def play(machine: ClientTransaction | ServerTransaction, scenario: str) -> str:
    story: list[str] = []

    def tell(outputs: list[Output], now_ms: int) -> None:
        story.extend(f"{word(output)}@{now_ms}" for output in outputs)
        if machine.over and not story[-1].startswith("over"):
            story.append(f"over@{now_ms}")

    def pass_time(until_ms: int) -> None:
        while machine.next_due_ms is not None and machine.next_due_ms <= until_ms:
            at_ms = machine.next_due_ms
            tell(machine.due(at_ms), at_ms)

    tell(machine.start(0), 0)
    for step in scenario.split():
        what, _, when = step.partition("@")
        pass_time(int(when))
        if what:
            tell(happen(machine, what, int(when)), int(when))
            pass_time(int(when))
    return " ".join(story)


def happen(machine: ClientTransaction | ServerTransaction, what: str, now_ms: int) -> list[Output]:
    if what == "!":
        return machine.broken(now_ms)
    if what.isdigit():
        response = machine.request.answer(int(what), to_tag="t")
        if isinstance(machine, ClientTransaction):
            return machine.receive(response, now_ms)
        return machine.send(response, now_ms)
    assert isinstance(machine, ServerTransaction)
    return machine.receive(request(what), now_ms)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_table_has_every_pair(kind: Kind) -> None:
    states = {state for state, _ in kind.table}
    events = {event for _, event in kind.table}
    assert set(kind.table) == set(product(states, events))
    assert {state for state, _ in kind.table.values()} <= states
    assert {timer for timers in kind.timers.values() for timer in timers} <= events


def test_every_timer_of_the_rfc_is_in_a_table() -> None:
    timers = {timer for kind in KINDS for running in kind.timers.values() for timer in running}
    # C is a proxy's.
    assert {timer.name for timer in timers} == {*"ABDEFGHIJKLM", "HUNDRED"}
    assert {Event.HUNDRED, Event.A} <= timers


INVITE_CLIENT = """
udp: A doubles, B gives up
  @40000
  -> INVITE@0 INVITE@500 INVITE@1500 INVITE@3500 INVITE@7500 INVITE@15500 INVITE@31500 timeout@32000
     over@32000
tcp: A never runs over TCP, B does
  @40000
  -> INVITE@0 timeout@32000 over@32000
udp: a provisional response stops A and B
  100@600 180@900 @200000
  -> INVITE@0 INVITE@500 ^100@600 ^180@900
udp: a failure is acknowledged each time, passed on once, D ends it
  486@100 486@700 180@800 200@900 @33000
  -> INVITE@0 ACK@100 ^486@100 ACK@700 over@32100
tcp: D is zero over TCP
  180@50 486@100
  -> INVITE@0 ^180@50 ACK@100 ^486@100 over@100
udp: 2xx again and of other forks all go up until M
  200@100 200@600 180@700 486@800 200@32099 @40000
  -> INVITE@0 ^200@100 ^200@600 ^200@32099 over@32100
tcp: M runs over TCP too
  200@100 200@600 @40000
  -> INVITE@0 ^200@100 ^200@600 over@32100
tcp: a broken transport ends it
  !@10 200@20
  -> INVITE@0 broken@10 over@10
tcp: a transport that breaks while it rings is of no account
  180@5 !@10 200@20
  -> INVITE@0 ^180@5 ^200@20
"""

CLIENT = """
udp: E doubles up to T2, F gives up
  @40000
  -> OPTIONS@0 OPTIONS@500 OPTIONS@1500 OPTIONS@3500 OPTIONS@7500 OPTIONS@11500 OPTIONS@15500 OPTIONS@19500
     OPTIONS@23500 OPTIONS@27500 OPTIONS@31500 timeout@32000 over@32000
tcp: E never runs over TCP, F does
  @40000
  -> OPTIONS@0 timeout@32000 over@32000
udp: after a 100, E goes on every T2 and F too
  100@600 @13000 200@13001 @20000
  -> OPTIONS@0 OPTIONS@500 ^100@600 OPTIONS@1500 OPTIONS@5500 OPTIONS@9500 ^200@13001 over@18001
tcp: a 100 does not stop F
  100@600 @32000
  -> OPTIONS@0 ^100@600 timeout@32000 over@32000
udp: K soaks up the same response
  200@100 200@600 404@700 @5100
  -> OPTIONS@0 ^200@100 over@5100
tcp: K is zero over TCP
  404@100
  -> OPTIONS@0 ^404@100 over@100
udp: a broken transport ends it
  !@10
  -> OPTIONS@0 broken@10 over@10
"""

INVITE_SERVER = """
udp: 100 after 200 ms of silence, repeated on demand
  INVITE@100 @200 INVITE@500
  -> ^INVITE@0 100@200 100@500
udp: no 100 when the phone rings at once
  180@50 @300 INVITE@500
  -> ^INVITE@0 180@50 180@500
udp: G doubles up to T2, H gives up
  486@0 @40000
  -> ^INVITE@0 486@0 486@500 486@1500 486@3500 486@7500 486@11500 486@15500 486@19500 486@23500 486@27500
     486@31500 timeout@32000 over@32000
tcp: G never runs over TCP, H does
  486@0 @40000
  -> ^INVITE@0 486@0 timeout@32000 over@32000
udp: the request again gets the failure again
  486@0 INVITE@100 ACK@200 INVITE@300 ACK@400 @9000
  -> ^INVITE@0 486@0 486@100 over@5200
tcp: I is zero over TCP
  486@0 ACK@200
  -> ^INVITE@0 486@0 over@200
udp: after a 2xx the request is absorbed, the 2xx is the user's to repeat, L ends it
  200@0 INVITE@100 200@500 486@600 ACK@700 @40000
  -> ^INVITE@0 200@0 200@500 ^ACK@700 over@32000
tcp: L runs over TCP too
  200@0 @40000
  -> ^INVITE@0 200@0 over@32000
udp: ringing may last
  180@0 @600000
  -> ^INVITE@0 180@0
tcp: a broken transport ends it
  486@0 !@10
  -> ^INVITE@0 486@0 broken@10 over@10
"""

SERVER = """
udp: J keeps the answer for stragglers
  200@0 OPTIONS@500 404@600 OPTIONS@31999 @32000
  -> ^OPTIONS@0 200@0 200@500 200@31999 over@32000
tcp: J is zero over TCP
  200@0
  -> ^OPTIONS@0 200@0 over@0
udp: nothing is said again before there is an answer
  OPTIONS@500 OPTIONS@1500 200@1600
  -> ^OPTIONS@0 200@1600
udp: no 100 before 3.5 s over UDP, one by itself then
  100@1000 OPTIONS@1500 @3500 OPTIONS@7500 200@8000 @40000
  -> ^OPTIONS@0 100@3500 100@7500 200@8000 over@40000
tcp: a 100 at once over TCP
  100@1000 200@2000
  -> ^OPTIONS@0 100@1000 200@2000 over@2000
udp: a 408 is never sent
  408@5000 OPTIONS@6000
  -> ^OPTIONS@0 100@3500 over@5000
udp: when the client has given up, nothing is said
  @32000 200@32001
  -> ^OPTIONS@0 100@3500 over@32000
udp: a broken transport ends it
  200@0 !@10
  -> ^OPTIONS@0 200@0 broken@10 over@10
"""


def check(machine: ClientTransaction | ServerTransaction, scenario: str, outcome: str) -> None:
    assert play(machine, scenario) == outcome


@scenarios(INVITE_CLIENT)
def test_invite_client(way: str, scenario: str, outcome: str) -> None:
    check(ClientTransaction(request(), way == "tcp"), scenario, outcome)


@scenarios(CLIENT)
def test_client(way: str, scenario: str, outcome: str) -> None:
    check(ClientTransaction(request("OPTIONS"), way == "tcp"), scenario, outcome)


@scenarios(INVITE_SERVER)
def test_invite_server(way: str, scenario: str, outcome: str) -> None:
    check(ServerTransaction(request(), way == "tcp"), scenario, outcome)


@scenarios(SERVER)
def test_server(way: str, scenario: str, outcome: str) -> None:
    check(ServerTransaction(request("OPTIONS"), way == "tcp"), scenario, outcome)


def test_the_ack_of_a_failure_belongs_to_the_invite() -> None:
    invite = request()
    (sent, _) = ClientTransaction(invite, False).receive(invite.answer(486, to_tag="t"), 0)
    assert isinstance(sent, Send)
    assert sent.message.encode() == (
        b"ACK sip:bot@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nRoute: <sip:p;lr>\r\nFrom: <sip:a@a>;tag=1\r\n"
        b"To: <sip:bot@b>;tag=t\r\nCall-ID: c\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n"
    )


# --- which transaction a message belongs to ---


@pytest.mark.parametrize("branch", ["z9hG4bKx", "z9hG4bK", "old-style"])
def test_a_request_again_an_ack_and_a_cancel_find_their_transaction(branch: str) -> None:
    layer = Transactions()
    (effect,) = layer.receive_request(request(branch=branch), "flow", False, 0)
    transaction = effect.transaction
    assert isinstance(transaction, ServerTransaction)
    assert layer.receive_request(request(branch=branch), "flow", False, 10) == []
    assert layer.canceled(cancel_of(request(branch=branch))) is transaction
    (sent,) = layer.respond(transaction, transaction.request.answer(486, to_tag="t"), 20)
    assert isinstance(sent.output, Send) and sent.transaction is transaction
    assert layer.receive_request(request("ACK", branch, ";tag=t"), "flow", False, 30) == []
    assert layer.next_due_ms == 5030
    assert layer.due(5030) == [] and not layer.servers and layer.next_due_ms is None


def test_what_only_waits_to_be_forgotten_is_forgotten_together() -> None:
    layer = Transactions(Timing(together=250))
    for at_ms in (1, 100, 249):
        (effect,) = layer.receive_request(request(branch=f"z9hG4bK{at_ms}"), "flow", False, at_ms)
        assert isinstance(effect.transaction, ServerTransaction)
        layer.respond(effect.transaction, request().answer(200, to_tag="t"), at_ms)
    assert layer.next_due_ms == 32_250
    assert len(layer.servers) == 3
    assert layer.due(32_250) == [] and not layer.servers


def test_another_branch_or_sender_is_another_transaction() -> None:
    layer = Transactions()
    for branch in ("z9hG4bKx", "z9hG4bKy"):
        layer.receive_request(request(branch=branch), "flow", False, 0)
    elsewhere = request()
    elsewhere.headers.replace("via", "SIP/2.0/UDP elsewhere;branch=z9hG4bKx")
    layer.receive_request(elsewhere, "flow", False, 0)
    assert len(layer.servers) == 3


def test_the_ack_of_a_2xx_belongs_to_no_transaction() -> None:
    (effect,) = Transactions().receive_request(request("ACK", "z9hG4bKnew"), "flow", False, 0)
    assert effect.transaction is None and isinstance(effect.output, Pass)


def test_responses_find_their_request_by_branch_and_method() -> None:
    layer = Transactions()
    invite = request()
    layer.request(invite, "flow", False, 0)
    layer.request(cancel_of(invite), "flow", False, 0)
    assert len(layer.clients) == 2
    (effect,) = layer.receive_response(cancel_of(invite).answer(200, to_tag="t"), 5)
    assert effect.transaction and effect.transaction.request.method == "CANCEL"
    stranger = request(branch="z9hG4bKnobody").answer(200)
    assert layer.receive_response(stranger, 6) == []


def test_a_broken_transport_is_told_to_the_user() -> None:
    layer = Transactions()
    (effect,) = layer.request(request(), "flow", True, 0)
    assert isinstance(effect.transaction, ClientTransaction)
    (told,) = layer.broken(effect.transaction, 1)
    assert told.output == Broken() and not layer.clients


def test_the_agenda_wakes_in_order_and_forgets_what_changed() -> None:
    class Thing:
        next_due_ms: int | None = None

    agenda: Agenda[Thing] = Agenda()
    one, two = Thing(), Thing()
    one.next_due_ms, two.next_due_ms = 30, 10
    for thing in (one, two, one):
        agenda.note(thing)
    two.next_due_ms = 20
    agenda.note(two)
    assert agenda.next_due_ms == 20 and agenda.take(19) is None
    assert agenda.take(40) is two
    two.next_due_ms = None
    agenda.note(two)
    assert agenda.take(40) is one and agenda.take(40) is None and agenda.next_due_ms is None
