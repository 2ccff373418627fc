"""What leaves as RTP, and when: one frame every 20 ms, of sound, a key, or silence, on one unbroken clock.

The peer buffers nothing for us, so we are the clock. Everything leaves at the beginning of its slot, sound or, where
nothing is played, silence: there is no gap in which a carrier or a NAT could take us for dead, and no step between
speech and silence that a jitter buffer would have to follow. Only the first sound after a silence leaves at once,
ahead of its slot.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from voicemedia.audio.coding import Encoding
from voicemedia.interfaces import FRAME_MS
from voicemedia.sip_bridge.rtp_wire import HEADER, Packet
from voicemedia.sip_bridge.telephone_event_wire import press

EARLY_MS: Final = 8
"Ticks are late at times and never early: one that seems so has the true time, and those before were late."
STALLED: Final = 5
"So many slots late, silence is passed over and not made up for."
BETWEEN_KEYS: Final = 4
"Slots of sound after a key, for detectors that want a pause."
_UNBEGUN: Final = -1
_TIMES: Final = 1 << 32


class RtpSender:
    """One outgoing stream.

    :param numbers: ssrc, first sequence number, first timestamp; random.
    :ivar marks: numbers of marks whose sound has left, or was taken back; the owner takes them.
    """

    __slots__ = (
        "_early_ms",
        "_encoding",
        "_first",
        "_key_began",
        "_key_type",
        "_keying",
        "_keys",
        "_marker",
        "_next_ms",
        "_payload_type",
        "_pressing",
        "_queue",
        "_rest",
        "_sequence",
        "_silent",
        "_slot_ticks",
        "_timestamp",
        "frames",
        "marks",
        "octets",
        "played",
        "sending",
        "ssrc",
    )

    def __init__(self, numbers: tuple[int, int, int]) -> None:
        self.ssrc, self._first, self._timestamp = numbers
        self._sequence = self._first
        "Never wraps; its packet has the last 16 bits of it."
        self._queue: deque[bytes | int] = deque()
        self._keys: deque[tuple[str, int]] = deque()
        self._pressing: Iterator[Packet] | None = None
        self._keying = False
        "A key is being pressed, waits for its turn, or has just been."
        self._key_began = self._rest = 0
        self._next_ms = _UNBEGUN
        "When the next slot begins."
        self._early_ms = 0
        "How much earlier than the first tick would have it."
        self.sending, self._marker = False, True
        self._silent = False
        "Whether the last slot was one of silence."
        self.marks: tuple[int, ...] = ()
        self.played: Callable[[bytes, int], None] | None = None
        "Told each frame that leaves, and when its slot begins, in steps of 20 ms from the first tick."
        self.octets = self.frames = 0

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
    def packets(self) -> int:
        """How many have left."""
        return self._sequence - self._first

    @property
    def backlog(self) -> int:
        """How many frames and marks wait for their slot."""
        return len(self._queue)

    # --- what is to leave ---

    def play(self, frame: bytes) -> list[bytes]:
        """Take 20 ms of s16le; return the packets that leave at once."""
        if self._silent and not self._queue:
            return self._fill(frame)
        self._queue.append(frame)
        return []

    def mark(self, number: int) -> None:
        """Note in `marks` when everything before has left."""
        self._queue.append(number)

    def clear(self) -> None:
        """Take back what has not left."""
        self.marks += tuple(item for item in self._queue if isinstance(item, int))
        self._queue.clear()

    def press(self, key: str, duration_ms: int = 160) -> bool:
        """Press a key, after those being pressed; False when the peer takes none in the sound."""
        if self._key_type is None:
            return False
        self._keys.append((key, duration_ms))
        self._keying = True
        return True

    # --- time ---

    def tick(self, now_ms: int) -> list[bytes]:
        """Let 20 ms pass: fill the slots that begin."""
        if self._next_ms == _UNBEGUN:
            self._next_ms = now_ms
        elif 0 < self._next_ms - now_ms <= EARLY_MS:
            self._early_ms += self._next_ms - now_ms
            self._next_ms = now_ms
        out: list[bytes] = []
        queue = self._queue
        while self._next_ms <= now_ms:
            frame = self._next_frame() if queue else None
            if frame is None and now_ms - self._next_ms >= STALLED * FRAME_MS:
                self._pass_over((now_ms - self._next_ms) // FRAME_MS)
            out += self._fill(frame)
        while queue and isinstance(mark := queue[0], int):
            self.marks += (mark,)
            queue.popleft()
        return out

    def _next_frame(self) -> bytes | None:
        while self._queue:
            item = self._queue.popleft()
            if not isinstance(item, int):
                return item
            self.marks += (item,)
        return None

    def _pass_over(self, slots: int) -> None:
        self._next_ms += slots * FRAME_MS
        self._timestamp = (self._timestamp + slots * self._slot_ticks) % _TIMES
        self._marker = True

    def _fill(self, frame: bytes | None) -> list[bytes]:
        """Send one slot."""
        if not self.sending:
            self._pass_over(1)
            return []
        self._silent = frame is None
        slot_ms, self._next_ms = self._next_ms, self._next_ms + FRAME_MS
        if self._keying:
            if self._pressing is not None or (self._keys and not self._rest):
                return self._press()
            self._rest -= 1
            self._keying = bool(self._rest or self._keys)
        if frame is not None:
            self.frames += 1
            if self.played is not None:
                self.played(frame, slot_ms + self._early_ms)
        encoding, payload = self._encoding, b""
        if encoding.whole is not None:
            payload = encoding.quiet if frame is None else encoding.whole(frame)
        if payload:
            return [self._packet(payload, self._slot_ticks)]
        return [self._packet(payload, ticks) for payload, ticks in encoding.feed(frame)]

    def _packet(self, payload: bytes, ticks: int) -> bytes:
        kind, sequence, timestamp = self._payload_type, self._sequence, self._timestamp
        if self._marker:
            kind |= 0x80
            self._marker = False
        self._timestamp = (timestamp + ticks) % _TIMES
        self._sequence = sequence + 1
        self.octets += len(payload)
        return HEADER.pack(0x80, kind, sequence & 0xFFFF, timestamp, self.ssrc) + payload

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
        event = Packet(packet.payload_type, self._sequence & 0xFFFF, timestamp, self.ssrc, packet.payload, marker)
        self._sequence += 1
        self.octets += len(packet.payload)
        return event.encode()
