"""No word is lost, none is heard twice: scripted recognizers on a fake clock."""

from dataclasses import dataclass, replace
from random import Random

import pytest
from twisted.internet.task import Clock

from tests.clouds.marked import WORDS, frames, silence, speak
from tests.scripted_ears import ABORTED, KILLED, REFUSED, Fate, Owner, ScriptedRecognizer, dying
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Traits
from voicemedia.stt.failover import Place
from voicemedia.stt.renewing import RenewingRecognition, RenewingRecognizer
from voicemedia.stt.stretches import Patience
from voicemedia.web.breaker import Trip

STREAMING = Traits(one_utterance=True, interims=True)


class Room:
    """One caller, some recognizers, and a clock that moves with the sound."""

    def __init__(self, *recognizers: ScriptedRecognizer, clock: Clock, patience: Patience | None = None) -> None:
        self.clock = clock
        self.places = [Place(recognizer, Trip(open_s=5)) for recognizer in recognizers]
        self.recognizer = RenewingRecognizer(self.places, clock, patience)
        self.owner = Owner()
        self.recognition: RenewingRecognition = self.recognizer.listen(8000, self.owner)

    def hear(self, pcm: bytes) -> None:
        for frame in frames(pcm):
            self.clock.advance(0.02)
            self.recognition.feed(frame)

    def say(self, text: str, *, pause_ms: int = 600) -> None:
        """Speak, as voice detection notices it: late at the beginning, and after a pause at the end."""
        pcm = speak(text)
        self.hear(pcm[: 320 * 5])
        self.recognition.onset()
        self.hear(pcm[320 * 5 :])
        self.hear(silence(pause_ms))
        self.recognition.endpoint()

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def finish(self) -> None:
        finished: list[None] = []
        self.recognition.finish().addCallback(finished.append)
        self.wait(60)
        assert finished == [None]
        self.recognition.close()


def test_an_undisturbed_recognition_is_passed_on() -> None:
    clock = Clock()
    room = Room(ScriptedRecognizer(clock), clock=clock)
    room.say("ban bar")
    room.wait(0.2)
    assert room.owner.finals == ["ban bar", ""]
    assert [word.text for word in room.owner.transcripts[:3]] == ["ban", "ban bar", "ban bar"]
    assert room.owner.transcripts[2].end_ms == 660
    room.finish()


def test_a_provider_that_sends_sound_in_pieces_gets_it_in_pieces_and_the_rest_with_the_endpoint() -> None:
    clock = Clock()
    ears = ScriptedRecognizer(clock, traits=replace(STREAMING, chunk_ms=100), pause_ms=0)
    room = Room(ears, clock=clock)
    room.say("ban bar", pause_ms=260)
    heard = ears.listened[0]
    # 660 ms: one frame opens the stream, four come with the onset, which is told where it is.
    assert heard.fed_bytes == [320, 4 * 320, *[5 * 320] * 5, 3 * 320]
    assert heard.told == ["onset 100", "endpoint 660"]
    room.wait(1)
    assert room.owner.finals == ["ban bar"]


def test_a_stream_for_each_utterance_keeps_the_time_of_the_call() -> None:
    clock = Clock()
    ears = ScriptedRecognizer(clock, traits=STREAMING, pause_ms=0)
    room = Room(ears, clock=clock)
    room.say("ban bar")
    room.hear(silence(1000))
    room.say("bas")
    room.wait(1)
    assert room.owner.finals == ["ban bar", "bas"]
    second = [transcript for transcript in room.owner.transcripts if transcript.final][1]
    # 400 ms of words, pauses of 600 and 1000.
    assert (second.start_ms, second.end_ms) == (2000, 2800)
    room.finish()
    assert ears.live == 0


def test_finals_keep_the_order_of_what_was_said() -> None:
    clock = Clock()
    delays = iter([2000.0, 2000.0] + [10.0] * 50)
    ears = ScriptedRecognizer(clock, traits=STREAMING, pause_ms=0, delay_ms=lambda: next(delays))
    room = Room(ears, clock=clock)
    room.say("ban")
    room.say("bar")
    room.say("bas")
    room.wait(3)
    assert room.owner.finals == ["ban", "bar", "bas"]


def test_a_stream_is_renewed_in_a_pause() -> None:
    clock = Clock()
    ears = ScriptedRecognizer(clock, traits=Traits(renew_from_s=2, renew_s=4, renew_forced_s=5))
    room = Room(ears, clock=clock)
    room.say("ban bar bas")
    room.hear(silence(3000))
    room.say("bat")
    room.wait(1)
    assert room.owner.text == "ban bar bas bat"
    assert room.recognition.tally.renewals == 2
    assert room.recognition.tally.replayed_ms <= 4000
    assert all("onset" not in told for told in ears.listened[0].told[2:])
    room.hear(silence(20))
    assert ears.live == 1


def test_a_renewal_in_a_word_replays_it() -> None:
    clock = Clock()
    ears = ScriptedRecognizer(clock, traits=Traits(renew_from_s=1, renew_s=1.5, renew_forced_s=2), pause_ms=0)
    room = Room(ears, clock=clock)
    room.say(" ".join(WORDS[:15]))
    room.wait(1)
    assert room.owner.finals == [" ".join(WORDS[:15])]
    assert room.recognition.tally.renewals >= 1
    assert "onset 0" in ears.listened[-1].told or "onset 100" in ears.listened[-1].told


def test_without_voice_detection_a_stream_is_renewed_after_a_final() -> None:
    clock = Clock()
    ears = ScriptedRecognizer(clock, traits=Traits(renew_from_s=1, renew_s=2, renew_forced_s=9))
    room = Room(ears, clock=clock)
    for word in WORDS[:10]:
        room.hear(speak(word) + silence(400))
    room.finish()
    assert room.owner.text == " ".join(WORDS[:10])
    assert room.recognition.tally.renewals == 3


@dataclass(frozen=True)
class Trial:
    """One way in which recognitions end."""

    error: ProviderError | None
    traits: Traits
    pause_ms: int


TRIALS = {
    "limit, one utterance a stream": Trial(ABORTED, STREAMING, 0),
    "limit, the provider makes finals": Trial(ABORTED, Traits(interims=True), 300),
    "kill": Trial(KILLED, STREAMING, 300),
    "kill of a steady recognition": Trial(KILLED, Traits(), 0),
    "stall": Trial(None, STREAMING, 0),
    "stall of a steady recognition": Trial(None, Traits(), 300),
    "renewals all the time": Trial(None, Traits(renew_from_s=1.5, renew_s=2, renew_forced_s=3), 300),
    "kill of one that takes its sound in pieces": Trial(KILLED, replace(STREAMING, chunk_ms=100), 0),
    "abort while renewing": Trial(ABORTED, Traits(renew_from_s=1.5, renew_s=2, renew_forced_s=3), 300),
}
SESSIONS = 25


@pytest.mark.parametrize("name", TRIALS)
def test_whatever_ends_a_stream_at_whatever_instant_the_words_are_those_of_an_undisturbed_session(name: str) -> None:
    trial = TRIALS[name]
    disturbed = 0
    for seed in range(SESSIONS):
        random, clock = Random(f"{name} {seed}"), Clock()
        faults = dying(random, trial.error, mean_ms=4000)
        calm = name.startswith("renewals")
        ears = [
            ScriptedRecognizer(
                clock,
                name=who,
                traits=trial.traits,
                pause_ms=trial.pause_ms,
                fates=Fate if calm else faults,
                delay_ms=lambda random=random: random.uniform(10, 400),  # type: ignore[misc]
            )
            for who in ("first", "second")
        ]
        patience = Patience(stall_ms=2000, final_ms=1000, give_up_ms=60_000, failures=50, tries=50)
        room = Room(*ears, clock=clock, patience=patience)
        spoken: list[str] = []
        for _ in range(random.randint(3, 8)):
            words = " ".join(random.choices(WORDS, k=random.randint(1, 12)))
            spoken.append(words)
            room.say(words, pause_ms=random.choice([200, 300, 600]))
            room.hear(silence(random.choice([0, 100, 1000, 3000])))
        room.finish()
        assert room.owner.errors == []
        assert room.owner.text == " ".join(spoken), f"session {seed}"
        if not trial.pause_ms:
            # Nobody but us ends an utterance: exactly one final for each, and one for the end.
            assert room.owner.finals == [*spoken, ""], f"session {seed}"
        assert all(recognizer.live == 0 for recognizer in ears)
        tally = room.recognition.tally
        assert (tally.lost_ms, tally.dropped_ms) == (0, 0)
        disturbed += tally.recoveries + tally.renewals
    assert disturbed >= SESSIONS


def test_a_wrong_key_fails_over_at_once_and_is_the_operators_to_mend() -> None:
    clock = Clock()
    refusing = ScriptedRecognizer(clock, name="refusing", fates=lambda: Fate(30, REFUSED))
    room = Room(refusing, ScriptedRecognizer(clock, name="other"), clock=clock)
    room.say("ban bar bas")
    room.wait(0.5)
    assert room.owner.text == "ban bar bas"
    assert room.recognition.attempts.failovers == 1
    assert room.places[0].failures == {"unauthenticated": 1}
    assert room.places[0].trouble == "API key not valid"
    assert room.recognizer.trouble == ""
    room.hear(silence(8000))
    room.say("bat")
    assert len(refusing.listened) == 1


def test_a_recognizer_of_another_language_is_the_last_to_take_over() -> None:
    clock = Clock()
    first = ScriptedRecognizer(clock, name="first", traits=STREAMING, fates=lambda: Fate(50, REFUSED), pause_ms=0)
    english, french = (ScriptedRecognizer(clock, name=name, traits=STREAMING, pause_ms=0) for name in ("en", "fr"))
    vars(english)["languages"], vars(french)["languages"] = ("en-US",), ("fr-FR", "auto")
    room = Room(first, english, french, clock=clock)
    room.recognition.expect(Expected(language="fr-CA"))
    room.say("ban bar")
    room.wait(1)
    assert room.owner.finals == ["ban bar"]
    assert (len(english.listened), len(french.listened)) == (0, 1)
    room.recognition.expect(Expected(language="en"))
    room.say("bas")
    room.wait(1)
    assert (room.owner.finals[-1], len(english.listened)) == ("bas", 1)


def test_an_utterance_over_which_a_provider_fails_goes_to_the_next_at_once_and_only_that() -> None:
    clock = Clock()
    fates = iter([Fate(300)])
    first = ScriptedRecognizer(clock, name="first", traits=STREAMING, fates=lambda: next(fates, Fate()), pause_ms=0)
    second = ScriptedRecognizer(clock, name="second", traits=STREAMING, pause_ms=0)
    room = Room(first, second, clock=clock, patience=Patience(final_ms=1000))
    room.say("ban bar")
    room.wait(1.8)
    assert room.owner.finals == ["ban bar"]
    room.say("bas")
    room.wait(0.2)
    assert room.owner.finals == ["ban bar", "bas"]
    assert (len(first.listened), len(second.listened)) == (2, 1)
    assert room.places[0].trouble == ""


def test_a_provider_that_fails_often_is_left_alone_and_then_probed() -> None:
    clock = Clock()
    failing = [True]
    shaky = ScriptedRecognizer(clock, name="shaky", fates=lambda: Fate(50, KILLED) if failing[0] else Fate())
    room = Room(shaky, ScriptedRecognizer(clock, name="steady"), clock=clock)
    for word in ("ban", "bar", "bas", "bat"):
        room.say(word)
    assert len(shaky.listened) == 3
    room.say("dan")
    failing[0] = False
    room.hear(silence(6000))
    room.say("dar")
    assert len(shaky.listened) == 3
    room.say("das")
    room.say("dat")
    assert len(shaky.listened) == 4
    room.finish()
    assert room.owner.text == "ban bar bas bat dan dar das dat"
    assert room.places[0].trouble == ""


def test_only_one_stream_probes() -> None:
    clock = Clock()
    shaky = ScriptedRecognizer(clock, name="shaky", fates=lambda: Fate(20, KILLED))
    room = Room(shaky, ScriptedRecognizer(clock, name="steady"), clock=clock)
    for word in ("ban", "bar", "bas"):
        room.say(word)
    tried = len(shaky.listened)
    assert room.places[0].trouble == "Socket closed"
    shaky.fates = Fate
    clock.advance(10)
    others = [room.recognizer.listen(8000, Owner()) for _ in range(5)]
    for other in others:
        other.feed(silence(20))
    assert len(shaky.listened) == tried + 1


def test_a_slow_provider_loses_silence_first() -> None:
    clock = Clock()
    slow = ScriptedRecognizer(clock, pause_ms=0)
    room = Room(slow, clock=clock)
    room.say("ban")
    slow.listened[0].backlog_ms = 2000
    room.hear(silence(4000))
    assert slow.listened[0].fed_ms < 1200
    slow.listened[0].backlog_ms = 0
    room.hear(silence(200))
    room.say("bar")
    room.wait(1)
    assert room.owner.finals == ["ban", "bar"]
    assert room.recognition.tally.dropped_ms >= 3000
    assert room.recognition.tally.recoveries == 0
    bar = room.owner.transcripts[-1]
    assert abs(bar.end_ms - (4200 + 2 * 800)) <= 20


def test_speech_that_waits_too_long_for_a_slow_provider_goes_to_the_next() -> None:
    clock = Clock()
    slow = ScriptedRecognizer(clock, name="slow", pause_ms=0, delay_ms=lambda: 60_000)
    room = Room(slow, ScriptedRecognizer(clock, name="quick"), clock=clock)
    room.hear(silence(100))
    slow.listened[0].backlog_ms = 2000
    room.places[0].breaker._trip = Trip(failures=1)  # the first time is enough for this test
    room.say(" ".join(WORDS[:40]))
    room.finish()
    assert room.owner.text == " ".join(WORDS[:40])
    assert room.places[0].failures == {"slow": 1}


def test_a_recognition_nobody_serves_ends() -> None:
    clock = Clock()
    room = Room(ScriptedRecognizer(clock, fates=lambda: Fate(1, REFUSED)), clock=clock)
    room.hear(silence(20_000))
    assert [str(error) for error in room.owner.errors] == ["API key not valid"]
    assert room.owner.finals == []


def test_a_caller_who_is_refused_takes_the_provider_from_nobody_else() -> None:
    clock = Clock()
    fates = iter([Fate(), Fate(30, REFUSED), Fate()])
    ears = ScriptedRecognizer(clock, fates=lambda: next(fates))
    recognizer = RenewingRecognizer([Place(ears)], clock)
    owners = [Owner() for _ in range(3)]
    for owner in owners:
        recognition = recognizer.listen(8000, owner)
        for frame in frames(speak("ban bar") + silence(600)):
            clock.advance(0.02)
            recognition.feed(frame)
    assert [owner.text for owner in owners] == ["ban bar", "", "ban bar"]
    assert [str(error) for error in owners[1].errors] == ["API key not valid"]


def test_sound_no_stream_survives_ends_with_the_last_guess() -> None:
    clock = Clock()
    early = Fate(300, ABORTED)
    ears = ScriptedRecognizer(clock, traits=STREAMING, pause_ms=0, fates=lambda: early, delay_ms=lambda: 290)
    room = Room(ears, clock=clock)
    room.say("ban bar bas")
    room.wait(20)
    assert room.owner.finals == ["ban bar bas"]
    assert room.owner.errors == []
    assert len(ears.listened) < 15


@pytest.mark.parametrize("traits", [STREAMING, Traits(interims=True)], ids=["a stream an utterance", "steady"])
def test_streams_that_live_too_short_for_any_final_still_get_through_a_long_utterance(traits: Traits) -> None:
    clock = Clock()
    short = Fate(None, ABORTED, dies_after_sound_ms=1000)
    ears = ScriptedRecognizer(clock, traits=traits, pause_ms=0, fates=lambda: short, delay_ms=lambda: 20)
    room = Room(ears, clock=clock)
    first, second = " ".join(WORDS[:25]), " ".join(WORDS[30:45])
    room.say(first)
    room.say(second)
    room.wait(60)
    assert room.owner.text.split() == f"{first} {second}".split()
    assert room.owner.errors == []
    # Some four words a stream, each tried seven times.
    assert len(ears.listened) < 40 / 4 * 7 * 1.5
    room.recognition.close()


def test_noise_without_words_is_nobodys_failure() -> None:
    clock = Clock()
    ears = ScriptedRecognizer(clock, traits=STREAMING)
    room = Room(ears, clock=clock)
    room.hear(silence(200))
    room.recognition.onset()
    room.hear(silence(80_000))
    # After 10, 20 and 40 s.
    assert len(ears.listened) == 4
    assert room.places[0].trouble == ""


def test_a_provider_that_comes_back_hears_what_was_said_meanwhile() -> None:
    clock = Clock()
    fates = iter([Fate(300, KILLED), Fate(50, KILLED), Fate(50, KILLED)])
    room = Room(ScriptedRecognizer(clock, fates=lambda: next(fates, Fate())), clock=clock)
    room.say(" ".join(WORDS[:10]))
    room.wait(8)
    assert room.owner.text == " ".join(WORDS[:10])


@pytest.mark.parametrize("out_s", [1, 5, 12])
def test_a_server_that_is_started_again_has_lost_no_word(out_s: int) -> None:
    clock = Clock()
    ears = ScriptedRecognizer(
        clock, traits=STREAMING, fates=lambda: Fate(5, KILLED) if clock.seconds() < out_s else Fate()
    )
    owner = Owner()
    # With the breaker as it comes: it opens, and there is nobody else to ask.
    recognizer = RenewingRecognizer([Place(ears)], clock)
    recognition = recognizer.listen(8000, owner)
    recognition.onset()
    for frame in frames(speak("ban bar bas") + silence(200)):
        clock.advance(0.02)
        recognition.feed(frame)
    recognition.endpoint()
    clock.pump([0.05] * 20 * (out_s + 4))
    assert (owner.text, owner.errors) == ("ban bar bas", [])
    assert len(ears.listened) < 25


def test_of_a_server_that_is_away_one_can_tell_after_three_seconds() -> None:
    clock = Clock()
    fates = iter([Fate(5, KILLED)] * 6)
    room = Room(ScriptedRecognizer(clock, fates=lambda: next(fates, Fate())), clock=clock)
    room.say("ban")
    room.wait(1.5)
    assert room.recognition.trouble == ""
    room.wait(2)
    assert room.recognition.trouble == "Socket closed"
    room.wait(4)
    assert (room.owner.finals, room.recognition.trouble) == (["ban"], "")


def test_a_failure_that_no_other_follows_is_no_trouble() -> None:
    clock = Clock()
    fates = iter([Fate(5, KILLED)])
    room = Room(ScriptedRecognizer(clock, fates=lambda: next(fates, Fate())), clock=clock)
    for _ in range(60):
        room.hear(silence(100))
        assert room.recognition.trouble == ""


def test_a_server_that_stays_away_is_given_up() -> None:
    clock = Clock()
    owner = Owner()
    recognizer = RenewingRecognizer([Place(ScriptedRecognizer(clock, fates=lambda: Fate(5, KILLED)))], clock)
    recognition = recognizer.listen(8000, owner)
    for frame in frames(speak("ban bar bas") + silence(40_000)):
        clock.advance(0.02)
        recognition.feed(frame)
    assert [str(error) for error in owner.errors] == ["Socket closed"]
    assert clock.seconds() > 15


def test_a_silent_caller_who_probes_keeps_nobody_from_being_heard() -> None:
    clock = Clock()
    fates = iter([Fate(5, KILLED)] * 3)
    ears = ScriptedRecognizer(clock, traits=STREAMING, fates=lambda: next(fates, Fate()))
    recognizer = RenewingRecognizer([Place(ears)], clock)
    silent, owner = recognizer.listen(8000, Owner()), Owner()
    for frame in frames(silence(4000)):
        clock.advance(0.02)
        silent.feed(frame)
    speaker = recognizer.listen(8000, owner)
    for frame in frames(speak("ban bar") + silence(4000)):
        clock.advance(0.02)
        speaker.feed(frame)
    assert owner.text == "ban bar"


def test_an_endpoint_without_sound_has_its_final_too() -> None:
    clock = Clock()
    room = Room(ScriptedRecognizer(clock), clock=clock)
    room.recognition.endpoint()
    assert room.owner.finals == [""]


def test_expectations_reach_every_stream() -> None:
    clock = Clock()
    ears = ScriptedRecognizer(clock, traits=STREAMING)
    room = Room(ears, clock=clock)
    room.recognition.expect(Expected(phrases=("ban",)))
    room.say("ban")
    room.say("ban")
    assert [recognition.told[0] for recognition in ears.listened] == ["expect ban", "expect ban"]


def test_an_owner_may_close_while_it_is_told_something() -> None:
    clock = Clock()
    ears = ScriptedRecognizer(clock)
    recognizer = RenewingRecognizer([Place(ears)], clock)

    class Hasty(Owner):
        def heard(self, transcript: object) -> None:
            recognition.close()

    recognition = recognizer.listen(8000, Hasty())
    for frame in frames(speak("ban bar") + silence(600)):
        clock.advance(0.02)
        if ears.live or not ears.listened:
            recognition.feed(frame)
    assert ears.live == 0
    assert not recognizer.live
    clock.advance(1)
    assert clock.getDelayedCalls() == []


def test_cost_is_the_sound_sent_unless_the_provider_bills_otherwise() -> None:
    clock = Clock()
    room = Room(ScriptedRecognizer(clock, traits=Traits(usd_per_hour=3600)), clock=clock)
    room.hear(silence(10_000))
    room.recognition.close()
    assert room.recognition.account.usd == pytest.approx(10)
    assert room.places[0].usd == pytest.approx(10)
