"""Keys as RTP events, in and out (RFC 4733)."""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.dtmf_wire import KEYS
from voicemedia.sip_bridge.rtp_wire import Packet, time_step

_EVENT: Final = struct.Struct("!BBH")
_END: Final = 0x80
_LONGEST: Final = 0xFFFF
"Ticks one event can say it lasted; a longer press goes on as another (section 2.5.1.3)."
_REMEMBERED: Final = 8
_AGAIN_MS: Final = 200
"A press that begins this long after the same one ended is a new one, though its timestamp is the same."
_SEAM_MS: Final = 50
"How far a press that goes on may lie from where its last part ended."
_TIMES: Final = 1 << 32
VOLUME: Final = 10
"-10 dBm0."
END_PACKETS: Final = 3


@dataclass(slots=True)
class _Press:
    """One press, as far as it is known."""

    ssrc: int
    timestamp: int
    event: int
    duration: int
    came_ms: int
    ended: bool = False


class KeysIn:
    """Tells each press once, however many packets say it, from whatever source.

    A key is told with the first packet that comes of it, not with its end: callers interrupt by key.
    """

    def __init__(self) -> None:
        self._recent: deque[_Press] = deque(maxlen=_REMEMBERED)

    def take(self, packet: Packet, clock_hz: int, now_ms: int) -> str:
        """Return the key that has been pressed with this packet; empty for one told before or no key.

        :raises WireError: `bad_telephone_event`.
        """
        if len(packet.payload) < 4:
            raise WireError("bad_telephone_event")
        event, flags, duration = _EVENT.unpack_from(packet.payload)
        press = self._known(packet, event, clock_hz, now_ms)
        if press is None:
            press = _Press(packet.ssrc, packet.timestamp, event, duration, now_ms)
            self._recent.append(press)
            new = KEYS[event] if event < len(KEYS) else ""
        else:
            new = ""
        press.duration, press.came_ms = max(duration, press.duration), now_ms
        press.ended = press.ended or bool(flags & _END)
        return new

    def _known(self, packet: Packet, event: int, clock_hz: int, now_ms: int) -> _Press | None:
        for press in self._recent:
            if (press.ssrc, press.timestamp) == (packet.ssrc, packet.timestamp):
                # A player that sends the same recording again numbers it the same.
                if packet.marker and press.ended and now_ms - press.came_ms > _AGAIN_MS:
                    self._recent.remove(press)
                    return None
                return press
        last = self._recent[-1] if self._recent else None
        if last is None or packet.marker or last.ended or (last.ssrc, last.event) != (packet.ssrc, event):
            return None
        seam = time_step((last.timestamp + last.duration) % _TIMES, packet.timestamp)
        if abs(seam) * 1000 > _SEAM_MS * clock_hz:
            return None
        last.timestamp, last.duration = packet.timestamp, 0
        return last


def press(key: str, payload_type: int, clock_hz: int, *, duration_ms: int, packet_ms: int = 20) -> Iterator[Packet]:
    """Yield the packets of a press, one every `packet_ms`, then the end three times at once.

    Timestamps and sequence numbers count from 0: the sender adds its own.
    """
    event, step = KEYS.index(key), clock_hz * packet_ms // 1000
    whole = max(1, duration_ms // packet_ms) * step
    began, sequence = 0, 0
    for reached in range(step, whole + 1, step):
        if reached - began > _LONGEST:
            began = reached - step
        last = reached + step > whole
        for repeat in range(END_PACKETS if last else 1):
            flags = VOLUME | (_END if last else 0)
            payload = _EVENT.pack(event, flags, reached - began)
            yield Packet(payload_type, sequence, began, 0, payload, marker=sequence == 0 and repeat == 0)
            sequence += 1
