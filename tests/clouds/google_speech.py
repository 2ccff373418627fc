"""A stand-in for Google Cloud Text-to-Speech: `POST /v1/text:synthesize`, all of the sound in one JSON object.

Run it: `voicemedia cloud google_speech --port 8006`. Mishaps: `bad_key`, `rate_limit` (with a retry delay), `busy`,
`garbage`, `no_audio`, `slow`, `cut`, `stalled`, `reset`.
"""
# mypy: disallow-untyped-calls=False

import json
from argparse import ArgumentParser
from base64 import b64encode
from typing import Any

from twisted.web.server import NOT_DONE_YET

from tests.clouds.gemini import REFUSALS, error
from tests.clouds.mouths import Voiced
from tests.clouds.openai_speech import OpenAiSpeech, add_speech_arguments, run
from tests.clouds.web import answer, later, reset, write_in_pieces
from voicemedia.audio.wav import write_wav

PATH = "/v1/text:synthesize"
ENCODINGS = ("LINEAR16",)


class GoogleSpeech(OpenAiSpeech):
    """Says what it is posted, and is strict about it."""

    def render_POST(self, request: Any) -> int:
        mishap = self.mishaps.next()
        request.notifyFinish().addErrback(self._count_left)
        if self.key and request.getHeader("x-goog-api-key") != self.key:
            mishap = "bad_key"
        if request.path.decode() != PATH:
            return answer(request, error(404, "NOT_FOUND", f"no {request.path.decode()}"), 404)
        if mishap in REFUSALS:
            status, body = REFUSALS[mishap]
            return answer(request, body, status)
        asked = json.loads(request.content.read())
        if wrong := self._wrong(asked):
            return answer(request, error(400, "INVALID_ARGUMENT", wrong), 400)
        self.asked.append(asked)
        self.on_asked()
        if mishap == "reset":
            return reset(request)
        rate_hz = asked["audioConfig"]["sampleRateHertz"]
        spoken = self.mouth.speak(asked["input"]["text"], rate_hz)
        delay_s = self.slow_s if mishap == "slow" else 0
        spoken.addCallback(
            lambda voiced: later(self.reactor, delay_s, request, lambda: self._tell(voiced, rate_hz, request, mishap))
        )
        return NOT_DONE_YET

    def _wrong(self, asked: dict[str, Any]) -> str:
        """Say what the service would not take."""
        unknown = set(asked) - {"input", "voice", "audioConfig"}
        if unknown:
            return f"Invalid JSON payload received. Unknown name {sorted(unknown)}"
        if not asked.get("input", {}).get("text"):
            return "input: one of text and ssml is required"
        if not asked.get("voice", {}).get("languageCode"):
            return "voice.languageCode is required"
        encoding = asked.get("audioConfig", {}).get("audioEncoding")
        return "" if encoding in ENCODINGS else f"audioConfig.audioEncoding: {encoding} is not supported"

    def _tell(self, voiced: Voiced, rate_hz: int, request: Any, mishap: str) -> None:
        request.setHeader("content-type", "application/json; charset=UTF-8")
        content = b64encode(write_wav(voiced.pcm, rate_hz)).decode()
        told = {"audioContent": content} if mishap != "no_audio" else {}
        write_in_pieces(request, b"{]" if mishap == "garbage" else json.dumps(told).encode(), mishap)


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    add_speech_arguments(parser, 8006)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    add_arguments(parser)
    run(parser.parse_args(), GoogleSpeech, "Google speech stand-in")
