"""A carrier's calls through the whole server: every event both ways, every setting of a route."""

from base64 import b64decode

import msgspec
import pytest

from tests.house import ECHO, MULAW_SILENCE, TWILIO, House
from tests.told import Told
from voicemedia import config
from voicemedia.audio.g711 import CODECS, decode_mulaw
from voicemedia.config import Playout, Route
from voicemedia.interfaces import Goodbye, Leg
from voicemedia.protocols.smartflo_wire import CustomEvent, router

CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}


def route(**changes: object) -> Route:
    return msgspec.structs.replace(ECHO, **changes)


# --- connected ---


def test_connected_is_said_at_once_by_default() -> None:
    assert House().connect().got() == [CONNECTED]


def test_connected_waits_for_a_silent_peer_where_it_is_adaptive() -> None:
    house = House(route(connected="adaptive"))
    silent = house.connect()
    assert silent.got() == []
    house.pass_ms(240)
    assert silent.got() == []
    house.pass_ms(20)
    assert silent.got() == [CONNECTED]


@pytest.mark.parametrize("first", ['{"event":"connected"}', "not even JSON"])
def test_connected_is_not_said_to_a_peer_that_speaks_first_where_it_is_adaptive(first: str) -> None:
    house = House(route(connected="adaptive"))
    talker = house.connect()
    talker.text(first)
    house.pass_ms(1_000)
    assert talker.got() == []


def test_a_socket_that_dies_before_the_adaptive_greeting_leaves_no_timer() -> None:
    house = House(route(connected="adaptive"))
    before = len(house.reactor.getDelayedCalls())
    house.connect().lose()
    assert len(house.reactor.getDelayedCalls()) == before


def test_connected_is_never_said_where_it_is_switched_off() -> None:
    house = House(route(connected="never"))
    peer = house.connect()
    house.pass_ms(5_000)
    assert peer.got() == []


@pytest.mark.parametrize("connected", ["immediate", "adaptive", "never"])
def test_connected_of_the_peer_is_always_taken(connected: str) -> None:
    house = House(route(connected=connected))
    peer = house.connect()
    for _ in range(2):
        peer.text({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    peer.start()
    assert len(house.server.switchboard) == 1
    assert house.wire_errors() == {}


# --- media ---


def test_media_out_is_numbered_by_chunk_and_sequence() -> None:
    house = House()
    peer = house.call()
    peer.got()
    peer.talk(200)
    out = peer.got()
    assert [message["media"]["chunk"] for message in out] == list(range(1, len(out) + 1))
    assert [message["sequenceNumber"] for message in out] == list(range(1, len(out) + 1))
    assert {message["streamSid"] for message in out} == {"S1"}
    assert {frozenset(message) for message in out} == {frozenset({"event", "streamSid", "sequenceNumber", "media"})}


def test_media_out_has_no_sequence_number_where_the_route_is_strict() -> None:
    peer = House(route(strict_official=True)).call()
    peer.got()
    peer.talk(200)
    out = peer.got()
    assert [message["media"]["chunk"] for message in out] == list(range(1, len(out) + 1))
    assert {frozenset(message) for message in out} == {frozenset({"event", "streamSid", "media"})}


def test_twilio_gets_neither_connected_nor_chunk_nor_sequence() -> None:
    house = House(TWILIO)
    peer = house.connect("/twilio")
    peer.text({"event": "connected", "protocol": "Call", "version": "1.0.0"})
    peer.start("MZ1", tracks=["inbound"], mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1})
    peer.talk(100)
    out = peer.got()
    assert {message["event"] for message in out} == {"media"}
    assert {frozenset(message) for message in out} == {frozenset({"event", "streamSid", "media"})}
    assert {frozenset(message["media"]) for message in out} == {frozenset({"payload"})}


def test_twilios_outbound_track_is_not_the_caller() -> None:
    house = House(TWILIO)
    peer = house.call("/twilio", "MZ1", tracks=["inbound", "outbound"])
    peer.media(track="outbound")
    peer.media(track="inbound")
    assert house.server.metrics.frames_in == 1
    assert house.wire_errors() == {"outbound_track": 1}


@pytest.mark.parametrize("sizes", [(160,), (800,), (600,), (100,), (1,), (1000, 7, 160, 320, 33)])
def test_packets_of_any_size_come_back_whole_in_multiples_of_160(sizes: tuple[int, ...]) -> None:
    house = House()
    peer = house.call()
    peer.got()
    sound = bytes((at * 7) % 128 for at in range(8_000))
    at = turn = 0
    while at < len(sound):
        size = sizes[turn % len(sizes)]
        peer.media(sound[at : at + size])
        at, turn = at + size, turn + 1
        house.pass_ms(max(1, size // 8), 1)
    house.pass_ms(500)
    payloads = [b64decode(message["media"]["payload"]) for message in peer.got()]
    assert {len(payload) % 160 for payload in payloads} == {0}
    assert decode_mulaw(b"".join(payloads)) == decode_mulaw(sound)
    assert house.server.metrics.frames_in == 50
    assert house.server.metrics.frames_out == 50
    assert house.wire_errors() == {}


def test_a_packet_may_hold_100_ms_on_the_way_out() -> None:
    house = House(playout=Playout(packet_ms=100))
    peer = house.call()
    peer.got()
    peer.talk(2_000)
    house.pass_ms(300)
    assert {len(b64decode(message["media"]["payload"])) for message in peer.got()} == {800}
    assert house.server.metrics.frames_out == 100


FORMATS = [
    ("PCMU", 8_000, "audio/x-mulaw"),
    ("PCMU", 16_000, "audio/x-mulaw"),
    ("PCMA", 8_000, "audio/x-alaw"),
    ("L16", 8_000, "audio/x-l16"),
    ("L16", 16_000, "audio/x-l16"),
    ("L16", 24_000, "slin24"),
    ("L16", 48_000, "audio/l16"),
]


@pytest.mark.parametrize(("codec", "rate_hz", "encoding"), FORMATS)
def test_an_echo_comes_back_as_it_went_in_every_codec_and_rate(codec: str, rate_hz: int, encoding: str) -> None:
    house = House()
    peer = house.call(mediaFormat={"encoding": encoding, "sampleRate": rate_hz})
    peer.got()
    pcm = b"".join(((at * 37) % 2_000 - 1_000).to_bytes(2, "little", signed=True) for at in range(rate_hz))
    sound = CODECS[codec].encode(pcm)
    size = len(sound) // 50
    for number in range(50):
        peer.media(sound[number * size : (number + 1) * size])
        house.pass_ms(20)
    house.pass_ms(300)
    echoed = peer.heard()
    assert CODECS[codec].decode(echoed) == CODECS[codec].decode(sound)
    peer.stop()
    assert house.ended() == {"caller_hung_up": 1}


def test_sound_flows_at_its_own_pace_and_no_more_than_the_lead_ahead() -> None:
    house = House(playout=Playout(lead_ms=200))
    peer = house.call()
    peer.got()
    for _ in range(100):
        peer.media()
    house.pass_ms(20)
    assert len(peer.heard()) // 160 in (11, 12)
    house.pass_ms(1_000)
    assert len(peer.heard()) // 160 in range(49, 53)


# --- marks, keys, the end ---


def test_a_mark_comes_back_once_and_only_if_it_was_asked_for() -> None:
    house = House()
    peer = house.call()
    told = Told(house)
    peer.got()
    told.leg.play(bytes(320))
    told.leg.mark(7)
    (_, mark) = peer.got()
    assert mark == {"event": "mark", "streamSid": "S1", "sequenceNumber": 2, "mark": {"name": "s7"}}
    for name in ("s7", "s7", "s8", "test_mark_1", "7", "s", "s\u0664"):
        peer.event("mark", {"name": name})
    assert told.events == ["marked 7"]
    assert house.wire_errors() == {"unknown_mark": 6}


def test_clear_takes_no_number_and_forgets_what_was_not_sent() -> None:
    house = House(playout=Playout(packet_ms=100))
    peer = house.call()
    told = Told(house)
    peer.got()
    told.leg.play(bytes(320))
    told.leg.clear()
    house.pass_ms(500)
    assert peer.got() == [{"event": "clear", "streamSid": "S1"}]


def test_keys_reach_the_call_in_any_spelling() -> None:
    house = House()
    peer = house.call()
    told = Told(house)
    peer.event("dtmf", {"digit": "1"})
    peer.text({"event": "dtmf", "stream_sid": "S1", "dtmf": {"digit": "#", "track": "inbound_track"}})
    peer.text({"event": "DTMF", "digit": "a"})
    peer.text({"event": "dtmf", "dtmf": 5})
    assert told.events == ["key 1", "key #", "key A", "key 5"]


def test_a_packet_that_ends_the_call_is_heard_to_its_last_sample() -> None:
    house = House()
    peer = house.call()
    told = Told(house)
    peer.media()
    peer.media(chunk=3)
    peer.media(bytes(10))
    peer.stop()
    assert told.events == ["frame", "lost", "frame", "frame", "gone caller_hung_up"]


def test_a_second_start_ends_the_first_call_and_begins_another() -> None:
    house = House()
    peer = house.call(sid="S1")
    peer.talk(100)
    peer.start("S2")
    assert house.ended() == {"replaced": 1}
    (call,) = house.server.switchboard
    assert (call.caller.call_id, call.caller.stream_id) == ("C-S2", "S2")
    peer.got()
    peer.talk(100)
    out = peer.got()
    assert {message["streamSid"] for message in out} == {"S2"}
    assert out[0]["media"]["chunk"] == 1
    peer.lose()
    assert house.ended() == {"replaced": 1, "peer_vanished": 1}


def test_a_start_after_a_stop_is_another_call_even_of_the_same_stream() -> None:
    house = House()
    peer = house.call()
    peer.stop()
    assert not peer.gone()
    assert len(house.server.switchboard) == 0
    peer.start("S1")
    peer.got()
    peer.talk(100)
    assert peer.heard()
    peer.stop()
    assert house.ended() == {"caller_hung_up": 2}
    assert house.wire_errors() == {}


def test_nothing_is_sent_after_a_stop() -> None:
    house = House()
    peer = house.call()
    peer.talk(200)
    peer.stop()
    peer.got()
    house.pass_ms(1_000)
    assert peer.got() == []


def test_the_callers_data_reach_the_call_from_either_level() -> None:
    house = House()
    peer = house.connect()
    peer.text(
        {
            "event": "start",
            "stream_sid": "S9",
            "from": "9199",
            "start": {"call_sid": "C9", "to": "9188", "customParameters": {"first_name": "Asha"}},
        }
    )
    (call,) = house.server.switchboard
    caller = call.caller
    assert (caller.call_id, caller.stream_id, caller.number, caller.to) == ("C9", "S9", "9199", "9188")
    assert caller.parameters == {"first_name": "Asha"}
    assert "9199" not in repr(caller)


# --- settings of the route ---


def test_sound_before_any_start_is_a_call_only_where_the_route_allows_it() -> None:
    strict, lenient = House(), House(route(implicit_start=True))
    for house in (strict, lenient):
        peer = house.connect()
        peer.sid = "S5"
        peer.media()
    assert len(strict.server.switchboard) == 0
    assert strict.wire_errors() == {"media_before_start": 1}
    (call,) = lenient.server.switchboard
    assert (call.caller.call_id, call.caller.rate_hz) == ("S5", 8_000)
    assert lenient.server.metrics.frames_in == 1


def test_binary_messages_are_sound_only_where_the_route_allows_it() -> None:
    strict, lenient = House(), House(route(binary_audio=True))
    for house in (strict, lenient):
        peer = house.call()
        peer.binary(MULAW_SILENCE)
    assert strict.wire_errors() == {"binary_frame": 1}
    assert strict.server.metrics.frames_in == 0
    assert lenient.server.metrics.frames_in == 1


def test_binary_sound_that_is_still_on_its_way_is_not_heard_after_we_hung_up() -> None:
    house = House(route(binary_audio=True))
    peer = house.call()
    (call,) = house.server.switchboard
    call.leg.hang_up(Goodbye.TOO_LONG)
    peer.binary(MULAW_SILENCE)
    peer.media()
    assert house.server.metrics.frames_in == 0


# --- custom events ---


def test_a_custom_event_reaches_its_handler_with_the_leg() -> None:
    taken: list[tuple[CustomEvent, Leg | None]] = []

    @router.route("agent_transfer")
    async def transfer(event: CustomEvent, leg: Leg | None) -> None:
        taken.append((event, leg))

    try:
        house = House()
        peer = house.connect()
        peer.text({"event": "agent_transfer", "to": "desk"})
        peer.start()
        house.pass_ms(100)
        peer.event("AGENT_transfer", to="desk")
        (call,) = house.server.switchboard
        assert [leg for _, leg in taken] == [None, call.leg]
        assert taken[1][0].fields["to"] == "desk"
        assert house.wire_errors() == {}
        assert call.leg.last_message_ms == house.now_ms
    finally:
        router._handlers.clear()


# --- limits of the socket ---


def test_a_socket_without_a_stream_is_closed_after_a_minute_whatever_it_sends() -> None:
    house = House()
    silent, noisy, calling, stopped = house.connect(), house.connect(), house.call(), house.call(sid="S2")
    stopped.stop()
    for _ in range(62):
        noisy.text("{}")
        calling.media()
        house.pass_ms(1_000, 100)
    assert [peer.close_code() for peer in (silent, noisy, stopped, calling)] == [1000, 1000, 1000, None]
    assert len(house.server.switchboard) == 1
    assert house.ended() == {"caller_hung_up": 1}


def test_sound_that_comes_much_faster_than_it_is_spoken_is_bounded() -> None:
    house = House()
    peer = house.call()
    for _ in range(70):
        peer.media(bytes(8_000))
    assert house.server.metrics.frames_in == 61 * 50
    assert house.wire_errors() == {"media_too_fast": 9}
    house.pass_ms(2_000)
    peer.media(bytes(8_000))
    assert house.server.metrics.frames_in == 62 * 50


def test_holes_count_as_sound_so_that_they_cannot_fill_memory_either() -> None:
    house = House()
    peer = house.call()
    peer.media()
    chunk = 1
    for _ in range(100):
        chunk += 240
        peer.media(chunk=chunk)
        house.pass_ms(125, 25)
    assert house.server.metrics.frames_in < (60_000 + 12_500 + 5_000) // 20
    assert house.wire_errors()["media_too_fast"] > 50


def test_a_peer_that_does_not_read_loses_sound_and_not_our_memory() -> None:
    house = House()
    peer = house.call()
    peer.talk(500)
    peer.got()
    peer.stop_reading()
    peer.talk(5_000)
    sent = len(peer.transport.value())
    assert sent == 0
    assert house.server.metrics.frames_dropped in range(245, 256)
    peer.transport.producer.resumeProducing()
    peer.talk(200)
    out = peer.got()
    chunks = [message["media"]["chunk"] for message in out]
    assert chunks == list(range(chunks[0], chunks[0] + len(chunks)))
    assert len(out) in range(8, 14)
    assert not peer.gone()


def test_a_socket_that_dies_without_close_is_found_by_ping() -> None:
    house = House(limits=config.Limits(idle_s=3600))
    house.call()
    dead = house.call(sid="S2")
    house.pass_ms(70_000, 100)
    assert house.ended() == {}
    dead.alive = False
    house.pass_ms(62_000, 100)
    assert dead.gone()
    assert house.ended() == {"peer_vanished": 1}
    assert house.wire_errors() == {}
