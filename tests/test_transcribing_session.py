import pytest

from tests.fake_stream import QUIET, SECOND, FakeReader, FakeService
from tests.fakes import FakeRecognizer
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Hearing, Traits, Transcript, Word
from voicemedia.transcribing.events import Heard, Over, Trouble, Wish


def test_silence_makes_what_was_said_final() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    service.ear.say("turn", final=False)
    session.hear(QUIET)
    assert service.ear.events == ["onset", "endpoint"]
    service.ear.say("turn left")
    assert reader.told == ["interim turn", "final turn left"]


def test_text_and_confidence_accumulate() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    assert service.ear.hearing is not None
    service.ear.hearing.heard(Transcript("one", final=True, confidence=0.5))
    service.ear.hearing.heard(Transcript("two", final=True, confidence=1.0))
    service.ear.hearing.heard(Transcript("three", final=True))
    last = reader.events[-1]
    assert isinstance(last, Heard)
    assert (last.text, last.confidence) == ("one two three", 0.75)


def test_an_end_waits_for_the_last_final_then_tells_the_summary() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    session.end()
    assert service.ear.events == ["onset", "endpoint"]
    assert reader.told == []
    service.clock.advance(0.2)
    service.ear.say("goodbye")
    assert reader.told == ["final goodbye", "over ended"]
    over = reader.events[-1]
    assert isinstance(over, Over)
    assert over.summary["results"]["full_transcript"] == "goodbye"
    assert over.summary["session"]["total_bytes_sent"] == 32000
    assert over.summary["audio_metrics"]["latency_ms"]["p50"] == 200
    assert service.summaries == [over.summary]
    assert len(service.sessions) == 0
    assert service.ear.events[-1] == "close"


def test_finalize_is_answered_even_when_nothing_was_said() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.finalize()
    assert reader.told == ["final"]
    session.hear(QUIET)
    session.finalize()
    assert reader.told == ["final"]
    service.ear.say("")
    assert reader.told == ["final", "final"]
    session.hear(SECOND)
    session.finalize()
    session.finalize()
    service.ear.say("words")
    assert reader.told == ["final", "final", "final words"]


def test_an_empty_final_after_a_noise_is_not_told() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND + QUIET)
    service.ear.say("")
    assert reader.told == []


def test_a_session_without_sound_expires_and_says_so_first() -> None:
    service = FakeService(idle_s=300)
    session, reader = service.begin()
    session.hear(QUIET)
    service.wait(299)
    assert reader.told == []
    service.wait(1)
    assert reader.told == ["error session_expired", "over expired"]
    assert service.sessions.ended_by == {"expired": 1}
    assert len(service.sessions) == 0


def test_a_final_that_does_not_come_is_given_up_and_the_session_lives() -> None:
    service = FakeService(final_s=10)
    session, reader = service.begin()
    for _ in range(2):
        session.hear(SECOND)
        service.clock.advance(1)
    session.finalize()
    service.wait(11)
    assert reader.told == ["error transcription_timeout"]
    session.hear(SECOND)
    service.ear.say("still here")
    assert reader.told[-1] == "final still here"
    session.end()
    service.wait(12)
    assert reader.told[-2:] == ["error transcription_timeout", "over failed"]


def test_a_client_that_stops_sending_in_mid_word_is_told_what_it_said() -> None:
    service = FakeService(silence_ms=600)
    session, reader = service.begin()
    session.hear(SECOND)
    service.wait(3)
    assert "endpoint" not in service.ear.events
    service.wait(1)
    assert service.ear.events[-1] == "endpoint"
    service.ear.say("turn left")
    session.hear(SECOND)
    service.ear.say("and right", final=False)
    assert reader.told == ["final turn left", "interim and right"]


def test_a_client_that_was_cut_off_in_mid_word_may_go_on_with_it() -> None:
    service = FakeService(resume_s=30)
    session, reader = service.begin()
    session.hear(SECOND)
    session.detach(reader)
    service.wait(29)
    assert "endpoint" not in service.ear.events


def test_sound_that_came_ahead_of_time_ends_when_it_would_have_been_spoken() -> None:
    service = FakeService(silence_ms=600)
    session, _ = service.begin()
    session.hear(SECOND * 5)
    service.wait(7)
    assert "endpoint" not in service.ear.events
    service.wait(1)
    assert service.ear.events[-1] == "endpoint"


def test_the_end_brings_an_empty_final_only_to_who_has_heard_none() -> None:
    service = FakeService()
    for words in ("", "turn left"):
        session, reader = service.begin()
        if words:
            session.hear(SECOND + QUIET)
            service.ear.say(words)
        session.hear(QUIET)
        session.end()
        service.ear.say("")
        assert reader.told == [f"final {words}".strip(), "over ended"]


def test_a_language_is_named_as_the_client_does_unless_it_is_another() -> None:
    wishes = (
        ("en", "en-US", "en"),
        ("en-GB", "en", "en-GB"),
        ("auto", "fr", "fr"),
        ("auto", "", "auto"),
        ("en", "fr", "fr"),
    )
    for wished, heard, named in wishes:
        assert Wish(wished).named(heard) == named


def test_whoever_comes_back_is_told_what_it_missed() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    service.ear.say("one")
    service.wait(2)
    session.hear(SECOND)
    session.detach(reader)
    service.ear.say("two")
    service.ear.say("thr", final=False)
    service.wait(29)
    again = FakeReader()
    session.attach(again)
    assert again.told == ["final two", "interim thr"]
    # Whoever knows what it has read is told exactly the rest.
    third = FakeReader()
    session.attach(third, after=0)
    assert third.told == ["final one", "final two"]
    assert third.replayed == [1, 2]
    assert again.is_dismissed


def test_what_was_sent_just_before_the_connection_was_lost_is_told_again() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    service.clock.advance(3)
    service.ear.say("into the void")
    service.clock.advance(3)
    session.detach(reader)
    again = FakeReader()
    session.attach(again)
    assert again.told == ["final into the void"]
    assert again.numbers == reader.numbers == again.replayed


def test_a_session_nobody_comes_back_to_is_abandoned() -> None:
    service = FakeService(resume_s=30)
    session, reader = service.begin()
    session.detach(reader)
    service.wait(29)
    assert service.sessions.find(("", session.session_id)) is session
    service.wait(1)
    assert service.sessions.find(("", session.session_id)) is None
    assert service.sessions.ended_by == {"abandoned": 1}


def test_to_a_slow_reader_goes_the_newest_guess_and_every_final() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    reader.idle = False
    for count in range(100):
        service.ear.say(f"guess {count}", final=False)
    reader.idle = True
    session.flush()
    assert reader.told == ["interim guess 99"]
    vars(reader).update(writable=False, idle=False)
    for count in range(100):
        service.ear.say(f"guess {count}", final=False)
        service.ear.say(f"word {count}")
    assert (session.congested, reader.told) == (True, ["interim guess 99"])
    vars(reader).update(writable=True, idle=True)
    session.flush()
    assert reader.told[1:] == [f"final word {count}" for count in range(100)]
    assert reader.numbers == sorted(reader.numbers)
    assert (session.congested, session.lost_events) == (False, 0)


def test_a_client_that_is_too_fast_is_told_and_read_slower() -> None:
    service = FakeService(max_ahead_s=30)
    session, reader = service.begin()
    for _ in range(30):
        session.hear(SECOND)
    assert (session.congested, reader.told) == (False, [])
    session.hear(SECOND)
    assert (session.congested, reader.told) == (True, ["error too_fast"])
    service.wait(2)
    assert (session.congested, reader.told) == (False, ["error too_fast"])
    # At the limit one second after the other is too fast again, and was told before.
    for _ in range(3):
        session.hear(SECOND + SECOND)
        service.wait(1)
    assert reader.told == ["error too_fast"]


def test_a_recognizer_that_is_slow_but_at_work_is_waited_for() -> None:
    service = FakeService(final_s=10)
    session, reader = service.begin()
    session.hear(SECOND)
    session.end()
    for count in range(4):
        service.wait(9)
        service.ear.say(f"guess {count}", final=False)
    service.wait(9)
    service.ear.say("at last")
    assert reader.told == ["final at last", "over ended"]


def test_a_pause_is_no_credit_for_a_burst() -> None:
    service = FakeService(max_ahead_s=5)
    session, _ = service.begin()
    service.wait(100)
    for _ in range(7):
        session.hear(SECOND)
    assert session.congested


def test_a_chunk_that_is_too_long_is_refused_and_the_session_lives() -> None:
    service = FakeService(max_chunk_s=1)
    session, reader = service.begin()
    session.hear(SECOND + b"\0\0")
    assert reader.told == ["error audio_too_large"]
    session.hear(SECOND)
    service.ear.say("fine")
    assert reader.told[-1] == "final fine"


class Recorder(FakeRecognizer):
    """Keeps the sound."""

    def __init__(self) -> None:
        super().__init__()
        self.pcm = b""

    def feed(self, pcm: bytes) -> None:
        self.pcm += pcm


@pytest.mark.parametrize("size", [1, 3, 641, 1023, 6401])
def test_odd_chunks_are_complained_about_and_joined(size: int) -> None:
    ear = Recorder()
    service = FakeService(recognizers={"fake": ear})
    session, reader = service.begin()
    sound = bytes(range(256)) * 125
    for start in range(0, len(sound), size):
        session.hear(sound[start : start + size])
    assert reader.told[0] == "error audio_format_error"
    assert len(reader.told) <= 20
    whole = len(ear.pcm)
    assert ear.pcm == sound[:whole]
    assert whole >= len(sound) - 640 - size


def test_a_half_sample_that_stands_alone_is_dropped() -> None:
    ear = Recorder()
    service = FakeService(recognizers={"fake": ear})
    session, _ = service.begin()
    session.hear(SECOND[:641])
    session.hear(SECOND[:640])
    assert ear.pcm == SECOND[:1280]


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000])
def test_every_rate_keeps_its_length(rate_hz: int) -> None:
    service = FakeService(recognizers={"fake": (ear := Recorder())})
    session, _ = service.begin(Wish(rate_hz=rate_hz))
    session.hear(b"\x10\x27" * rate_hz)
    session.finalize()
    inner_hz = rate_hz if rate_hz in (8000, 16000, 48000) else 16000
    assert 0 <= len(ear.pcm) - 2 * inner_hz <= 2 * inner_hz // 50
    assert session.totals.heard_ms in (1000, 1020)


def test_a_recognizer_that_fails_is_tried_again() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    service.ear.fail()
    assert reader.told == ["error provider_unavailable"]
    session.hear(SECOND)
    assert service.ear.listens == 1
    service.clock.advance(1)
    session.hear(SECOND)
    assert service.ear.listens == 2
    assert service.ear.events == ["onset", "close", "onset"]
    service.ear.say("back")
    assert reader.told[-1] == "final back"
    assert session.totals.dropped_ms == 1000


def test_a_client_is_told_once_that_its_recognizer_is_away() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    service.ear.trouble = "Socket closed"
    service.wait(3)
    assert reader.told == ["error provider_unavailable"]
    (trouble,) = reader.events
    assert isinstance(trouble, Trouble)
    assert trouble.message == "fake fails: Socket closed; your sound is kept for it"
    service.ear.trouble = ""
    service.ear.say("turn left", final=True)
    service.ear.trouble = "Socket closed"
    service.wait(1)
    assert reader.told == ["error provider_unavailable", "final turn left", "error provider_unavailable"]


def test_a_recognizer_that_is_given_up_ends_the_session() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    service.ear.fail(retryable=False)
    assert reader.told == ["error provider_unavailable", "over failed"]
    session, reader = service.begin()
    for _ in range(5):
        service.clock.advance(10)
        session.hear(SECOND)
        service.ear.fail()
    assert reader.told == ["error provider_unavailable"] * 5 + ["over failed"]


class Unwilling(FakeRecognizer):
    def listen(self, rate_hz: int, hearing: Hearing) -> "FakeRecognizer":
        raise ProviderError("no seat")


def test_a_recognizer_that_does_not_listen_is_an_error() -> None:
    service = FakeService(recognizers={"fake": Unwilling()})
    session, reader = service.begin()
    session.hear(SECOND)
    assert reader.told == ["error provider_unavailable"]
    session.end()
    assert reader.told[-1] == "over ended"


class Ears(FakeRecognizer):
    """One recognition an utterance."""

    traits = Traits(one_utterance=True, usd_per_hour=3.6)

    def __init__(self) -> None:
        super().__init__()
        self.ears: list[FakeRecognizer] = []

    def listen(self, rate_hz: int, hearing: Hearing) -> FakeRecognizer:
        self.ears.append(FakeRecognizer().listen(rate_hz, hearing))
        return self.ears[-1]


def test_recognitions_of_one_utterance_follow_one_another_without_a_hole() -> None:
    service = FakeService(recognizers={"fake": (recognizer := Ears())})
    session, reader = service.begin(Wish(words=True))
    session.hear(SECOND + QUIET)
    session.hear(SECOND)
    first, second = recognizer.ears
    assert (first.events, second.events) == (["onset", "endpoint"], ["onset"])
    first.say("one")
    assert first.events[-1] == "close"
    assert second.hearing is not None
    second.hearing.heard(Transcript("two", True, end_ms=500, words=(Word("two", 100, 500),)))
    heard = reader.events[-1]
    assert isinstance(heard, Heard)
    assert heard.transcript.words[0].start_ms == 1400
    assert reader.told == ["final one", "final two"]
    session.end()
    second.say("")
    assert session.over is not None
    assert session.over.summary["audio_metrics"]["cost_usd"] == pytest.approx(0.003)


def test_complaints_are_bounded() -> None:
    service = FakeService()
    session, reader = service.begin()
    for _ in range(1000):
        session.hear(b"x")
    assert len(reader.told) == 20
    service.wait(1)
    session.hear(b"x")
    assert len(reader.told) == 21


def test_there_is_room_for_so_many_sessions_and_none_while_draining() -> None:
    service = FakeService(max_sessions=1)
    session, _ = service.begin()
    refused = service.sessions.refusal()
    assert refused is not None
    assert "stream.max_sessions = 1" in refused.reason
    session.close("ended")
    assert service.sessions.refusal() is None
    service.begin()
    service.sessions.drain()
    assert len(service.sessions) == 0
    assert service.sessions.refusal() is not None


def test_a_server_that_stops_waits_for_the_last_words() -> None:
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    _, other = service.begin()
    service.sessions.drain()
    assert (reader.told, other.told) == ([], ["over drained"])
    service.ear.say("last words")
    assert reader.told == ["final last words", "over drained"]
    service = FakeService()
    session, reader = service.begin()
    session.hear(SECOND)
    service.sessions.drain()
    service.sessions.close()
    assert reader.told == ["over drained"]


def test_a_newcomer_takes_the_room_of_a_session_nobody_reads() -> None:
    service = FakeService(max_sessions=2)
    stays, reader = service.begin()
    leaves, left = service.begin()
    leaves.detach(left)
    assert service.sessions.refusal() is None
    assert leaves.over is not None
    assert stays.over is None
    third, _ = service.begin()
    assert service.sessions.refusal() is not None
    assert third.over is None
    assert reader.told == []


def test_a_bug_in_one_session_ends_it_alone(caught: object) -> None:
    service = FakeService()
    broken, reader = service.begin()
    service.begin()

    def bug(_now_ms: int) -> None:
        raise RuntimeError

    vars(broken)["sweep"] = bug
    service.wait(1)
    assert callable(caught)
    assert caught(RuntimeError) == 1
    assert reader.told == ["over failed"]
    assert len(service.sessions) == 1


@pytest.mark.parametrize(
    ("spoken", "asked", "used", "told"),
    [
        (("en-IN", "fr"), "fr", "fr", ""),
        (("en-IN", "fr"), "en-GB", "en-GB", ""),
        (("en-IN", "fr"), "eo", "en-IN", "local does not hear eo, but hears en-IN, fr"),
        # It begins in a language that is heard, which `session_started` names: no error.
        (("en-IN", "fr"), "auto", "en-IN", ""),
        (("en-IN", "fr", "auto"), "auto", "auto", ""),
        (("en-IN", "fr", "auto"), "eo", "en-IN", "local does not hear eo, but hears en-IN, fr"),
    ],
)
def test_a_language_is_taken_where_it_is_heard(spoken: tuple[str, ...], asked: str, used: str, told: str) -> None:
    ear = FakeRecognizer()
    vars(ear)["languages"] = spoken
    wish, troubles = FakeService(recognizers={"local": ear}).sessions.choose(Wish(asked))
    assert wish is not None
    assert (wish.language, [(each.code, each.message) for each in troubles]) == (
        used,
        [("unsupported_language", told)] if told else [],
    )


def test_the_wish_is_bent_to_what_there_is() -> None:
    english = FakeRecognizer()
    vars(english)["languages"] = ("en-US",)
    service = FakeService(recognizers={"local": english, "cloud": FakeRecognizer()})
    choose = service.sessions.choose
    assert choose(Wish()) == (Wish(provider="local"), [])
    assert choose(Wish("fr", "cloud")) == (Wish("fr", "cloud"), [])
    chosen, troubles = choose(Wish("fr"))
    assert chosen == Wish("en-US", "local")
    assert [trouble.code for trouble in troubles] == ["unsupported_language"]
    assert choose(Wish("en", "CLOUD")) == (Wish("en", "cloud"), [])
    # Nothing is to be found out of one language.
    assert choose(Wish("auto")) == (Wish("en-US", "local"), [])
    assert choose(Wish("auto", "cloud")) == (Wish("auto", "cloud"), [])
    chosen, troubles = choose(Wish(provider="nobody"))
    assert chosen == Wish(provider="local")
    assert [trouble.code for trouble in troubles] == ["provider_unavailable"]
    service.troubles["local"] = "no model"
    assert choose(Wish()) == (Wish(provider="cloud"), [])
    service.troubles["cloud"] = "bad key"
    chosen, troubles = choose(Wish())
    assert chosen is None
    assert [trouble.message for trouble in troubles] == ["local cannot serve: no model; cloud cannot serve: bad key"]


def test_a_session_is_refused_where_it_would_not_be_heard_in_time() -> None:
    slow, quick = FakeRecognizer(), FakeRecognizer()
    sessions = FakeService(recognizers={"slow": slow, "quick": quick}).sessions
    assert (sessions.choose(Wish()), sessions.crowded("slow")) == ((Wish(provider="slow"), []), None)
    vars(slow)["full"] = "80 s of speech wait for 2 decoders"
    assert sessions.choose(Wish()) == (Wish(provider="quick"), []), "who names nobody is heard by who has time"
    assert sessions.choose(Wish(provider="slow")) == (Wish(provider="slow"), [])
    refused = sessions.crowded("slow")
    assert refused is not None
    assert refused.reason == "full: slow is behind, 80 s of speech wait for 2 decoders"
    assert sessions.refused == 1


def test_a_client_that_waits_for_its_final_is_told_that_the_server_is_full() -> None:
    service = FakeService()
    session, reader = service.begin()
    vars(service.ear)["full"] = "80 s of speech wait for 2 decoders"
    session.hear(SECOND)
    service.wait(1)
    assert reader.told == []
    session.finalize()
    service.wait(3)
    assert reader.told == ["error server_full"]


def test_of_many_languages_a_few_are_named() -> None:
    ears = FakeRecognizer()
    vars(ears)["languages"] = ("en", "fr", "de", "it", "es", "pt", "nl", "auto")
    _, (trouble,) = FakeService(recognizers={"cloud": ears}).sessions.choose(Wish("ja"))
    assert trouble.message == "cloud does not hear ja, but hears en, fr, de, it, es and 2 others"


def test_the_counts_tell_of_every_provider() -> None:
    service = FakeService()
    session, _ = service.begin()
    session.hear(SECOND)
    session.finalize()
    service.clock.advance(0.3)
    service.ear.say("yes")
    session.hear(SECOND)
    service.ear.fail()
    counts = service.sessions.read()
    assert counts["active_sessions"] == counts["total_sessions"] == 1
    providers = counts["providers"]
    assert isinstance(providers, dict)
    assert providers["fake"] == {
        "available": True,
        "reason": "",
        "active_sessions": 1,
        "sessions": 1,
        "interim_results": 0,
        "final_results": 1,
        "failures": 1,
        "timeouts": 0,
        "error_rate": 0.5,
        "audio_s": 0.0,
        "cost_usd": 0.0,
        "latency_ms": {"p50": 300.0, "p95": 300.0, "p99": 300.0},
    }
