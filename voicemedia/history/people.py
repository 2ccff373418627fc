"""Who calls, and which session it is: the keys under which things are remembered. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from voicemedia.history.records import clean
from voicemedia.interfaces import Caller

SESSION_NAMES: Final = ("session_id", "sessionId")
USER_NAMES: Final = ("user_id", "userId")
FIRST_NAMES: Final = ("first_name", "firstName", "firstname", "name")
LONGEST: Final = 200
"Characters kept of what a peer says about itself."


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a call belongs to."""

    session: str
    "Key of the session; sessions of different users never share one."
    name: str
    "The session's name as the caller gave it; empty: the call is a session of its own."
    user: str
    "Key of the user; empty: nobody knows."
    number: str = field(repr=False)
    email: str = field(repr=False)
    first_name: str = field(repr=False)

    @property
    def owner(self) -> str:
        """Whose meals these are."""
        return self.user or self.session

    @property
    def may_have_a_past(self) -> bool:
        """Whether an earlier call could have been of the same session or user."""
        return bool(self.user or self.name)


def identify(caller: Caller, call_key: str) -> Identity:
    """Tell whom a call belongs to: by user id, else email, else number.

    :param call_key: the call's own key, for a session without a name.
    """
    parameters = caller.parameters
    name = _first(parameters, SESSION_NAMES)
    user_id, email = _first(parameters, USER_NAMES), _first(parameters, ("email",)).lower()
    number = _short(caller.number)
    user = ""
    for kind, value in (("user", user_id), ("email", email), ("number", reachable(number))):
        if value:
            user = user_key(kind, value)
            break
    session = f"{name}@{user[:16]}" if name and user else name or call_key
    return Identity(session, name, user, number, email, _first(parameters, FIRST_NAMES))


def user_key(kind: str, value: str) -> str:
    """Make the key of a user: a hash, so that it says nothing where numbers are not stored.

    It is no secret: whoever has the key can try all numbers.
    """
    return sha256(f"{kind}:{value}".encode()).hexdigest()[:32]


def reachable(number: str) -> str:
    """Bring a number into one form; empty where it is withheld or none."""
    if "@" in number:
        address = number.removeprefix("sip:").removeprefix("sips:").lower()
        return "" if address.startswith(("anonymous@", "unknown@")) else address
    digits = "".join(character for character in number if character.isdigit())
    return digits.lstrip("0") if len(digits) >= 3 else ""


def _first(parameters: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((found for name in names if name in parameters and (found := _short(parameters[name]))), "")


def _short(text: str) -> str:
    return clean(text.strip())[:LONGEST]
