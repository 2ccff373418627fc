"""From endpoint to final, over sockets, against stand-ins that hear in no time: what our side and the wire add.

`python -m benchmarks.stt_latency` prints a table. Both ends are in this one process, so their work adds up.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import grpc
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.bars import at_most, save
from tests.clouds.ears import ScriptEar, stamped
from tests.clouds.elevenlabs import ElevenLabs
from tests.clouds.openai_audio import OpenAiAudio
from tests.clouds.web import serve
from tests.hearing import Notes, speak
from voicemedia.interfaces import Recognizer
from voicemedia.proto import audio_stream_pb2 as pb
from voicemedia.proto.audio_stream_pb2_grpc import SpeechToTextServicer, add_SpeechToTextServicer_to_server
from voicemedia.stt import grpc_remote, scribe, scribe_realtime, whisper
from voicemedia.threads import loop_thread

UTTERANCES = 300
RATE_HZ = 8000
KEY = "BENCH_XI_KEY"


async def measure(recognizer: Recognizer, reactor: Any) -> list[float]:
    """Speak utterance after utterance of 2 s; return the ms from each endpoint to its final."""
    await recognizer.start()
    notes = Notes()
    recognition = recognizer.listen(RATE_HZ, notes)
    frames = stamped(100, RATE_HZ)
    waits = []
    for number in range(1, UTTERANCES + 1):
        speak(recognition, frames)
        ended = reactor.seconds()
        await notes.until_finals(number, reactor)
        if notes.error is not None:
            raise notes.error
        waits.append((reactor.seconds() - ended) * 1000)
    recognition.close()
    await recognizer.stop()
    # The first one opens the connection.
    return sorted(waits[1:])


class Remote(SpeechToTextServicer):
    """A gRPC service that hears in no time."""

    async def TranscribeAudioSegment(self, request: Any, _context: Any) -> Any:
        return pb.TranscriptionResponse(transcript="go forward", is_final=request.is_final, confidence=1)

    async def serve(self) -> int:
        """Begin to serve; return the port."""
        self.server = grpc.aio.server()
        add_SpeechToTextServicer_to_server(self, self.server)
        port: int = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return port


async def run(reactor: Any, file: Path | None) -> None:
    """Measure all of them."""
    thread, remote = loop_thread(reactor), Remote()
    thread.hold()
    port = await thread.ask(remote.serve)
    os.environ[KEY] = "key"
    openai = serve(OpenAiAudio(reactor, ScriptEar(["go forward"])), reactor)
    eleven = serve(ElevenLabs(reactor, ScriptEar(["go forward"])).root, reactor)
    urls = [f"http://127.0.0.1:{port.getHost().port}" for port in (openai, eleven)]
    recognizers = {
        "whisper": whisper.make(whisper.Options(base_url=urls[0] + "/v1", key_env="", interim=False), reactor),
        "scribe": scribe.make(scribe.Options(base_url=urls[1], key_env=KEY), reactor),
        "scribe_realtime": scribe_realtime.make(scribe_realtime.Options(base_url=urls[1], key_env=KEY), reactor),
        "grpc": grpc_remote.make(grpc_remote.Options(target=f"127.0.0.1:{port}"), reactor),
    }
    sys.stdout.write("| recognizer | p50 ms | p99 ms |\n|---|---|---|\n")
    bars = []
    for name, recognizer in recognizers.items():
        waits = await measure(recognizer, reactor)
        p99 = waits[len(waits) * 99 // 100]
        sys.stdout.write(f"| {name} | {statistics.median(waits):.1f} | {p99:.1f} |\n")
        bars.append(at_most(f"endpoint to final, {name}: at most 20 ms p99", p99, 20, "ms"))
    save(bars, file)
    await thread.ask(remote.server.stop, None)
    await thread.release()


def main(reactor: Any, file: Path | None) -> Deferred[None]:
    """Run under `react`."""
    work: Coroutine[Any, Any, None] = run(reactor, file)
    return Deferred.fromCoroutine(work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=Path, metavar="FILE", help="write the bars there")
    react(main, (parser.parse_args().bars,))
