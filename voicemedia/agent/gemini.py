"""Agent `gemini`: Google's Gemini over its REST interface."""

from typing import Annotated, Any
from urllib.parse import quote

from msgspec import Meta

from voicemedia.agent.chat import ChatOptions, chat_agent
from voicemedia.agent.gemini_wire import GeminiReader, body
from voicemedia.agent.http_model import HttpModel
from voicemedia.agent.model import Model, Prompt
from voicemedia.interfaces import Agent


class Options(ChatOptions, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    base_url: str = "https://generativelanguage.googleapis.com/v1beta"
    "Everything before `/models/`."
    model: str = "gemini-2.5-flash"
    key_env: str = "GEMINI_API_KEY"
    "Environment variable with the API key."
    thinking_budget: Annotated[int, Meta(ge=-1)] = 0
    "Tokens the model may think before it speaks; -1: nothing is said about it, as models without thoughts want."


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any) -> Agent:
    """Make the agent."""
    return chat_agent(make_model(options, reactor), options, reactor)


def make_model(options: Options, reactor: Any) -> Model:
    """Make the model alone."""
    return HttpModel(Gemini(options), reactor)


class Gemini:
    """The wire format of `streamGenerateContent`."""

    name = "gemini"

    def __init__(self, options: Options) -> None:
        self.options = options
        base = options.base_url.rstrip("/")
        self.url = f"{base}/models/{quote(options.model, safe='')}:streamGenerateContent?alt=sse"

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are; a key in the address would stand in logs."""
        return {"x-goog-api-key": key} if key else {}

    def body(self, prompt: Prompt) -> dict[str, object]:
        """Word the question."""
        options = self.options
        generation: dict[str, object] = {"temperature": options.temperature, "maxOutputTokens": options.max_tokens}
        if options.thinking_budget >= 0:
            generation["thinkingConfig"] = {"thinkingBudget": options.thinking_budget}
        return body(prompt, generation)

    def reader(self) -> GeminiReader:
        """Make what reads the answer."""
        return GeminiReader()
