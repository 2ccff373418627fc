"""`voicemedia cloud NAME`: start a stand-in for a provider on loopback, to try it without an account.

The stand-ins are part of the tests, which an installed package does not carry: they start from a checkout only.
"""

import argparse
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

CLOUDS: Final = {
    "google": "tests.clouds.google",
    "openai": "tests.clouds.openai_audio",
    "openai_chat": "tests.clouds.openai_chat",
    "openai_speech": "tests.clouds.openai_speech",
    "google_speech": "tests.clouds.google_speech",
    "gemini": "tests.clouds.gemini",
    "elevenlabs": "tests.clouds.elevenlabs",
}
"Name of the command -> module that runs as a program."
CHECKOUT: Final = Path(__file__).parent.parent
CURE: Final = "get a checkout, `make .venv/ready` there, and run .venv/bin/voicemedia."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; all but the name go to the stand-in."""
    parser.description = "Start a stand-in for a cloud provider: its wire format, and its failures, on loopback."
    parser.epilog = "Example: voicemedia cloud google --port 50099    (voicemedia cloud google --help: its switches)"
    parser.add_argument("name", choices=sorted(CLOUDS))
    parser.add_argument("options", nargs=argparse.REMAINDER, help="--port N and the switches of the stand-in")


def run(args: argparse.Namespace) -> int:
    """Run the stand-in until it is interrupted; return the exit status."""
    module = CLOUDS[args.name]
    if not (CHECKOUT / f"{module.replace('.', '/')}.py").is_file():
        print(f"The stand-in for {args.name} is part of the source, not of the package: {CURE}", file=sys.stderr)
        return 1
    if str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))
    if find_spec(module) is None:
        print(f"{module} cannot be imported from {CHECKOUT}: {CURE}", file=sys.stderr)
        return 1
    sys.argv = [f"voicemedia cloud {args.name}", *args.options]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0
