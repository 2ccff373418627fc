"""Tata Smartflo's bi-directional audio streaming: the differences from the common dialect.

Smartflo plays gaps unless a media message holds a multiple of 160 samples. Its document numbers media by `chunk`; the
servers it was first tried with number media and marks by `sequenceNumber`; a message that has both pleases both.
"""

from typing import Final

from voicemedia.protocols.media_stream_session_wire import Dialect

SMARTFLO: Final = Dialect("smartflo", chunk=True, sequence=True, block_samples=160)

SMARTFLO_STRICT: Final = Dialect("smartflo", chunk=True, block_samples=160)
"To the letter of the carrier's document: without `sequenceNumber`."
