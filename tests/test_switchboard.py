"""Calls as the whole server sees them: limits, counts, and the end of all."""

import pytest
from twisted.internet.defer import Deferred

from tests.house import ECHO, MULAW_SILENCE, House, Peer
from voicemedia.config import Limits, Route

TALK = Route("/talk", agent="tests.faulty_provider", stt="none", tts="none")


# --- limits of a call ---


def test_a_call_in_which_nothing_is_said_at_all_ends_idle() -> None:
    house = House(limits=Limits(idle_s=60))
    peer = house.call()
    house.pass_ms(59_000, 50)
    assert not peer.gone()
    house.pass_ms(3_000, 50)
    assert peer.gone()
    assert house.ended() == {"idle": 1}
    assert house.get("/streaming/stats")[1]["expired_sessions"] == 1


@pytest.mark.parametrize("message", ["media", "dtmf", "mark", "agent_note", "connected"])
def test_any_message_at_all_keeps_a_call(message: str) -> None:
    house = House(limits=Limits(idle_s=60))
    peer = house.call()
    house.pass_ms(50_000, 50)
    if message == "media":
        peer.media()
    else:
        peer.event(message, {"digit": "1"})
    house.pass_ms(50_000, 50)
    assert house.ended() == {}


def test_minutes_of_silent_sound_are_no_reason_to_end() -> None:
    house = House(limits=Limits(idle_s=60))
    peer = house.call()
    for _ in range(300):
        peer.media(bytes([0xFF]) * 8_000)
        house.pass_ms(1_000, 50)
    assert house.ended() == {}
    assert house.server.metrics.frames_in == 15_000


def test_the_longest_call_ends_with_a_goodbye_and_counts_as_expired() -> None:
    house = House(limits=Limits(max_call_s=10))
    peer = house.call()
    peer.talk(9_000)
    assert not peer.gone()
    peer.talk(3_000)
    assert peer.gone()
    assert house.ended() == {"too_long": 1}
    assert house.get("/streaming/stats")[1]["expired_sessions"] == 1


# --- counts ---


def test_statistics_metrics_and_health_agree_about_every_end() -> None:
    house = House(ECHO, TALK, limits=Limits(idle_s=60))
    stopped, vanished, closed, broken, live = (house.call(sid=f"S{number}") for number in range(5))
    stopped.stop()
    stopped.lose()
    vanished.lose()
    closed.raw(b"\x88\x82\0\0\0\0\x03\xe8")
    broken.raw(b"\x81\x80\0\0\0\0\xc1\x05hello")
    house.pass_ms(100)
    assert house.ended() == {"caller_hung_up": 2, "peer_vanished": 1, "peer_broke_protocol": 1}
    stats = house.get("/streaming/stats")[1]
    assert stats["active_sessions"] == 1
    assert stats["total_sessions"] == 5
    assert stats["ended_sessions"] == house.ended()
    assert stats["routes"] == {"/echo": {"active": 1, "total": 5}, "/talk": {"active": 0, "total": 0}}
    counted = house.counted()
    assert counted["calls_started_total"] == 5
    assert counted['calls_active{route="/echo"}'] == 1
    assert counted['calls_ended_total{reason="peer_vanished"}'] == 1
    assert counted['wire_errors_total{carrier="smartflo",kind="websocket_1002"}'] == 1
    assert house.get("/health")[1]["active_calls"] == 1
    live.lose()
    assert len(house.server.switchboard) == 0


# --- the end of all ---


def stop(house: House) -> "Deferred[None]":
    return house.server.stopService()


def done(stopped: "Deferred[None]") -> bool:
    return bool(stopped.called)


def kinds(peer: Peer) -> list[str]:
    return [message["event"] for message in peer.got()]


def test_a_server_without_calls_stops_at_once() -> None:
    house = House()
    assert done(stop(house))
    assert house.reactor.getDelayedCalls() == []


def test_draining_lets_calls_go_on_and_refuses_new_ones() -> None:
    house = House(ECHO, limits=Limits(drain_s=30))
    peer = house.call()
    stopped = stop(house)
    assert house.connect().status == 503
    assert house.get("/health")[0] == 503
    assert house.get("/health")[1]["status"] == "draining"
    peer.got()
    peer.talk(20_000)
    assert kinds(peer).count("media") in range(995, 1_012)
    peer.stop()
    house.pass_ms(100)
    assert done(stopped)
    assert house.ended() == {"caller_hung_up": 1}


def test_calls_that_do_not_end_hear_a_goodbye_and_then_a_close() -> None:
    house = House(TALK, limits=Limits(drain_s=10))
    peer = house.call("/talk")
    stopped = stop(house)
    peer.talk(3_900)
    assert house.ended() == {}
    peer.alive = False
    peer.talk(2_500)
    assert peer.close_code() == 1000
    (turns,) = [call.diary.read() for call in house.server.switchboard]
    assert turns[-1]["text"] == "We have to end this call now. Goodbye."
    assert not done(stopped)
    peer.raw(b"\x88\x82\0\0\0\0\x03\xe8")
    house.pass_ms(100)
    assert done(stopped)
    assert house.ended() == {"drained": 1}


def test_peers_that_do_not_answer_the_close_do_not_hold_up_the_end() -> None:
    house = House(ECHO, TALK, limits=Limits(drain_s=2))
    for peer in (house.call(), house.call("/talk", "S2"), house.connect()):
        peer.alive = False
    stopped = stop(house)
    house.pass_ms(12_000, 50)
    assert done(stopped)
    assert house.ended() == {"drained": 2}
    assert house.reactor.getDelayedCalls() == []


def test_who_comes_back_by_the_same_name_before_the_last_words_are_answered_is_found_by_it() -> None:
    silent = {"silent": {"provider": "tests.faulty_provider", "fails": "silence"}}
    house = House(Route("/talk", agent="silent", stt="none", tts="none"), agents=silent)
    before = house.call("/talk")
    before.event("dtmf", {"digit": "4"})
    before.stop()
    house.call("/talk")
    switchboard = house.server.switchboard
    (call,) = switchboard
    assert len(switchboard) == 2
    assert switchboard.diary(call.caller.call_id) is call.diary


def test_an_answer_to_last_words_that_does_not_come_ends_with_the_server() -> None:
    silent = {"silent": {"provider": "tests.faulty_provider", "fails": "silence"}}
    house = House(Route("/talk", agent="silent", stt="none", tts="none"), agents=silent, limits=Limits(drain_s=2))
    peer = house.call("/talk")
    peer.event("dtmf", {"digit": "4"})
    peer.stop()
    stopped = stop(house)
    house.pass_ms(5_000, 50)
    assert not done(stopped)
    house.pass_ms(2_000, 50)
    assert done(stopped)
    assert house.ended() == {"caller_hung_up": 1}


def test_sockets_without_a_stream_are_closed_by_the_stop_too() -> None:
    house = House()
    peer = house.connect()
    stopped = stop(house)
    assert peer.close_code() == 1000
    assert not done(stopped)
    peer.raw(b"\x88\x82\0\0\0\0\x03\xe8")
    assert peer.gone()
    assert done(stopped)


def test_a_start_that_comes_while_the_server_closes_is_no_call() -> None:
    house = House()
    peer = house.connect()
    stop(house)
    peer.start()
    peer.media(MULAW_SILENCE)
    assert house.server.switchboard.total == 0


def test_statistics_name_every_route_before_its_first_call() -> None:
    house = House(ECHO, TALK)
    assert house.get("/streaming/stats")[1]["routes"] == {
        "/echo": {"active": 0, "total": 0},
        "/talk": {"active": 0, "total": 0},
    }
