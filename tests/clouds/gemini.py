"""A stand-in for Gemini: `POST /v1beta/models/{model}:streamGenerateContent?alt=sse`.

Run it: `voicemedia cloud gemini --port 8004`. Mishaps: `bad_key`, `rate_limit` (with a retry delay), `busy` (wrapped in
a list), `blocked` (the question), `safety` (the answer), `thoughts`, `no_parts`, `late_error`, `slow`, `cut`,
`stalled`, `reset`, `garbage`, `html`, `empty`, `split` (three bytes at a time).
"""
# mypy: disallow-untyped-calls=False

from argparse import ArgumentParser
from itertools import pairwise
from typing import Any

from tests.clouds.minds import Mind, add_mind_arguments, pieces_of, run_mind, sse
from tests.clouds.web import answer


def error(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


KNOWN = {"contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "safetySettings"}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.1s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
REFUSALS: dict[str, tuple[int, Any]] = {
    "bad_key": (400, error(400, "INVALID_ARGUMENT", "API key not valid.", BAD_KEY)),
    "rate_limit": (429, error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", RETRY)),
    "busy": (503, [error(503, "UNAVAILABLE", "The model is overloaded.")]),
}


def part_of(piece: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"text": piece}
    return {"functionCall": {"name": piece["name"], "args": piece["arguments"]}, "thoughtSignature": "c2ln"}


def candidate(parts: list[dict[str, Any]] | None, finish: str = "") -> dict[str, Any]:
    content: dict[str, Any] = {"role": "model"}
    if parts is not None:
        content["parts"] = parts
    told: dict[str, Any] = {"content": content, "index": 0}
    return {"candidates": [{**told, "finishReason": finish} if finish else told], "modelVersion": "stand-in"}


class Gemini(Mind):
    """Answers, and is strict about questions."""

    def render_POST(self, request: Any) -> int:
        mishap = self.mishaps.next()
        if self.key and request.getHeader("x-goog-api-key") != self.key:
            mishap = "bad_key"
        asked = self.read(request)
        model, _, method = request.path.decode().removeprefix("/v1beta/models/").partition(":")
        if method != "streamGenerateContent" or request.args.get(b"alt") != [b"sse"] or not model:
            return answer(request, error(404, "NOT_FOUND", f"no {request.path.decode()}"), 404)
        if mishap in REFUSALS:
            status, body = REFUSALS[mishap]
            return answer(request, body, status)
        if wrong := self._wrong(asked):
            return answer(request, error(400, "INVALID_ARGUMENT", wrong), 400)
        return self.write(request, self._events(asked, mishap), mishap)

    def _wrong(self, asked: dict[str, Any]) -> str:
        """Say what Gemini would not take."""
        roles = [content["role"] for content in asked.get("contents", ())]
        if not roles or roles[0] != "user" or any(role not in ("user", "model") for role in roles):
            return "contents: roles must be user and model, the first user"
        if any(first == second for first, second in pairwise(roles)):
            return "contents: roles must take turns"
        if any(not content["parts"] or {} in content["parts"] for content in asked["contents"]):
            return "contents.parts must not be empty"
        unknown = set(asked) - KNOWN
        return f"Unknown name {sorted(unknown)}" if unknown else ""

    def _events(self, asked: dict[str, Any], mishap: str) -> list[bytes]:
        if mishap == "blocked":
            return [sse({"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "stand-in"})]
        if mishap == "safety":
            return [sse(candidate(None, "SAFETY"))]
        events = [candidate([part_of(piece)]) for piece in pieces_of(self.answering(asked))]
        if mishap == "thoughts":
            events.insert(0, candidate([{"text": "**Thinking** aloud. ", "thought": True}]))
        if mishap == "late_error":
            return [sse(event) for event in events[:1]] + [sse(error(503, "UNAVAILABLE", "overloaded"))]
        last = candidate(None if mishap == "no_parts" else [{"text": ""}], "STOP")
        usage = {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 9, "totalTokenCount": 18}}
        return [sse(event) for event in [*events, {**last, **usage}]]


def echo(asked: dict[str, Any]) -> str:
    said = [part["text"] for part in asked["contents"][-1]["parts"] if "text" in part]
    return f"You said: {' '.join(said)}. What else?"


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the command line."""
    add_mind_arguments(parser, 8004)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    add_arguments(parser)
    run_mind(parser.parse_args(), Gemini, echo, "Gemini stand-in: base_url = http://127.0.0.1:{port}/v1beta")
