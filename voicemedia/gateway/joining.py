"""Several segments of one session as one longer segment."""

from collections import deque
from typing import Final

from voicemedia.proto import audio_stream_pb2 as pb

JOINED_MS: Final = 1000
"Longest segment made of others."
SAMPLES: Final = frozenset((pb.PCMU, pb.PCMA, pb.LINEAR16))
"Formats in which two pieces of sound are one longer one; two packets of Opus are not."


class Joiner:
    """Keeps segments that wait, and gives those that follow one another as one.

    What comes out is numbered without the holes that joining makes. What comes out of order is never joined, and keeps
    its place among the numbers, so that whoever gets it can still put it right.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[pb.AudioSegment, int]] = deque()
        self._joined_away = 0
        self._highest: int | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, segment: pb.AudioSegment, duration_ms: int) -> None:
        """Let a segment wait."""
        self._waiting.append((segment, duration_ms))

    def take(self) -> tuple[pb.AudioSegment, list[pb.AudioSegment]]:
        """Give what goes on next, and what it was made of."""
        first, length_ms = self._waiting.popleft()
        made_of = [first]
        in_order = self._highest is None or first.sequence_number == self._highest + 1
        while in_order and self._waiting:
            following, more_ms = self._waiting[0]
            if length_ms + more_ms > JOINED_MS or not _follows(made_of[-1], following):
                break
            length_ms += more_ms
            made_of.append(self._waiting.popleft()[0])
        self._highest = max(self._highest or 0, made_of[-1].sequence_number)
        joined = pb.AudioSegment()
        joined.CopyFrom(first)
        joined.data = b"".join(each.data for each in made_of)
        joined.is_final = made_of[-1].is_final
        joined.sequence_number = max(0, first.sequence_number - self._joined_away)
        self._joined_away += len(made_of) - 1
        return joined, made_of


def _follows(segment: pb.AudioSegment, following: pb.AudioSegment) -> bool:
    if segment.is_final or following.sequence_number != segment.sequence_number + 1:
        return False
    if not following.data and not following.audio_format:
        # The bare news of the end.
        return segment.audio_format in SAMPLES
    return segment.audio_format in SAMPLES and _kind(segment) == _kind(following)


def _kind(segment: pb.AudioSegment) -> tuple[int, int, str]:
    return segment.audio_format, segment.sample_rate_hertz, segment.language_code
