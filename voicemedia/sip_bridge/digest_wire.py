"""Digest authentication, both sides (RFC 3261, section 22; RFC 7616; RFC 8760).

The server keeps no nonces: one carries its own time and is signed, so that any of our processes can check it.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import SPACE, quote, split_outside, unquote

Hash = Callable[[bytes], "hashlib._Hash"]

ALGORITHMS: Final[Mapping[str, Hash]] = {
    "md5": hashlib.md5,
    "sha-256": hashlib.sha256,
    "sha-512-256": lambda text: hashlib.new("sha512_256", text),
}
"In lower case; each also with `-sess`."

_BARE: Final = frozenset({"algorithm", "stale", "nc"})
"What is never quoted."

_NONCES_LIMIT: Final = 65536


@dataclass(frozen=True, slots=True)
class Digest:
    """The parameters of a challenge or of credentials, unquoted, names in lower case."""

    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "Digest | None":
        """Parse `Digest realm="a", qop="auth,auth-int"`; None for another scheme.

        :raises WireError: `bad_digest`, `open_quote`.
        """
        scheme, _, rest = text.strip(SPACE).partition(" ")
        if scheme.lower() != "digest":
            return None
        parameters: dict[str, str] = {}
        for piece in split_outside(rest, ","):
            name, equals, value = piece.partition("=")
            name = name.strip(SPACE).lower()
            if not piece.strip(SPACE):
                continue
            if not equals or not name or name in parameters:
                raise WireError("bad_digest", piece[:40])
            parameters[name] = unquote(value.strip(SPACE))
        return cls(parameters)

    def get(self, name: str) -> str:
        """Return a parameter, empty when absent."""
        return self.parameters.get(name, "")

    @property
    def algorithm(self) -> str:
        """The algorithm in lower case; MD5 when not said."""
        return self.get("algorithm").lower() or "md5"

    @property
    def usable(self) -> bool:
        """Tell whether we can answer this challenge."""
        known = self.algorithm.removesuffix("-sess") in ALGORITHMS
        return known and self.protection is not None and "nonce" in self.parameters and "realm" in self.parameters

    @property
    def protection(self) -> str | None:
        """What to prove of the ways a challenge offers: `auth`, else `auth-int`; empty: the old way; None: unknown."""
        offered = {option.strip() for option in self.get("qop").lower().split(",")}
        return next((way for way in ("auth", "auth-int", "") if way in offered), None)

    def __str__(self) -> str:
        # qop is a quoted list in a challenge and a bare word in credentials, which alone have a response.
        bare = _BARE | {"qop"} if "response" in self.parameters else _BARE
        return "Digest " + ", ".join(
            f"{name}={value if name in bare else quote(value)}" for name, value in self.parameters.items()
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes into a response besides the secret."""

    method: str
    uri: str
    nonce: str
    nc: str = ""
    cnonce: str = ""
    qop: str = ""
    body: bytes = b""

    def response(self, algorithm: str, ha1: str) -> str:
        """Compute the response (RFC 7616, section 3.4.1) from H(user:realm:password)."""
        base = algorithm.lower().removesuffix("-sess")
        if algorithm.lower() != base:
            ha1 = _hex(base, f"{ha1}:{self.nonce}:{self.cnonce}")
        entity = ":" + _hash(base, self.body) if self.qop == "auth-int" else ""
        ha2 = _hex(base, f"{self.method}:{self.uri}{entity}")
        middle = f"{self.nc}:{self.cnonce}:{self.qop}:" if self.qop else ""
        return _hex(base, f"{ha1}:{self.nonce}:{middle}{ha2}")


def secret(algorithm: str, user: str, realm: str, password: str) -> str:
    """Return H(user:realm:password): what a server may store instead of the password."""
    return _hex(algorithm.lower().removesuffix("-sess"), f"{user}:{realm}:{password}")


def _hash(base: str, text: bytes) -> str:
    return ALGORITHMS[base](text).hexdigest()


def _hex(base: str, text: str) -> str:
    return _hash(base, text.encode("utf-8", "surrogateescape"))


# --- client ---


@dataclass(slots=True)
class Credentials:
    """A client's account: answers challenges, and counts its use of each nonce."""

    user: str
    password: str = field(repr=False)
    new_cnonce: Callable[[], str] = field(repr=False)
    _uses: dict[str, int] = field(default_factory=dict, repr=False)
    "Nonce -> how often we used it; only the last few."

    def answer(self, challenges: Iterable[str], method: str, uri: str, body: bytes = b"") -> str | None:
        """Return the credentials for the first challenge we understand, None when there is none."""
        return next(iter(self.answers(challenges, method, uri, body).values()), None)

    def answers(self, challenges: Iterable[str], method: str, uri: str, body: bytes = b"") -> dict[str, str]:
        """Return the credentials by realm: for each the first challenge we understand; empty when there is none.

        `auth-int` only where a realm offers nothing else: boxes on the way like to change bodies.

        :param challenges: the values of WWW-Authenticate (or Proxy-Authenticate), most preferred first (RFC 8760).
        """
        usable = [challenge for challenge in _challenges(challenges) if challenge.usable]
        usable.sort(key=lambda challenge: challenge.protection == "auth-int")
        first: dict[str, Digest] = {}
        for challenge in usable:
            first.setdefault(challenge.get("realm"), challenge)
        return {
            realm: str(self._answer(challenge, Proof(method, uri, challenge.get("nonce"), body=body)))
            for realm, challenge in first.items()
        }

    def _answer(self, challenge: Digest, proof: Proof) -> Digest:
        realm = challenge.get("realm")
        qop = challenge.protection or ""
        cnonce = self.new_cnonce() if qop or challenge.algorithm.endswith("-sess") else ""
        proof = replace(proof, nc=self._count(proof.nonce) if qop else "", cnonce=cnonce, qop=qop)
        ha1 = secret(challenge.algorithm, self.user, realm, self.password)
        filled = {"username": self.user, "realm": realm, "nonce": proof.nonce, "uri": proof.uri}
        filled["response"] = proof.response(challenge.algorithm, ha1)
        filled |= {name: challenge.get(name) for name in ("algorithm", "opaque") if name in challenge.parameters}
        filled |= {"cnonce": cnonce} if cnonce else {}
        filled |= {"qop": qop, "nc": proof.nc} if qop else {}
        return Digest(filled)

    def _count(self, nonce: str) -> str:
        uses = self._uses.pop(nonce, 0) + 1
        self._uses[nonce] = uses
        while len(self._uses) > 8:
            del self._uses[next(iter(self._uses))]
        return f"{uses:08x}"


def realm_of(credentials: str) -> str | None:
    """Return the realm that credentials of ours are for."""
    return next((found.get("realm") for found in _challenges([credentials])), None)


def refused_realms(challenges: Iterable[str]) -> set[str]:
    """Return the realms that ask; without those that only want a fresh nonce for the same password."""
    return {found.get("realm") for found in _challenges(challenges) if found.get("stale").lower() != "true"}


def _challenges(texts: Iterable[str]) -> Iterator[Digest]:
    for text in texts:
        try:
            found = Digest.parse(text)
        except WireError:
            continue
        if found is not None:
            yield found


# --- server ---


@dataclass(slots=True)
class Guard:
    """A server's side: challenges and checks.

    :param key: the secret nonces are signed with, the same in all processes that share a name.
    :param ha1_of: (algorithm, user) -> H(user:realm:password), None for an unknown user.
    """

    realm: str
    key: bytes = field(repr=False)
    ha1_of: Callable[[str, str], str | None] = field(repr=False)
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    "As they are offered, the strongest first (RFC 8760, section 2.4)."
    nonce_ms: int = 300_000
    _counts: dict[str, int] = field(default_factory=dict, repr=False)
    "Nonce -> the highest nc seen; those used longest ago are forgotten."
    _serial: int = 0

    def challenges(self, now_ms: int, stale: bool = False) -> list[str]:
        """Return the WWW-Authenticate values of a 401."""
        nonce = self._nonce(now_ms)
        return [
            str(
                Digest(
                    {"realm": self.realm, "nonce": nonce, "algorithm": algorithm, "qop": "auth"}
                    | ({"stale": "true"} if stale else {})
                )
            )
            for algorithm in self.algorithms
        ]

    def check(self, text: str, method: str, now_ms: int, uri: str = "") -> str:
        """Judge credentials: `ok`, `stale` (right, but the nonce is old or used again), or `denied`.

        :param uri: the Request-URI; credentials made for another are denied. Empty: any.
        :raises WireError: when they cannot be read.
        """
        found = Digest.parse(text)
        if found is None or found.get("realm") != self.realm or (uri and found.get("uri") != uri):
            return "denied"
        if found.algorithm not in [name.lower() for name in self.algorithms] or found.get("qop") not in ("", "auth"):
            return "denied"
        # An unknown user costs the same work as a known one, and tells as little.
        ha1 = self.ha1_of(found.algorithm, found.get("username"))
        nc = found.get("nc") if found.get("qop") else ""
        proof = Proof(method, found.get("uri"), found.get("nonce"), nc, found.get("cnonce"), found.get("qop"))
        right = proof.response(found.algorithm, ha1 or "")
        same = hmac.compare_digest(right.encode(), found.get("response").lower().encode("utf-8", "replace"))
        if not same or ha1 is None or not self._signed(proof.nonce):
            return "denied"
        return "ok" if self._fresh(proof, now_ms) else "stale"

    def _nonce(self, now_ms: int) -> str:
        # The serial keeps two callers of one millisecond from counting on the same nonce.
        self._serial += 1
        stamp = f"{now_ms:x}-{self._serial:x}"
        return f"{stamp}.{self._signature(stamp)}"

    def _signature(self, stamp: str) -> str:
        return hmac.new(self.key, f"{stamp}:{self.realm}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]

    def _signed(self, nonce: str) -> bool:
        stamp, _, signature = nonce.partition(".")
        ours = self._signature(stamp)
        return len(stamp) < 40 and hmac.compare_digest(ours.encode(), signature.encode("utf-8", "replace"))

    def _fresh(self, proof: Proof, now_ms: int) -> bool:
        """Tell whether the nonce is young, and its count higher than any before (a replay is not)."""
        made_ms = int(proof.nonce.partition("-")[0], 16)
        if not -5_000 <= now_ms - made_ms <= self.nonce_ms:
            return False
        if not proof.qop:
            return True
        try:
            count = int(proof.nc[:8], 16)
        except ValueError:
            return False
        highest = self._counts.pop(proof.nonce, 0)
        self._counts[proof.nonce] = max(count, highest)
        if count <= highest:
            return False
        if len(self._counts) > _NONCES_LIMIT:
            del self._counts[next(iter(self._counts))]
        return True
