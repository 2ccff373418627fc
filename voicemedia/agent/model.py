"""The seam between an agent and a language model: what is asked, and what comes while it is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred

from voicemedia.interfaces import Provider


@dataclass(frozen=True, slots=True)
class Tool:
    """Something the model may ask us to do."""

    name: str
    description: str
    parameters: Mapping[str, object]
    "JSON schema of its arguments, an object."


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks us to do something."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict, repr=False)
    number: str = ""
    "The service's identifier of the call."
    opaque: str = ""
    "What the service wants to see again with the result (Gemini's thought signature)."


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a conversation, as it was heard."""

    who: str
    "`caller`, `agent` or `tool`."
    text: str = field(repr=False)
    "Of a tool: what came of the call."
    calls: tuple[ToolCall, ...] = ()
    "Of the agent: what it asked us to do; of a tool: the call it answers."


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to a model."""

    system: str = field(repr=False)
    lines: tuple[Line, ...]
    tools: tuple[Tool, ...] = ()


class Model(Provider, Protocol):
    """A language model behind a network."""

    def ask(self, prompt: Prompt, take: Callable[[str | ToolCall], None]) -> Deferred[None]:
        """Ask; `take` is given pieces of text and calls as they are written.

        The Deferred fires after the last one, fails with `ProviderError`, and closes the request when cancelled.
        """
