"""The carriers a simulated caller can come by."""

from typing import Final

from voicemedia.callers.smartflo import Smartflo
from voicemedia.callers.twilio import Twilio

CARRIERS: Final[dict[str, type[Smartflo] | type[Twilio]]] = {"smartflo": Smartflo, "twilio": Twilio}
"A further carrier is one file like these two and one line here."

SERVER: Final = "ws://127.0.0.1:8000"
"Where `make run` listens."
