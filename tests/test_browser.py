"""Conversations in the browser, against the whole server in memory."""

from base64 import b64encode
from pathlib import Path

import pytest

from tests.browsers import FRAME, GREETING, ROUTE, SCRIPTED, SILENT, Page, make_house, spoken
from tests.house import House
from tests.scripted_talk import sound_of
from voicemedia.audio import opus
from voicemedia.config import Browser, Limits, Route, Server, Turns

VECTORS = Path(__file__).parent / "vectors" / "browser"
NO_OPUS = "the extra opus is not installed"
EXAMPLES = Path(__file__).parent.parent / "examples"

pytestmark = pytest.mark.skipif(bool(opus.missing()), reason=opus.missing() or "installed")


@pytest.fixture
def house() -> House:
    return make_house()


def greeted(house: House, query: str = "sessionId=S1") -> Page:
    """A page that has heard the greeting, and whose room was quiet for a while."""
    page = Page(house, query)
    house.pass_ms(3500)
    page.say(400, SILENT)
    page.got()
    return page


# --- the seed's client ---


def test_without_a_session_the_socket_is_closed_with_1008(house: House) -> None:
    page = Page(house, "userEmail=a@example.com")
    page.got()
    assert page.close == (1008, "Session ID required")


@pytest.mark.parametrize("name", ["", "%20", "x" * 201, "a%00b"])
def test_a_name_that_is_none_is_no_session(house: House, name: str) -> None:
    page = Page(house, f"sessionId={name}")
    page.got()
    assert page.close == (1008, "Session ID required")


def test_a_new_session_is_greeted_with_text_sound_and_duration(house: House) -> None:
    page = Page(house)
    house.pass_ms(40)
    status, greeting = page.got()
    assert (status["type"], status["data"]) == ("status", {"message": "Session started"})
    assert (greeting["type"], greeting["sessionId"]) == ("audio", "S1")
    assert greeting["data"]["text"] == GREETING
    assert spoken(greeting["data"]) == sound_of(GREETING)
    assert isinstance(greeting["timestamp"], int)
    assert page.sound == b""


def test_speech_is_answered_with_one_message(house: House) -> None:
    page = greeted(house)
    page.say(1000)
    page.say(400, SILENT)
    (answer,) = page.got()
    assert answer["data"]["text"] == "You said: 50 frames."
    assert spoken(answer["data"]) == sound_of(answer["data"]["text"])


def test_a_short_yes_is_answered_though_it_is_far_below_40_kb(house: House) -> None:
    page = greeted(house)
    page.say(200)
    house.pass_ms(700)  # the microphone is off, nothing comes any more
    assert [answer["text"] for answer in page.got("audio")] == ["You said: 10 frames."]


@pytest.mark.parametrize("name", ["breakfast.webm", "yes.ogg"])
def test_a_whole_recording_is_a_turn_at_once(house: House, name: str) -> None:
    pytest.importorskip("av", reason=NO_OPUS)
    page = greeted(house)
    sound = (VECTORS / name).read_bytes()
    page.send("webm_audio", data=b64encode(sound).decode(), mimeType="audio/webm", size=len(sound))
    house.pass_ms(40)
    assert len(page.got("audio")) == 1


def test_chunks_of_a_recorder_are_one_stream_heard_as_it_comes(house: House) -> None:
    pytest.importorskip("av", reason=NO_OPUS)
    page = greeted(house, "sessionId=S1&stream=1")
    sound = (VECTORS / "breakfast.webm").read_bytes()
    frames = []
    for at in range(0, len(sound), 1500):
        page.peer.binary(sound[at : at + 1500])
        house.pass_ms(250)
        frames.append(house.counted()["frames_in_total"])
    assert sorted(set(frames)) == frames
    assert any(not transcript["final"] for transcript in page.got("transcript"))


def test_a_wav_file_and_raw_samples_are_known_by_their_first_bytes(house: House) -> None:
    page = greeted(house)
    page.peer.binary((EXAMPLES / "yes.wav").read_bytes())
    page.send("end_of_speech")
    house.pass_ms(40)
    assert len(page.got("audio")) == 1


def test_typed_words_are_a_turn(house: House) -> None:
    page = greeted(house)
    page.send("text_message", data="two eggs", timestamp=1)
    house.pass_ms(40)
    assert [answer["text"] for answer in page.got("audio")] == ["You said: two eggs."]


@pytest.mark.parametrize("fields", [{"data": "hi"}, {"text": "hi"}, {"data": {"text": "hi"}}])
def test_user_messages_of_later_clients_are_turns_too(house: House, fields: dict[str, object]) -> None:
    page = greeted(house)
    page.send("user_message", **fields)
    house.pass_ms(40)
    assert [answer["text"] for answer in page.got("audio")] == ["You said: hi."]


@pytest.mark.parametrize("payload", ["TEST_AUDIO_PAYLOAD", '{"type":"test"}', '{"type":"client_ready_request"}'])
def test_a_test_of_the_connection_is_answered(house: House, payload: str) -> None:
    page = greeted(house)
    page.peer.text(payload)
    assert page.got("status") == [{"message": "The connection works"}]


def test_a_request_to_speak_is_answered_outside_the_conversation(house: House) -> None:
    page = greeted(house)
    page.send("tts_request", text="good morning")
    (answer,) = page.got("tts_response")
    assert spoken(answer) == sound_of("good morning")


def test_a_request_we_do_not_serve_is_answered_politely(house: House) -> None:
    page = greeted(house)
    page.send("conversation_summary_request")
    assert page.got("status") == [{"message": "conversation_summary_request is not offered here"}]


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ("{", "bad_json"),
        ("[" * 2000, "bad_json"),
        ("[]", "bad_message"),
        ('{"type":1}', "bad_message"),
        ('{"type":"webm_audio"}', "bad_message"),
        ('{"type":"webm_audio","data":"*"}', "bad_base64"),
        ('{"type":"webm_audio","data":"R0lGODlh"}', ""),
        ('{"type":"text_message","data":7}', "bad_message"),
        ('{"type":"text_message","data":"' + "x" * 5000 + '"}', "text_too_long"),
        ('{"type":"marked"}', "bad_message"),
        ('{"type":"dtmf","digit":"12"}', "bad_message"),
        ('{"type":"nonsense"}', "unknown_type"),
    ],
)
def test_what_is_wrong_is_counted_told_once_and_does_not_end_the_session(house: House, payload: str, kind: str) -> None:
    page = greeted(house)
    page.peer.text(payload)
    page.peer.text(payload)
    assert [error["code"] for error in page.got("error")] == [kind] * bool(kind)
    assert house.wire_errors() == ({kind: 2} if kind else {})
    page.send("text_message", data="still there")
    house.pass_ms(40)
    assert len(page.got("audio")) == 1


def test_corrupt_recordings_are_refused_and_silent_samples_are_not(house: House) -> None:
    pytest.importorskip("av", reason=NO_OPUS)
    page = greeted(house)
    page.peer.binary(bytes(6400))
    assert page.got() == []
    page.peer.binary((VECTORS / "breakfast.webm").read_bytes()[:1000])
    page.peer.binary(bytes(5000))
    assert [error["code"] for error in page.got("error")] == ["corrupt_audio"]


def test_more_sound_than_one_message_may_hold_is_refused() -> None:
    page = greeted(make_house(browser=Browser(chunk_bytes=1024)))
    page.peer.binary(bytes(1026))
    assert [error["code"] for error in page.got("error")] == ["chunk_too_long"]


# --- the seed's numbers ---


def test_the_numbers_of_audio_stream_server_are_the_defaults() -> None:
    browser, limits = Browser(), Limits()
    assert (browser.pending_bytes, browser.chunk_bytes, browser.zero_share) == (200_000, 500_000, 0.9)
    assert (limits.provider_s, limits.idle_s) == (30, 300)


def test_compressed_sound_that_never_becomes_whole_is_given_up_at_200_kb(house: House) -> None:
    pytest.importorskip("av", reason=NO_OPUS)
    page = greeted(house)
    # A block that says it has 16 MB.
    page.peer.binary((VECTORS / "breakfast.webm").read_bytes()[:300] + b"\xa3\x11\x00\x00\x00" + b"\x81\x00\x00\x80")
    page.got()
    for _ in range(7):
        page.peer.binary(b"\x55" * 40_000)
    assert page.got("error")[0]["code"] in ("webm_too_long", "bad_webm")
    page.send("text_message", data="still there")
    house.pass_ms(40)
    assert len(page.got("audio")) == 1


def test_five_answers_wait_for_a_browser_that_is_away(house: House) -> None:
    greeted(house).leave()
    (call,) = house.server.switchboard
    for number in range(7):
        call.said(f"word {number}")
        house.pass_ms(2500)
    answers = [answer["text"] for answer in Page(house).got("audio")]
    assert answers == [f"You said: word {number}." for number in range(2, 7)]


def test_sound_may_come_a_minute_ahead_of_its_time_and_no_more(house: House) -> None:
    page = greeted(house)
    for _ in range(8):
        page.peer.binary(SILENT * 500)
    assert [error["code"] for error in page.got("error")] == ["media_too_fast"]
    assert house.counted()["frames_in_total"] <= 3000 + 300


def test_an_agent_that_says_nothing_for_thirty_seconds_is_apologized_for() -> None:
    faulty = "tests.faulty_provider"
    route = Route("/audio-stream", "browser", agent=faulty, stt=SCRIPTED, tts=SCRIPTED)
    house = make_house(route, agents={faulty: {"fails": "silence"}})
    page = Page(house)
    house.pass_ms(500)
    page.got()
    page.send("text_message", data="hello?")
    house.pass_ms(29_500, step_ms=20)
    assert page.got("audio") == []
    house.pass_ms(1500, step_ms=20)
    assert [answer["text"] for answer in page.got("audio")] == [Turns().apology]


# --- several sockets, and none ---


def test_all_sockets_of_a_session_get_the_answers(house: House) -> None:
    first = greeted(house)
    second = Page(house)
    assert second.got("status") == [{"message": "Session resumed"}]
    first.send("text_message", data="hello")
    house.pass_ms(40)
    assert len(first.got("audio")) == len(second.got("audio")) == 1
    assert len(house.server.switchboard) == 1


def test_sessions_know_nothing_of_each_other(house: House) -> None:
    first, second = greeted(house), greeted(house, "sessionId=S2")
    first.send("text_message", data="hello")
    house.pass_ms(40)
    assert len(first.got("audio")) == 1
    assert second.got() == []


def test_one_microphone_is_heard_at_a_time(house: House) -> None:
    first = greeted(house)
    second = Page(house)
    second.got()
    first.say(200)
    second.peer.binary(FRAME)
    assert [error["code"] for error in second.got("error")] == ["other_microphone"]
    house.pass_ms(700)
    second.say(400)
    house.pass_ms(700)
    assert [answer["text"] for answer in second.got("audio")] == ["You said: 10 frames.", "You said: 20 frames."]


def test_too_many_sockets_of_a_session_are_turned_away() -> None:
    house = make_house(browser=Browser(sockets=1))
    first, second = Page(house), Page(house)
    second.got()
    assert second.close == (1008, "Too many connections of this session")
    assert first.close is None


def test_a_browser_comes_back_in_the_middle_of_an_utterance_and_no_word_is_lost(house: House) -> None:
    page = greeted(house)
    page.say(400)
    page.leave()
    house.pass_ms(200)
    again = Page(house)
    again.say(600)
    again.say(400, SILENT)
    messages = again.got()
    assert [message["type"] for message in messages] == ["status", "audio"]
    assert messages[1]["data"]["text"] == "You said: 50 frames."
    assert house.server.switchboard.total == 1


def test_a_recorder_that_runs_on_while_the_connection_is_lost_is_heard(house: House) -> None:
    pytest.importorskip("av", reason=NO_OPUS)
    sound = (VECTORS / "breakfast.webm").read_bytes()
    page = greeted(house)
    page.peer.binary(sound[:4000])
    before = house.counted()["frames_in_total"]
    page.leave()
    again = Page(house)
    again.peer.binary(sound[4100:])
    again.send("end_of_speech")
    house.pass_ms(40)
    assert 80 < house.counted()["frames_in_total"] - before < 150
    assert len(again.got("audio")) == 1
    assert house.wire_errors() == {}


def test_an_answer_made_while_the_browser_was_away_is_delivered(house: House) -> None:
    page = greeted(house)
    page.send("text_message", data="hello")
    page.leave()
    house.pass_ms(500)
    again = Page(house)
    assert [answer["text"] for answer in again.got("audio")] == ["You said: hello."]


def test_a_session_whose_browser_does_not_come_back_ends(house: House) -> None:
    page = greeted(house)
    page.leave()
    house.pass_ms(29_000, step_ms=20)
    assert len(house.server.switchboard) == 1
    house.pass_ms(2000, step_ms=20)
    assert house.ended() == {"peer_vanished": 1}
    assert greeted(house).house.server.switchboard.total == 2


def test_a_session_nobody_uses_ends_after_five_minutes(house: House) -> None:
    page = greeted(house)
    house.pass_ms(302_000, step_ms=20)
    assert page.got("status") == [{"message": "Nothing was heard for a long time, so the conversation has ended."}]
    assert page.close == (1000, "idle")
    assert house.ended() == {"idle": 1}


def test_a_page_hangs_up(house: House) -> None:
    page = greeted(house)
    page.send("hang_up")
    house.pass_ms(100)
    page.got()
    assert page.close == (1000, "caller_hung_up")
    assert house.ended() == {"caller_hung_up": 1}
    assert house.server.browsers.sockets == {}


def test_sessions_hold_their_place_and_those_who_come_back_are_let_in() -> None:
    house = make_house(limits=Limits(max_calls=1))
    page = greeted(house)
    assert Page(house, "sessionId=S2").peer.status == 503
    page.leave()
    assert Page(house, "sessionId=S2").peer.status == 503
    assert Page(house).got("status") == [{"message": "Session resumed"}]


# --- answers under difficulties ---


def test_the_text_is_sent_when_the_voice_fails() -> None:
    house = make_house(ROUTE, tts={SCRIPTED: {"fails": True}})
    page = greeted(house)
    page.send("text_message", data="hello")
    house.pass_ms(100)
    error, answer = page.got()
    assert error["data"]["code"] == "tts"
    assert answer["data"] == {"text": "You said: hello.", "audio": "", "duration": 0}


def test_the_text_is_sent_when_the_voice_falls_silent() -> None:
    house = make_house(ROUTE, tts={SCRIPTED: {"holds": True}}, limits=Limits(provider_s=2))
    page = Page(house)
    house.pass_ms(1900)
    assert page.got("audio") == []
    house.pass_ms(300)
    assert [answer["text"] for answer in page.got("audio")] == [GREETING]


def test_a_route_without_voice_answers_in_writing() -> None:
    page = Page(make_house(Route("/audio-stream", "browser", agent="repeat", stt="none", tts="none")))
    page.house.pass_ms(100)
    assert page.got("audio") == [{"text": GREETING, "audio": "", "duration": 0}]


def test_what_is_said_while_an_answer_is_made_is_not_lost() -> None:
    house = make_house(turns=Turns(barge_in=False))
    page = greeted(house)
    page.say(400)
    page.say(300, SILENT)
    page.say(600)
    page.say(400, SILENT)
    house.pass_ms(3000)
    assert [answer["text"] for answer in page.got("audio")] == ["You said: 20 frames.", "You said: 30 frames."]


# --- our own page ---


def test_a_page_that_streams_gets_sound_in_small_pieces_ahead_of_its_time(house: House) -> None:
    page = Page(house, "sessionId=S1&stream=1")
    house.pass_ms(40)
    assert page.got("audio") == []
    assert 200 <= len(page.sound) / 32 <= 280
    house.pass_ms(2000)
    page.got()
    assert page.sound == sound_of(GREETING)


def test_a_turn_is_told_from_the_first_guess_to_its_latency(house: House) -> None:
    page = greeted(house, "sessionId=S1&stream=1")
    page.say(600)
    page.say(400, SILENT)
    house.pass_ms(2000)
    messages = page.got()
    kinds = [message["type"] for message in messages]
    assert kinds.index("speech") < kinds.index("transcript") < kinds.index("turn") < kinds.index("mark")
    texts = [
        (message["data"]["text"], message["data"]["final"]) for message in messages if message["type"] == "transcript"
    ]
    assert texts == [("25 frames", False), ("30 frames", True)]
    states = [message["data"]["state"] for message in messages if message["type"] == "floor"]
    assert states == ["thinking", "speaking", "listening"]
    answer = [message["data"] for message in messages if message["type"] == "turn"][-1]
    assert answer["who"] == "agent"
    assert set(answer["latencyMs"]) == {"transcript", "agent", "voice", "total"}


@pytest.mark.parametrize("interrupt", ["voice", "button", "text"])
def test_an_answer_is_interrupted_and_what_was_heard_of_it_is_told(house: House, interrupt: str) -> None:
    page = greeted(house, "sessionId=S1&stream=1")
    page.send("text_message", data="one two three four five six seven eight nine ten")
    house.pass_ms(1000)
    page.got()
    if interrupt == "voice":
        page.say(200)
    else:
        page.send("interrupt") if interrupt == "button" else page.send("text_message", data="stop")
    messages = page.got()
    assert "clear" in [message["type"] for message in messages]
    (cut,) = [message["data"] for message in messages if message["type"] == "turn" and message["data"]["interrupted"]]
    assert cut["heardText"].startswith("You said: one two")
    assert "ten" not in cut["heardText"]


def test_a_page_that_is_loaded_again_is_told_what_was_said(house: House) -> None:
    page = greeted(house, "sessionId=S1&stream=1")
    page.send("text_message", data="hello")
    house.pass_ms(2000)
    page.leave()
    again = Page(house, "sessionId=S1&stream=1")
    (session,) = again.got("session")
    assert session["resumed"]
    assert [turn["text"] for turn in session["turns"]] == [GREETING, "hello", "You said: hello."]


def test_a_mark_the_page_reports_ends_the_answer(house: House) -> None:
    page = Page(house, "sessionId=S1&stream=1")
    house.pass_ms(1700)
    (mark,) = page.got("mark")
    page.send("marked", **mark)
    house.pass_ms(40)
    assert {"state": "listening"} in page.got("floor")


# --- who may, and what there is ---


def test_a_page_of_another_site_may_not_call(house: House) -> None:
    assert Page(house, Origin="https://evil.example").peer.status == 403
    assert Page(house, Origin="null").peer.status == 403
    assert Page(house, Origin="http://127.0.0.1:8001").peer.status == 403
    assert Page(house, Origin="http://127.0.0.1:8000").peer.status == 101
    assert Page(house, "sessionId=S2", Origin="https://127.0.0.1:8000").peer.status == 101


def test_pages_that_are_named_may_call() -> None:
    house = make_house(
        browser=Browser(origins=("https://www.example.com",)), server=Server(public_url="https://voice.example.com")
    )
    assert Page(house, Origin="https://www.example.com").peer.status == 101
    assert Page(house, "sessionId=S2", Origin="https://voice.example.com").peer.status == 101
    assert Page(house, "sessionId=S3", Origin="https://example.com").peer.status == 403


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST.", "my.localhost:8000", "[::1]:8000", "127.7.7.7"]
)
def test_a_server_on_loopback_is_known_by_loopback_names(house: House, host: str) -> None:
    assert Page(house, Host=host, Origin=f"http://{host}").peer.status == 101
    assert house.get("/", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "evil.example", "localhost.evil.example", "10.0.0.5:8000", "[::2]"]
)
def test_a_name_somebody_else_gave_our_address_opens_nothing(house: House, host: str) -> None:
    assert Page(house, Host=host, Origin=f"http://{host}").peer.status == 403
    status, body = house.get("/playground/choices", Host=host)
    assert (status, "server.public_url" in body["error"]["message"]) == (403, True)
    assert house.get("/", Host=host)[0] == 403
    # A carrier's proxy is no page, and has no origin.
    assert Page(house, Host=host).peer.status == 101


def test_the_name_of_a_proxy_is_told_by_the_operator() -> None:
    named = make_house(
        server=Server(public_url="https://voice.example.com"), browser=Browser(origins=("https://two.example:8443",))
    )
    for number, host in enumerate(("voice.example.com", "two.example:8443")):
        assert Page(named, f"sessionId=S{number}", Host=host, Origin=f"https://{host}").peer.status == 101
        assert named.get("/", Host=host)[0] == 200
    assert Page(named, Host="three.example", Origin="https://three.example").peer.status == 403


def test_a_server_for_the_network_goes_by_any_name() -> None:
    house = make_house(server=Server(host="0.0.0.0"))
    assert Page(house, Host="voice.lan:8000", Origin="http://voice.lan:8000").peer.status == 101
    assert house.get("/", Host="voice.lan:8000")[0] == 200


def test_a_page_chooses_its_agent_among_those_there_are() -> None:
    house = make_house(ROUTE, agents={"parrot": {"provider": "repeat", "greeting": "Polly"}})
    chosen, unknown = Page(house, "sessionId=S1&agent=parrot&tts=none"), Page(house, "sessionId=S2&stt=google")
    house.pass_ms(40)
    assert chosen.got("audio") == [{"text": "Polly", "audio": "", "duration": 0}]
    (error,) = unknown.got("error")
    assert error["message"] == "stt google: not in this server's configuration; add a table [stt.google]"
    assert unknown.close == (1008, "not available")


def test_the_choices_are_listed_with_the_reason_where_one_is_not(house: House) -> None:
    status, choices = house.get("/playground/choices")
    assert status == 200
    assert choices["paths"] == ["/audio-stream"]
    repeat = {"name": "repeat", "available": True, "reason": "", "configured": True, "table": "[agents.repeat]"}
    assert repeat in choices["agent"]
    (google,) = [each for each in choices["stt"] if each["name"] == "google"]
    assert not google["available"] and not google["configured"]
    assert "[stt.google]" in google["reason"]


def test_a_server_that_stops_says_goodbye(house: House) -> None:
    page = greeted(house)
    house.server.stopService()
    house.pass_ms(40_000, step_ms=20)
    assert {"message": "The server is about to stop."} in page.got("status")
    assert page.close == (1000, "drained")
