"""The voices of the ElevenLabs stand-in: `POST /v1/text-to-speech/{voice}/stream` and `multi-stream-input` beside it.

Mishaps of a request: those of transcriptions, `cut` (the connection closes in mid-sentence), `quiet` (headers only),
`empty` (no sound at all). Mishaps of a context: `error`, `silent`, `vanish` (in mid-sentence), `garbage`,
`unaligned` (no times of characters), `endless` (never says that it is over).
"""
# mypy: disallow-untyped-calls=False

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.clouds.mouths import Mouth, Voiced
from tests.clouds.web import Mishaps, answer, later, reset, write_in_pieces
from voicemedia.audio.g711 import encode_mulaw

Refusals = Mapping[str, tuple[int, dict[str, Any]]]


def encoding_of(output_format: str) -> tuple[int, Callable[[bytes], bytes]]:
    """Give rate and encoder of an output format.

    :raises ValueError: there is none of that name.
    """
    kind, _, rate = output_format.partition("_")
    if output_format == "ulaw_8000":
        return 8000, encode_mulaw
    if kind == "pcm" and rate in ("8000", "16000", "22050", "24000", "44100", "48000"):
        return int(rate), lambda pcm: pcm
    raise ValueError(f"output_format {output_format} is not spoken here")


class Speech:
    """What both ways to speak share.

    :param refusals: error answers by mishap.
    """

    def __init__(
        self,
        reactor: Any,
        mouth: Mouth,
        refusals: Refusals,
        *,
        key: str = "",
        mishaps: Iterable[str] = (),
        contexts: Iterable[str] = (),
    ) -> None:
        self.reactor, self.mouth, self.refusals, self.key = reactor, mouth, refusals, key
        self.mishaps, self.context_mishaps = Mishaps(mishaps), Mishaps(contexts)
        self.asked: list[dict[str, Any]] = []
        "Bodies of requests, with the query under `query` and the voice under `voice`."
        self.told: list[dict[str, Any]] = []
        "Messages of all sockets."
        self.left = 0
        "Requests whose client did not wait for their end."
        self.sockets = 0
        self.slow_s = 0.0
        "Delay of the first sound."
        self.on_asked: Callable[[], object] = lambda: None

    def count_left(self, _failure: Any) -> None:
        self.left += 1
        self.on_asked()


class Stream(Resource):
    """`POST .../stream`."""

    isLeaf = True

    def __init__(self, speech: Speech, voice: str) -> None:
        super().__init__()
        self._speech, self._voice = speech, voice

    def render_POST(self, request: Any) -> int:
        speech = self._speech
        mishap = speech.mishaps.next()
        request.notifyFinish().addErrback(speech.count_left)
        if speech.key and request.getHeader("xi-api-key") != speech.key:
            mishap = "bad_key"
        if mishap in speech.refusals:
            status, body = speech.refusals[mishap]
            return answer(request, body, status)
        try:
            asked = json.loads(request.content.read())
            query = {name.decode(): values[-1].decode() for name, values in request.args.items()}
            rate_hz, encode = encoding_of(query.get("output_format", "mp3_44100_128"))
            text = asked["text"]
        except (ValueError, KeyError, TypeError) as refused:
            return answer(request, {"detail": [{"loc": ["body"], "msg": str(refused), "type": "value_error"}]}, 422)
        speech.asked.append({**asked, "query": query, "voice": self._voice})
        speech.on_asked()
        if mishap == "reset":
            return reset(request)
        spoken = speech.mouth.speak(text, rate_hz)
        spoken.addCallback(lambda voiced: self._later(request, encode(voiced.pcm), mishap))
        return NOT_DONE_YET

    def _later(self, request: Any, octets: bytes, mishap: str) -> None:
        if self._speech.slow_s:
            later(self._speech.reactor, self._speech.slow_s, request, lambda: self._write(request, octets, mishap))
        else:
            self._write(request, octets, mishap)

    def _write(self, request: Any, octets: bytes, mishap: str) -> None:
        request.setHeader("content-type", "application/octet-stream")
        if mishap == "quiet":
            request.write(b"")
            return
        if mishap == "empty":
            request.finish()
            return
        write_in_pieces(request, octets, mishap)


class Contexts(WebSocketServerProtocol):
    """`multi-stream-input`: says a text when it is flushed or its context closed; a closed context is then over."""

    def onConnect(self, request: Any) -> None:
        self.speech: Speech = self.factory.speech
        self.speech.sockets += 1
        self.texts: dict[str, str] = {}
        self.cut: set[str] = set()
        query = {name: values[-1] for name, values in request.params.items()}
        key = request.headers.get("xi-api-key", "")
        if self.speech.key and key != self.speech.key:
            raise ConnectionDeny(403, "invalid_api_key")
        try:
            self.rate_hz, self.encode = encoding_of(query.get("output_format", ""))
        except ValueError as error:
            raise ConnectionDeny(400, str(error)) from error

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        message = json.loads(payload)
        self.speech.told.append(message)
        name = message.get("context_id", "default")
        if message.get("close_socket"):
            self.sendClose(1000)
        elif message.get("close_context"):
            self._close_context(name)
        else:
            self.texts[name] = self.texts.get(name, "") + message.get("text", "")
            if message.get("flush"):
                text, self.texts[name] = self.texts[name].lstrip(), ""
                self.speech.mouth.speak(text, self.rate_hz).addCallback(self._say, name, text)
        self.speech.on_asked()

    def _close_context(self, name: str) -> None:
        if self.texts.pop(name, None) is not None and name not in self.cut:
            self._tell({"audio": None, "isFinal": True, "contextId": name})

    def _say(self, voiced: Voiced, name: str, text: str) -> None:
        mishap = self.speech.context_mishaps.next()
        if mishap == "error":
            self._tell({"error": "system_busy", "message": "try again", "code": 1011, "contextId": name})
        elif mishap == "garbage":
            self.sendMessage(b"\x00{")
        elif mishap != "silent":
            if mishap == "endless":
                self.cut.add(name)
            self._send_chunks(voiced, name, text, mishap)

    def _send_chunks(self, voiced: Voiced, name: str, text: str, mishap: str) -> None:
        """Send words one by one, each with the times of its characters from its own start."""
        starts = [0, *(at + 1 for at, char in enumerate(text[:-1]) if char == " ")]
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True)):
            if mishap == "vanish" and number == len(starts) // 2:
                self.dropConnection(abort=False)
                return
            begin_ms = voiced.begins_ms[start]
            octets = 2 * self.rate_hz // 1000
            end_octet = voiced.begins_ms[end] * octets if end < len(text) else len(voiced.pcm)
            sound = self.encode(voiced.pcm[begin_ms * octets : end_octet])
            times = [ms - begin_ms for ms in voiced.begins_ms[start:end]]
            alignment = {
                "chars": list(text[start:end]),
                "charStartTimesMs": times,
                "charDurationsMs": [0] * len(times),
            }
            self._tell(
                {
                    "audio": b64encode(sound).decode(),
                    "alignment": None if mishap == "unaligned" else alignment,
                    "normalizedAlignment": alignment,
                    "contextId": name,
                }
            )

    def _tell(self, message: dict[str, Any]) -> None:
        self.sendMessage(json.dumps(message).encode())


class Voices(Resource):
    """`/v1/text-to-speech`: a voice of any name."""

    def __init__(self, speech: Speech) -> None:
        super().__init__()
        self._speech = speech

    def getChild(self, path: bytes, request: Any) -> Resource:
        speech = self._speech
        factory: Any = WebSocketServerFactory(reactor=speech.reactor)
        factory.protocol = Contexts
        factory.speech = speech
        factory.setProtocolOptions(webStatus=False)
        voice = Resource()
        voice.putChild(b"stream", Stream(speech, path.decode()))
        voice.putChild(b"multi-stream-input", WebSocketResource(factory))
        return voice
