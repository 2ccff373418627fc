"""OpenAI's streamed chat completions, as OpenAI, vLLM, Ollama and llama.cpp speak them."""

from typing import Any, Final

import msgspec

from voicemedia.agent.model import Line, Prompt, ToolCall
from voicemedia.errors import ProviderError, WireError
from voicemedia.web.refusal_wire import read_refusal

DONE: Final = "[DONE]"


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolDelta(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolDelta] | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    error: Any = None


def messages(prompt: Prompt) -> list[dict[str, object]]:
    """Write a conversation."""
    told: list[dict[str, object]] = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return told + [_message(line) for line in prompt.lines]


def _message(line: Line) -> dict[str, object]:
    if line.who == "tool":
        return {"role": "tool", "tool_call_id": line.calls[0].number, "content": line.text}
    message: dict[str, object] = {"role": "assistant" if line.who == "agent" else "user", "content": line.text}
    if line.calls:
        message["tool_calls"] = [
            {
                "id": call.number,
                "type": "function",
                "function": {"name": call.name, "arguments": msgspec.json.encode(call.arguments).decode()},
            }
            for call in line.calls
        ]
    return message


def tools(prompt: Prompt) -> list[dict[str, object]]:
    """Write what the model may ask us to do."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in prompt.tools
    ]


class OpenAiReader:
    """One answer: text as it comes, calls when they are complete."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[str, str, str]] = {}
        "Number -> identifier, name, arguments so far."
        self._answered = False
        self._finished = ""

    def event(self, payload: str) -> list[str | ToolCall]:
        """Read one chunk; what reasoning models think is not for the caller."""
        if payload.strip() == DONE:
            self._finished = self._finished or "stop"
            return []
        try:
            chunk = msgspec.json.decode(payload, type=_Chunk)
        except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
            raise WireError("bad_chunk", str(error)) from error
        if chunk.error is not None:
            raise read_refusal(500, {}, payload.encode(errors="replace"))
        choice = chunk.choices[0] if chunk.choices else _Choice()
        self._finished = choice.finish_reason or self._finished
        delta = choice.delta or _Delta()
        for number, call in enumerate(delta.tool_calls or ()):
            self._add(number if call.index is None else call.index, call)
        text = delta.content or delta.refusal
        self._answered = self._answered or bool(text)
        return [text] if text else []

    def end(self) -> list[str | ToolCall]:
        """Give the calls; tell an answer that was none."""
        if self._finished == "content_filter":
            raise ProviderError(
                "the model will not answer this", retryable=False, blameless=True, code="content_filter"
            )
        if not self._answered and not self._calls:
            raise ProviderError(f"no answer ({self._finished or 'the stream ended'})", code="no_answer")
        return [_call(*self._calls[number]) for number in sorted(self._calls)]

    def _add(self, number: int, delta: _ToolDelta) -> None:
        identifier, name, arguments = self._calls.get(number, ("", "", ""))
        function = delta.function or _Function()
        more = function.arguments or ""
        # Ollama sends arguments as an object.
        more = more if isinstance(more, str) else msgspec.json.encode(more).decode()
        self._calls[number] = (delta.id or identifier, function.name or name, arguments + more)


def _call(identifier: str, name: str, arguments: str) -> ToolCall:
    try:
        return ToolCall(name, msgspec.json.decode(arguments or "{}", type=dict[str, Any]), identifier)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise WireError("bad_arguments", str(error)) from error
