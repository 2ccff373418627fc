"""An agent that hands its caller over, lets it wait, or presses keys, as a key says."""

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed

from voicemedia.errors import Unable
from voicemedia.interfaces import Caller, Floor, Goodbye, Said


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


def missing(_options: Options) -> str:
    return ""


def make(_options: Options, _reactor: Any) -> "Transferring":
    return Transferring()


class Transferring:
    """Agent and conversation in one; `told` is what came of it."""

    name = "transferring"
    trouble = ""
    told: list[str]

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def converse(self, caller: Caller) -> "Transferring":
        talk = Transferring()
        talk.caller, talk.told = caller, TOLD
        return talk

    caller: Caller

    def greet(self, floor: Floor) -> Deferred[None]:
        return succeed(None)

    def reply(self, said: Said, floor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self._reply(said.keys, floor))

    async def _reply(self, key: str, floor: Any) -> None:
        try:
            if key == "1":
                floor.say("I connect you.")
                await floor.transfer(self.caller.parameters["to"])
            elif key == "2":
                await floor.hold()
            elif key == "3":
                await floor.resume()
            else:
                floor.press("42")
            self.told.append(f"{key}: done")
        except Unable as error:
            self.told.append(f"{key}: {error} ({error.status})")

    def heard(self, text: str, *, complete: bool) -> None:
        self.told.append(f"heard {text}")

    def overhear(self, pcm: bytes) -> None:
        pass

    def over(self, why: Goodbye) -> None:
        self.told.append(f"over {why.value}")


TOLD: list[str] = []
