"""Server-sent events (WHATWG HTML, section 9.2), as language models stream their answers."""

import codecs
from typing import Final

from voicemedia.errors import WireError

LONGEST_EVENT: Final = 1 << 20
"Characters of one event; more is no answer."


class EventStream:
    """Cuts a body into the data of its events, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._lines: list[str] = []
        self._size = 0
        self._begun = False

    def feed(self, octets: bytes) -> list[str]:
        """Take bytes; return the data of the events that are complete.

        :raises WireError: `too_long`.
        """
        return self._cut(self._decoder.decode(octets))

    def finish(self) -> list[str]:
        """The body has ended: return an event whose empty line is missing, as some servers leave it."""
        return self._cut(self._decoder.decode(b"", final=True) + "\n\n")

    def _cut(self, text: str) -> list[str]:
        if not self._begun and text:
            self._begun, text = True, text.removeprefix("\ufeff")
        text = self._rest + text
        # A carriage return at the end may be half of a line's end.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = rest + held
        events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size + len(self._rest) > LONGEST_EVENT:
            raise WireError("too_long", f"an event of more than {LONGEST_EVENT} characters")
        return events

    def _line(self, line: str) -> str | None:
        if not line:
            lines, self._lines, self._size = self._lines, [], 0
            return "\n".join(lines) if lines else None
        field, _, value = line.partition(":")
        if field == "data":
            self._lines.append(value.removeprefix(" "))
            self._size += len(value)
        return None
