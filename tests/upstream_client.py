"""A voice gateway of somebody else: run in a process of its own, with stubs generated from somebody else's proto.

python upstream_client.py FOLDER_WITH_STUBS INGEST_PORT SPEECH_PORT SOUND.json

Prints one JSON object: what was answered to each of the calls described in SOUND.json.
"""

import json
import sys
from pathlib import Path

import grpc

sys.path.insert(0, sys.argv[1])
import audio_stream_pb2 as pb  # type: ignore[import-not-found]
import audio_stream_pb2_grpc as pb_grpc  # type: ignore[import-not-found]


def main() -> None:
    ingest_port, speech_port = sys.argv[2:4]
    calls = json.loads(Path(sys.argv[4]).read_text())
    told = {}
    for name, call in calls.items():
        for number, segment in enumerate(call["segments"], call["first"]):
            # Gateways of this kind open a channel for every segment.
            port = speech_port if segment.get("speech") else ingest_port
            with grpc.insecure_channel(f"localhost:{port}") as channel:
                message = pb.AudioSegment(
                    session_id=name,
                    timestamp=1_700_000_000_000 + 200 * number,
                    audio_format=call["format"],
                    sequence_number=number,
                    data=bytes.fromhex(segment["data"]),
                    is_final=segment.get("is_final", False),
                )
                if segment.get("speech"):
                    reply = pb_grpc.SpeechToTextStub(channel).TranscribeAudioSegment(message, timeout=60)
                    answer = reply.transcript
                else:
                    reply = pb_grpc.StreamIngestStub(channel).IngestAudioSegment(message, timeout=60)
                    answer = reply.status_message
                assert (reply.session_id, reply.sequence_number) == (name, number)
        told[name] = answer
    sys.stdout.write(json.dumps(told))


main()
