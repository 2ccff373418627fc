"""Stream a WAV file to Google as it would be spoken, print what is understood, and the session's summary.

python examples/streaming_session.py talk.wav --project my-project
voicemedia cloud google --port 50099          # without an account: a stand-in, and in another terminal
python examples/streaming_session.py examples/breakfast.wav --endpoint 127.0.0.1:50099
"""

import argparse
import json
import wave
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from voicemedia.stt.failover import Place
from voicemedia.stt.google import Options, make
from voicemedia.stt.renewing import RenewingRecognizer
from voicemedia.transcribing.streaming import StreamingResult, StreamingSessionManager


def show(result: StreamingResult) -> None:
    """Print a result as it comes."""
    print("=" if result.is_final else "~", result.text, flush=True)


async def stream(reactor: Any, file: str, options: Options) -> None:
    """Stream one file."""
    with wave.open(file) as sound:
        rate_hz, pcm = sound.getframerate(), sound.readframes(sound.getnframes())
        if sound.getnchannels() != 1 or sound.getsampwidth() != 2:
            raise SystemExit(f"{file}: 16-bit mono is wanted; convert it with: ffmpeg -i {file} -ac 1 speech.wav")
    recognizer = RenewingRecognizer([Place(make(options, reactor))], reactor)
    await recognizer.start()
    manager = StreamingSessionManager(recognizer, reactor, result_callback=show)
    manager.create_session("talk-1", presentation_id="slides-7", language_code="en-US", sample_rate=rate_hz)
    manager.start_session("talk-1")
    chunk = rate_hz // 10 * 2
    for at in range(0, len(pcm), chunk):
        manager.send_audio_chunk("talk-1", pcm[at : at + chunk])
        await deferLater(reactor, 0.1, lambda: None)
    print(json.dumps(await manager.close_session("talk-1"), indent=2))
    await recognizer.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--project", default="")
    parser.add_argument("--endpoint", default="", help="a stand-in, without TLS and credentials")
    args = parser.parse_args()
    chosen = Options(project=args.project, endpoint=args.endpoint, plaintext=bool(args.endpoint))
    react(lambda reactor: Deferred.fromCoroutine(stream(reactor, args.file, chosen)))
