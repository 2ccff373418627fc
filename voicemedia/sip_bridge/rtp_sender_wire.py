"""What leaves as RTP, and when: one frame every 20 ms, of sound, a key, or silence, on one unbroken clock.

The peer buffers nothing for us, so we are the clock. What is played is sent in its slot; a slot nobody filled is sent
as silence when it is over, so that there is no gap in which a carrier or a NAT could take us for dead.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from voicemedia.audio.coding import Encoding
from voicemedia.interfaces import FRAME_MS
from voicemedia.sip_bridge.rtp_wire import HEADER, Packet
from voicemedia.sip_bridge.telephone_event_wire import press

HALF_MS: Final = FRAME_MS // 2
"Slots begin between two ticks, so that a tick a little early or late is still in its own."
STALLED: Final = 5
"So many slots late, silence is passed over and not made up for."
BETWEEN_KEYS: Final = 4
"Slots of sound after a key, for detectors that want a pause."
_SEQUENCES: Final = 1 << 16
_TIMES: Final = 1 << 32


class RtpSender:
    """One outgoing stream.

    :param numbers: ssrc, first sequence number, first timestamp; random.
    :ivar marks: numbers of marks whose sound has left, or was taken back; the owner takes them.
    """

    __slots__ = (
        "_encoding",
        "_key_began",
        "_key_type",
        "_keys",
        "_marker",
        "_open",
        "_origin_ms",
        "_payload_type",
        "_pressing",
        "_queue",
        "_rest",
        "_sequence",
        "_slot_ticks",
        "_slots",
        "_timestamp",
        "frames",
        "marks",
        "octets",
        "packets",
        "played",
        "sending",
        "ssrc",
    )

    def __init__(self, numbers: tuple[int, int, int]) -> None:
        self.ssrc, self._sequence, self._timestamp = numbers
        self._queue: deque[bytes | int] = deque()
        self._keys: deque[tuple[str, int]] = deque()
        self._pressing: Iterator[Packet] | None = None
        self._key_began = self._rest = 0
        self._origin_ms: int | None = None
        self._slots = self._open = 0
        "Slots that are over or filled, and slots that have begun."
        self.sending, self._marker = False, True
        self.marks: list[int] = []
        self.played: Callable[[bytes, int], None] | None = None
        "Told each frame that leaves, and the ms of the tick its slot belongs to."
        self.packets = self.octets = self.frames = 0

    def agree(self, payload_type: int, encoding: Encoding) -> None:
        """Write sound so from now on."""
        self._payload_type, self._encoding = payload_type, encoding
        self._slot_ticks = encoding.clock_hz * FRAME_MS // 1000
        self._key_type: tuple[int, int] | None = None

    def agree_keys(self, key_type: tuple[int, int] | None) -> None:
        """Send keys with this (payload type, clock); None: not at all."""
        self._key_type = key_type

    @property
    def timestamp(self) -> int:
        """The timestamp of the next packet."""
        return self._timestamp

    @property
    def backlog(self) -> int:
        """How many frames and marks wait for their slot."""
        return len(self._queue)

    # --- what is to leave ---

    def play(self, frame: bytes) -> list[bytes]:
        """Take 20 ms of s16le; return the packets that leave at once."""
        if not self._queue and self._slots < self._open:
            return self._fill(frame)
        self._queue.append(frame)
        return self._pump()

    def mark(self, number: int) -> None:
        """Note in `marks` when everything before has left."""
        self._queue.append(number)

    def clear(self) -> None:
        """Take back what has not left."""
        self.marks += [item for item in self._queue if isinstance(item, int)]
        self._queue.clear()

    def press(self, key: str, duration_ms: int = 160) -> bool:
        """Press a key, after those being pressed; False when the peer takes none in the sound."""
        if self._key_type is None:
            return False
        self._keys.append((key, duration_ms))
        return True

    # --- time ---

    def tick(self, now_ms: int) -> list[bytes]:
        """Let 20 ms pass: fill the slots that nobody filled, begin those that are due."""
        if self._origin_ms is None:
            self._origin_ms = now_ms - HALF_MS
        now = (now_ms - self._origin_ms) // FRAME_MS
        self._open = now + 1
        out = self._pump() if self._queue else []
        if now - self._slots > STALLED:
            self._pass_over(now - self._slots)
        while self._slots < now:
            out += self._fill(None)
        return out

    def _pump(self) -> list[bytes]:
        out: list[bytes] = []
        while self._queue:
            item = self._queue[0]
            if isinstance(item, int):
                self.marks.append(item)
            elif self._slots < self._open:
                out += self._fill(item)
            else:
                break
            self._queue.popleft()
        return out

    def _pass_over(self, slots: int) -> None:
        self._slots += slots
        self._timestamp = (self._timestamp + slots * self._slot_ticks) % _TIMES
        self._marker = True

    def _fill(self, frame: bytes | None) -> list[bytes]:
        """Send one slot."""
        if not self.sending:
            self._pass_over(1)
            return []
        self._slots += 1
        if self._pressing is not None or (self._keys and not self._rest):
            return self._press()
        if self._rest:
            self._rest -= 1
        if frame is not None:
            self.frames += 1
            if self.played is not None and self._origin_ms is not None:
                self.played(frame, self._origin_ms + HALF_MS + (self._slots - 1) * FRAME_MS)
        whole = self._encoding.whole
        if whole is not None:
            return [self._packet(whole(frame), self._slot_ticks)]
        return [self._packet(payload, ticks) for payload, ticks in self._encoding.feed(frame)]

    def _packet(self, payload: bytes, ticks: int) -> bytes:
        kind, sequence, timestamp = self._payload_type, self._sequence, self._timestamp
        if self._marker:
            kind |= 0x80
            self._marker = False
        self._timestamp = (timestamp + ticks) % _TIMES
        self._sequence = (sequence + 1) % _SEQUENCES
        self.packets += 1
        self.octets += len(payload)
        return HEADER.pack(0x80, kind, sequence, timestamp, self.ssrc) + payload

    def _press(self) -> list[bytes]:
        """Send one slot of a key; the sound of that time is not sent."""
        out = [self._packet(payload, ticks) for payload, ticks in self._encoding.flush()]
        if self._pressing is None:
            key, duration_ms = self._keys.popleft()
            payload_type, clock_hz = self._key_type or (101, self._encoding.clock_hz)
            self._pressing = press(key, payload_type, clock_hz, duration_ms=duration_ms)
            self._key_began = self._timestamp
        out += [self._event(packet) for packet in self._of_slot(self._pressing)]
        self._timestamp = (self._timestamp + self._slot_ticks) % _TIMES
        return out

    def _of_slot(self, pressing: Iterator[Packet]) -> Iterator[Packet]:
        """Yield the next packet of a key, with its last one all there are."""
        for packet in pressing:
            yield packet
            if not packet.payload[1] & 0x80:
                return
        self._pressing, self._rest = None, BETWEEN_KEYS

    def _event(self, packet: Packet) -> bytes:
        timestamp = (self._key_began + packet.timestamp) % _TIMES
        marker = packet.marker
        event = Packet(packet.payload_type, self._sequence, timestamp, self.ssrc, packet.payload, marker)
        self._sequence = (self._sequence + 1) % _SEQUENCES
        self.packets += 1
        self.octets += len(packet.payload)
        return event.encode()
