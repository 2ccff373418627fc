from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AudioFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIO_FORMAT_UNSPECIFIED: _ClassVar[AudioFormat]
    PCMU: _ClassVar[AudioFormat]
    PCMA: _ClassVar[AudioFormat]
    OPUS: _ClassVar[AudioFormat]
    LINEAR16: _ClassVar[AudioFormat]
AUDIO_FORMAT_UNSPECIFIED: AudioFormat
PCMU: AudioFormat
PCMA: AudioFormat
OPUS: AudioFormat
LINEAR16: AudioFormat

class AudioSegment(_message.Message):
    __slots__ = ("session_id", "timestamp", "audio_format", "sequence_number", "data", "is_final", "sample_rate_hertz", "language_code")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HERTZ_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_CODE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    timestamp: int
    audio_format: AudioFormat
    sequence_number: int
    data: bytes
    is_final: bool
    sample_rate_hertz: int
    language_code: str
    def __init__(self, session_id: _Optional[str] = ..., timestamp: _Optional[int] = ..., audio_format: _Optional[_Union[AudioFormat, str]] = ..., sequence_number: _Optional[int] = ..., data: _Optional[bytes] = ..., is_final: bool = ..., sample_rate_hertz: _Optional[int] = ..., language_code: _Optional[str] = ...) -> None: ...

class IngestResponse(_message.Message):
    __slots__ = ("session_id", "sequence_number", "status_message")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATUS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    sequence_number: int
    status_message: str
    def __init__(self, session_id: _Optional[str] = ..., sequence_number: _Optional[int] = ..., status_message: _Optional[str] = ...) -> None: ...

class TranscriptionResponse(_message.Message):
    __slots__ = ("session_id", "sequence_number", "transcript", "is_final", "confidence", "lost_segments")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    LOST_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    sequence_number: int
    transcript: str
    is_final: bool
    confidence: float
    lost_segments: int
    def __init__(self, session_id: _Optional[str] = ..., sequence_number: _Optional[int] = ..., transcript: _Optional[str] = ..., is_final: bool = ..., confidence: _Optional[float] = ..., lost_segments: _Optional[int] = ...) -> None: ...
