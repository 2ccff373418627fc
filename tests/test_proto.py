"""The gRPC interface: what is on the wire, and that the generated code is that of the proto."""

import re
from pathlib import Path

import pytest

from tools.generate_proto import PROTO, ROOT, generate
from voicemedia.proto import audio_stream_pb2 as pb

# The messages of the gateways that exist (package real_time_processing); numbers from 100 on are ours.
FIELDS = {
    "AudioSegment": "session_id=1 timestamp=2 audio_format=3 sequence_number=4 data=5 is_final=6 "
    "sample_rate_hertz=100 language_code=101",
    "IngestResponse": "session_id=1 sequence_number=2 status_message=3",
    "TranscriptionResponse": "session_id=1 sequence_number=2 transcript=3 is_final=4 confidence=5 lost_segments=100",
}


def test_generated_code_is_that_of_the_proto(tmp_path: Path) -> None:
    made = generate(tmp_path)
    assert len(made) == 3
    assert made == sorted(path.relative_to(ROOT) for path in (ROOT / PROTO).glob("*_pb2*.py*"))
    for path in made:
        assert (tmp_path / path).read_text() == (ROOT / path).read_text(), "run: python -m tools.generate_proto"


@pytest.mark.parametrize("name", FIELDS)
def test_messages_have_the_numbers_gateways_use(name: str) -> None:
    message = pb.DESCRIPTOR.message_types_by_name[name]
    assert message.full_name == f"real_time_processing.{name}"
    assert " ".join(f"{field.name}={field.number}" for field in message.fields) == FIELDS[name]


def test_formats_have_the_numbers_gateways_use() -> None:
    assert dict(pb.AudioFormat.items()) == {
        "AUDIO_FORMAT_UNSPECIFIED": 0,
        "PCMU": 1,
        "PCMA": 2,
        "OPUS": 3,
        "LINEAR16": 4,
    }


def test_services_are_called_what_gateways_call() -> None:
    paths = {
        f"/{service.full_name}/{method.name}"
        for service in pb.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert paths >= {
        "/real_time_processing.StreamIngest/IngestAudioSegment",
        "/real_time_processing.SpeechToText/TranscribeAudioSegment",
    }


def test_a_segment_of_a_gateway_is_read() -> None:
    # Written by hand, field by field: session "s1", 5 ms, PCMU, number 300, two bytes, the last one.
    segment = pb.AudioSegment.FromString(bytes.fromhex("0a027331 1005 1801 20ac02 2a02ff7f 3001"))
    assert (segment.session_id, segment.timestamp, segment.audio_format) == ("s1", 5, pb.PCMU)
    assert (segment.sequence_number, segment.data, segment.is_final) == (300, b"\xff\x7f", True)


def test_generated_code_does_not_want_a_newer_runtime_than_we_ask_for() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    grpc_wanted = re.search(
        r"GRPC_GENERATED_VERSION = '(\d+)\.(\d+)", (ROOT / PROTO / "audio_stream_pb2_grpc.py").read_text()
    )
    grpc_asked = re.search(r'"grpcio>=(\d+)\.(\d+)', project)
    assert grpc_wanted and grpc_asked and grpc_wanted.groups() == grpc_asked.groups()
    protobuf_wanted = re.search(
        r"Protobuf Python Version: ([\d.]+)", (ROOT / PROTO / "audio_stream_pb2.py").read_text()
    )
    protobuf_asked = re.search(r'"protobuf>=([\d.]+)', project)
    assert protobuf_wanted and protobuf_asked and protobuf_wanted[1] == protobuf_asked[1]
