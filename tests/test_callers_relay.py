"""The bad network: seeded, as bad as it is asked for, for our own packets and for those of others."""

from collections.abc import Iterator
from itertools import groupby

import pytest

from tests.in_reactor import in_reactor
from tests.sip_house import Socket, Telephone, pause, reactor, serving, until
from tests.test_sip_bridge import tone
from voicemedia.callers.impair import Impairments, Network
from voicemedia.callers.relay import UdpRelay


def fates(bad: Impairments, count: int = 20_000) -> list[tuple[float, int]]:
    """Send packets; return when each arrived, in the order they did."""
    network: Network[bytes] = Network(bad, 20)
    arrived = []
    for number in range(count):
        network.send(number.to_bytes(4), 20.0 * number)
        arrived += [(20.0 * number, int.from_bytes(each)) for each in network.due(20.0 * number)]
    while network.next_ms is not None:
        at_ms = network.next_ms
        arrived += [(at_ms, int.from_bytes(each)) for each in network.due(at_ms)]
    return arrived


def runs(bad: Impairments) -> Iterator[int]:
    """Return the lengths of the runs of losses."""
    came = {number for _, number in fates(bad)}
    for lost, run in groupby(range(20_000), lambda number: number not in came):
        if lost:
            yield len(list(run))


@pytest.mark.parametrize("burst", [1.0, 3.0, 8.0])
def test_losses_are_as_many_and_as_long_as_asked_for(burst: float) -> None:
    lengths = list(runs(Impairments(loss=0.03, burst=burst, seed=1)))
    assert sum(lengths) / 20_000 == pytest.approx(0.03, abs=0.008)
    assert sum(lengths) / len(lengths) == pytest.approx(max(1.03, burst), rel=0.2)


def test_the_same_seed_has_the_same_fate_and_new_troubles_change_no_old_ones() -> None:
    bad = Impairments(loss=0.05, jitter_ms=40, reorder=0.01, duplicate=0.01, seed=4)
    assert fates(bad, 500) == fates(bad, 500)
    stalling = Impairments(loss=0.05, jitter_ms=40, reorder=0.01, duplicate=0.01, seed=4, spikes=0.02)
    assert {number for _, number in fates(bad, 500)} == {number for _, number in fates(stalling, 500)}


def test_a_stall_holds_up_what_comes_behind_it_in_order() -> None:
    network: Network[bytes] = Network(Impairments(spikes=1.0, spike_ms=100), 20)
    network.send(b"1", 0)
    assert network.next_ms == 100 and network.due(99) == [] and network.due(100) == [b"1"]
    order = [number for _, number in fates(Impairments(spikes=0.01, seed=2), 2000)]
    assert order == sorted(order)


def test_a_slow_clock_falls_behind() -> None:
    network: Network[bytes] = Network(Impairments(drift_ppm=1000), 20)
    network.send(b"0", 5_000)
    network.send(b"1", 105_000)
    assert network.due(105_099) == [b"0"] and network.due(105_101) == [b"1"]


@in_reactor
async def test_a_relay_carries_there_and_back_and_loses_what_it_is_told_to() -> None:
    echo, client = Socket(), Socket()
    ports = [reactor.listenUDP(0, each, interface="127.0.0.1") for each in (echo, client)]
    relay = UdpRelay(
        reactor, ("127.0.0.1", ports[0].getHost().port), Impairments(loss=0.2, burst=2, jitter_ms=5, seed=3)
    )
    for number in range(200):
        client.transport.write(number.to_bytes(2), ("127.0.0.1", relay.port))  # type: ignore[union-attr]
    await until(lambda: len(echo.got) + relay.lost[0] == 200)
    assert 10 < relay.lost[0] < 90 and echo.got == sorted(echo.got)
    echo.transport.write(b"back", echo.sources[0])  # type: ignore[union-attr]
    await until(lambda: client.got == [b"back"])
    assert relay.carried == (200, 1) and client.sources == [("127.0.0.1", relay.port)]
    await relay.stop()
    for port in ports:
        await port.stopListening()


@in_reactor
async def test_a_call_through_a_relay_is_followed_and_its_losses_are_counted() -> None:
    async with serving() as server:
        caller = Telephone(server)
        await caller.call()
        relay = UdpRelay(reactor, caller.sound_to, Impairments(loss=0.1, jitter_ms=30, seed=7))
        caller.sound_to = ("127.0.0.1", relay.port)
        await caller.talk(tone(100))
        await pause(0.2)
        await until(lambda: relay.carried[1] > 60)
        assert server.metrics.frames_concealed >= relay.lost[0] - 2 > 2
        await caller.close()
        await relay.stop()
