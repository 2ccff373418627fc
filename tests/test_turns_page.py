"""What was said may be read on this machine, by nobody else."""

import pytest

from tests.house import ECHO, House
from voicemedia.config import Route

NOT_FOUND = {"error": {"code": "not_found", "message": "There is nothing at this address."}}


@pytest.fixture
def house() -> House:
    """A server with one call of an agent that says hello."""
    house = House(ECHO, Route("/talk", agent="tests.faulty_provider", stt="none", tts="none"))
    house.call("/talk", "S1")
    house.pass_ms(100)
    return house


def test_the_turns_of_a_live_call_can_be_read(house: House) -> None:
    status, turns = house.get("/calls/C-S1/turns")
    assert status == 200
    assert '"hello"' in turns


def test_the_turns_of_an_ended_call_can_still_be_read(house: House) -> None:
    house.peers[0].stop()
    status, turns = house.get("/calls/C-S1/turns")
    assert status == 200
    assert '"hello"' in turns


def test_only_the_last_two_hundred_ended_calls_are_remembered(house: House) -> None:
    house.peers[0].stop()
    peer = house.connect()
    for number in range(200):
        peer.start(f"T{number}")
    peer.stop()
    assert house.get("/calls/C-S1/turns")[0] == 404
    assert house.get("/calls/C-T0/turns")[0] == 200


def test_what_hearing_a_call_has_cost_can_be_read() -> None:
    house = House(Route("/talk", agent="echo", stt="ears", tts="none"), stt={"ears": {"provider": "tests.priced_ears"}})
    peer = house.call("/talk", "S1")
    for _ in range(50):
        peer.media()
        house.pass_ms(20)
    peer.stop()
    house.pass_ms(100)
    status, costs = house.get("/calls/C-S1/costs")
    assert (status, costs["ears"]["seconds"]) == (200, pytest.approx(1, abs=0.1))
    assert costs["ears"]["cost_usd"] == pytest.approx(0.01, abs=0.001)
    assert house.get("/streaming/stats")[1]["costs"]["/talk"] == costs
    assert house.counted()['stt_route_cost_usd_total{provider="ears",route="/talk"}'] == costs["ears"]["cost_usd"]


@pytest.mark.parametrize("path", ["/calls/C-S1/turns/x", "/calls/C-S1/words", "/calls/nobody/turns"])
def test_there_is_nothing_else(house: House, path: str) -> None:
    assert house.get(path) == (404, NOT_FOUND)


@pytest.mark.parametrize("peer_ip", ["192.0.2.1", "10.0.0.1", "2001:db8::1"])
def test_other_machines_learn_nothing(house: House, peer_ip: str) -> None:
    assert house.get("/calls/C-S1/turns", peer_ip=peer_ip) == (404, NOT_FOUND)


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_nobody_reads_through_a_proxy(house: House, header: str) -> None:
    assert house.get("/calls/C-S1/turns", **{header: "x"}) == (404, NOT_FOUND)


def test_a_page_that_calls_us_by_a_name_of_its_own_may_read_nothing(house: House) -> None:
    assert house.get("/calls/C-S1/turns", Host="evil.example:8000") == (404, NOT_FOUND)
    assert house.get("/calls/C-S1/turns", Host="localhost:8000")[0] == 200
    assert house.get("/calls/C-S1/turns", Host="[::1]:8000")[0] == 200
