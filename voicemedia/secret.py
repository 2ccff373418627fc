"""Something from the environment that is not to be shown."""

import hmac


class Secret:
    """A value from the environment that shows itself to nobody but `reveal`."""

    __slots__ = ("_name", "_value")

    def __init__(self, name: str, value: str) -> None:
        self._name, self._value = name, value

    def reveal(self) -> str:
        """Give the value, for the moment it is used."""
        return self._value

    def matches(self, offered: str) -> bool:
        """Compare in constant time with what a peer offers."""
        return hmac.compare_digest(self._value.encode(), offered.encode(errors="surrogateescape"))

    def __repr__(self) -> str:
        return f"<secret {self._name}>"
