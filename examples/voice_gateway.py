"""Send a WAV file as a voice gateway sends a call, in 20 ms segments, and print what the ingest service answers.

python examples/voice_gateway.py examples/breakfast.wav                      # call by call, as SIP gateways do
python examples/voice_gateway.py examples/breakfast.wav --stream             # the call as one stream
python examples/voice_gateway.py examples/breakfast.wav --format LINEAR16 --fast
"""

import argparse
import os
import time
import uuid
import wave
from collections.abc import Iterator

import grpc

from voicemedia.audio.g711 import encode_alaw, encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.proto import audio_stream_pb2 as pb
from voicemedia.proto import audio_stream_pb2_grpc as pb_grpc

SEGMENT_S = 0.02
FORMATS = {
    # Of each: rate in Hz, bytes in 20 ms, and how linear samples are written.
    "PCMU": (8000, 160, encode_mulaw),
    "PCMA": (8000, 160, encode_alaw),
    "LINEAR16": (16000, 640, bytes),
}


def sound_of(file: str, name: str) -> bytes:
    """Read a WAV file and write its sound in a gateway's format."""
    rate_hz, _, encode = FORMATS[name]
    with wave.open(file) as wav:
        if wav.getnchannels() != 1 or wav.getsampwidth() != 2:
            raise SystemExit(f"{file}: 16-bit mono is wanted; convert it with: ffmpeg -i {file} -ac 1 speech.wav")
        resampler = Resampler(wav.getframerate(), rate_hz)
        return encode(resampler.feed(wav.readframes(wav.getnframes())) + resampler.flush())


def segments(sound: bytes, name: str, fast: bool) -> Iterator[pb.AudioSegment]:
    """Cut a call into segments, at the speed at which it was spoken."""
    session_id, size = str(uuid.uuid4()), FORMATS[name][1]
    last = (len(sound) - 1) // size
    began = time.monotonic()
    for number in range(last + 1):
        if not fast:
            time.sleep(max(0.0, began + number * SEGMENT_S - time.monotonic()))
        yield pb.AudioSegment(
            session_id=session_id,
            timestamp=int(time.time() * 1000),
            audio_format=name,
            sequence_number=number + 1,
            data=sound[number * size : (number + 1) * size],
            is_final=number == last,
        )


def main() -> None:
    """Send the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--ingest", default="127.0.0.1:50051", help="host:port of StreamIngest")
    parser.add_argument("--format", choices=FORMATS, default="PCMU")
    parser.add_argument("--stream", action="store_true", help="one stream (IngestAudio) instead of call by call")
    parser.add_argument("--fast", action="store_true", help="do not wait 20 ms between segments")
    args = parser.parse_args()
    call = segments(sound_of(args.file, args.format), args.format, args.fast)
    token = os.environ.get("GATEWAY_TOKEN")
    metadata = [("authorization", f"Bearer {token}")] if token else None
    with grpc.insecure_channel(args.ingest) as channel:
        ingest = pb_grpc.StreamIngestStub(channel)
        if args.stream:
            for reply in ingest.IngestAudio(call, metadata=metadata):
                print("=" if reply.is_final else "~", reply.transcript, flush=True)
            return
        said = ""
        for segment in call:
            status = ingest.IngestAudioSegment(segment, timeout=15, metadata=metadata).status_message
            if status != said or segment.is_final:
                print(f"{segment.sequence_number:5} {status}", flush=True)
            said = status


if __name__ == "__main__":
    main()
