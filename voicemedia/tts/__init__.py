"""Text to speech, one file a provider."""

from collections.abc import Mapping
from typing import Final

PROVIDERS: Final[Mapping[str, str]] = {
    "espeak": "voicemedia.tts.espeak",
}
"Name in the configuration -> module; a name with a dot is imported as it is."
