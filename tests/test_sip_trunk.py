"""What a provider wants of us: credentials, registrations, and that we understand who calls."""

from itertools import count, pairwise
from pathlib import Path

import pytest

from tests.sip_net import QUIET, Host, Net, answering, first
from voicemedia.sip_bridge.call_wire import CallState
from voicemedia.sip_bridge.caller_wire import NO_SESSION, origin_of, session_id
from voicemedia.sip_bridge.digest_wire import Credentials, Guard, realm_of, secret
from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.flow_wire import Ended, Event, Incoming
from voicemedia.sip_bridge.framing_wire import read_datagram
from voicemedia.sip_bridge.headers_wire import Headers
from voicemedia.sip_bridge.keepalive_wire import Keepalive
from voicemedia.sip_bridge.register_wire import Account, Registration, Standing
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.sip_wire import Message, Request, Response
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.user_agent_wire import Settings

WILD = Path(__file__).parent / "vectors/sip/wild"


def wild(name: str) -> Request:
    message = read_datagram((WILD / f"{name}.sip").read_bytes())
    assert isinstance(message, Request)
    return message


# --- credentials ---


def guarded(net: Net, host: Host) -> None:
    """Let a host answer only calls with the right password."""
    guard = Guard("b.test", b"k", lambda algorithm, user: secret(algorithm, user, "b.test", "right"))

    def on_event(event: Event) -> None:
        if not isinstance(event, Incoming):
            return
        shown = event.call.invite.headers.first("authorization") or "none"
        verdict = guard.check(shown, "INVITE", net.now_ms)
        if verdict == "ok":
            event.call.answer(host.media(), net.now_ms)
        else:
            challenges = guard.challenges(net.now_ms, stale=verdict == "stale")
            event.call.refuse(401, net.now_ms, headers=tuple(("WWW-Authenticate", value) for value in challenges))

    host.on_event = on_event


def pair(password: str | None) -> tuple[Net, Host, Host]:
    net = Net()
    a, b = net.host("a", QUIET), net.host("b", QUIET)
    if password is not None:
        a.agent.credentials = Credentials("alice", password, lambda: "cnonce")
    guarded(net, b)
    return net, a, b


def test_a_challenge_is_answered_once_with_a_new_cseq() -> None:
    net, a, _ = pair("right")
    call = a.dial("b")
    net.run(200)
    assert net.ladder == ["a>b INVITE", "b>a 401 INVITE", "a>b ACK", "a>b INVITE", "b>a 200 INVITE", "a>b ACK"]
    first, _, second, ack = (m for m in net.sent if isinstance(m, Request))
    assert (first.cseq.number, second.cseq.number, ack.cseq.number) == (1, 2, 2)
    assert first.call_id == second.call_id and first.sender.tag == second.sender.tag
    assert first.via.branch != second.via.branch
    assert ack.headers.first("authorization") == second.headers.first("authorization") is not None
    net.do(lambda: call.hang_up(net.now_ms))
    assert net.ladder[-2:] == ["a>b BYE", "b>a 200 BYE"]


@pytest.mark.parametrize(("password", "invites"), [("wrong", 2), (None, 1)])
def test_a_wrong_password_is_tried_once(password: str | None, invites: int) -> None:
    net, a, _ = pair(password)
    a.dial("b")
    net.run(5000)
    assert net.ladder.count("a>b INVITE") == invites
    (ended,) = [event for event in a.events if isinstance(event, Ended)]
    assert ended.status == 401 and ended.response and ended.response.headers.first("www-authenticate")


def test_each_proxy_on_the_way_is_answered_in_its_realm() -> None:
    net = Net()
    a, b = net.host("a", QUIET), net.host("b", QUIET)
    a.agent.credentials = Credentials("alice", "right", lambda: "cnonce")

    def on_event(event: Event) -> None:
        if not isinstance(event, Incoming):
            return
        shown = [realm_of(value) for value in event.call.invite.headers.all("proxy-authorization")]
        missing = next((realm for realm in ("one", "two", "three") if realm not in shown), None)
        if missing is None:
            event.call.answer(b.media(), net.now_ms)
        else:
            challenge = f'Digest realm="{missing}", nonce="n-{missing}", qop="auth"'
            event.call.refuse(407, net.now_ms, headers=(("Proxy-Authenticate", challenge),))

    b.on_event = on_event
    call = a.dial("b")
    net.run(1000)
    assert call.up and net.ladder.count("a>b INVITE") == 4
    ack = [m for m in net.sent if isinstance(m, Request)][-1]
    assert ack.method == "ACK" and len(ack.headers.all("proxy-authorization")) == 3


def test_a_proxy_that_asks_for_ever_is_given_up() -> None:
    net = Net()
    a, b = net.host("a", QUIET), net.host("b", QUIET)
    a.agent.credentials = Credentials("alice", "right", lambda: "cnonce")
    numbers = count()

    def on_event(event: Event) -> None:
        if isinstance(event, Incoming):
            challenge = f'Digest realm="{next(numbers)}", nonce="n", qop="auth"'
            event.call.refuse(407, net.now_ms, headers=(("Proxy-Authenticate", challenge),))

    b.on_event = on_event
    call = a.dial("b")
    net.run(5000)
    assert call.state is CallState.OVER and net.ladder.count("a>b INVITE") == 6


def test_a_call_given_up_is_not_tried_again_with_credentials() -> None:
    net, a, _ = pair("right")
    call = a.dial("b")
    call.hang_up(0)
    net.run(5000)
    assert net.ladder == ["a>b INVITE", "b>a 401 INVITE", "a>b ACK"]
    assert call.state is CallState.OVER


@pytest.mark.parametrize("tcp", [True, False])
def test_what_is_too_long_for_a_datagram_goes_over_tcp_if_the_peer_takes_it(tcp: bool) -> None:
    net = Net()
    a, b = net.host("a", Settings(session=SessionTerms(0), datagram_limit=1300)), net.host("b", QUIET)
    answering(b)
    a.drop = first("INVITE", 0 if tcp else 1)
    call = a.dial("b", headers=(("Identity", "x" * 1000),))
    (invite,) = net.sent
    assert invite.via.transport == "TCP"
    if not tcp:
        a.agent.unsent(invite, 0)
        net.flush(a)
        assert [message.via.transport for message in net.sent] == ["TCP", "UDP"]
    net.run(1000)
    assert call.up
    # What is short goes as before.
    net.do(lambda: call.hang_up(net.now_ms))
    bye = [m for m in net.sent if isinstance(m, Request)][-1]
    assert (bye.method, bye.via.transport) == ("BYE", "UDP")


# --- requests seen twice, or for calls that are gone ---


def test_the_same_invite_by_another_way_is_a_loop() -> None:
    net = Net()
    a, b = net.host("a", QUIET), net.host("b", QUIET)
    a.dial("b")
    net.run(50)
    again = wild("twilio_invite")
    for branch, at_ms in (("z9hG4bKone", 60), ("z9hG4bKtwo", 70)):
        request = Request(again.headers.copy(), again.body, again.method, again.uri)
        request.headers.remove("via")
        request.headers.put_first("Via", f"SIP/2.0/UDP a.test:5060;branch={branch}")
        b.agent.receive(request, b.flow("a"), at_ms)
        net.flush(b)
    net.run(90)
    assert net.ladder[-1] == "b>a 482 INVITE" and len(b.calls) == 2


def test_an_invite_that_comes_by_another_way_after_the_answer_makes_no_second_call() -> None:
    net = Net()
    a, b = net.host("a", QUIET), net.host("b", QUIET)
    answering(b)
    call = a.dial("b")
    invite = next(message for message in net.sent if isinstance(message, Request))
    net.run(500)
    assert call.up
    request = Request(invite.headers.copy(), invite.body, invite.method, invite.uri)
    request.headers.remove("via")
    request.headers.put_first("Via", "SIP/2.0/UDP a.test:5060;branch=z9hG4bKother")
    b.agent.receive(request, b.flow("a"), 510)
    net.flush(b)
    net.run(600)
    assert net.ladder[-1] == "b>a 482 INVITE" and len(b.calls) == 1


@pytest.mark.parametrize(
    ("early", "replaces", "status"),
    [(False, "nobody;to-tag=1;from-tag=2", 481), (True, "", 486), (False, "x", 400)],
)
def test_a_call_that_cannot_be_replaced(early: bool, replaces: str, status: int) -> None:
    net = Net()
    a, b = net.host("a", QUIET), net.host("b", QUIET)
    answering(b)
    a.dial("b")
    net.run(200)
    call_id, local, remote = b.calls[0].dialog.key
    request = a.agent.new_request("INVITE", Uri.parse("sip:b@b.test"), "<sip:a@a>", "<sip:b@b>")
    wanted = replaces or f"{call_id};to-tag={local};from-tag={remote}" + (";early-only" if early else "")
    request.headers.add("Replaces", wanted)
    request.headers.add("Contact", "<sip:a@a.test>")
    got: list[int] = []
    exchange = Exchange(
        request, a.flow("b"), Uri.parse("sip:b.test"), lambda _, response, __: got.append(response.status)
    )
    net.do(lambda: a.agent.request(exchange, net.now_ms))
    assert got == [status]


@pytest.mark.parametrize(("uri", "status"), [("sip:b.test:5060", 481), ("sip:somebody@example.com", 180)])
def test_a_tag_we_never_gave(uri: str, status: int) -> None:
    net = Net()
    a, b = net.host("a", QUIET), net.host("b", QUIET)
    answering(b, 1000)
    request = a.agent.new_request("INVITE", Uri.parse(uri), "<sip:a@a>", "<sip:b@b>;tag=stale")
    request.headers.add("Contact", "<sip:a@a.test>")
    got: list[int] = []
    exchange = Exchange(request, a.flow("b"), None, lambda _, response, __: got.append(response.status))
    net.do(lambda: a.agent.request(exchange, net.now_ms))
    assert got == [status]


# --- registrations ---


class Registrar:
    """Answers REGISTERs with the statuses it is given, the last one for ever."""

    def __init__(self, *statuses: int, **headers: str) -> None:
        self.net = Net()
        self.host = self.net.host("a", QUIET)
        self.statuses = list(statuses)
        self.headers = headers
        self.seen: list[str] = []
        account = Account(Uri.parse("sip:reg.test"), "<sip:alice@reg.test>", "alice", 600)
        self.registration = Registration(self.host.agent, account, self.host.flow("reg"))

    def run(self, until_ms: int) -> None:
        """Let time pass in steps of a second."""
        while self.net.now_ms < until_ms:
            self.registration.due(self.net.now_ms)
            self.net.flush(self.host)
            self._answer()
            self.net.run(self.net.now_ms + 1000)

    def _answer(self) -> None:
        for message in self.net.sent:
            assert isinstance(message, Request)
            expires = (message.headers.first("contact") or "").rpartition("=")[2]
            self.seen.append(f"{message.cseq.number}:{expires}@{self.net.now_ms // 1000}")
            status = self.statuses[0] if len(self.statuses) == 1 else self.statuses.pop(0)
            if status:
                response = message.answer(status, to_tag="r")
                for name, value in self.headers.items():
                    response.headers.add(name.replace("_", "-"), value)
                self.host.agent.receive(response, self.host.flow("reg"), self.net.now_ms)
        self.net.sent.clear()
        self.net.flush(self.host)
        if self.net.sent:
            self._answer()


def test_a_binding_is_refreshed_before_it_lapses_with_one_call_id_and_rising_cseq() -> None:
    registrar = Registrar(200)
    registrar.registration.start(0)
    registrar.run(1_200_000)
    assert registrar.seen == ["1:600@0", "2:600@540", "3:600@1080"]
    assert registrar.registration.standing is Standing.IN
    registrar.registration.stop(registrar.net.now_ms)
    registrar.run(1_300_000)
    assert registrar.seen[-1].startswith("4:0@") and registrar.registration.next_due_ms is None


def test_what_the_registrar_grants_counts() -> None:
    contacts = '"other" <sip:alice@elsewhere:5060>;expires=3000, <sip:alice@a.test:5060>;expires=120'
    registrar = Registrar(200, Contact=contacts)
    registrar.registration.start(0)
    registrar.run(130_000)
    assert registrar.seen == ["1:600@0", "2:600@60", "3:600@120"]


def test_an_interval_too_brief_is_made_longer() -> None:
    registrar = Registrar(423, 200, Min_Expires="1800")
    registrar.registration.start(0)
    registrar.run(3000)
    assert registrar.seen == ["1:600@0", "2:1800@0"]
    assert registrar.registration.standing is Standing.IN


@pytest.mark.parametrize(
    ("status", "standing"), [(403, Standing.REFUSED), (503, Standing.FAILED), (0, Standing.FAILED)]
)
def test_after_a_failure_we_wait_longer_each_time(status: int, standing: Standing) -> None:
    registrar = Registrar(status)
    registrar.registration.start(0)
    registrar.run(600_000)
    numbers = [int(seen.partition(":")[0]) for seen in registrar.seen]
    firsts = [registrar.seen[numbers.index(number)] for number in sorted(set(numbers))]
    times = [int(seen.partition("@")[2]) for seen in firsts]
    waits = [later - sooner for sooner, later in pairwise(times)]
    assert registrar.registration.standing is standing
    assert 2 <= len(waits) <= 5 and waits == sorted(waits) and 30 <= waits[0] <= 95


def test_a_registrar_may_say_when_to_come_back() -> None:
    registrar = Registrar(503, 200, Retry_After="300 (maintenance)")
    registrar.registration.start(0)
    registrar.run(290_000)
    assert registrar.seen == ["1:600@0"]
    registrar.run(310_000)
    assert registrar.registration.standing is Standing.IN


# --- whether the peer is there ---

PROBES = [
    ("a peer that answers stays up", "200 404 405 200", "++++"),
    ("one or two lost answers are no outage", "200 408 503 200 408 200", "++++++"),
    ("three are, and one answer does not end it", "408 408 408 200 408 200 200", "++----+"),
]
"Answers in order -> whether calls may be sent there after each."


@pytest.mark.parametrize(("name", "answers", "states"), PROBES, ids=[row[0] for row in PROBES])
def test_a_peer_is_up_or_down(name: str, answers: str, states: str) -> None:
    net = Net()
    a = net.host("a", QUIET)
    keepalive = Keepalive(a.agent, Uri.parse("sip:peer.test"), a.flow("peer"))
    found, now_ms = "", 0
    waits: list[int | None] = []
    for status in map(int, answers.split()):
        assert keepalive.next_due_ms is not None
        now_ms = keepalive.next_due_ms
        keepalive.due(now_ms)
        waits.append(keepalive.next_due_ms)
        net.flush(a)
        probe = net.sent.pop()
        assert isinstance(probe, Request) and probe.method == "OPTIONS"
        a.agent.receive(probe.answer(status, to_tag="t"), a.flow("peer"), now_ms)
        found += "+" if keepalive.up else "-"
    assert found == states
    assert waits == [None] * len(states), "two probes at a time"
    # Sure of a living peer we ask seldom, in doubt soon.
    assert (keepalive.next_due_ms or 0) - now_ms == (30_000 if states.endswith(("+++", "----+")) else 5000)


# --- who calls ---


def test_the_network_knows_the_callers_number_better_than_the_caller() -> None:
    origin = origin_of(wild("twilio_invite"))
    assert origin.number == "+15557654321" and not origin.private
    assert [(d.address.uri.user, d.reason) for d in origin.diverted] == [("+15551230001", "unconditional")]
    assert origin.attestation == "A" and len(origin.identities) == 1


def test_privacy_is_respected_and_the_number_still_known() -> None:
    origin = origin_of(wild("teams_upper_case"))
    assert origin.private and origin.number == "+4989654321"


@pytest.mark.parametrize(
    ("value", "verified", "attestation"),
    [
        ("<sip:+1555;verstat=TN-Validation-Passed-A@x;user=phone>", "TN-Validation-Passed", "A"),
        ("<sip:+1555@x;user=phone;verstat=TN-Validation-Passed>", "TN-Validation-Passed", ""),
        ("<tel:+1555;verstat=No-TN-Validation>", "No-TN-Validation", ""),
        ("<sip:+1555@x>;verstat=TN-Validation-Failed-C", "TN-Validation-Failed", "C"),
        ("<sip:+1555@x>", "", ""),
    ],
)
def test_a_verstat_is_found_wherever_it_is(value: str, verified: str, attestation: str) -> None:
    origin = origin_of(Message(Headers([("P-Asserted-Identity", value)])))
    assert (origin.verified, origin.attestation, origin.number) == (verified, attestation, "+1555")


@pytest.mark.parametrize("identity", ["", "a.b", "a.!.c", "a.W10.c", "a.MQ.c", "a." + "W1tb" * 2000 + ".c"])
def test_a_broken_passport_claims_nothing(identity: str) -> None:
    broken = [("Identity", identity), ("From", "<broken"), ("Diversion", '"'), ("Privacy", ";;")]
    origin = origin_of(Message(Headers(broken)))
    assert (origin.attestation, origin.sender, origin.number, origin.diverted) == ("", None, "", ())


def test_an_anonymous_caller_has_no_number() -> None:
    origin = origin_of(Message(Headers([("From", '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1')])))
    assert origin.private and origin.number == ""


def test_a_session_id_follows_the_call() -> None:
    assert session_id(wild("cisco_quoted_via")) == ("4a5b6c7d1f2e3d4c5b6a798897a6b5c4", NO_SESSION)
    assert session_id(wild("twilio_invite")) == (NO_SESSION, NO_SESSION)
    net = Net()
    a, b = net.host("a", QUIET), net.host("b", QUIET)
    answering(b)
    call = a.dial("b")
    net.run(200)
    net.do(lambda: b.calls[0].hang_up(net.now_ms))
    bye = [m for m in net.sent if isinstance(m, Request)][-1]
    assert session_id(bye) == (b.calls[0].session_id, call.session_id)
    answer = [m for m in net.sent if isinstance(m, Response)][-1]
    assert session_id(answer) == (call.session_id, b.calls[0].session_id)


def test_an_invite_comes_again_by_another_connection_when_its_own_has_broken() -> None:
    net = Net()
    host = net.host("b", QUIET, "TCP")
    sent, told = wild("twilio_invite"), []
    for branch, at_ms in (("z9hG4bKone", 60), ("z9hG4bKtwo", 70)):
        request = Request(sent.headers.copy(), sent.body, sent.method, sent.uri)
        request.headers.remove("via")
        request.headers.put_first("Via", f"SIP/2.0/TCP a.test:5060;branch={branch}")
        host.agent.receive(request, host.flow("a"), at_ms)
        host.agent.unsent(request.answer(180), at_ms)
        told += [type(output).__name__ for output in host.agent.outputs()]
    assert told.count("Incoming") == told.count("Ended") == 2
