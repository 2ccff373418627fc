"""A stand-in for Google Cloud Speech-to-Text V2: its real wire, its limits and its errors, on loopback.

    python -m tests.clouds.google --port 50099 --hear sphinx
    python -m tests.clouds.google --port 50099 --hear "0.5 hello 0.9 world 1.5 ." --limit-s 20

Every limit of Google's is on from the start; each failure has a switch, which a test may also turn while it runs.
"""

import argparse
import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.cloud.speech_v2.types import cloud_speech as cs
from google.protobuf.duration_pb2 import Duration

from tests.clouds.marked import Heard
from tests.clouds.stream_ears import Ear, MakeEar, marked_ear, scripted_ear, sphinx_ear
from voicemedia.audio.g711 import decode_alaw, decode_mulaw

SERVICE: Final = "google.cloud.speech.v2.Speech"
Encoding = cs.ExplicitDecodingConfig.AudioEncoding
Event = cs.StreamingRecognizeResponse.SpeechEventType

DECODERS: Final[dict[int, Any]] = {
    Encoding.LINEAR16: bytes,
    Encoding.MULAW: decode_mulaw,
    Encoding.ALAW: decode_alaw,
}


def _raw(kind: Any) -> Any:
    """Give the protobuf class beneath a type of the library: a tenth of the time, for a server of many streams."""
    return type(kind.pb(kind()))


_Request, _Response = map(_raw, (cs.StreamingRecognizeRequest, cs.StreamingRecognizeResponse))
_Result, _Alternative, _Word = map(_raw, (cs.StreamingRecognitionResult, cs.SpeechRecognitionAlternative, cs.WordInfo))

SAMPLE_BYTES: Final = {Encoding.LINEAR16: 2, Encoding.MULAW: 1, Encoding.ALAW: 1}


class Refused(Exception):
    """The stream ends with an error."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


@dataclass(frozen=True)
class End:
    """A way in which Google ends a stream."""

    code: grpc.StatusCode
    details: str

    def refused(self) -> Refused:
        """Make the exception: a new one for each stream."""
        return Refused(self.code, self.details)


LIMIT: Final = End(grpc.StatusCode.ABORTED, "Max duration of 5 minutes reached for stream.")
IDLE: Final = End(grpc.StatusCode.ABORTED, "Stream timed out after receiving no more client requests.")


def _misfortune(how: str) -> Refused | None:
    if how == "end":
        return None
    return (LIMIT if how == "limit" else End(grpc.StatusCode[how], "struck")).refused()


@dataclass
class Switches:
    """Limits and failures. Times are in seconds of the wall clock; 0: never."""

    limit_s: float = 300.0
    "ABORTED: the duration limit."
    idle_s: float = 10.0
    "ABORTED: no request for so long."
    max_audio_bytes: int = 25_600
    "INVALID_ARGUMENT: more sound than this in one request."
    max_speed: float = 0.0
    "OUT_OF_RANGE: sound that comes so many times faster than real time, beyond its first ten seconds."
    quota: int = 0
    "RESOURCE_EXHAUSTED: more streams than this at once."
    key: str = ""
    "UNAUTHENTICATED: streams without this `x-goog-api-key`."
    delay_s: float = 0.0
    "Every answer comes so much later."
    hello: bool = False
    "An empty response at once, as clients that wait for one need."
    stall_after_s: float = 0.0
    "Says nothing more after so much sound, but goes on reading."
    deaf_after_s: float = 0.0
    "Does not even read any more after so much sound."
    fail_after_s: float = 0.0
    "`fail_with` after so much sound."
    fail_with: str = "UNAVAILABLE"
    end_after_s: float = 0.0
    "Ends as if all were well after so much sound, though the client has not."
    garbage: bool = False
    "Answers what is no protobuf."
    finals_on_finish_s: float = 0.0
    "The finals after a half-close come so much later."
    pause_ms: int = 500
    "Silence that ends an utterance, in ms (marked sound)."
    bill: bool = True
    "Says what was billed, in whole seconds."


@dataclass
class Tally:
    """What the stand-in has seen."""

    streams: int = 0
    live: int = 0
    most_live: int = 0
    audio_bytes: int = 0
    requests: int = 0
    largest: int = 0
    half_closes: int = 0
    configs: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)


class GoogleCloud:
    """The server. Everything runs on the asyncio loop on which it is started."""

    def __init__(self, make_ear: MakeEar | None = None, switches: Switches | None = None) -> None:
        self.switches = switches or Switches()
        self.make_ear = make_ear or (lambda rate_hz: marked_ear(self.switches.pause_ms)(rate_hz))
        self.tally = Tally()
        self.calls: set[Call] = set()
        self._server: Any = None
        self.port = 0

    async def start(self, port: int = 0) -> int:
        """Listen on loopback; return the port."""
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        method = grpc.stream_stream_rpc_method_handler(self._recognize, _Request.FromString, self._serialize)
        handler = grpc.method_handlers_generic_handler(SERVICE, {"StreamingRecognize": method})
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        return self.port

    async def stop(self) -> None:
        """Stop at once, as a machine that dies."""
        await self._server.stop(None)

    async def strike(self, how: str) -> None:
        """Let misfortune befall every stream there is: `limit`, `end`, `stall`, or the name of a status."""
        for call in tuple(self.calls):
            if how == "stall":
                call.stalled = True
            elif not call.failed.done():
                call.failed.set_result(_misfortune(how))

    async def serve(self) -> None:
        """Run until stopped."""
        await self._server.wait_for_termination()

    def _serialize(self, response: Any) -> bytes:
        if self.switches.garbage:
            return b"\xff\xff\xff\xff not a protobuf"
        written: bytes = response.SerializeToString()
        return written

    async def _recognize(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        tally = self.tally
        tally.streams += 1
        tally.live += 1
        tally.most_live = max(tally.most_live, tally.live)
        call = Call(self, requests, dict(context.invocation_metadata()))
        self.calls.add(call)
        try:
            async for response in call.answer():
                yield response
        except Refused as refused:
            await context.abort(refused.code, refused.details)
        finally:
            tally.live -= 1
            self.calls.discard(call)


class Call:
    """One stream."""

    def __init__(self, cloud: GoogleCloud, requests: AsyncIterator[Any], metadata: dict[str, str]) -> None:
        self._cloud, self._requests, self._metadata = cloud, requests, metadata
        self._out: asyncio.Queue[Any] = asyncio.Queue()
        self._began = self._asked = asyncio.get_running_loop().time()
        "When it was opened, and when its client was last heard."
        self._watching: asyncio.TimerHandle | None = None
        self._ear: Ear | None = None
        self._decode: Any = bytes
        self._sample_bytes, self._rate_hz = 2, 16000
        self._seconds = 0.0
        "Sound received."
        self._features: Any = None
        self._language = ""
        self._speaking = False
        self.failed: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()
        "Set to end this stream now."
        self.stalled = False

    @property
    def switches(self) -> Switches:
        return self._cloud.switches

    async def answer(self) -> AsyncIterator[Any]:
        """Give the responses, while another task reads the requests."""
        reader = asyncio.get_running_loop().create_task(self._read())
        reader.add_done_callback(self._read_over)
        self.failed.add_done_callback(lambda _future: self._out.put_nowait(None))
        try:
            if self.switches.hello:
                yield _Response()
            while (response := await self._out.get()) is not None:
                if self.switches.delay_s:
                    # The slowness the test has asked for, not a wait for anything.
                    await asyncio.sleep(self.switches.delay_s)
                yield response
            if not self.failed.done():
                reader.result()
            elif (refused := self.failed.result()) is not None:
                raise refused
        finally:
            reader.cancel()
            if self._watching is not None:
                self._watching.cancel()

    def _read_over(self, reader: "asyncio.Task[None]") -> None:
        # Looked at even if nobody asks why: a client that has gone takes no answer.
        if not reader.cancelled():
            reader.exception()
        self._out.put_nowait(None)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        self._admit()
        self._watch(loop)
        async for request in self._requests:
            self._asked = loop.time()
            if self._ear is None:
                self._configure(cs.StreamingRecognizeRequest.wrap(request))
            elif self._take(request.audio):
                return
            if self.switches.deaf_after_s and self._seconds >= self.switches.deaf_after_s:
                await loop.create_future()
        await self._finish()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the stream when it grows too old, or when its client falls silent."""
        if self.failed.done():
            return
        switches, now = self.switches, loop.time()
        limit_s = self._began + (switches.limit_s or math.inf) - now
        idle_s = self._asked + (switches.idle_s or math.inf) - now
        if min(limit_s, idle_s) <= 0:
            self.failed.set_result((LIMIT if limit_s <= 0 else IDLE).refused())
        elif min(limit_s, idle_s) < math.inf:
            self._watching = loop.call_later(min(limit_s, idle_s), self._watch, loop)

    def _admit(self) -> None:
        switches, tally = self.switches, self._cloud.tally
        if len(tally.metadata) < 1000:
            tally.metadata.append(self._metadata)
        if switches.key and self._metadata.get("x-goog-api-key") != switches.key:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "API key not valid. Please pass a valid API key.")
        if switches.quota and tally.live > switches.quota:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "Quota exceeded for quota metric 'Concurrent streaming sessions' of service 'speech.googleapis.com'.",
            )

    def _configure(self, request: Any) -> None:
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        if not request.recognizer.startswith("projects/") or "/recognizers/" not in request.recognizer:
            raise Refused(invalid, "Invalid resource field value in the request.")
        streaming = request.streaming_config
        if request.audio or not cs.StreamingRecognizeRequest.pb(request).HasField("streaming_config"):
            raise Refused(invalid, "The first request must contain streaming_config only.")
        config = streaming.config
        if config.model.startswith("telephony") and config.adaptation.phrase_sets:
            raise Refused(invalid, "Recognizer does not support feature: speech_adaptation_boost")
        decoding = config.explicit_decoding_config
        if decoding.encoding not in DECODERS or not 8000 <= decoding.sample_rate_hertz <= 48000:
            raise Refused(invalid, "Audio data does not appear to be in a supported encoding.")
        if not config.language_codes:
            raise Refused(invalid, "Must specify at least one language code.")
        if len(self._cloud.tally.configs) < 1000:
            self._cloud.tally.configs.append(request)
        self._rate_hz = decoding.sample_rate_hertz
        self._decode, self._sample_bytes = DECODERS[decoding.encoding], SAMPLE_BYTES[decoding.encoding]
        self._features = streaming.streaming_features
        self._language = config.language_codes[0] if config.language_codes[0] != "auto" else "en-us"
        self._words = config.features.enable_word_time_offsets
        self._ear = self._cloud.make_ear(self._rate_hz)

    def _take(self, audio: bytes) -> bool:
        """Hear some sound; return whether the stream ends here."""
        switches, tally = self.switches, self._cloud.tally
        tally.requests += 1
        tally.audio_bytes += len(audio)
        tally.largest = max(tally.largest, len(audio))
        if len(audio) > switches.max_audio_bytes:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Audio chunk can be of a a maximum of {switches.max_audio_bytes} bytes. "
                f"Received audio of {len(audio)} bytes instead.",
            )
        self._seconds += len(audio) / self._sample_bytes / self._rate_hz
        since_s = asyncio.get_running_loop().time() - self._began
        if switches.max_speed and self._seconds - 10 > since_s * switches.max_speed:
            raise Refused(grpc.StatusCode.OUT_OF_RANGE, "Audio data is being streamed too fast.")
        if switches.limit_s and since_s >= switches.limit_s:
            raise LIMIT.refused()
        if switches.fail_after_s and self._seconds >= switches.fail_after_s:
            raise Refused(grpc.StatusCode[switches.fail_with], f"{switches.fail_with.lower()}, as the switch says")
        assert self._ear is not None
        for heard in self._ear.feed(self._decode(audio)):
            self._say(heard)
        return bool(switches.end_after_s and self._seconds >= switches.end_after_s)

    async def _finish(self) -> None:
        self._cloud.tally.half_closes += 1
        if self._ear is None:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "The first request must contain streaming_config only.")
        if self.switches.finals_on_finish_s:
            # As above: asked for by the test.
            await asyncio.sleep(self.switches.finals_on_finish_s)
        self._say(self._ear.finish(), last=True)
        if self._is_stalled():
            await asyncio.get_running_loop().create_future()

    def _is_stalled(self) -> bool:
        after_s = self.switches.stall_after_s
        return self.stalled or bool(after_s and self._seconds >= after_s)

    def _say(self, heard: Heard, *, last: bool = False) -> None:
        switches = self.switches
        if self._is_stalled():
            return
        self._tell_activity(heard)
        if not heard.final and not self._features.interim_results:
            return
        response = _Response(results=[self._result(heard)] if heard.text else [])
        if switches.bill and (last or heard.final):
            response.metadata.total_billed_duration.seconds = math.ceil(self._seconds)
        self._out.put_nowait(response)

    def _tell_activity(self, heard: Heard) -> None:
        if not self._features.enable_voice_activity_events or self._speaking == bool(heard.text and not heard.final):
            return
        self._speaking = not self._speaking
        event = Event.SPEECH_ACTIVITY_BEGIN if self._speaking else Event.SPEECH_ACTIVITY_END
        self._out.put_nowait(_Response(speech_event_type=event, speech_event_offset=_duration(heard.end_ms)))

    def _result(self, heard: Heard) -> Any:
        words = [
            _Word(
                word=word.text, start_offset=_duration(word.start_ms), end_offset=_duration(word.end_ms), confidence=0.9
            )
            for word in heard.words
        ]
        best = _Alternative(
            transcript=heard.text, confidence=0.92 if heard.final else 0.0, words=words if self._words else []
        )
        return _Result(
            alternatives=[best],
            is_final=heard.final,
            stability=0.0 if heard.final else 0.9,
            result_end_offset=_duration(heard.end_ms),
            language_code=self._language,
        )


def _duration(ms: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(ms)
    return duration


def ear_named(name: str, pause_ms: int) -> MakeEar:
    """Choose an ear: `marked`, `sphinx`, or a script."""
    if name == "marked":
        return marked_ear(pause_ms)
    return sphinx_ear() if name == "sphinx" else scripted_ear(name)


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Switches]:
    """Read the command line: every switch is an option."""
    parser = argparse.ArgumentParser(prog="google", description="A stand-in for Google Speech-to-Text V2.")
    parser.add_argument("--port", type=int, default=50099, help="port on loopback; 0: the system chooses")
    parser.add_argument("--hear", default="sphinx", help="sphinx (default), marked, or a script: '0.5 hello 1.0 .'")
    names = Switches.__dataclass_fields__
    for name, switch in names.items():
        option, default = f"--{name.replace('_', '-')}", switch.default
        if isinstance(default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(option, type=type(default), default=default, metavar=str(default))
    chosen = parser.parse_args(arguments)
    return chosen, Switches(**{name: getattr(chosen, name) for name in names})


async def _main(arguments: Sequence[str] | None) -> None:
    chosen, switches = parse(arguments)
    cloud = GoogleCloud(ear_named(chosen.hear, switches.pause_ms), switches)
    port = await cloud.start(chosen.port)
    print(f"google stand-in on 127.0.0.1:{port}", flush=True)
    await cloud.serve()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stand-in until it is interrupted."""
    try:
        asyncio.run(_main(arguments))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
