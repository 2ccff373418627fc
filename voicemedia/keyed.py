"""A service on the web that may want an API key, as the options of a provider name it."""

from voicemedia.config import secret
from voicemedia.errors import ConfigError


class Keyed:
    """What the options of all such services can tell; they declare the two fields with their defaults.

    :raises ValueError: `base_url` is none.
    """

    __slots__ = ()

    base_url: str
    key_env: str
    "Environment variable with the API key; empty: the service wants none."

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError("base_url: expected http:// or https://")

    def missing(self) -> str:
        """Say whether the key is absent."""
        try:
            self.key()
        except ConfigError as error:
            return str(error)
        return ""

    def key(self) -> str:
        """Read the key; empty: none is wanted."""
        return secret(self.key_env, "key_env").reveal() if self.key_env else ""
