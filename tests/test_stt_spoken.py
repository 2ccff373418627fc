"""Which languages recognizers say they hear."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from voicemedia.protocols.languages_wire import known_language
from voicemedia.stt import faster_whisper, scribe, scribe_realtime, whisper
from voicemedia.stt.spoken import SCRIBE, WHISPER


@pytest.mark.parametrize("module", [whisper, scribe, scribe_realtime, faster_whisper])
def test_the_configured_language_is_what_a_session_falls_back_to(module: Any) -> None:
    french: Any = module.make(module.Options(language="fr"), Clock())
    assert french.languages[0] == "fr"
    assert len(french.languages) == len(set(french.languages)) > 90


def test_an_english_model_hears_english() -> None:
    ears: Any = faster_whisper.make(faster_whisper.Options(model="small.en"), Clock())
    assert ears.languages == ("en",)


def test_no_language_is_listed_twice_and_all_may_be_asked_for() -> None:
    for spoken in (WHISPER, SCRIBE):
        assert len(spoken) == len(set(spoken))
    assert [code for code in WHISPER + SCRIBE if not known_language(code)] == []
