"""`voicemedia call-out NUMBER`: have a running server call somebody over a trunk, and show how that goes."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from voicemedia.config import secret
from voicemedia.errors import ConfigError
from voicemedia.one_shot import INTERRUPTED

SERVER: Final = "http://127.0.0.1:8000"
TOKEN: Final = "VOICEMEDIA_CALLS_TOKEN"
LOOK_S: Final = 0.25
PATIENCE_S: Final = 10.0
NOTES: Final = f"""
The server needs `[calls] token_env` and a trunk with `dial_prefixes`; the same token is read here from {TOKEN}, or the
variable named with --token-env. Ctrl-C hangs up. Exit status: 0 the call was answered, 1 it was not, 2 it could not be
placed.
"""

Card = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "Have a running server call somebody over a trunk and hand them to an agent."
    parser.epilog = NOTES
    parser.add_argument("to", metavar="NUMBER", help="a number, or an address such as sip:alice@192.0.2.7")
    parser.add_argument("--trunk", default="", help="default: the first that may call this number")
    parser.add_argument("--agent", default="", help="default: the trunk's")
    parser.add_argument("--caller", default="", metavar="NUMBER", help="the number to call as, of the trunk's callers")
    parser.add_argument(
        "--param", type=_parameter, action="append", default=[], metavar="NAME=VALUE", help="for the agent"
    )
    parser.add_argument("--ring", type=int, default=0, metavar="S", help="how long it may ring (the trunk's ring_s)")
    parser.add_argument("--detach", action="store_true", help="return when it is answered; the call goes on")
    parser.add_argument("--url", "--server", default=SERVER, metavar="URL", help=f"default: {SERVER}")
    parser.add_argument("--token-env", default=TOKEN, metavar="VARIABLE", help=f"default: {TOKEN}")
    parser.add_argument("--json", action="store_true", help="print the call as JSON at the end, and nothing else")


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("NAME=VALUE, such as first_name=Asha")
    return name, value


class Refused(Exception):
    """The server did not do what was asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, asked over HTTP."""

    url: str
    token: str

    def ask(self, method: str, path: str = "", body: Mapping[str, object] | None = None) -> Card:
        """Ask, and return the call the answer is about.

        :raises Refused: it said no, or nothing that can be understood.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = Request(f"{self.url.rstrip('/')}/calls{path}", data, headers, method=method)
        try:
            with urlopen(request, timeout=PATIENCE_S) as response:
                call: Card = json.load(response)["call"]
                return call
        except HTTPError as error:
            raise Refused(_reason(error)) from error
        except (OSError, HTTPException, ValueError, KeyError) as error:
            raise Refused(f"{self.url} does not answer as a server does ({error}); start it, or use --url") from error


def _reason(error: HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {error.code}"


class Watch:
    """Shows each new state of a call once."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show, self._state = show, ""

    def see(self, call: Card) -> None:
        """Take the call as it is now."""
        if call["state"] != self._state:
            self._state = call["state"]
            self._show(as_text(call))


def as_text(call: Card) -> str:
    """Say in a line how a call stands."""
    match call["state"]:
        case "dialing":
            return f"calling {call['number']} over trunk {call['trunk']} (call {call['id']})"
        case "ringing":
            return "it rings"
        case "early":
            return "it rings, with sound"
        case "up":
            return f"answered; agent {call['agent']} talks"
        case _ if call["duration_s"]:
            return f"over after {call['duration_s']} s, cause {call['cause']}"
        case _:
            return f"not answered: {call['status']} {call['reason']}, cause {call['cause']}"


def run(args: argparse.Namespace) -> int:
    """Place the call; return the exit status."""
    try:
        server = Server(args.url, secret(args.token_env, "--token-env").reveal())
        wanted = {
            "to": args.to,
            "trunk": args.trunk,
            "agent": args.agent,
            "caller": args.caller,
            "parameters": dict(args.param),
            "ring_s": args.ring,
        }
        call = server.ask("POST", body=wanted)
    except (ConfigError, Refused) as error:
        print(f"voicemedia call-out: {error}", file=sys.stderr)
        return 2
    show: Callable[[str], None] = (lambda _: None) if args.json else (lambda line: print(line, flush=True))
    call, interrupted = _follow(server, call, Watch(show), detach=args.detach)
    if args.json:
        print(json.dumps(call, indent=2))
    return INTERRUPTED if interrupted else 0 if call["state"] == "up" or call["duration_s"] else 1


def _follow(server: Server, call: Card, watch: Watch, *, detach: bool) -> tuple[Card, bool]:
    """Look until the call is over; return it, and whether Ctrl-C was pressed."""
    path, interrupted = f"/{quote(call['id'], safe='')}", False
    while True:
        try:
            watch.see(call)
            if call["state"] == "ended" or (detach and call["state"] == "up"):
                return call, interrupted
            time.sleep(LOOK_S)
            call = server.ask("GET", path)
        except KeyboardInterrupt:
            if interrupted:
                return call, interrupted
            interrupted = True
            _hang_up(server, path)
        except Refused as error:
            print(f"voicemedia call-out: {error}", file=sys.stderr)
            return call, interrupted


def _hang_up(server: Server, path: str) -> None:
    try:
        server.ask("DELETE", path)
    except Refused as error:
        print(f"voicemedia call-out: {error}", file=sys.stderr)
