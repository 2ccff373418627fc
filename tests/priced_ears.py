"""A recognizer that costs a cent a second: `provider = "tests.priced_ears"`."""

from typing import Any

import msgspec

from tests.scripted_ears import ScriptedRecognizer
from voicemedia.interfaces import Traits


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """None."""


def missing(_options: Options) -> str:
    return ""


def make(_options: Options, reactor: Any) -> ScriptedRecognizer:
    return ScriptedRecognizer(reactor, name="priced", traits=Traits(usd_per_hour=36))
