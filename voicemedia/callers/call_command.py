"""`voicemedia call smartflo|twilio|sip FILE.wav...`: place a call as that carrier and show the conversation."""

import argparse
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voicemedia.callers.carrier import CallPlan, CarrierCall
from voicemedia.callers.carriers import CARRIERS, SERVER
from voicemedia.callers.dialect import Dialect, new_identity
from voicemedia.callers.impair import Impairments
from voicemedia.callers.line import CallFailed, CarrierLine, Destination, dial
from voicemedia.callers.script import Keys, Line, Manners, Turn
from voicemedia.callers.sip_line import SIP_SERVER, SipCall, SipLine, SipWish
from voicemedia.callers.sound import load_utterance, write_wav
from voicemedia.callers.talk import Talk, as_text, show_summary, summary
from voicemedia.callers.told import Told
from voicemedia.callers.twilio import signature
from voicemedia.errors import ConfigError

INTERRUPTED: Final = 130
"By Ctrl-C, as shells have it."

EXAMPLE: Final = """
The lines are spoken in the order given, each after the answer to the one before. `dtmf:KEYS` among them presses keys:
  voicemedia call smartflo hello.wav dtmf:42# thanks.wav
Exit status: 0 all was answered, 1 something was not, 2 the call did not come about.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    _take_options_anywhere(parser)
    parser.description = "Call the server exactly as a carrier does, speak WAV files, show the conversation."
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("carrier", choices=(*sorted(CARRIERS), "sip"))
    parser.add_argument("lines", nargs="*", metavar="FILE.wav|dtmf:KEYS", help="what the caller says, in order")
    parser.add_argument("--url", help=f"where to call (default {SERVER} and the carrier's path)")
    parser.add_argument("--dtmf", metavar="KEYS", help="press these keys after the last file (as dtmf:KEYS at the end)")
    parser.add_argument("--packet-ms", type=_packet_ms, default=20, metavar="MS", help="20 (default); Smartflo: 100")
    _add_manners(parser.add_argument_group("manners"))
    _add_network(parser.add_argument_group("a bad network"))
    _add_identity(parser.add_argument_group("who calls"))
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
    group.add_argument("--seed", type=int, default=0, help="of the above; the same seed, the same fate")


def _add_identity(group: Any) -> None:
    group.add_argument("--from", dest="number", default="+919800000001", metavar="NUMBER")
    group.add_argument("--to", metavar="NUMBER", help="sip: an address, sip:bot@127.0.0.1:5060;transport=tcp")
    group.add_argument("--param", type=_parameter, action="append", default=[], metavar="NAME=VALUE")
    group.add_argument("--secret", help="the route's secret (sent as the last part of the path)")
    group.add_argument("--auth-token", help="sign the handshake with this token (twilio)")
    group.add_argument("--insecure", action="store_true", help="wss:// with any certificate")
    group.add_argument("--codec", choices=("PCMU", "PCMA", "G722", "opus"), default="PCMU", help="of the sound (sip)")
    group.add_argument("--srtp", choices=("never", "sdes", "dtls"), default="never", help="encrypt the sound (sip)")
    group.add_argument("--keys-by", choices=("rfc4733", "info"), default="rfc4733", help="how keys are sent (sip)")


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


def read_lines(items: list[str], dtmf: str | None) -> list[Line]:
    """Load what the caller is to say.

    :raises ConfigError: a file cannot be read, or a key does not exist.
    """
    items = items + ([f"dtmf:{dtmf}"] if dtmf else [])
    if not items:
        raise ConfigError("nothing to say: name a WAV file, or keys with --dtmf")
    return [_keys(item[5:]) if item.startswith("dtmf:") else load_utterance(Path(item)) for item in items]


def _keys(keys: str) -> Keys:
    wrong = set(keys) - KEYS
    if wrong or not keys:
        raise ConfigError(f"dtmf:{keys}: keys are 0-9 * # A B C D")
    return Keys(keys)


def destination(args: argparse.Namespace) -> Destination:
    """Say where to call, and with which proof of who we are.

    :raises ConfigError: the address is none of a WebSocket.
    """
    # Of a SIP call it is where the server tells what it understood.
    default_path = CARRIERS[args.carrier].default_path if args.carrier in CARRIERS else "/"
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
    bad = Impairments(args.loss, args.jitter_ms, args.reorder, args.duplicate, args.seed)
    return CallPlan(read_lines(args.lines, args.dtmf), args.packet_ms, manners, bad)


class Conversation:
    """A call under way, the server's texts and their showing, kept in step."""

    def __init__(self, reactor: Any, to: Destination, dialect: Dialect, call_plan: CallPlan) -> None:
        self.call: Any = CarrierCall(dialect, call_plan)
        self._line: Any = CarrierLine(reactor, self.call, self._turn_over)
        self._reactor = reactor
        self._to = to
        self._shown: Deferred[None] = Deferred()
        self._shown.callback(None)

    async def hold(self, told: Told, talk: Talk) -> str:
        """Place the call, return why it ended.

        :raises CallFailed: it did not come about.
        """
        self._told, self._talk = told, talk
        await self._dial()
        why: str = await self._line.ended
        await self._shown
        await told.ask()
        talk.complete(told.turns)
        self.ended_ms = self._line.now_ms
        return why

    async def _dial(self) -> None:
        await dial(self._reactor, self._to, self._line)

    def _turn_over(self, turn: Turn) -> None:
        # One turn after the other, in order, however long the server takes to tell.
        self._shown.addCallback(lambda _: Deferred.fromCoroutine(self._show(turn)))

    async def _show(self, turn: Turn) -> None:
        await self._told.ask()
        if turn.line is not None or turn.answered:
            self._talk.show(turn, self._told.turns)
        if self.call.done:
            self._line.hang_up()


class SipConversation(Conversation):
    """The same over SIP."""

    def __init__(self, reactor: Any, to: Destination, wish: SipWish, call_plan: CallPlan) -> None:
        super().__init__(reactor, to, CARRIERS["smartflo"](new_identity()), call_plan)
        self.call = SipCall(call_plan)
        self._line = SipLine(reactor, self.call, wish, self._turn_over)

    async def _dial(self) -> None:
        await self._line.dial()


def converse(reactor: Any, args: argparse.Namespace, to: Destination) -> tuple[Conversation, str, str]:
    """Make the call the arguments describe; return it, whom it calls, and its Call-ID.

    :raises ConfigError: something in them makes no sense.
    """
    if args.carrier == "sip":
        wish = SipWish(args.to or SIP_SERVER, args.number, args.codec, args.keys_by, args.insecure, args.srtp)
        conversation = SipConversation(reactor, to, wish, plan(args))
        return conversation, wish.to, wish.call_id
    identity = new_identity(number=args.number, to=args.to or "+918000000000", parameters=dict(args.param))
    return Conversation(reactor, to, CARRIERS[args.carrier](identity), plan(args)), to.url, identity.call_id


async def place(reactor: Any, args: argparse.Namespace) -> int:
    """Place the call the arguments describe; return the exit status."""
    try:
        to = destination(args)
        _try_to_write(args.record)
        conversation, callee, call_id = converse(reactor, args, to)
        talk = Talk(quiet=args.json)
        talk.line(f"Calling {callee} as {args.carrier}, {args.packet_ms} ms packets, call {call_id}\n")
        told = Told(reactor, to, call_id)
        why = await conversation.hold(told, talk)
    except (CallFailed, ConfigError) as error:
        print(f"voicemedia call: {error}", file=sys.stderr)
        return 2
    call = conversation.call
    show_summary(talk, call, why)
    try:
        _record(args, call, conversation.ended_ms)
    except OSError as error:
        print(f"voicemedia call: cannot write {args.record}: {error.strerror}", file=sys.stderr)
        return 2
    talk.line(f"What the caller heard is in {args.record}.")
    if args.json:
        print(as_text(summary(talk, call, why, told.turns)))
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


def _record(args: argparse.Namespace, call: CarrierCall, ended_ms: float) -> None:
    heard = call.playback.heard(ended_ms)
    channels = (bytes(call.script.mouth.spoken), heard) if args.stereo else (heard,)
    write_wav(args.record, *channels)


def run(args: argparse.Namespace) -> int:
    """Place the call; return the exit status."""

    status = INTERRUPTED

    async def main(reactor: Any) -> None:
        nonlocal status
        status = await place(reactor, args)

    try:
        react(main)
    except SystemExit as stopped:
        # Our own bug, which `react` has logged, is status 1.
        return status if not stopped.code else 1
