"""A stand-in for OpenAI's audio API: `POST /v1/audio/transcriptions`, as api.openai.com and vLLM answer it.

Run it: `python -m tests.clouds.openai_audio --port 8001`. Mishaps: `bad_key`, `quota`, `rate_limit`,
`rate_limit_retry_after`, `rate_limit_date`, `busy`, `unprocessable`, `slow`, `half_closed`, `stalled`, `reset`,
`garbage`, `html`, `text_only`, `no_words`, `numbers_as_text`, `made_up`.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from twisted.web.http import Request

from tests.clouds.ears import Heard
from tests.clouds.web import (
    Cloud,
    Form,
    add_common_arguments,
    answer,
    ear_of,
    mishaps_of,
    read_form,
    read_wav,
    serve,
)

EXTENSIONS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
SOON = "Wed, 21 Oct 2026 07:28:02 GMT"


def error(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


RATE_LIMIT = error("Rate limit reached for whisper-1", "requests", "rate_limit_exceeded")
REFUSALS: dict[str, tuple[int, Any, dict[str, str]]] = {
    "bad_key": (401, error("Incorrect API key provided", "invalid_request_error", "invalid_api_key"), {}),
    "quota": (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), {}),
    "rate_limit": (429, RATE_LIMIT, {}),
    "rate_limit_retry_after": (429, RATE_LIMIT, {"retry-after": "1"}),
    "rate_limit_date": (429, RATE_LIMIT, {"retry-after": SOON, "date": DATE}),
    "busy": (503, error("The engine is currently overloaded", "server_error"), {}),
    "unprocessable": (422, {"detail": [{"loc": ["body", "model"], "msg": "Field required", "type": "missing"}]}, {}),
    "html": (502, b"<html><body>Bad Gateway</body></html>", {"content-type": "text/html"}),
}


class OpenAiAudio(Cloud):
    """Hears what it is posted."""

    def render_POST(self, request: Request) -> int:
        mishap = self.see(request)
        if request.path != b"/v1/audio/transcriptions":
            return answer(request, error(f"Invalid URL (POST {request.path.decode()})", "invalid_request_error"), 404)
        if self.key and request.getHeader("authorization") != f"Bearer {self.key}":
            mishap = "bad_key"
        if mishap in REFUSALS:
            status, body, headers = REFUSALS[mishap]
            return answer(request, body, status, headers)
        try:
            form = read_form(request)
            pcm, rate_hz = self._sound(form)
        except ValueError as refused:
            return answer(request, error(str(refused), "invalid_request_error"), 400)
        self.asked.append(form)
        self.on_asked()
        heard = self.ear.hear(pcm, rate_hz)
        return self.reply(request, mishap, verbose(heard, len(pcm) / 2 / rate_hz, mishap))

    def _sound(self, form: Form) -> tuple[bytes, int]:
        file = form.files.get("file")
        if file is None or not form.one("model"):
            raise ValueError("you must provide a file and a model parameter")
        if file.filename.rpartition(".")[2] not in EXTENSIONS:
            raise ValueError(f"Unrecognized file format. Supported formats: {EXTENSIONS}")
        if form.fields.get("timestamp_granularities[]") and form.one("response_format") != "verbose_json":
            raise ValueError("timestamp_granularities needs response_format verbose_json")
        pcm, rate_hz = read_wav(file.raw)
        if len(pcm) < rate_hz // 5:
            raise ValueError("Audio file is too short. Minimum audio length is 0.1 seconds.")
        return pcm, rate_hz


def verbose(heard: Sequence[Heard], duration_s: float, variant: str = "") -> dict[str, Any]:
    """Write a `verbose_json` answer; variants leave out or misspell what some servers do."""
    text = " ".join(word.text for word in heard)
    if variant == "text_only":
        return {"text": text}
    segment = {
        "id": 0,
        "seek": 0,
        "start": heard[0].start_s if heard else 0.0,
        "end": heard[-1].end_s if heard else duration_s,
        "text": " " + text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.1,
        "no_speech_prob": 0.01,
    }
    words = [{"word": word.text, "start": word.start_s, "end": word.end_s} for word in heard]
    body: dict[str, Any] = {"task": "transcribe", "language": "english", "duration": duration_s, "text": text}
    body["segments"] = [segment] if heard else []
    if variant == "made_up":
        body["segments"].append(
            {**segment, "text": " Thanks for watching!", "avg_logprob": -1.4, "no_speech_prob": 0.8, "end": duration_s}
        )
    if variant == "numbers_as_text":
        body["duration"] = str(duration_s)
        segment["start"], segment["end"] = str(segment["start"]), str(segment["end"])
    if variant != "no_words":
        body["words"] = words
    return body


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    add_common_arguments(parser, 8001)
    parser.add_argument("--slow-s", type=float, default=30, help="delay of the mishap `slow`, seconds")


def run(args: Namespace) -> None:
    """Serve until interrupted."""
    from twisted.internet import reactor

    any_reactor: Any = reactor
    cloud = OpenAiAudio(any_reactor, ear_of(args), key=args.key, mishaps=mishaps_of(args), slow_s=args.slow_s)
    port = serve(cloud, any_reactor, args.port)
    print(f"OpenAI audio stand-in: base_url = http://127.0.0.1:{port.getHost().port}/v1", flush=True)
    any_reactor.run()


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    add_arguments(parser)
    run(parser.parse_args())
