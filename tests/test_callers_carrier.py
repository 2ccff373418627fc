"""Whole simulated calls on a fake clock: the carrier's side against a small server without I/O."""

import base64
from typing import Any

import pytest

from tests.fake_carrier_server import AnswerBrain, Brain, EchoBrain, tone
from voicemedia.callers.carrier import CallPlan, CarrierCall
from voicemedia.callers.dialect import new_identity
from voicemedia.callers.impair import Impairments
from voicemedia.callers.script import Keys, Line, Manners, Turn
from voicemedia.callers.smartflo import Smartflo
from voicemedia.callers.sound import Utterance
from voicemedia.callers.twilio import Twilio, signature

QUICK = Manners(answer_timeout_ms=2000, quiet_ms=500)


def utterance(ms: int = 400) -> Utterance:
    """A tone with 100 ms of silence before and 200 ms behind it."""
    return Utterance("tone.wav", b"\xff" * 800 + tone(ms) + b"\xff" * 1600, 100.0, 100.0 + ms)


def converse(call: CarrierCall, brain: Brain, limit_ms: int = 20_000) -> list[Turn]:
    """Let both talk until the call is over; the network between takes no time."""
    turns: list[Turn] = []
    call.open()
    for now_ms in range(0, limit_ms, 5):
        for text in call.due(now_ms):
            for answer in brain.receive(text, now_ms):
                call.receive(answer, now_ms)
        for text in brain.due(now_ms):
            call.receive(text, now_ms)
        turns += call.take_turns_over()
        if call.done:
            call.hang_up()
        if call.over:
            return turns
    raise AssertionError("the call never ended")


def smartflo(*lines: Line, **plan: Any) -> CarrierCall:
    plan.setdefault("manners", QUICK)
    return CarrierCall(Smartflo(new_identity(parameters={"first_name": "Asha"})), CallPlan(list(lines), **plan))


def test_a_call_tells_the_carriers_events_in_their_order() -> None:
    brain = AnswerBrain()
    converse(smartflo(utterance()), brain)
    events = [message["event"] for message in brain.seen]
    assert events[:3] == ["connected", "start", "media"]
    assert events[-1] == "stop"
    assert set(events) == {"connected", "start", "media", "mark", "stop"}
    numbers = [int(message["sequenceNumber"]) for message in brain.seen[1:]]
    assert numbers == list(range(1, len(brain.seen)))


def test_start_has_all_the_official_fields() -> None:
    brain = EchoBrain()
    call = smartflo(Keys("1"))
    converse(call, brain)
    start = brain.seen[1]
    assert start["start"]["streamSid"] == start["streamSid"]
    assert set(start["start"]) == {
        "accountSid",
        "streamSid",
        "callSid",
        "from",
        "to",
        "direction",
        "mediaFormat",
        "customParameters",
    }
    assert start["start"]["mediaFormat"] == {
        "encoding": "audio/x-mulaw",
        "sampleRate": 8000,
        "bitRate": 64,
        "bitDepth": 8,
    }
    assert start["start"]["customParameters"] == {"first_name": "Asha"}


@pytest.mark.parametrize("packet_ms", [20, 60, 100])
def test_media_is_gapless_and_carries_the_whole_utterance(packet_ms: int) -> None:
    brain = AnswerBrain()
    said = utterance()
    converse(smartflo(said, packet_ms=packet_ms), brain)
    media = [message["media"] for message in brain.seen if message["event"] == "media"]
    assert [int(each["chunk"]) for each in media] == list(range(1, len(media) + 1))
    assert [int(each["timestamp"]) for each in media] == [number * packet_ms for number in range(len(media))]
    payloads = [base64.b64decode(each["payload"]) for each in media]
    assert {len(payload) for payload in payloads} == {packet_ms * 8}
    assert said.ulaw in b"".join(payloads)


def test_latency_runs_from_the_last_voiced_sample_to_the_first_sound() -> None:
    greeting, turn = converse(smartflo(utterance()), AnswerBrain(think_ms=150))
    assert greeting.line is None
    assert greeting.answered
    # 300 ms of quiet in whole packets, then 150 ms of thought.
    assert turn.latency_ms == pytest.approx(460, abs=20)
    assert turn.answer_end_ms is not None and turn.answer_start_ms is not None
    assert turn.answer_end_ms - turn.answer_start_ms == pytest.approx(400, abs=5)


def test_lines_wait_for_the_answer_before_them() -> None:
    _, first, second, third = converse(smartflo(utterance(), Keys("42"), utterance()), AnswerBrain())
    assert first.answer_end_ms is not None
    assert second.began_ms == pytest.approx(first.answer_end_ms + QUICK.quiet_ms, abs=6)
    assert second.speech_start_ms == second.began_ms + 250
    assert second.speech_end_ms == second.began_ms + 500
    assert all(turn.answered for turn in (first, second, third))


def test_keys_are_pressed_one_by_one() -> None:
    brain = AnswerBrain()
    converse(smartflo(Keys("4#")), brain)
    assert [message["dtmf"] for message in brain.seen if message["event"] == "dtmf"] == [{"digit": "4"}, {"digit": "#"}]


def test_no_answer_is_noticed_after_the_time_limit() -> None:
    _, turn = converse(smartflo(utterance()), AnswerBrain(dumb=True))
    assert not turn.answered
    assert turn.latency_ms is None


def test_without_a_greeting_the_caller_speaks_after_five_seconds() -> None:
    greeting, turn = converse(smartflo(utterance()), AnswerBrain(greeting_ms=0))
    assert not greeting.answered
    assert turn.began_ms == 5000


def test_a_caller_in_a_hurry_speaks_into_the_greeting() -> None:
    manners = Manners(wait_greeting_ms=300, answer_timeout_ms=2000, quiet_ms=500)
    brain = AnswerBrain(greeting_ms=3000)
    _, turn = converse(smartflo(utterance(), manners=manners), brain)
    assert turn.began_ms == 300
    # The packet with the first voice is complete 20 ms after it began.
    assert turn.barge_in_ms == pytest.approx(20, abs=20)
    assert turn.answered and not turn.talked_over
    # The greeting's mark came back with the clear, long before its end.
    name, returned_ms = brain.marks_returned[0]
    assert name == "m3000"
    assert returned_ms == pytest.approx(420, abs=25)


def test_barge_in_interrupts_the_answer_at_the_given_time() -> None:
    manners = Manners(answer_timeout_ms=5000, quiet_ms=500, barge_in_after_ms=700)
    _, first, second = converse(smartflo(utterance(), utterance(), manners=manners), AnswerBrain(answer_ms=3000))
    assert first.answer_start_ms is not None
    assert second.began_ms == pytest.approx(first.answer_start_ms + 700, abs=6)
    assert second.barge_in_ms == pytest.approx(20, abs=20)
    assert second.latency_ms is not None


@pytest.mark.parametrize("packet_ms", [20, 100])
def test_an_echo_answers_but_has_no_latency(packet_ms: int) -> None:
    _, turn = converse(smartflo(utterance(), packet_ms=packet_ms), EchoBrain())
    assert turn.answered and turn.talked_over
    assert turn.latency_ms is None
    assert turn.answer_start_ms == pytest.approx(turn.speech_start_ms + packet_ms, abs=packet_ms)


def test_a_greeting_that_goes_on_is_no_answer() -> None:
    class Unstoppable(AnswerBrain):
        def receive(self, text: str, now_ms: float) -> list[str]:
            return [] if '"media"' in text else super().receive(text, now_ms)

    manners = Manners(wait_greeting_ms=300, answer_timeout_ms=1000, quiet_ms=500)
    _, turn = converse(smartflo(utterance(), manners=manners), Unstoppable(greeting_ms=1500))
    assert not turn.answered


def test_what_was_heard_is_recorded_in_place() -> None:
    call = smartflo(utterance())
    _, turn = converse(call, AnswerBrain())
    heard = call.playback.heard(20_000)
    assert turn.answer_start_ms is not None
    assert heard.find(tone(400)) == pytest.approx(turn.answer_start_ms * 8, abs=16)


def test_lost_packets_leave_holes_in_the_numbers() -> None:
    brain = AnswerBrain()
    call = smartflo(utterance(), impairments=Impairments(loss=0.1, jitter_ms=40, reorder=0.05, seed=3))
    converse(call, brain)
    chunks = [int(message["media"]["chunk"]) for message in brain.seen if message["event"] == "media"]
    assert chunks != sorted(chunks)
    assert len(chunks) == call.packets_sent - call.packets_lost
    assert call.packets_lost > 0
    assert brain.seen[-1]["event"] == "stop"


def test_the_same_recording_loses_the_same_packets_however_long_the_caller_waits() -> None:
    def arrived(seed: int, wait_ms: float) -> set[int]:
        brain = AnswerBrain()
        bad = Impairments(loss=0.3, seed=seed)
        manners = Manners(answer_timeout_ms=2000, quiet_ms=500, wait_greeting_ms=wait_ms)
        call = smartflo(utterance(), manners=manners, impairments=bad)
        (_, turn) = converse(call, brain)
        begun = (turn.speech_start_ms - 100) / 20
        return {int(message["media"]["chunk"]) - int(begun) for message in brain.seen if message["event"] == "media"}

    spoken = set(range(1, 700 // 20 + 1))
    assert arrived(3, 1003.0) & spoken == arrived(3, 2517.0) & spoken
    assert arrived(3, 1003.0) & spoken != arrived(4, 1003.0) & spoken
    assert len(arrived(3, 1003.0) & spoken) < len(spoken)


def test_twilio_has_its_own_small_differences() -> None:
    brain = AnswerBrain()
    identity = new_identity(parameters={"a": "b"})
    converse(CarrierCall(Twilio(identity), CallPlan([utterance(), Keys("1")], manners=QUICK)), brain)
    connected, start, media = brain.seen[:3]
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start["start"]["tracks"] == ["inbound"]
    assert media["media"]["track"] == "inbound"
    assert [m["dtmf"] for m in brain.seen if m["event"] == "dtmf"] == [{"track": "inbound_track", "digit": "1"}]
    assert set(brain.seen[-1]["stop"]) == {"accountSid", "callSid"}


def test_twilios_signature_is_the_one_of_its_own_library() -> None:
    # The vector of Twilio's libraries; its parameters, which a handshake has none of, stand behind the address.
    parameters = "CallSidCA1234567890ABCDECaller+14158675309Digits1234From+14158675309To+18005551212"
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature("12345", url + parameters) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


FAULTS = [
    ("not json", "Expecting value"),
    ("[1]", "not a message of this protocol"),
    ('{"event":"media","streamSid":"S","media":{"payload":"!!"}}', "payload is not base64"),
    ('{"event":"media","streamSid":"S","media":{"payload":"/////w=="}}', "wrong streamSid"),
    ('{"event":"media","streamSid":"S","media":{"payload":"/////w=="}}', "payload not a multiple of 160 bytes"),
    ('{"event":"media","streamSid":"S","media":{"payload":"/////w==","chunk":"1"}}', "chunk out of step"),
    ('{"event":"dance"}', "unknown event 'dance'"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS)
def test_what_the_carrier_would_not_like_is_counted(text: str, fault: str) -> None:
    call = smartflo(utterance())
    call.open()
    call.receive(text, 0)
    assert any(name.startswith(fault) for name in call.faults)


def test_a_good_server_breaks_no_rule() -> None:
    call = smartflo(utterance())
    converse(call, AnswerBrain())
    assert not call.faults


def test_the_connected_of_some_servers_is_no_fault() -> None:
    call = smartflo(utterance())
    call.receive('{"event":"connected","protocol":"Call","version":"1.0.0"}', 0)
    assert not call.faults


def test_a_server_that_hangs_up_ends_the_turn_under_way() -> None:
    call = smartflo(utterance(), utterance())
    call.open()
    call.due(0)
    call.lost_connection(10)
    assert [turn.line for turn in call.take_turns_over()] == [None]
    assert len(call.script.unsaid) == 2
    assert call.due(20) == []
