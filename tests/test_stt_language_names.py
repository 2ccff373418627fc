import pytest

from voicemedia.stt.language_names import CODES, code_of
from voicemedia.stt.spoken import SCRIBE, WHISPER


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("english", "en"),
        ("English", "en"),
        ("haitian creole", "ht"),
        ("cantonese", "yue"),
        ("eng", "en"),
        ("zul", "zu"),
        ("en", "en"),
        ("en-US", "en-US"),
        ("volapuk", "volapuk"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_language_is_written_as_its_code(told: str | None, code: str) -> None:
    assert code_of(told) == code


def test_every_name_leads_to_a_language_that_is_heard() -> None:
    assert set(CODES.values()) <= {*WHISPER, *SCRIBE}
