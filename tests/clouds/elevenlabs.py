"""A stand-in for ElevenLabs: `POST /v1/speech-to-text` and the realtime WebSocket under it; voices as well.

The voices are in `elevenlabs_speech`.

Run it: `python -m tests.clouds.elevenlabs --port 8002`. Mishaps of a request: `bad_key`, `quota`, `concurrent`,
`busy`, `unprocessable`, `slow`, `half_closed`, `stalled`, `reset`, `garbage`, `text_only`. Mishaps of a realtime
session: any error type of the API (`rate_limited`; sent with the first sound), the same with `@commit` (sent in
answer to a commit), `http_401`, `http_429`, `http_503`, `silent`, `vanish`, `vanish@commit`, `garbage`.
"""
# mypy: disallow-untyped-calls=False

import json
from argparse import ArgumentParser, Namespace
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.web.resource import Resource

from tests.clouds.ears import Ear, Heard
from tests.clouds.elevenlabs_speech import Speech, Voices
from tests.clouds.mouths import Mouth, ToneMouth, mouth_named
from tests.clouds.web import (
    Cloud,
    Form,
    Mishaps,
    add_common_arguments,
    answer,
    ear_of,
    mishaps_of,
    read_form,
    read_wav,
    serve,
)
from voicemedia.audio.g711 import decode_mulaw
from voicemedia.audio.pcm import rms

MODELS = ("scribe_v1", "scribe_v2")


def detail(status: str, message: str, **more: str) -> dict[str, Any]:
    return {"detail": {"status": status, "message": message, **more}}


def field_error(name: str, message: str, kind: str) -> dict[str, Any]:
    return {"detail": [{"loc": ["body", name], "msg": message, "type": kind}]}


CONCURRENT = detail(
    "too_many_concurrent_requests",
    "Too many concurrent requests. Your current subscription is associated with a maximum of 2 concurrent requests.",
    type="rate_limit_error",
    code="concurrent_limit_exceeded",
)
REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "bad_key": (401, detail("invalid_api_key", "Invalid API key")),
    "quota": (401, detail("quota_exceeded", "This request exceeds your quota.")),
    "concurrent": (429, CONCURRENT),
    "busy": (429, detail("system_busy", "Our services are experiencing high traffic.")),
    "unprocessable": (422, field_error("model_id", "field required", "value_error.missing")),
}


class Scribe(Cloud):
    """Hears a file."""

    def render_POST(self, request: Any) -> int:
        mishap = self.see(request)
        if self.key and request.getHeader("xi-api-key") != self.key:
            mishap = "bad_key"
        if mishap in REFUSALS:
            status, body = REFUSALS[mishap]
            return answer(request, body, status)
        try:
            form = read_form(request)
            pcm, rate_hz = self._sound(form)
        except ValueError as refused:
            return answer(request, field_error("file", str(refused), "value_error"), 422)
        self.asked.append(form)
        self.on_asked()
        return self.reply(request, mishap, transcript(self.ear.hear(pcm, rate_hz), mishap))

    def _sound(self, form: Form) -> tuple[bytes, int]:
        if form.one("model_id") not in MODELS:
            raise ValueError("model_id: unknown")
        if form.one("keyterms") and form.one("model_id") == "scribe_v1":
            raise ValueError("keyterms: not for scribe_v1")
        file = form.files.get("file")
        if file is None:
            raise ValueError("field required")
        if form.one("file_format", "other") == "pcm_s16le_16":
            return file.raw, 16000
        return read_wav(file.raw)


def listed(heard: Sequence[Heard]) -> list[dict[str, Any]]:
    """List words as Scribe does, the spaces between them too."""
    words: list[dict[str, Any]] = []
    for word in heard:
        if words:
            words.append({"text": " ", "start": words[-1]["end"], "end": word.start_s, "type": "spacing", "logprob": 0})
        words.append({"text": word.text, "start": word.start_s, "end": word.end_s, "type": "word", "logprob": -0.2})
    return words


def transcript(heard: Sequence[Heard], variant: str = "") -> dict[str, Any]:
    """Write the answer to a file."""
    body = {
        "language_code": "eng",
        "language_probability": 0.98,
        "text": " ".join(word.text for word in heard),
        "transcription_id": "t-1",
    }
    return body if variant == "text_only" else {**body, "words": listed(heard)}


# --- realtime ---

LEAST_COMMIT_S = 0.3
PARTIAL_S = 0.5
LARGEST_CHUNK = 1 << 20
LOUD = 200


class RealtimeSession(WebSocketServerProtocol):
    """One session of the realtime socket."""

    transport: Any

    def onConnect(self, request: Any) -> None:
        cloud: Realtime = self.factory.cloud
        cloud.sessions.append(self)
        self.cloud = cloud
        self.mishap = cloud.mishaps.next()
        self.query = {name: values[-1] for name, values in request.params.items()}
        if self.mishap.startswith("http_"):
            raise ConnectionDeny(int(self.mishap[5:]), "refused")
        if cloud.key and request.headers.get("xi-api-key") != cloud.key:
            self.mishap = "auth_error@open"
        self.sound = b""
        self.silence_s = self.partial_s = self.rested_s = 0.0
        self.seen: list[dict[str, Any]] = []
        form, _, rate = self.query.get("audio_format", "pcm_16000").partition("_")
        self.mulaw, self.rate_hz = form == "ulaw", int(rate)
        self.vad_s = float(self.query.get("vad_silence_threshold_secs", "1.5"))
        self.automatic = self.query.get("commit_strategy", "manual") == "vad"

    def onOpen(self) -> None:
        if self.mishap.endswith("@open"):
            return self.fail(self.mishap.partition("@")[0])
        self.tell("session_started", session_id="s-1", config=self.query)

    def tell(self, kind: str, **more: Any) -> None:
        self.sendMessage(json.dumps({"message_type": kind, **more}).encode())

    def fail(self, kind: str) -> None:
        """Tell of an error and hang up."""
        self.tell(kind, error=f"mishap {kind}")
        self.sendClose(1000)

    def onMessage(self, payload: bytes, _binary: bool) -> None:
        if self.state != self.STATE_OPEN:
            # After our goodbye.
            return
        message = json.loads(payload)
        self.seen.append(message)
        if message.get("message_type") != "input_audio_chunk" or message.get("sample_rate") != self.rate_hz:
            return self.fail("input_error")
        if len(payload) > LARGEST_CHUNK:
            return self.fail("chunk_size_exceeded")
        octets = b64decode(message["audio_base_64"], validate=True)
        if octets:
            self.take(decode_mulaw(octets) if self.mulaw else octets)
        if message["commit"]:
            self.commit(asked=True)
        self.cloud.on_asked()

    def take(self, pcm: bytes) -> None:
        seconds = len(pcm) / 2 / self.rate_hz
        if self.mishap == "vanish":
            self.transport.abortConnection()
            return
        if self.mishap == "garbage":
            self.sendMessage(b"{]")
            return
        if self.mishap and "@" not in self.mishap and self.mishap != "silent":
            return self.fail(self.mishap)
        self.sound += pcm
        self.silence_s = self.silence_s + seconds if rms(pcm, 2) < LOUD else 0.0
        self.partial_s += seconds
        if self.mishap == "silent":
            return
        if self.automatic and self.silence_s >= self.vad_s:
            self.commit(asked=False)
        elif self.partial_s >= PARTIAL_S and (began_s := self.cloud.seconds()) >= self.rested_s:
            self.partial_s = 0.0
            self.tell("partial_transcript", text=" ".join(word.text for word in self.heard()))
            # Each guess hears the whole utterance anew: a slow ear takes rests, or it would fall behind its caller.
            ended_s = self.cloud.seconds()
            self.rested_s = ended_s + 2 * (ended_s - began_s)

    def heard(self) -> list[Heard]:
        return self.cloud.ear.hear(self.sound, self.rate_hz)

    def commit(self, *, asked: bool) -> None:
        if self.mishap == "vanish@commit":
            self.transport.abortConnection()
            return
        if self.mishap.endswith("@commit"):
            return self.fail(self.mishap.partition("@")[0])
        if self.mishap == "silent":
            return
        if asked and len(self.sound) / 2 / self.rate_hz < LEAST_COMMIT_S:
            return self.tell("commit_throttled", error="less than 0.3 s of uncommitted audio")
        heard = self.heard()
        text = " ".join(word.text for word in heard)
        self.sound, self.silence_s, self.partial_s = b"", 0.0, 0.0
        if text or asked:
            self.tell("committed_transcript", text=text)
            if self.query.get("include_timestamps") == "true":
                words = listed(heard)
                self.tell("committed_transcript_with_timestamps", text=text, language_code="en", words=words)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        if self in self.cloud.sessions:
            self.cloud.closed += 1
        self.cloud.on_asked()


class Realtime:
    """What all realtime sessions share."""

    def __init__(self, ear: Ear, key: str, mishaps: Iterable[str], seconds: Callable[[], float]) -> None:
        self.ear = ear
        self.seconds = seconds
        self.key = key
        self.mishaps = Mishaps(mishaps)
        self.sessions: list[RealtimeSession] = []
        self.closed = 0
        self.on_asked: Any = lambda: None


class SpeechToText(Resource):
    """`/v1/speech-to-text` and what is under it."""

    def __init__(self, scribe: Scribe, realtime: Realtime, reactor: Any) -> None:
        super().__init__()
        self._scribe = scribe
        factory: Any = WebSocketServerFactory(reactor=reactor)
        factory.protocol = RealtimeSession
        factory.cloud = realtime
        factory.setProtocolOptions(webStatus=False)
        self.putChild(b"realtime", WebSocketResource(factory))

    def render_POST(self, request: Any) -> int:
        return self._scribe.render_POST(request)


class ElevenLabs:
    """The whole stand-in.

    :param sessions: mishaps of realtime sessions; `mishaps` are those of requests.
    :param speeches: mishaps of requests to speak; `contexts` are those of sentences over a WebSocket.
    """

    def __init__(
        self,
        reactor: Any,
        ear: Ear,
        *,
        key: str = "",
        mishaps: Iterable[str] = (),
        sessions: Iterable[str] = (),
        slow_s: float = 30,
        mouth: Mouth | None = None,
        speeches: Iterable[str] = (),
        contexts: Iterable[str] = (),
    ) -> None:
        self.speech = Speech(reactor, mouth or ToneMouth(), REFUSALS, key=key, mishaps=speeches, contexts=contexts)
        self.scribe = Scribe(reactor, ear, key=key, mishaps=mishaps, slow_s=slow_s)
        self.realtime = Realtime(ear, key, sessions, reactor.seconds)
        self.root = Resource()
        version = Resource()
        self.root.putChild(b"v1", version)
        version.putChild(b"speech-to-text", SpeechToText(self.scribe, self.realtime, reactor))
        version.putChild(b"text-to-speech", Voices(self.speech))


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    add_common_arguments(parser, 8002)
    parser.add_argument("--slow-s", type=float, default=30, help="delay of the mishap `slow`, seconds")
    parser.add_argument("--session-mishaps", default="", help="comma-separated mishaps of the next realtime sessions")
    parser.add_argument("--mouth", choices=("real", "tones"), default="real", help="speak for real, or in tones")
    parser.add_argument("--speech-mishaps", default="", help="comma-separated mishaps of the next requests to speak")
    parser.add_argument("--context-mishaps", default="", help="comma-separated mishaps of the next spoken contexts")


def run(args: Namespace) -> None:
    """Serve until interrupted."""
    from twisted.internet import reactor

    any_reactor: Any = reactor
    cloud = ElevenLabs(
        any_reactor,
        ear_of(args),
        key=args.key,
        mishaps=mishaps_of(args),
        sessions=filter(None, args.session_mishaps.split(",")),
        slow_s=args.slow_s,
        mouth=mouth_named(args.mouth, any_reactor),
        speeches=filter(None, args.speech_mishaps.split(",")),
        contexts=filter(None, args.context_mishaps.split(",")),
    )
    port = serve(cloud.root, any_reactor, args.port)
    print(f"ElevenLabs stand-in: base_url = http://127.0.0.1:{port.getHost().port}", flush=True)
    any_reactor.run()


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    add_arguments(parser)
    run(parser.parse_args())
