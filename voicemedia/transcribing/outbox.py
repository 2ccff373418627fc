"""What a session has to say and its reader has not read: finals wait, of interim transcripts only the newest.

What was said lately is kept, so that a reader who lost its connection can be told what it missed.
"""

from collections import deque

from voicemedia.transcribing.events import Event, Heard, Reader

RECEIVED_MS = 1000
"What was sent so long before the client's last sign of life has arrived."


class Outbox:
    """The way from one session to whoever reads it.

    :param keep: events that can be read again.
    """

    __slots__ = ("_interim", "_kept", "_number", "_sent", "lost", "reader")

    def __init__(self, keep: int) -> None:
        self._kept: deque[tuple[int, int, Event]] = deque(maxlen=keep)
        "(number, when in ms, event), interim transcripts excepted."
        self._interim: tuple[int, Event] | None = None
        "The newest, while it could not be sent."
        self._number = 0
        self._sent = 0
        "Number of the last kept event that was sent."
        self.lost = 0
        "Kept events that fell out before anybody read them."
        self.reader: Reader | None = None

    @property
    def waiting(self) -> int:
        """Count the events that wait for the reader."""
        waiting = 0
        for number, _, _ in reversed(self._kept):
            if number <= self._sent:
                break
            waiting += 1
        return waiting

    def put(self, event: Event, now_ms: int) -> None:
        """Say something."""
        self._number += 1
        if isinstance(event, Heard) and not event.transcript.final:
            self._interim = self._number, event
        else:
            if isinstance(event, Heard):
                # The final has taken the place of all guesses before it.
                self._interim = None
            if len(self._kept) == self._kept.maxlen and self._kept[0][0] > self._sent:
                self.lost += 1
            self._kept.append((self._number, now_ms, event))
        self.flush()

    def flush(self) -> None:
        """Send what the reader can take."""
        reader = self.reader
        if reader is None:
            return
        if self._kept and self._kept[-1][0] > self._sent:
            for number, _, event in tuple(self._kept)[-self.waiting :]:
                if not reader.writable:
                    return
                self._sent = number
                reader.take(number, event, replayed=False)
        if self._interim is not None and reader.idle:
            number, event = self._interim
            self._interim = None
            reader.take(number, event, replayed=False)

    def attach(self, reader: Reader, after: int | None, alive_ms: int) -> None:
        """Read from now on, and what was missed first.

        :param after: number of the last event the reader knows; None: it does not say.
        :param alive_ms: when the reader before was last heard of.
        """
        old, self.reader = self.reader, None
        if old is not None:
            old.dismissed()
        known = self._surely_received(alive_ms) if after is None else after
        for number, _, event in tuple(self._kept):
            if known < number <= self._sent:
                reader.take(number, event, replayed=True)
        self.reader = reader
        self.lost = 0
        self.flush()

    def detach(self, reader: Reader) -> bool:
        """Read no more; tell whether it was the one who read."""
        if self.reader is not reader:
            return False
        self.reader = None
        return True

    def _surely_received(self, alive_ms: int) -> int:
        received = 0
        for number, at_ms, _ in self._kept:
            if at_ms < alive_ms - RECEIVED_MS:
                received = number
        return received
