"""voicemedia: a telephony media server on one Twisted reactor.

The call stands in the middle (`call`, `turns`, `switchboard`) and knows its neighbors only by the seams in
`interfaces`. Around it lie the rooms: `protocols` (legs over WebSocket, and the HTTP pages), `stt` and `tts`
(ears and voices), `agent` (what to say), `audio` (sound without I/O), `callers` (simulated callers for trying
things out). `service` builds everything and is the only module that knows every name.
"""

__version__ = "0.1.0"
