"""The `voicemedia` command: a table of commands, each in a module of its own."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from voicemedia import __version__

COMMANDS: Final = {
    "call": ("voicemedia.callers.call_command", "call the server as a carrier does and show the conversation"),
    "call-out": ("voicemedia.callers.call_out_command", "have the server call somebody and hand them to an agent"),
    "storm": ("voicemedia.callers.storm_command", "place many calls at once and account for every frame"),
    "cloud": ("voicemedia.cloud", "start a stand-in for a cloud provider, to try it without an account"),
    "doctor": ("voicemedia.doctor", "say what of a configuration works on this machine, and what is missing"),
    "history": ("voicemedia.history.command", "read, export or erase what is remembered of conversations"),
    "transcribe": ("voicemedia.transcribe", "stream a WAV file to the server and print what it understands"),
}
"Name of the command: the module with its `add_arguments(parser)` and `run(args) -> int`, and what it does."
UNREAD: Final = 141
"Exit status when whoever reads our output has gone, as shells have it for SIGPIPE."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="voicemedia")
    parser.add_argument("--version", action="version", version=f"voicemedia {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        # Only the one that is wanted: some bring the whole server with them.
        if name in arguments[:1]:
            import_module(module).add_arguments(command)
    args = parser.parse_args(arguments)
    try:
        status = int(import_module(COMMANDS[args.command][0]).run(args))
        sys.stdout.flush()
    except BrokenPipeError:
        # As with `voicemedia history list | head`. What is still buffered goes nowhere, or Python complains at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    return status


if __name__ == "__main__":
    sys.exit(main())
