"""Agent `openai`: any server with OpenAI's chat completions (OpenAI, vLLM, Ollama, llama.cpp, LM Studio)."""

from typing import Any, Literal

from voicemedia.agent.chat import ChatOptions, chat_agent
from voicemedia.agent.http_model import HttpModel
from voicemedia.agent.model import Model, Prompt
from voicemedia.agent.openai_wire import OpenAiReader, messages, tools
from voicemedia.interfaces import Agent


class Options(ChatOptions, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    base_url: str = "https://api.openai.com/v1"
    "Everything before `/chat/completions`."
    model: str = "gpt-4.1-mini"
    key_env: str = "OPENAI_API_KEY"
    "Environment variable with the API key; empty: the server wants none."
    limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    "What the server calls the limit of an answer; OpenAI's reasoning models want the longer name."


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any) -> Agent:
    """Make the agent."""
    return chat_agent(make_model(options, reactor), options, reactor)


def make_model(options: Options, reactor: Any) -> Model:
    """Make the model alone."""
    return HttpModel(OpenAi(options), reactor)


class OpenAi:
    """The wire format of `POST /chat/completions`."""

    name = "openai"

    def __init__(self, options: Options) -> None:
        self.options = options
        self.url = options.base_url.rstrip("/") + "/chat/completions"

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def body(self, prompt: Prompt) -> dict[str, object]:
        """Word the question."""
        options = self.options
        asked: dict[str, object] = {
            "model": options.model,
            "messages": messages(prompt),
            "stream": True,
            "temperature": options.temperature,
            options.limit_key: options.max_tokens,
        }
        if prompt.tools:
            asked["tools"] = tools(prompt)
        return asked

    def reader(self) -> OpenAiReader:
        """Make what reads the answer."""
        return OpenAiReader()
