"""The room of the recognizers: speech to text, one file a provider.

Modules are imported when the configuration names them, so a package missing here hurts only who asks for it.
A name with a dot in it is the module of a recognizer out of tree.
"""

from typing import Final

PROVIDERS: Final = {
    "faster_whisper": "voicemedia.stt.faster_whisper",
    "google": "voicemedia.stt.google",
    "grpc": "voicemedia.stt.grpc_remote",
    "pocketsphinx": "voicemedia.stt.pocketsphinx",
    "prepared": "voicemedia.stt.prepared",
    "scribe": "voicemedia.stt.scribe",
    "scribe_realtime": "voicemedia.stt.scribe_realtime",
    "whisper": "voicemedia.stt.whisper",
}
"Name in the configuration -> module with `Options`, `missing` and `make`."
