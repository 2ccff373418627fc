"""What the services say when they refuse: status line, `Retry-After` and the many forms of error bodies."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from voicemedia.errors import ProviderError

TEMPORARY: Final = frozenset({408, 409, 421, 425, 429})
"Refusals below 500 after which the same request may succeed."
OPERATOR: Final = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "invalid_api_key",
        "quota_exceeded",
        "model_not_found",
        "detected_unusual_activity",
        "missing_permissions",
        "payment_required",
    }
)
"Codes that only the operator can mend, whatever the status says."
LONGEST_TOLD: Final = 200
LONGEST_DELAY_S: Final = 86_400


class Refused(ProviderError):
    """The service answered, but with an error.

    :param code: its own short name of the error; empty when it gave none.
    :param retry_after_s: how long it wants to be left alone; 0 when it did not say.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_s: float = 0.0) -> None:
        says = ": ".join(part for part in (code, message) if part)
        super().__init__(
            f"HTTP {status}{' ' if says else ''}{says}",
            retryable=_retryable(status, code),
            retry_after_s=retry_after_s,
            code=code or f"http_{status}",
        )
        self.status = status


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    """Make the error of an answer.

    :param headers: `retry-after` and `date` are read, lower-case names.
    """
    code, message = read_error_body(body)
    return Refused(status, code, message[:LONGEST_TOLD], read_retry_after(headers) or read_retry_info(body))


def read_error_body(body: bytes) -> tuple[str, str]:
    """Find code and message in an error body: the forms of OpenAI, Gemini, ElevenLabs, FastAPI, and plain text."""
    text = body.decode(errors="replace").strip()
    try:
        parsed = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return "", "" if text.startswith("<") else text
    parsed = _unwrapped(parsed)
    if not isinstance(parsed, dict):
        return "", _text(parsed)
    return _code_and_message(parsed.get("error", parsed.get("detail", parsed)))


def read_retry_after(headers: Mapping[str, str]) -> float:
    """Read `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date on the server's own clock; 0 without."""
    told = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(told)) if not told[-1:].isalpha() else _seconds_until(told, headers["date"])
    except (ValueError, KeyError, OverflowError, TypeError):
        return 0.0


def read_retry_info(body: bytes) -> float:
    """Find Google's `RetryInfo` (google/rpc/error_details.proto) in an error body, in seconds; 0 without."""
    try:
        error = msgspec.convert(_unwrapped(msgspec.json.decode(body)), _GoogleRefusal).error
        delays = [float(each.delay.removesuffix("s")) for each in error.details if each.delay]
    except (msgspec.MsgspecError, ValueError):
        return 0.0
    return max((delay for delay in delays if 0 < delay <= LONGEST_DELAY_S), default=0.0)


class _Detail(msgspec.Struct, frozen=True):
    delay: str = msgspec.field(name="retryDelay", default="")


class _GoogleError(msgspec.Struct, frozen=True):
    details: tuple[_Detail, ...] = ()


class _GoogleRefusal(msgspec.Struct, frozen=True):
    error: _GoogleError = _GoogleError()


def _unwrapped(parsed: Any) -> Any:
    """Take an error out of the list of one that Gemini sometimes wraps it in."""
    if isinstance(parsed, list) and len(parsed) == 1 and isinstance(parsed[0], dict):
        return parsed[0]
    return parsed


def _retryable(status: int, code: str) -> bool:
    return code not in OPERATOR and (status >= 500 or status in TEMPORARY)


def _seconds_until(told: str, date: str) -> float:
    return max(0.0, (parsedate_to_datetime(told) - parsedate_to_datetime(date)).total_seconds())


def _code_and_message(error: Any) -> tuple[str, str]:
    if isinstance(error, list):
        return "", "; ".join(_field_error(each) for each in error)
    if not isinstance(error, dict):
        return "", _text(error)
    code = next((error[key] for key in ("code", "status", "type") if isinstance(error.get(key), str)), "")
    return code, _text(error.get("message", error.get("msg", "")))


def _field_error(error: Any) -> str:
    """Word one entry of a 422 body: `{"loc": ["body", "model"], "msg": "field required"}`."""
    if not isinstance(error, dict):
        return _text(error)
    place = error.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return ": ".join(part for part in (where, _text(error.get("msg", ""))) if part)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
