"""Gemini's `streamGenerateContent` (https://ai.google.dev/api/generate-content): questions, and events of answers."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any, Final

import msgspec

from voicemedia.agent.model import Line, Prompt, ToolCall
from voicemedia.errors import ProviderError, WireError
from voicemedia.web.refusal_wire import read_refusal

REFUSING: Final = frozenset({"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"})
"Reasons to finish that say: no answer to this."


class _FunctionCall(msgspec.Struct, frozen=True):
    name: str = ""
    args: dict[str, Any] = {}
    id: str = ""


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    text: str = ""
    thought: bool = False
    thought_signature: str = ""
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct, frozen=True):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, frozen=True, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, frozen=True, rename="camel"):
    block_reason: str = ""


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    error: Any = None


def contents(lines: tuple[Line, ...]) -> list[dict[str, object]]:
    """Write a conversation: roles take turns, and the user begins."""
    told = [("model" if line.who == "agent" else "user", line) for line in lines]
    if not told or told[0][0] != "user":
        told.insert(0, ("user", Line("caller", "(The call begins.)")))
    return [
        {"role": role, "parts": [part for _, line in group for part in _parts(line)]}
        for role, group in groupby(told, key=lambda pair: pair[0])
    ]


def _parts(line: Line) -> list[dict[str, object]]:
    if line.who == "tool":
        response = {"name": line.calls[0].name, "response": {"result": line.text}}
        return [{"functionResponse": {**response, **({"id": line.calls[0].number} if line.calls[0].number else {})}}]
    parts: list[dict[str, object]] = [{"text": line.text}] if line.text else []
    for call in line.calls:
        asked: dict[str, object] = {"name": call.name, "args": call.arguments}
        if call.number:
            asked["id"] = call.number
        parts.append({"functionCall": asked, **({"thoughtSignature": call.opaque} if call.opaque else {})})
    return parts


def body(prompt: Prompt, generation: Mapping[str, object]) -> dict[str, object]:
    """Write a question."""
    asked: dict[str, object] = {"contents": contents(prompt.lines), "generationConfig": generation}
    if prompt.system:
        asked["systemInstruction"] = {"parts": [{"text": prompt.system}]}
    if prompt.tools:
        declared = [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in prompt.tools
        ]
        asked["tools"] = [{"functionDeclarations": declared}]
    return asked


class GeminiReader:
    """One answer of Gemini's."""

    def __init__(self) -> None:
        self._answered = False
        self._finished = ""

    def event(self, payload: str) -> list[str | ToolCall]:
        """Read one event; thoughts are not for the caller."""
        try:
            event = msgspec.json.decode(payload, type=_Event)
        except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
            raise WireError("bad_event", str(error)) from error
        if event.error is not None:
            raise read_refusal(_status(event.error), {}, payload.encode(errors="replace"))
        if event.prompt_feedback is not None and event.prompt_feedback.block_reason:
            raise _refused(event.prompt_feedback.block_reason)
        candidate = event.candidates[0] if event.candidates else _Candidate()
        self._finished = candidate.finish_reason or self._finished
        parts = (candidate.content.parts if candidate.content else None) or []
        pieces = [piece for part in parts if (piece := _piece(part))]
        self._answered = self._answered or bool(pieces)
        return pieces

    def end(self) -> list[str | ToolCall]:
        """Tell an answer that was none."""
        if self._finished in REFUSING:
            raise _refused(self._finished)
        if not self._answered:
            raise ProviderError(f"no answer ({self._finished or 'the stream ended'})", code="no_answer")
        return []


def _piece(part: _Part) -> str | ToolCall:
    if part.thought:
        return ""
    call = part.function_call
    return ToolCall(call.name, call.args, call.id, part.thought_signature) if call else part.text


def _refused(reason: str) -> ProviderError:
    return ProviderError(
        f"the model will not answer this: {reason}", retryable=False, blameless=True, code=reason.lower()
    )


def _status(error: Any) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500
