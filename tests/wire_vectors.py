"""Vectors of the media-stream dialect: one JSON line a message, with the event or the kind of error it must give.

`in` is the message as object or as text, `hex` its bytes; `out` names the event and its fields that are not at their
default (`payload` in base64), `error` the kind.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from voicemedia.protocols import media_stream_wire
from voicemedia.protocols.media_stream_wire import Event

VECTORS = Path(__file__).parent / "vectors"


def load(folder: str) -> Iterator[dict[str, Any]]:
    """Yield the vectors of one carrier; each knows its file by `id`."""
    for path in sorted((VECTORS / folder).glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            vector = json.loads(line)
            yield {**vector, "id": f"{path.stem}: {vector['name']}"}


def message(vector: dict[str, Any]) -> bytes:
    """Return the bytes of the message."""
    if "hex" in vector:
        return bytes.fromhex(vector["hex"])
    given = vector["in"]
    return (given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)).encode()


def expected(vector: dict[str, Any]) -> Event:
    """Build the event the message must give."""
    ((name, fields),) = vector["out"].items()
    event: Event = msgspec.convert(fields, type=getattr(media_stream_wire, name))
    return event
