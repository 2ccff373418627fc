"""What stands between a call and its providers lets through what the call has to know of them."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.test_utterance import Ears
from voicemedia.guards import GuardedRecognizer
from voicemedia.interfaces import Hearing, Recognizer


class Busy(Ears):
    """A recognition that says how it gets on."""

    def feed(self, pcm: bytes) -> None: ...

    def onset(self) -> None: ...

    endpoint = close = onset

    def expect(self, expected: object) -> None: ...


@pytest.mark.parametrize("at", ["renewing", "decoding"])
def test_a_call_sees_that_its_recognition_is_still_at_work(at: str) -> None:
    behind = Busy()
    hearing: Any = SimpleNamespace(heard=None, deaf=None)
    recognizer = cast(Recognizer, SimpleNamespace(name="busy", listen=lambda rate_hz, hearing: behind))
    recognition = GuardedRecognizer(recognizer, lambda: None, []).listen(8000, cast(Hearing, hearing))
    assert not getattr(recognition, at)
    setattr(behind, at, True)
    assert getattr(recognition, at)
