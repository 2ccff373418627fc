"""What the same streams cost a client of a few lines on grpc.aio, which does nothing but send and count.

The measure for `google_streams`: no reactor, no ring of sound that can be replayed, no voice detection, no frames of
20 ms; each stream is a task that writes a request of 100 ms and sleeps.
"""

import asyncio
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from random import Random
from typing import Any, Final

import grpc
from google.cloud.speech_v2.types import cloud_speech as cs

from voicemedia.audio.g711 import encode_mulaw
from voicemedia.interfaces import Expected
from voicemedia.stt.google_options import Options
from voicemedia.stt.google_stream import METHOD, first_request

CHUNK: Final = 800
"Octets of mu-law in 100 ms."
PER_CHANNEL: Final = 80
OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)
Speech = tuple[str, list[bytes]]
"What is said, and its frames (s16le, 8 kHz)."

_Request = type(cs.StreamingRecognizeRequest.pb(cs.StreamingRecognizeRequest()))
_Response = type(cs.StreamingRecognizeResponse.pb(cs.StreamingRecognizeResponse()))


class Client:
    """So many streams at once, each utterance a stream."""

    def __init__(self, port: int, speeches: Sequence[Speech]) -> None:
        self._address = f"127.0.0.1:{port}"
        sounds = [(text, encode_mulaw(b"".join(frames))) for text, frames in speeches]
        self._utterances = [
            (text, [sound[at : at + CHUNK] for at in range(0, len(sound), CHUNK)]) for text, sound in sounds
        ]
        self._config = _Request.FromString(first_request(Options(), 8000, Expected()))
        self._talks: list[asyncio.Task[None]] = []
        self.right = self.wrong = 0

    async def run(self, streams: int, warm_up_s: float, seconds: float) -> float:
        """Speak; return the processor time per second after the warm-up."""
        channels = [
            grpc.aio.insecure_channel(self._address, options=OPTIONS).stream_stream(
                METHOD, request_serializer=_Request.SerializeToString, response_deserializer=_Response.FromString
            )
            for _ in range(0, streams, PER_CHANNEL)
        ]
        self._talks = [asyncio.create_task(self._talk(channels[n // PER_CHANNEL], n)) for n in range(streams)]
        await asyncio.sleep(warm_up_s)
        began, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - used) / (time.perf_counter() - began)

    async def _talk(self, open_stream: Any, number: int) -> None:
        random = Random(number)
        await asyncio.sleep(random.random() * 10)
        while True:
            text, chunks = random.choice(self._utterances)
            call = open_stream()
            writer = asyncio.create_task(self._write(call, chunks))
            said = [result async for response in call for result in response.results if result.is_final]
            await writer
            right = " ".join(result.alternatives[0].transcript for result in said) == text
            self.right += right
            self.wrong += not right

    async def _write(self, call: Any, chunks: list[bytes]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        await call.write(self._config)
        for number, chunk in enumerate(chunks, 1):
            await call.write(_Request(audio=chunk))
            await asyncio.sleep(max(0.0, began + number / 10 - clock()))
        await call.done_writing()


def measure(pipe: Connection, port: int, speeches: Sequence[Speech], streams: int, seconds: float) -> None:
    """Measure in a process of its own; say the load, and how many utterances were heard wrong. Speaks until killed."""
    client = Client(port, speeches)

    async def run() -> None:
        pipe.send((await client.run(streams, 10.5, seconds), client.wrong))
        await asyncio.get_running_loop().create_future()

    asyncio.run(run())
