"""A stand-in for OpenAI's `POST /v1/audio/speech`: 24 kHz s16le, or WAV with made-up sizes.

Run it: `voicemedia cloud openai_speech --port 8003`. Mishaps: `bad_key`, `rate_limit`, `busy`, `slow`, `cut`,
`stalled`, `reset`, `wav`.
"""
# mypy: disallow-untyped-calls=False

import json
import struct
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.clouds.mouths import Mouth, Voiced, mouth_named
from tests.clouds.openai_audio import REFUSALS, error
from tests.clouds.web import Mishaps, answer, later, reset, serve, write_in_pieces

PCM_HZ = 24_000
WAV_HEADER = b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)


class OpenAiSpeech(Resource):
    """Says what it is posted."""

    isLeaf = True

    def __init__(
        self, reactor: Any, mouth: Mouth, *, key: str = "", mishaps: Iterable[str] = (), slow_s: float = 30
    ) -> None:
        super().__init__()
        self.reactor, self.mouth, self.key, self.slow_s = reactor, mouth, key, slow_s
        self.mishaps = Mishaps(mishaps)
        self.asked: list[dict[str, Any]] = []
        self.left = 0
        self.on_asked: Callable[[], object] = lambda: None

    def render_POST(self, request: Any) -> int:
        mishap = self.mishaps.next()
        request.notifyFinish().addErrback(self._count_left)
        if request.path != b"/v1/audio/speech":
            return answer(request, error(f"Invalid URL (POST {request.path.decode()})", "invalid_request_error"), 404)
        if self.key and request.getHeader("authorization") != f"Bearer {self.key}":
            mishap = "bad_key"
        if mishap in REFUSALS:
            status, body, headers = REFUSALS[mishap]
            return answer(request, body, status, headers)
        asked = json.loads(request.content.read())
        if not all(asked.get(name) for name in ("model", "input", "voice")):
            return answer(request, error("model, input and voice are required", "invalid_request_error"), 400)
        self.asked.append(asked)
        self.on_asked()
        if mishap == "reset":
            return reset(request)
        spoken = self.mouth.speak(asked["input"], 16_000 if mishap == "wav" else PCM_HZ)
        if mishap == "slow":
            spoken.addCallback(
                lambda voiced: later(self.reactor, self.slow_s, request, lambda: self._write(voiced, request, mishap))
            )
        else:
            spoken.addCallback(self._write, request, mishap)
        return NOT_DONE_YET

    def _count_left(self, _failure: Any) -> None:
        self.left += 1
        self.on_asked()

    def _write(self, voiced: Voiced, request: Any, mishap: str) -> None:
        octets = voiced.pcm
        if mishap == "wav":
            octets = WAV_HEADER + b"data\xff\xff\xff\xff" + octets
        request.setHeader("content-type", "audio/wav" if mishap == "wav" else "audio/pcm")
        write_in_pieces(request, octets, mishap)


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    add_speech_arguments(parser, 8003)


def add_speech_arguments(parser: ArgumentParser, port: int) -> None:
    """Describe the command line of any stand-in that speaks."""
    parser.add_argument("--port", type=int, default=port, help="TCP port on 127.0.0.1; 0: any")
    parser.add_argument("--mouth", choices=("real", "tones"), default="real", help="speak for real, or in tones")
    parser.add_argument("--key", default="", help="the API key asked for; empty: any")
    parser.add_argument("--mishaps", default="", help="comma-separated mishaps of the next requests")
    parser.add_argument("--slow-s", type=float, default=30, help="delay of the mishap `slow`, seconds")


def run(args: Namespace, kind: "type[OpenAiSpeech]", name: str) -> None:
    """Serve until interrupted."""
    from twisted.internet import reactor

    any_reactor: Any = reactor
    mishaps = args.mishaps.split(",") if args.mishaps else ()
    mouth = mouth_named(args.mouth, any_reactor)
    cloud = kind(any_reactor, mouth, key=args.key, mishaps=mishaps, slow_s=args.slow_s)
    port = serve(cloud, any_reactor, args.port)
    print(f"{name}: base_url = http://127.0.0.1:{port.getHost().port}/v1", flush=True)
    any_reactor.run()


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    add_arguments(parser)
    run(parser.parse_args(), OpenAiSpeech, "OpenAI speech stand-in")
