"""What all tables of the configuration share, the tables of speech to text as a service, and of history."""

import ipaddress
import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


def networks(texts: tuple[str, ...], key: str = "allow") -> tuple[Network, ...]:
    """Parse CIDR networks or single addresses; bits of the host part are allowed.

    :raises ValueError: one of them is neither.
    """
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise ValueError(f"{key}: {error}; write it like 10.0.0.0/8 or 192.0.2.7") from error


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of the file."""


class Stream(Section, frozen=True):
    """Speech to text as a service: `/stt/stream` and `/stt/stream-chunk`."""

    provider: str = ""
    "Recognizer of sessions that name none; empty: the first there is."
    providers: tuple[str, ...] = ()
    "Recognizers a session may name; empty: all there are."
    secret_env: str = ""
    "Environment variable with the secret a client must give in path or query; empty: none."
    allow: tuple[str, ...] = ()
    "Networks (CIDR) whose clients may come; empty: whoever reaches the port."
    max_sessions: Positive = 500
    "Sessions at the same time; one more is refused."
    idle_s: Positive = 300
    "A session without sound for this long expires, in seconds."
    resume_s: Count = 30
    "How long a client that lost its connection may come back, in seconds."
    silence_ms: Annotated[int, Meta(ge=100, le=10_000)] = 600
    "Silence that makes what was said final, in ms; a session may ask for another."
    final_s: Positive = 10
    "A final transcript that has not come after so long is given up, in seconds."
    max_chunk_s: Positive = 10
    "Longest piece of sound in one message, in seconds."
    max_ahead_s: Positive = 30
    "How far ahead of real time a client may send, in seconds; beyond it is read at the speed of speech."
    keep_events: Annotated[int, Meta(ge=10)] = 500
    "Finals and errors of a session that a client who comes back can still be told."
    summaries: str = ""
    "Folder for the summary of every session, as JSON; empty: none is written."

    def __post_init__(self) -> None:
        networks(self.allow)


class Browser(Section, frozen=True):
    """Conversations in the browser, and the playground."""

    playground: bool = True
    "Whether the page at `/` is served."
    choose: bool = True
    "Whether a page may choose among the agents, recognizers and voices of this server."
    origins: tuple[str, ...] = ()
    "Pages of other sites that may call, such as `https://www.example.com`; `*`: all. Our own always may."
    resume_s: Count = 30
    "How long a session without any connection waits for its browser to come back, in seconds."
    sockets: Positive = 5
    "Connections of one session at the same time."
    chunk_bytes: Annotated[int, Meta(ge=1024)] = 500_000
    "Most sound in one message, in bytes."
    pending_bytes: Annotated[int, Meta(ge=1024)] = 200_000
    "Most compressed sound kept until its block is complete, in bytes."
    zero_share: Annotated[float, Meta(gt=0, le=1)] = 0.9
    "A compressed message with this share of zero bytes is corrupt; of PCM it is silence."


class Grpc(Section, frozen=True):
    """The gRPC services for voice gateways, `StreamIngest` and `SpeechToText`."""

    enabled: bool | Literal["auto"] = "auto"
    "`auto`: served unless a port is taken; `true`: a port that is taken ends the start."
    host: str = "127.0.0.1"
    "Address to bind; elsewhere than loopback a token or TLS with `client_ca` is wanted."
    ingest_port: Annotated[int, Meta(ge=0, le=65535)] = 50051
    "Port of `StreamIngest`; 0 lets the system choose."
    speech_port: Annotated[int, Meta(ge=0, le=65535)] = 50052
    "Port of `SpeechToText`; 0 lets the system choose."
    stt: str = ""
    "Recognizer of the sessions; empty: that of `stream.provider`, else the first there is."
    language: str = "en"
    "Language of sessions whose segments name none (BCP 47)."
    token_env: str = ""
    "Environment variable with the token that gateways send as `authorization: Bearer ...`; empty: none."
    certificate: str = ""
    "PEM file with the certificate chain; empty: no TLS."
    private_key: str = ""
    "PEM file with its key."
    client_ca: str = ""
    "PEM file with the authorities whose certificates gateways must show; empty: they need none."
    max_message_bytes: Annotated[int, Meta(ge=1024)] = 1 << 20
    "Longest message taken, in bytes."
    max_concurrent_streams: Positive = 1000
    "Calls at the same time on one connection; one more waits."
    max_streams: Positive = 500
    "Sessions at the same time that come as one stream (`IngestAudio`); one more is refused."
    max_sessions: Positive = 500
    "Sessions at the same time, of both kinds; one more is refused."
    idle_s: Positive = 300
    "A session without a segment for this long expires, in seconds."
    reorder_ms: Annotated[int, Meta(ge=0, le=2000)] = 100
    "How long a missing segment is waited for at least, in ms; also two segments long, and longer where it helped."
    speech_target: str = ""
    "`host:port` of another server's `SpeechToText` that segments are handed to; empty: our own."
    speech_ca: str = ""
    "PEM file with the authorities that server's certificate is checked with; empty: no TLS."
    speech_token_env: str = ""
    "Environment variable with the token that server wants; empty: none."

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.private_key):
            raise ValueError("certificate: certificate and private_key go together; give both or none")
        if self.client_ca and not self.certificate:
            raise ValueError("client_ca: needs certificate and private_key, too")
        if self.ingest_port == self.speech_port != 0:
            raise ValueError("speech_port: must differ from ingest_port")


OPEN_BITS: Final = {4: 8, 6: 16}
"A network of fewer bits, by IP version, is no provider's any more."
Port = Annotated[int, Meta(ge=0, le=65535)]


class Sip(Section, frozen=True):
    """The SIP side: where trunks, PBXs and softphones call."""

    enabled: bool = False
    "Whether SIP is served."
    host: str = "127.0.0.1"
    "Address to bind, for signalling and sound."
    port: Port = 5060
    "UDP and TCP port; 0 lets the system choose."
    tls_port: Port = 5061
    "TLS port, served when there is a certificate; 0 lets the system choose."
    certificate: str = ""
    "PEM file with the certificate chain; empty: no TLS."
    private_key: str = ""
    "PEM file with its key."
    ca: str = ""
    "PEM file with who signs the certificates of servers we connect to; empty: whom the system trusts."
    public_address: str | tuple[str, ...] = ""
    "Our address as peers see it, from behind a NAT, or a list of one IPv4 and one IPv6; empty: the one they reach."
    rtp_first_port: Port = 10_000
    "Ports for sound, two for each call: the first; 0 lets the system choose."
    rtp_last_port: Port = 19_999
    "The last of them."
    no_rtp_s: Positive = 30
    "A caller whose sound stays away for this long has vanished, in seconds; not while on hold."
    messages_per_s: Positive = 1000
    "SIP messages taken from one address; more are dropped unread."
    dns_server: str = ""
    "`address:port` of the name server asked for the servers of trunks (NAPTR, SRV); empty: the system's."
    hold_music: str = ""
    "WAV file that callers on hold hear, over and over; empty: silence."

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.private_key):
            raise ValueError("certificate: certificate and private_key go together; give both or none")
        if self.rtp_first_port and self.rtp_last_port <= self.rtp_first_port:
            raise ValueError("rtp_last_port: must be greater than rtp_first_port")
        if self.dns_server and not re.fullmatch(r"[0-9.]+:[0-9]{1,5}", self.dns_server):
            raise ValueError("dns_server: expected address:port, such as 192.0.2.53:53")
        _check_public(self.public_addresses)

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """`public_address` as a list."""
        given = self.public_address
        return given if isinstance(given, tuple) else (given,) if given else ()


def _check_public(addresses: tuple[str, ...]) -> None:
    try:
        families = [ipaddress.ip_address(address).version for address in addresses]
    except ValueError as error:
        raise ValueError(f"public_address: {error}; write it like 192.0.2.7 or 2001:db8::7") from error
    if len(set(families)) < len(families):
        raise ValueError("public_address: one of IPv4 and one of IPv6 at most")


def _check_rewrite(key: str, pattern: str, replacement: str) -> None:
    try:
        re.compile(f"(?:{pattern})|").sub(replacement, "")
    except (re.error, IndexError) as error:
        raise ValueError(f"{key}: {pattern} -> {replacement}: {error}; write it like ['^00', '+']") from error


class Trunk(Section, frozen=True):
    """Whoever may call over SIP, and who answers."""

    name: str
    "Shown in logs and metrics; the route of its calls is `/sip/NAME`."
    peers: tuple[str, ...] = ("127.0.0.0/8", "::1")
    "Networks (CIDR) its requests come from; requests from elsewhere get no answer at all."
    server: str = ""
    "`host` or `host:port` that we register with, probe and call by; a host alone may have several (SRV); empty: none."
    transport: Literal["udp", "tcp", "tls"] = "udp"
    "How we reach `server`."
    register: bool = False
    "Register with `server` as `user`, and stay registered."
    user: str = ""
    "Our name at the provider."
    secret_env: str = ""
    "Environment variable with the password for `user`; empty: none is asked for."
    expires_s: Annotated[int, Meta(ge=60, le=86_400)] = 600
    "How long a registration is asked for, in seconds."
    probe_s: Count = 0
    "Seconds between OPTIONS to `server`; 0: none."
    codecs: tuple[Literal["PCMU", "PCMA", "G722", "opus"], ...] = ("PCMU", "PCMA")
    "Codecs in the order we prefer them; `G722` and `opus` carry 7 kHz, `opus` needs the extra `opus`."
    ptime_ms: Literal[10, 20, 30, 40] = 20
    "Sound in a packet when the peer does not say, in ms."
    srtp: Literal["never", "allow", "sdes", "dtls"] = "allow"
    "Encrypted sound: `allow` takes it as offered (keys in the SDP only over TLS), `sdes` or `dtls` take nothing else."
    agent: str = "diet"
    "Name of an agent, as in a route."
    stt: str | tuple[str, ...] = "pocketsphinx"
    "Name of a recognizer or several, as in a route."
    tts: str | tuple[str, ...] = "espeak"
    "Name of a synthesizer or several, as in a route."
    language: str = "en"
    "Language of the talk (BCP 47)."
    max_calls: Count = 0
    "Calls at the same time; 0: only `limits.max_calls`."
    full: Literal[503, 486, 480] = 503
    "What a call too many is answered: 503 with Retry-After lets carriers try elsewhere, 486 is busy."
    calls_per_s: Count = 0
    "Calls in any second, of both directions; one more is answered as `full` says; 0: no limit."
    max_call_s: Count = 0
    "A call ends after this many seconds; 0: only `limits.max_call_s`."
    answer_after_s: Annotated[float, Meta(ge=0, le=60)] = 0.0
    "How long it rings before a call is answered, in seconds."
    early_media: bool = False
    "Whether the agent already speaks while it rings (183 with SDP)."
    session_s: Annotated[int, Meta(ge=0, le=86_400)] = 1800
    "Interval of session timers we ask for, in seconds, 90 at least; 0: none, a peer's wish is followed all the same."
    keys_by: Literal["rfc4733", "info", "inband"] = "rfc4733"
    "How keys are sent; `rfc4733` falls back on `info`. All ways are heard, but tones in the sound only with `inband`."
    dial_prefixes: tuple[str, ...] = ()
    "Who may be called: numbers that begin with one of these, after rewriting; empty: nobody; `[]`: everybody."
    emergency: bool = False
    "Whether emergency numbers may be called; no agent should."
    rewrite_called: tuple[tuple[str, str], ...] = ()
    "Pairs of pattern and replacement for numbers we call; the first pattern found changes the number."
    rewrite_caller: tuple[tuple[str, str], ...] = ()
    "The same for numbers that call us."
    callers: tuple[str, ...] = ()
    "Numbers we may call as, the first unless another is asked for; empty: `user`."
    asserted: bool = False
    "Whether the number we call as is also said in P-Asserted-Identity, which carriers that trust us want."
    ring_s: Annotated[int, Meta(ge=1, le=300)] = 60
    "How long it may ring where we call, in seconds."
    transfer_by: Literal["auto", "refer", "bridge"] = "auto"
    "How callers are handed over: the peer is asked to (`refer`), or we call and join both (`bridge`)."

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._~-]+", self.name):
            raise ValueError("name: expected letters, digits and ._~- only")
        networks(self.peers, "peers")
        if 0 < self.session_s < 90:
            raise ValueError("session_s: 90 at least (RFC 4028), or 0")
        for key in ("rewrite_called", "rewrite_caller"):
            for pattern, replacement in getattr(self, key):
                _check_rewrite(key, pattern, replacement)
        if not self.codecs:
            raise ValueError("codecs: name at least one")
        if (self.register or self.probe_s) and not self.server:
            raise ValueError("server: registering and probing need one")
        if self.register and not self.user:
            raise ValueError("user: registering needs one")

    @property
    def open(self) -> bool:
        """Whether its peers are nearly everybody."""
        return any(network.prefixlen < OPEN_BITS[network.version] for network in networks(self.peers))


class Calls(Section, frozen=True):
    """Who may place, end and move calls over HTTP."""

    token_env: str = ""
    "Environment variable with the token asked for as `Authorization: Bearer ...`; empty: nobody may."

    def __post_init__(self) -> None:
        if self.token_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.token_env):
            raise ValueError("token_env: expected the name of an environment variable, not the token itself")


class Recording(Section, frozen=True):
    """Calls as stereo WAV files: the caller left, we right. See to it that callers know."""

    enabled: bool = False
    "Whether anything is recorded."
    folder: str = "var/recordings"
    "Where: one folder a day in here; files can be read by their owner only, and go after `history.keep_days`."
    format: Literal["pcm", "mulaw"] = "pcm"
    "16 bits, or mu-law with half the size."
    routes: tuple[str, ...] = ()
    "Routes that are recorded, a trunk's is `/sip/NAME`; empty: all."
    max_minutes: Annotated[int, Meta(ge=1, le=1080)] = 120
    "A recording ends after that; the call goes on."
    min_free_mb: Count = 512
    "While less than this is free on the disk, in MiB, sound is not recorded."
    queue_s: Annotated[int, Meta(ge=1, le=120)] = 10
    "Sound of a call that may wait for a slow disk, in seconds; what comes then is not recorded."


class History(Section, frozen=True):
    """What is remembered of calls, and where."""

    enabled: bool = True
    "Whether anything is remembered at all."
    path: str = "var/voicemedia.db"
    "SQLite file, made readable by its owner only; relative to where the server is started."
    dsn_env: str = ""
    "Environment variable with the DSN of a PostgreSQL database to use in place of the file; empty: none."
    spool: str = ""
    "Folder of what is not yet in the database; empty: `spool` beside the SQLite file."
    spool_mb: Positive = 256
    "Most that waits there while the database is away, in MiB; what comes then is lost."
    keep_days: Count = 90
    "Days after which conversations, meals and calls are deleted; 0: never."
    store_words: bool = True
    "Whether words, keys and meals are kept; without, only who called when, and how long answers took."
    store_numbers: bool = True
    "Whether numbers, addresses and names are kept; without, a caller is known again by a hash of them."
    resume: bool = True
    "Whether a conversation goes on where an earlier one of the same session or caller stopped."
    resume_turns: Count = 20
    "Earlier turns an agent is told of."
    resume_wait_ms: Annotated[int, Meta(ge=0, le=5000)] = 250
    "How long the greeting waits for what is remembered, in ms; then it goes without."
