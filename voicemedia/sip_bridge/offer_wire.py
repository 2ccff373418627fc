"""Offer and answer for one line of sound (RFC 3264; RFC 6337 for when which is due).

`Negotiation` lives as long as the dialog: it knows what was last said, so that a re-offer keeps the m-lines in
place and o= counts up only when something changed.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.codec_wire import DTMF_TYPES, OPUS, PCMA, PCMU, Codec, Payloads, lines_for, packet_ms
from voicemedia.sip_bridge.crypto_wire import SUITES, Crypto, Dtls, choose, fingerprint_line, fingerprints, setup_of
from voicemedia.sip_bridge.grammar_wire import natural
from voicemedia.sip_bridge.sdp_wire import Line, Media, Session, net
from voicemedia.sip_bridge.xr_wire import ATTRIBUTE, WANTED, wants_metrics

_MIRROR: Final = {"sendonly": "recvonly", "recvonly": "sendonly", "sendrecv": "sendrecv", "inactive": "inactive"}

USER: Final = "voicemedia"
"Of our o= line: letters, which is what SIPp looks for; `-` would say that hosts have no users."

NOWHERE: Final = ("0.0.0.0", "::", "0:0:0:0:0:0:0:0")
PLAIN: Final = ("RTP/AVP", "RTP/AVPF")
SECURE: Final = ("RTP/SAVP", "RTP/SAVPF")
OVER_DTLS: Final = ("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")


class Terms(msgspec.Struct, frozen=True):
    """What we bring to a negotiation."""

    address: str
    "Where we listen, as the peer reaches it: no brackets around IPv6."
    port: int
    codecs: tuple[Codec, ...] = (PCMU, PCMA)
    "In our order, which decides when we answer."
    ptime_ms: int = 20
    dtmf: bool = True
    rtcp_mux: bool = True
    srtp: str = "never"
    "`never`, `allow` (when offered), `sdes` or `dtls` (always, and offered that way)."
    suites: tuple[str, ...] = tuple(SUITES)
    fingerprint: tuple[str, bytes] | None = None
    "(hash, digest) of our certificate; None: no DTLS."
    voip_metrics: bool = False
    "Extended reports are sent to who wants them, and wanted (RFC 3611)."


class Agreement(msgspec.Struct, frozen=True):
    """What both sides agreed on."""

    address: str
    port: int
    rtcp: tuple[str, int]
    "Where our RTCP goes; the RTP address itself with rtcp-mux."
    codec: Codec
    send_type: int
    "The payload type we send the codec with."
    receive: tuple[tuple[int, Codec], ...]
    "(payload type, codec) of all we announced."
    send_dtmf: tuple[int, int] | None
    "(payload type, clock) of the telephone-events we may send."
    receive_dtmf: tuple[tuple[int, int], ...]
    ptime_ms: int
    "How much sound to put in a packet."
    sending: bool = True
    receiving: bool = True
    rtcp_mux: bool = False
    protect: Crypto | None = None
    "SDES: the key of what we send."
    unprotect: Crypto | None = None
    dtls: Dtls | None = None
    fmtp: str = ""
    "How the peer wants to receive the codec."
    voip_metrics: bool = False
    "Both want to be told how they are heard."
    misfit: bool = False
    "The answer had more or fewer lines than our offer."
    removed: bool = False
    "There is no sound, nor are there reports, until an offer takes it up again (RFC 3264, section 8.2)."

    @property
    def held(self) -> bool:
        """The peer does not want to hear us: no-RTP timers are off, no tone is played."""
        return not self.sending

    @property
    def silent(self) -> bool:
        """Nobody is to hear anybody, or there is nowhere to send to."""
        return not self.sending and (not self.receiving or self.address in NOWHERE)


class Negotiation(msgspec.Struct):
    """The offers and answers of one dialog."""

    terms: Terms
    session_id: int
    new_key: Callable[[int], bytes]
    "Makes that many random bytes."
    direction: str = "sendrecv"
    "What we want: `sendonly` or `inactive` holds the peer."
    agreement: Agreement | None = None
    _version: int = 0
    _said: str = ""
    "Our last description without its o= line."
    _layout: list[Media] = msgspec.field(default_factory=list)
    "The m-lines of the last exchange; ours may be any of them, the others stay refused."
    _ours: int = 0
    _offered: Media | None = None
    _keys: dict[str, bytes] = msgspec.field(default_factory=dict)
    _numbers: dict[str, int] = msgspec.field(default_factory=dict)
    "Codec name or telephone-event clock -> the payload type we announced."

    def offer(self, *, anew: bool = False) -> bytes:
        """Return our offer, the same m-lines in the same places as before.

        :param anew: also of sound that the peer has removed: it asks for all we can do.
        """
        sound, dtmf = self._numbered()
        lines = lines_for(sound, dtmf) + self._security_offered() + _metrics(self.terms.voip_metrics)
        protocol = {"sdes": "RTP/SAVP", "dtls": "UDP/TLS/RTP/SAVPF"}.get(self._protection, "RTP/AVP")
        if self._layout:
            protocol = self._layout[self._ours].protocol
        formats = tuple(str(number) for number, _ in (*sound, *dtmf))
        self._offered = self._media(protocol, formats, lines, self.direction)
        if self.agreement is not None and self.agreement.removed and not anew:
            self._offered = self._offered.refused()
        media = [line.refused() for line in self._layout] or [self._offered]
        media[self._ours] = self._offered
        return self._describe(media, "0 0")

    def _numbered(self) -> tuple[list[tuple[int, Codec]], list[tuple[int, int]]]:
        """Give payload types to what we offer; a number once used keeps its meaning (RFC 3264, section 8.3.2)."""
        codecs = self.terms.codecs
        clocks = [clock for clock in DTMF_TYPES if clock == 8000 or OPUS in codecs] if self.terms.dtmf else []
        used = dict(self._numbers)
        for key, wanted in [(c.name, c.payload_type) for c in codecs] + [(str(c), DTMF_TYPES[c]) for c in clocks]:
            if key not in used:
                free = (wanted, *(number for number in range(96, 128)))
                used[key] = next(number for number in free if number not in used.values())
        return [(used[codec.name], codec) for codec in codecs], [(used[str(clock)], clock) for clock in clocks]

    @property
    def _protection(self) -> str:
        """`sdes`, `dtls` or neither: what has been agreed on is not given up by a re-offer."""
        agreed = self.agreement
        if agreed is not None and (agreed.protect or agreed.dtls):
            return "sdes" if agreed.protect else "dtls"
        return self.terms.srtp if self.terms.srtp in ("sdes", "dtls") else ""

    def _security_offered(self) -> list[Line]:
        terms = self.terms
        if self._protection == "dtls" and terms.fingerprint:
            return [("a", "setup:actpass"), ("a", fingerprint_line(terms.fingerprint))]
        if self._protection != "sdes":
            return []
        return [("a", f"crypto:{self._crypto(tag, suite)}") for tag, suite in enumerate(terms.suites, 1)]

    def _crypto(self, tag: int, suite: str) -> Crypto:
        """Return our line for a suite; the key stays the same over re-offers, so nobody has to re-key."""
        if suite not in self._keys:
            self._keys[suite] = self.new_key(SUITES[suite])
        return Crypto(tag, suite, self._keys[suite])

    def accept(self, body: bytes) -> Agreement | None:
        """Take the answer to our last offer; None when the peer refused the sound.

        :raises WireError: `bad_answer` when it does not fit the offer; whatever `Session.parse` raises.
        """
        answer = Session.parse(body)
        offered = self._offered
        if offered is None:
            raise WireError("bad_answer")
        media, layout = self._answering_line(answer)
        theirs = Payloads.of(media)
        chosen = theirs.first(self.terms.codecs)
        if media.port == 0 and self.agreement is not None:
            self._offered = None
            return self._removed(self.agreement)
        if media.port == 0 or chosen is None:
            return None
        ours = Payloads.of(offered)
        agreement = self._agreement(answer, media, chosen, theirs)
        agreement = msgspec.structs.replace(
            agreement,
            receive=ours.sound,
            receive_dtmf=tuple((number, clock) for clock, number in ours.dtmf.items()),
            rtcp_mux=agreement.rtcp_mux and offered.attribute("rtcp-mux") is not None,
        )
        agreement = self._security_answered(answer, media, agreement)
        self._layout, self._offered = layout, None
        return self._agree(msgspec.structs.replace(agreement, misfit=len(answer.media) != len(layout)))

    def _answering_line(self, answer: Session) -> tuple[Media, list[Media]]:
        """Return the line that answers our sound, and the lines of later offers.

        An answer must have the lines of its offer (RFC 3264, section 6). Where it has more or fewer, ours is the one in
        its place, else the only sound there is; there is no telling what the others are about, so they are let be.

        :raises WireError: `bad_answer`.
        """
        here = [each for each in answer.media[self._ours : self._ours + 1] if each.kind == "audio"]
        if here and len(answer.media) == max(1, len(self._layout)):
            return here[0], answer.media
        sound = here or [each for each in answer.media if each.kind == "audio"]
        if len(sound) != 1:
            raise WireError("bad_answer")
        layout = [line.refused() for line in self._layout] or sound
        layout[self._ours] = sound[0]
        return sound[0], layout

    def _removed(self, agreement: Agreement) -> Agreement:
        """Agree that there is no sound any more; what was agreed on of it is kept for when it comes back."""
        self.agreement = msgspec.structs.replace(agreement, removed=True, sending=False, receiving=False)
        return self.agreement

    def _agree(self, agreement: Agreement) -> Agreement:
        self._numbers |= {codec.name: number for number, codec in agreement.receive}
        self._numbers |= {str(clock): number for number, clock in agreement.receive_dtmf}
        self.agreement = agreement
        return agreement

    def _security_answered(self, answer: Session, media: Media, agreement: Agreement) -> Agreement:
        terms = self.terms
        if self._protection == "sdes":
            crypto = choose(media.attributes("crypto"), terms.suites)
            if crypto is None or terms.suites[crypto.tag - 1 : crypto.tag] != (crypto.suite,):
                raise WireError("bad_answer", "no usable crypto")
            return msgspec.structs.replace(agreement, protect=self._crypto(crypto.tag, crypto.suite), unprotect=crypto)
        if self._protection == "dtls":
            prints = fingerprints(answer, media)
            if not prints:
                raise WireError("bad_answer", "no fingerprint")
            return msgspec.structs.replace(agreement, dtls=Dtls(prints, client=setup_of(answer, media) == "passive"))
        return agreement

    def forked(self) -> "Negotiation":
        """Return another with the same offer open, for another phone the offer has reached."""
        return msgspec.structs.replace(self, _keys=dict(self._keys), _numbers=dict(self._numbers))

    def abandon(self) -> None:
        """Our offer was refused: what was agreed before stays (RFC 3261, section 14.1)."""
        self._offered = None

    def answer(self, body: bytes) -> tuple[bytes, Agreement] | None:
        """Answer an offer; None when nothing in it fits (488).

        :raises WireError: whatever is wrong with the description.
        """
        offer = Session.parse(body)
        for place, media in enumerate(offer.media):
            if media.kind != "audio" or media.port == 0:
                continue
            found = self._answer_line(offer, media)
            if found is None:
                continue
            line, agreement = found
            self._layout = [line if other is media else other.refused() for other in offer.media]
            self._ours = place
            return self._describe(self._layout, offer.first("t") or "0 0"), self._agree(agreement)
        if self.agreement is None or not all(media.port == 0 for media in offer.media if media.kind == "audio"):
            return None
        if len(offer.media) <= self._ours or offer.media[self._ours].kind != "audio":
            # A line once there stays in its place.
            return None
        self._layout = [media.refused() for media in offer.media]
        return self._describe(self._layout, offer.first("t") or "0 0"), self._removed(self.agreement)

    def _answer_line(self, offer: Session, media: Media) -> tuple[Media, Agreement] | None:
        theirs = Payloads.of(media)
        chosen = theirs.best(self.terms.codecs)
        if chosen is None:
            return None
        secured = self._secure(offer, media, self._agreement(offer, media, chosen, theirs))
        if secured is None:
            return None
        agreement, security = secured
        dtmf = agreement.receive_dtmf
        formats = tuple(str(number) for number, _ in (chosen, *dtmf))
        lines = lines_for([chosen], dtmf) + security + _metrics(agreement.voip_metrics)
        lines += [("a", f"mid:{mid}") for mid in media.attributes("mid")]
        direction = _direction(agreement.sending, agreement.receiving)
        return self._media(media.protocol, formats, lines, direction, agreement.rtcp_mux), agreement

    def _secure(self, offer: Session, media: Media, agreement: Agreement) -> tuple[Agreement, list[Line]] | None:
        """Choose how to protect: DTLS or SDES as the protocol says, in the clear only where both allow it."""
        terms = self.terms
        if media.protocol not in (*PLAIN, *SECURE, *OVER_DTLS):
            return None
        if terms.srtp in ("allow", "sdes") and media.protocol not in OVER_DTLS:
            crypto = choose(media.attributes("crypto"), terms.suites)
            if crypto is not None:
                ours = self._crypto(crypto.tag, crypto.suite)
                return msgspec.structs.replace(agreement, protect=ours, unprotect=crypto), [("a", f"crypto:{ours}")]
        # A fingerprint means DTLS under older names of the protocol, too, and under RTP/AVP the wish (RFC 8643).
        wanted = terms.srtp in ("allow", "dtls") and terms.fingerprint
        if wanted and (prints := fingerprints(offer, media)):
            client = self._role(prints, setup_of(offer, media))
            setup: Line = ("a", "setup:active" if client else "setup:passive")
            lines = [setup, ("a", fingerprint_line(wanted))]
            return msgspec.structs.replace(agreement, dtls=Dtls(prints, client)), lines
        clear = media.protocol in PLAIN and terms.srtp in ("never", "allow")
        return (agreement, []) if clear else None

    def _role(self, prints: tuple[tuple[str, bytes], ...], setup: str) -> bool:
        """Say whether we are the client; who has shaken hands already stays what it was (RFC 8842, section 5.3)."""
        agreed = self.agreement.dtls if self.agreement else None
        if agreed is not None and agreed.fingerprints == prints and setup == "actpass":
            return agreed.client
        return setup != "active"

    def _agreement(self, body: Session, media: Media, chosen: tuple[int, Codec], theirs: Payloads) -> Agreement:
        address = body.address_of(media)
        wish = self.direction
        number, codec = chosen
        offered = _MIRROR[body.direction_of(media)]
        # The old way to hold (RFC 2543): nothing can be sent to nowhere.
        nowhere = address in NOWHERE
        mux = media.attribute("rtcp-mux") is not None and self.terms.rtcp_mux
        dtmf = theirs.dtmf_for(codec) if self.terms.dtmf else None
        return Agreement(
            address,
            media.port,
            (address, media.port) if mux else _rtcp(media, address),
            codec,
            number,
            (chosen,),
            dtmf,
            () if dtmf is None else (dtmf,),
            packet_ms(media, self.terms.ptime_ms),
            sending=not nowhere and offered in ("sendrecv", "sendonly") and wish in ("sendrecv", "sendonly"),
            receiving=offered in ("sendrecv", "recvonly") and wish in ("sendrecv", "recvonly"),
            rtcp_mux=mux,
            fmtp=theirs.fmtp.get(number, ""),
            voip_metrics=self.terms.voip_metrics and wants_metrics(body.inherited(media, ATTRIBUTE)),
        )

    def _media(
        self, protocol: str, formats: tuple[str, ...], lines: list[Line], direction: str, mux: bool | None = None
    ) -> Media:
        lines = [*lines, ("a", f"ptime:{self.terms.ptime_ms}")]
        if self.terms.rtcp_mux if mux is None else mux:
            lines.append(("a", "rtcp-mux"))
        return Media([*lines, ("a", direction)], "audio", self.terms.port, protocol, formats)

    def _describe(self, media: list[Media], times: str) -> bytes:
        address = net(self.terms.address)
        body = Session([("s", "-"), ("c", address), ("t", times)], media)
        said = str(body)
        if said != self._said:
            self._version += 1
            self._said = said
        head = Session([("v", "0"), ("o", f"{USER} {self.session_id} {self._version} {address}")])
        return f"{head}{said}".encode("utf-8", "surrogateescape")


def _metrics(wanted: bool) -> list[Line]:
    return [("a", f"{ATTRIBUTE}:{WANTED}")] if wanted else []


def _direction(sending: bool, receiving: bool) -> str:
    return {(True, True): "sendrecv", (True, False): "sendonly", (False, True): "recvonly"}.get(
        (sending, receiving), "inactive"
    )


def _rtcp(media: Media, address: str) -> tuple[str, int]:
    """Return where RTCP goes without rtcp-mux: the port above, unless a=rtcp says otherwise (RFC 3605)."""
    port, _, rest = (media.attribute("rtcp") or "").partition(" ")
    try:
        number = natural(port, 65536)
    except WireError:
        return address, media.port + 1
    parts = rest.split()
    return (parts[2] if len(parts) == 3 else address), number
