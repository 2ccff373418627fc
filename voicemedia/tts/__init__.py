"""Text to speech, one file a provider."""

from collections.abc import Mapping
from typing import Final

PROVIDERS: Final[Mapping[str, str]] = {
    "elevenlabs": "voicemedia.tts.elevenlabs",
    "elevenlabs_socket": "voicemedia.tts.elevenlabs_socket",
    "espeak": "voicemedia.tts.espeak",
    "google": "voicemedia.tts.google",
    "openai": "voicemedia.tts.openai",
}
"Name in the configuration -> module; a name with a dot is imported as it is."
