"""Two user agents in bad weather: whatever is lost, doubled or overtaken, a call ends on both sides the same way."""

from functools import partial
from random import Random

import pytest

from tests.fuzz_sip import mutate
from tests.sip_net import Host, Net, Weather
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.flow_wire import Answered, Ended, Event, Incoming, MediaChanged
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.user_agent_wire import Settings

SEEDS = range(300)
WEATHER = Weather(loss=0.2, duplicates=0.1, delay_ms=(5, 400))


def live(net: Net, host: Host, call: Call, random: Random) -> None:
    """Do what owners do, at any time: hold, resume, press keys, hang up in the end."""
    at_ms = net.now_ms
    for _ in range(random.randrange(4)):
        at_ms += random.randrange(1, 5000)
        match random.randrange(3):
            case 0:
                direction = random.choice(("sendonly", "sendrecv", "inactive"))
                net.at(at_ms, partial(hold, net, call, direction))
            case 1:
                net.at(at_ms, partial(press, net, call))
            case _:
                net.at(at_ms, partial(hold, net, call, "sendrecv"))
    net.at(at_ms + random.randrange(1, 8000), lambda: call.hang_up(net.now_ms))


def press(net: Net, call: Call) -> None:
    if call.up:
        call.send_key("5", net.now_ms)


def give_up(net: Net, call: Call) -> None:
    call.hang_up(net.now_ms)


def hold(net: Net, call: Call, direction: str) -> None:
    if call.up and call.media is not None:
        call.media.direction = direction
        call.session.reoffer(net.now_ms)


def decide(net: Net, host: Host, call: IncomingCall, random: Random) -> None:
    """Ring, open the sound early or not, then answer, refuse, or let it ring."""
    media = host.media()
    if random.random() < 0.7:
        call.ring(net.now_ms)
    if random.random() < 0.4:
        net.at(net.now_ms + 300, lambda: call.progress(media, net.now_ms))
    after_ms = net.now_ms + random.randrange(6000)
    choice = random.random()
    if choice < 0.7:
        net.at(after_ms, lambda: call.answer(media, net.now_ms))
    elif choice < 0.9:
        net.at(after_ms, lambda: call.refuse(random.choice((486, 480, 603)), net.now_ms))


def play(seed: int, weather: Weather, transport: str = "UDP") -> tuple[Net, Host, Host]:
    net = Net(seed, weather)
    random = Random(seed + 10_000)
    settings = Settings(session=SessionTerms(random.choice((0, 90, 1800))))
    a, b = net.host("a", settings, transport), net.host("b", settings, transport)

    def on_event(host: Host) -> None:
        def told(event: Event) -> None:
            if isinstance(event, Incoming):
                decide(net, host, event.call, random)
            elif isinstance(event, Answered) and random.random() < 0.8:
                live(net, host, event.call, random)

        host.on_event = told

    on_event(a)
    on_event(b)
    for caller, callee in ((a, "b"), (a, "b"), (b, "a")):
        call = caller.dial(callee)
        # Some callers lose patience, at any moment of the call's making.
        if random.random() < 0.5:
            net.at(random.randrange(6000), partial(give_up, net, call))
        net.at(60_000, partial(give_up, net, call))
    net.run(400_000)
    return net, a, b


def endings(host: Host) -> dict[str, Ended]:
    found = {event.call.dialog.call_id: event for event in host.events if isinstance(event, Ended)}
    assert len(found) == host.said().count("Ended"), "a call ended twice"
    return found


def check(net: Net, a: Host, b: Host) -> None:
    ours, theirs = endings(a), endings(b)
    assert len(ours.keys() | theirs.keys()) == 3
    for call_id in ours.keys() & theirs.keys():
        one, other = ours[call_id], theirs[call_id]
        assert one.answered is other.answered, f"answered here {one.answered}, there {other.answered}"
        # A call that was up may seem lost to one side when what ended it on the other is itself lost.
        assert one.answered or one.status == other.status, f"{one.status} here, {other.status} there"
        assert one.call.state is other.call.state is CallState.OVER
    for host, ended in ((a, ours), (b, theirs)):
        # Whoever never heard of a call could not hear of its end.
        for call_id in {*ours, *theirs} - {*ended}:
            assert not any(event.call.dialog.call_id == call_id for event in host.events if isinstance(event, Incoming))
    for host in (a, b):
        assert not host.agent.dialogs and host.agent.next_due_ms is None, "something is left behind"


@pytest.mark.parametrize("seeds", [SEEDS[at : at + 50] for at in range(0, len(SEEDS), 50)], ids=lambda seeds: seeds[0])
def test_calls_end_on_both_sides_the_same_way(seeds: range) -> None:
    for seed in seeds:
        net, a, b = play(seed, WEATHER)
        try:
            check(net, a, b)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_over_a_transport_that_loses_nothing_the_same() -> None:
    for seed in range(100):
        check(*play(seed, Weather(delay_ms=(20, 20)), "TCP"))


def test_messages_mangled_on_the_way_break_nothing() -> None:
    random = Random(5)
    mangled = 0

    def mangle(raw: bytes) -> bytes:
        nonlocal mangled
        if random.random() < 0.7:
            return raw
        mangled += 1
        return mutate(raw, [raw], random)

    for seed in range(60):
        _, a, b = play(seed, Weather(0.05, 0.1, (5, 300), mangle))
        assert a.agent.next_due_ms is b.agent.next_due_ms is None
    assert mangled > 500


def test_agreements_are_those_of_the_last_exchange() -> None:
    held = 0
    for seed in range(60):
        _, a, b = play(seed, Weather(delay_ms=(5, 300)))
        for host, other in ((a, b), (b, a)):
            for event in host.events:
                held += isinstance(event, MediaChanged) and event.agreement.held
                if isinstance(event, MediaChanged):
                    assert event.agreement.address == f"{other.name}.test"
    assert held, "no call was ever held: the test tests nothing"
