"""What recognition has cost: sound paid for and its price, by recognizer."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Charge:
    """What one recognizer has taken."""

    seconds: float = 0.0
    "Sound it was paid for."
    usd: float = 0.0


class Account:
    """The charges of a call, of a session or of a whole route, in streams that have ended."""

    __slots__ = ("charges",)

    def __init__(self) -> None:
        self.charges: dict[str, Charge] = {}
        "By the recognizer's name in the configuration."

    def charge(self, name: str, seconds: float, usd: float) -> None:
        """Add what a stream has cost."""
        charge = self.charges.setdefault(name, Charge())
        charge.seconds += seconds
        charge.usd += usd

    @property
    def usd(self) -> float:
        """Everything together."""
        return sum(charge.usd for charge in self.charges.values())

    def read(self) -> dict[str, dict[str, float]]:
        """Return `seconds` and `cost_usd` of each recognizer."""
        return {
            name: {"seconds": round(charge.seconds, 3), "cost_usd": round(charge.usd, 6)}
            for name, charge in self.charges.items()
        }


def together(accounts: Iterable[Account]) -> Account:
    """Add accounts up."""
    total = Account()
    for account in accounts:
        for name, charge in account.charges.items():
            total.charge(name, charge.seconds, charge.usd)
    return total
