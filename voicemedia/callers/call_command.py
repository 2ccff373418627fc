"""`voicemedia call smartflo|twilio|sip|browser FILE.wav...`: call as they do and show the conversation."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

from voicemedia.callers.browser_call import CHUNK_MS, session_url
from voicemedia.callers.carrier import CallPlan
from voicemedia.callers.carriers import CARRIERS, SERVER
from voicemedia.callers.conversations import (
    BrowserConversation,
    CarrierConversation,
    Conversation,
    Page,
    SipConversation,
)
from voicemedia.callers.dialect import new_identity
from voicemedia.callers.impair import Impairments
from voicemedia.callers.line import CallFailed, Destination
from voicemedia.callers.recorder import RECORDERS
from voicemedia.callers.script import Keys, Line, Manners, Typed
from voicemedia.callers.sip_line import KEYS_BY, SIP_SERVER, SipWish
from voicemedia.callers.sound import load_utterance, write_wav
from voicemedia.callers.talk import Talk, as_text, show_summary, summary
from voicemedia.callers.twilio import signature
from voicemedia.errors import ConfigError
from voicemedia.one_shot import run_once

EXAMPLE: Final = """
The lines are spoken in the order given, each after the answer to the one before. `dtmf:KEYS` among them presses keys,
`text:WORDS` types where there is something to type on:
  voicemedia call smartflo hello.wav dtmf:42# thanks.wav
  voicemedia call browser hello.wav "text:two boiled eggs" --session mine
Exit status: 0 all was answered, 1 something was not, 2 the call did not come about.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    _take_options_anywhere(parser)
    parser.description = "Call the server as a carrier or a browser does, speak WAV files, show the conversation."
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("carrier", choices=(*sorted(CARRIERS), "sip", "browser"))
    parser.add_argument(
        "lines", nargs="*", metavar="FILE.wav|dtmf:KEYS|text:WORDS", help="what the caller says, in order"
    )
    parser.add_argument(
        "--url", help=f"where to call (default {SERVER} and the carrier's path); sip: who tells the words"
    )
    parser.add_argument(
        "--dtmf", metavar="KEYS", help="press these keys after the last file (as dtmf:KEYS at the end), or as --keys-by"
    )
    parser.add_argument(
        "--packet-ms", type=_packet_ms, metavar="MS", help="20 (default); Smartflo: 100; a browser's recorder: 250"
    )
    _add_manners(parser.add_argument_group("manners"))
    _add_network(parser.add_argument_group("a bad network"))
    _add_identity(parser.add_argument_group("who calls"))
    _add_page(parser.add_argument_group("a browser"))
    output = parser.add_argument_group("output")
    output.add_argument("--record", type=Path, default=Path("heard.wav"), metavar="OUT.wav", help="default: heard.wav")
    output.add_argument("--stereo", action="store_true", help="record the caller too, on the left channel")
    output.add_argument("--json", action="store_true", help="print one JSON object at the end instead of the talk")


def _take_options_anywhere(parser: argparse.ArgumentParser) -> None:
    """Let options stand between the carrier and the files, and between files.

    A plain parser takes the files with the carrier, none if an option follows it, and refuses those after the option.
    The parser that does not cannot hold subcommands, but it can be one.
    """
    plain = parser.parse_known_args

    def parse(args: Any = None, namespace: Any = None) -> Any:
        vars(parser)["parse_known_args"] = plain
        try:
            return parser.parse_known_intermixed_args(args, namespace)
        finally:
            vars(parser)["parse_known_args"] = parse

    vars(parser)["parse_known_args"] = parse


def _add_manners(group: Any) -> None:
    group.add_argument("--wait-greeting", type=_seconds, metavar="S", help="speak after S s, greeting or not")
    group.add_argument("--answer-timeout", type=_seconds, default=20.0, metavar="S", help="go on after S s (20)")
    group.add_argument("--quiet", type=_seconds, default=1.0, metavar="S", help="S s of quiet end an answer (1)")
    group.add_argument("--barge-in-after", type=float, metavar="MS", help="say the next line MS into an answer")


def _add_network(group: Any) -> None:
    group.add_argument("--loss", type=_share, default=0.0, metavar="P", help="lose a packet with chance P (0 to 1)")
    group.add_argument("--jitter-ms", type=float, default=0.0, metavar="MS", help="delay each packet by 0 to MS")
    group.add_argument("--reorder", type=_share, default=0.0, metavar="P", help="let the next packets overtake")
    group.add_argument("--duplicate", type=_share, default=0.0, metavar="P", help="send a packet twice")
    group.add_argument("--burst", type=float, default=1.0, metavar="N", help="lose N packets in a row, on average (1)")
    group.add_argument("--spikes", type=_share, default=0.0, metavar="P", help="stall for 200 ms before a packet")
    group.add_argument("--drift-ppm", type=float, default=0.0, metavar="PPM", help="let the caller's clock be slow")
    group.add_argument("--seed", type=int, default=0, help="of the above; the same seed, the same fate")


def _add_identity(group: Any) -> None:
    group.add_argument("--from", dest="number", default="+919800000001", metavar="NUMBER")
    group.add_argument("--to", metavar="NUMBER", help="sip: an address, sip:bot@127.0.0.1:5060;transport=tcp")
    group.add_argument("--param", type=_parameter, action="append", default=[], metavar="NAME=VALUE")
    group.add_argument("--secret", help="the route's secret (sent as the last part of the path)")
    group.add_argument("--auth-token", help="sign the handshake with this token (twilio)")
    group.add_argument("--tls", action="store_true", help="call the address over TLS (sip)")
    group.add_argument("--insecure", action="store_true", help="wss:// with any certificate")
    group.add_argument("--codec", choices=("PCMU", "PCMA", "G722", "opus"), default="PCMU", help="of the sound (sip)")
    group.add_argument("--srtp", choices=("never", "sdes", "dtls"), default="never", help="encrypt the sound (sip)")
    group.add_argument("--keys-by", choices=KEYS_BY, default=KEYS_BY[0], help="how keys are sent (sip)")


def _add_page(group: Any) -> None:
    group.add_argument("--session", metavar="ID", help="the session's name (default: a new one)")
    group.add_argument("--text", metavar="WORDS", help="type this after the last file (as text:WORDS at the end)")
    group.add_argument(
        "--whole", action="store_true", help="take answers in one piece, as AudioStreamingServer's pages"
    )
    sends = group.add_mutually_exclusive_group()
    for name in RECORDERS:
        what = "Opus in WebM (default)" if name == "webm" else "Opus in Ogg" if name == "ogg" else f"samples, {name}"
        sends.add_argument(f"--{name}", dest="container", action="store_const", const=name, help=f"send {what}")


def _packet_ms(text: str) -> int:
    packet_ms = int(text)
    if packet_ms not in range(10, 1001, 10):
        raise argparse.ArgumentTypeError("10 to 1000, in steps of 10")
    return packet_ms


def _seconds(text: str) -> float:
    seconds = float(text)
    if seconds < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return seconds


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("0 to 1 (0.02 is two percent)")
    return share


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("NAME=VALUE, such as first_name=Asha")
    return name, value


KEYS: Final = frozenset("0123456789*#ABCD")


def read_lines(items: list[str], dtmf: str | None, text: str | None = None, *, page: bool = False) -> list[Line]:
    """Load what the caller is to say.

    :param page: to a browser, where words can be typed too.
    :raises ConfigError: a file cannot be read, a key does not exist, or nothing can be typed.
    """
    items = [*items, *([f"dtmf:{dtmf}"] if dtmf else []), *([f"text:{text}"] if text else [])]
    if not items:
        raise ConfigError("nothing to say: name a WAV file, or keys with --dtmf")
    return [_line(item, page) for item in items]


def _line(item: str, page: bool) -> Line:
    kind, colon, rest = item.partition(":")
    if colon and kind == "dtmf":
        return _keys(rest)
    if colon and kind == "text":
        if not page:
            raise ConfigError(f"{item}: a telephone has nothing to type on; try `voicemedia call browser`")
        return Typed(rest)
    return load_utterance(Path(item), wide=page)


def _keys(keys: str) -> Keys:
    wrong = set(keys) - KEYS
    if wrong or not keys:
        raise ConfigError(f"dtmf:{keys}: keys are 0-9 * # A B C D")
    return Keys(keys)


PATHS: Final = {"sip": "/", "browser": "/audio-stream"}


def destination(args: argparse.Namespace) -> Destination:
    """Say where to call, and with which proof of who we are.

    :raises ConfigError: the address is none of a WebSocket.
    """
    # Of a SIP call it is where the server tells what it understood.
    default_path = CARRIERS[args.carrier].default_path if args.carrier in CARRIERS else PATHS[args.carrier]
    url = args.url or SERVER + default_path
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(f"--url {url}: must begin with ws:// or wss:// and name a host")
    path = parts.path if parts.path.strip("/") else default_path
    if args.secret:
        path = f"{path.rstrip('/')}/{quote(args.secret, safe='')}"
    url = urlunsplit(parts._replace(path=path))
    headers = {"X-Twilio-Signature": signature(args.auth_token, url)} if args.auth_token else {}
    return Destination(url, headers, args.insecure)


def plan(args: argparse.Namespace) -> CallPlan:
    """Make the plan of the call from the arguments."""
    wait_ms = None if args.wait_greeting is None else args.wait_greeting * 1000
    manners = Manners(wait_ms, args.answer_timeout * 1000, args.quiet * 1000, args.barge_in_after)
    bad = Impairments(
        args.loss,
        args.jitter_ms,
        args.reorder,
        args.duplicate,
        args.seed,
        burst=args.burst,
        spikes=args.spikes,
        drift_ppm=args.drift_ppm,
    )
    # A SIP caller's --dtmf may say how keys are sent instead of which.
    way = args.carrier == "sip" and args.dtmf in KEYS_BY
    lines = read_lines(args.lines, None if way else args.dtmf, args.text, page=args.carrier == "browser")
    return CallPlan(lines, args.packet_ms or 20, manners, bad)


def converse(reactor: Any, args: argparse.Namespace) -> Conversation:
    """Make the call the arguments describe.

    :raises ConfigError: something in them makes no sense.
    """
    to = destination(args)
    if args.carrier == "sip":
        keys_by = args.dtmf if args.dtmf in KEYS_BY else args.keys_by
        wish = SipWish(sip_address(args), args.number, args.codec, keys_by, args.insecure, args.srtp)
        return SipConversation(reactor, to, wish, plan(args))
    if args.carrier == "browser":
        return _page(reactor, args, to)
    identity = new_identity(number=args.number, to=args.to or "+918000000000", parameters=dict(args.param))
    return CarrierConversation(reactor, to, CARRIERS[args.carrier](identity), identity.call_id, plan(args))


def sip_address(args: argparse.Namespace) -> str:
    """Tell whom a SIP caller calls."""
    if not args.tls:
        return args.to or SIP_SERVER
    to: str = args.to or SIP_SERVER.replace(":5060", ":5061")
    return to if "transport=" in to or to.startswith("sips:") else f"{to};transport=tls"


def _page(reactor: Any, args: argparse.Namespace, to: Destination) -> Conversation:
    container, session = args.container or "webm", args.session or uuid4().hex
    if args.loss or args.reorder or args.duplicate or args.jitter_ms:
        raise ConfigError("a browser's sound comes by TCP, which loses nothing: try a bad network with sip")
    page = Page(session, container, args.packet_ms or (20 if container == "raw" else CHUNK_MS), args.whole)
    url = session_url(to.url, session, whole=args.whole, parameters=args.param)
    return BrowserConversation(reactor, replace(to, url=url), page, plan(args))


async def place(reactor: Any, args: argparse.Namespace) -> int:
    """Place the call the arguments describe; return the exit status."""
    try:
        _try_to_write(args.record)
        conversation = converse(reactor, args)
        talk = Talk(quiet=args.json)
        talk.line(f"Calling {conversation.title}\n")
        why = await conversation.hold(talk)
    except (CallFailed, ConfigError) as error:
        print(f"voicemedia call: {error}", file=sys.stderr)
        return 2
    call = conversation.call
    show_summary(talk, call, why)
    for complaint in conversation.complaints:
        print(f"The server said: {complaint}", file=sys.stderr)
    try:
        _record(args, call, conversation.ended_ms)
    except OSError as error:
        print(f"voicemedia call: cannot write {args.record}: {error.strerror}", file=sys.stderr)
        return 2
    talk.line(f"What the caller heard is in {args.record}.")
    if args.json:
        print(as_text({**summary(talk, call, why, conversation.told.turns), **conversation.details}))
    return 1 if talk.unanswered or call.script.unsaid else 0


def _try_to_write(path: Path) -> None:
    """Find out whether the recording can be written before a call is placed in vain; leave no file behind.

    :raises ConfigError: it cannot.
    """
    try:
        was_there = path.exists()
        path.open("ab").close()
        if not was_there:
            path.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _record(args: argparse.Namespace, call: Any, ended_ms: float) -> None:
    heard = call.playback.heard(ended_ms)
    channels = (bytes(call.script.mouth.spoken), heard) if args.stereo else (heard,)
    write_wav(args.record, *channels, form=call.playback.form)


def run(args: argparse.Namespace) -> int:
    """Place the call; return the exit status."""
    return run_once(lambda reactor: place(reactor, args))
