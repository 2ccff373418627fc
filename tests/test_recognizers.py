from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.task import Clock

from tests.clouds.marked import frames, silence, speak
from tests.scripted_ears import KILLED, REFUSED, Fate, Owner, ScriptedRecognizer
from voicemedia.config import Config, Route
from voicemedia.interfaces import Provider, Recognizer, Traits
from voicemedia.metrics import Metrics
from voicemedia.providers import wanted
from voicemedia.recognizers import Alone, Recognizers
from voicemedia.stt.prepared import Options, PreparedRecognizer

PRICED = Traits(usd_per_hour=36)


def house(clock: Clock, *ears: ScriptedRecognizer) -> Recognizers:
    providers: dict[tuple[str, str], Any] = {("stt", each.name): each for each in ears}
    providers["tts", "voice"] = SimpleNamespace(name="voice")
    return Recognizers(cast("dict[tuple[str, str], Provider]", providers), clock)


def hear(recognizer: Recognizer, clock: Clock, text: str) -> str:
    owner = Owner()
    recognition = recognizer.listen(8000, owner)
    recognition.onset()
    for frame in frames(speak(text) + silence(600)):
        clock.advance(0.02)
        recognition.feed(frame)
    recognition.endpoint()
    clock.advance(1)
    recognition.close()
    return owner.text


def test_a_route_may_name_several_recognizers() -> None:
    config = Config(
        routes=(Route("/a", stt=("google", "whisper")), Route("/b", stt="whisper"), Route("/c", stt="none"))
    )
    found = {each.name: each.asked_by for each in wanted(config) if each.kind == "stt"}
    assert found == {"google": ("routes[0].stt",), "whisper": ("routes[0].stt", "routes[1].stt")}


def test_the_next_recognizer_hears_what_the_first_refused() -> None:
    clock = Clock()
    first = ScriptedRecognizer(clock, name="first", fates=lambda: Fate(50, REFUSED), traits=PRICED)
    both = house(clock, first, ScriptedRecognizer(clock, name="second", traits=PRICED))
    route = both.of_route("/a", ("first", "second"), {})
    assert route is not None
    assert hear(route, clock, "ban bar bas") == "ban bar bas"
    read = both.read()
    assert read["first"]["failures"] == {"unauthenticated": 1}
    assert read["first"]["breaker"] == "API key not valid"
    assert both.left_alone() == {"stt.first": "API key not valid", "stt.second": ""}
    # 600 ms of words and as much silence, at a cent a second.
    assert read["second"]["cost_usd"] == pytest.approx(0.012)


def test_a_breaker_is_shared_by_all_routes() -> None:
    clock = Clock()
    first = ScriptedRecognizer(clock, name="first", fates=lambda: Fate(50, REFUSED))
    both = house(clock, first, ScriptedRecognizer(clock, name="second"))
    for _ in range(3):
        route = both.of_route("/a", ("first", "second"), {})
        assert route is not None
        hear(route, clock, "ban")
    assert len(first.listened) == 1


def test_one_recognizer_that_needs_nothing_serves_by_itself_and_is_counted() -> None:
    clock = Clock()
    plain = ScriptedRecognizer(clock, name="plain", fates=iter([Fate(), Fate(50, REFUSED)]).__next__)
    streaming = ScriptedRecognizer(clock, name="streaming", traits=Traits(one_utterance=True))
    recognizers = house(clock, plain, streaming)
    alone = recognizers.of_route("/a", ("plain",), {})
    assert isinstance(alone, Alone)
    assert hear(alone, clock, "ban bar") == "ban bar"
    # Nobody takes its place: the call hears of it.
    assert hear(alone, clock, "bas") == ""
    assert {key: recognizers.read()["plain"][key] for key in ("streams", "failures")} == {
        "streams": 2,
        "failures": {"unauthenticated": 1},
    }
    assert not isinstance(recognizers.of_route("/a", ("streaming",), {}), Alone)
    assert recognizers.of_route("/a", ("none",), {}) is None
    assert recognizers.of_route("/a", ("plain",), {"stt.plain": "not installed"}) is None


def test_costs_and_failures_are_in_the_metrics() -> None:
    clock, metrics = Clock(), Metrics()
    refused = ScriptedRecognizer(clock, name="first", fates=lambda: Fate(50, REFUSED))
    both = house(clock, refused, ScriptedRecognizer(clock, name="second", traits=PRICED))
    metrics.recognizers, metrics.costs = both.read, both.costs
    route = both.of_route("/a", ("first", "second"), {})
    assert route is not None
    hear(route, clock, "ban bar bas")
    text = metrics.text().decode()
    assert 'voicemedia_stt_failures_total{code="unauthenticated",provider="first"} 1.0' in text
    assert 'voicemedia_stt_cost_usd_total{provider="second"} 0.012' in text
    assert 'voicemedia_stt_streams_total{provider="second"} 1.0' in text
    assert 'voicemedia_stt_route_cost_usd_total{provider="second",route="/a"} 0.012' in text
    assert 'voicemedia_stt_route_seconds_total{provider="second",route="/a"} 1.2' in text


def test_what_became_of_streams_is_told_by_the_way_in() -> None:
    clock, metrics = Clock(), Metrics()
    fates = iter([Fate(300, KILLED), Fate()])
    recognizers = house(clock, ScriptedRecognizer(clock, name="first", fates=lambda: next(fates), traits=PRICED))
    metrics.continuity = recognizers.continuity
    hear(recognizers.of_session("/stt/stream", "first"), clock, "ban bar bas")
    told = recognizers.continuity()["/stt/stream"]
    assert (told["renewals"], told["recoveries"], told["lost_ms"]) == (0, 1, 0)
    assert told["replayed_ms"] >= 300
    text = metrics.text().decode()
    assert 'voicemedia_stt_recoveries_total{route="/stt/stream"} 1.0' in text
    assert 'voicemedia_stt_lost_ms_total{route="/stt/stream"} 0.0' in text


def test_sound_is_prepared_once_however_often_streams_are_renewed() -> None:
    clock = Clock()
    fates = iter([Fate(300, KILLED), Fate()])
    behind = ScriptedRecognizer(clock, name="behind", fates=lambda: next(fates), traits=PRICED)
    clean: Any = PreparedRecognizer(Options(high_pass_hz=0), behind)
    recognizers = Recognizers({("stt", "clean"): clean}, clock)
    route = recognizers.of_route("/a", ("clean",), {})
    assert isinstance(route, PreparedRecognizer)
    assert hear(route, clock, "ban bar bas") == "ban bar bas"
    assert len(behind.listened) == 2
    read = recognizers.read()["clean"]
    assert (read["streams"], read["failures"]) == (2, {"unavailable": 1})
    assert recognizers.costs()["/a"]["clean"]["cost_usd"] > 0


def test_each_way_in_has_an_account_of_its_own() -> None:
    clock = Clock()
    recognizers = house(clock, ScriptedRecognizer(clock, name="first", traits=PRICED))
    route = recognizers.of_route("/a", ("first",), {})
    assert route is not None
    hear(route, clock, "ban bar bas")
    hear(recognizers.of_session("/stt/stream", "first"), clock, "ban")
    costs = recognizers.costs()
    assert costs["/a"]["first"] == {"seconds": 1.2, "cost_usd": 0.012}
    assert costs["/stt/stream"]["first"] == {"seconds": 0.8, "cost_usd": 0.008}
    assert recognizers.read()["first"]["cost_usd"] == pytest.approx(0.02)
