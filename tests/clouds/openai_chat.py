"""A stand-in for chat completions: `POST /v1/chat/completions`, streamed, as OpenAI, vLLM and Ollama do.

Run it: `voicemedia cloud openai_chat --port 8005`. Mishaps: those of transcriptions, and `filtered`, `reasoning`,
`pings`, `no_done`, `late_error`, `ollama` (arguments of calls as objects, errors as text), `cut`, `stalled`, `empty`,
`split` (three bytes at a time).
"""
# mypy: disallow-untyped-calls=False

import json
from argparse import ArgumentParser
from typing import Any

from tests.clouds.minds import Mind, add_mind_arguments, pieces_of, run_mind, sse
from tests.clouds.openai_audio import REFUSALS, error
from tests.clouds.web import answer


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "stand-in",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def call_chunks(call: dict[str, Any], mishap: str) -> list[dict[str, Any]]:
    """Write a call: name first, then its arguments in pieces."""
    if mishap == "ollama":
        function = {"name": call["name"], "arguments": call["arguments"]}
        return [chunk({"tool_calls": [{"id": "call_1", "function": function}]})]
    arguments = json.dumps(call["arguments"])
    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": call["name"], "arguments": ""}}
    return [
        chunk({"tool_calls": [head]}),
        *(
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments[at : at + 5]}}]})
            for at in range(0, len(arguments), 5)
        ),
    ]


class OpenAiChat(Mind):
    """Answers, and is strict about questions."""

    def render_POST(self, request: Any) -> int:
        mishap = self.mishaps.next()
        if self.key and request.getHeader("authorization") != f"Bearer {self.key}":
            mishap = "bad_key"
        asked = self.read(request)
        if request.path != b"/v1/chat/completions":
            return answer(request, error(f"Invalid URL (POST {request.path.decode()})", "invalid_request_error"), 404)
        if mishap in REFUSALS and mishap != "html":
            status, body, headers = REFUSALS[mishap]
            return answer(request, body, status, headers)
        if mishap == "no_model":
            return answer(request, {"error": f'model "{asked.get("model")}" not found, try pulling it first'}, 404)
        if wrong := self._wrong(asked):
            return answer(request, error(wrong, "invalid_request_error"), 400)
        return self.write(request, self._events(asked, mishap), mishap)

    def _wrong(self, asked: dict[str, Any]) -> str:
        roles = [message.get("role") for message in asked.get("messages", ())]
        if not roles or set(roles) - {"system", "user", "assistant", "tool"}:
            return "messages: wrong roles"
        if not asked.get("model") or asked.get("stream") is not True:
            return "model and stream are wanted here"
        called = {call["id"] for message in asked["messages"] for call in message.get("tool_calls", ())}
        answered = {message["tool_call_id"] for message in asked["messages"] if message["role"] == "tool"}
        return "" if called == answered else "An assistant message with tool_calls must be followed by tool messages"

    def _events(self, asked: dict[str, Any], mishap: str) -> list[bytes]:
        chunks = [chunk({"role": "assistant", "content": ""})]
        pieces = pieces_of(self.answering(asked))
        for piece in pieces:
            chunks += [chunk({"content": piece})] if isinstance(piece, str) else call_chunks(piece, mishap)
        if mishap == "reasoning":
            chunks.insert(1, chunk({"reasoning_content": "Let me think. ", "content": None}))
        if mishap == "filtered":
            return [sse(chunk({}, "content_filter")), sse("[DONE]")]
        if mishap == "late_error":
            return [sse(each) for each in chunks[:2]] + [sse(error("overloaded", "server_error"))]
        finish = "stop" if isinstance(pieces[-1], str) else "tool_calls"
        events = [sse(each) for each in [*chunks, chunk({}, finish)]]
        usage = {**chunk({}), "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}}
        events.append(sse(usage))
        if mishap == "pings":
            events = [ping for event in events for ping in (b": ping\n\n", event)]
        return events if mishap == "no_done" else [*events, sse("[DONE]")]


def echo(asked: dict[str, Any]) -> str:
    return f"You said: {asked['messages'][-1]['content']}. What else?"


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    add_mind_arguments(parser, 8005)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    add_arguments(parser)
    run_mind(parser.parse_args(), OpenAiChat, echo, "OpenAI chat stand-in: base_url = http://127.0.0.1:{port}/v1")
