"""Every error we raise on purpose, named after who has to act."""


class VoicemediaError(Exception):
    """The root of all errors raised on purpose."""


class ConfigError(VoicemediaError):
    """The operator has to act: the message names the key and the cure."""


class WireError(VoicemediaError, ValueError):
    """The peer sent what its protocol does not allow.

    :param kind: a short fixed name, the label under which it is counted, such as `bad_base64`.
    :param detail: what is wrong, in words the peer may be told.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind, self.detail = kind, detail or kind


class CallRefused(VoicemediaError):
    """Nobody is to blame: we are full or draining."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Unable(VoicemediaError):
    """The way a caller came cannot do what was asked of it, or whoever was to help refused: tell the caller.

    :param status: what the other side answered, as a SIP status; 0 when it was not asked.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class Refused(Unable):
    """The other side was asked and would not: its status says why, whatever that would mean from us."""


class ProviderError(VoicemediaError):
    """A recognizer, synthesizer or agent failed: apologize and go on.

    :param retryable: the same request may succeed later (overload, network); False for a bad key or argument.
    :param blameless: nothing is wrong with the provider: one stream of it came to its natural end.
    :param retry_after_s: not worth trying again before; 0 when the provider does not say.
    :param code: a short fixed name, the label under which it is counted, such as `unavailable`.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        blameless: bool = False,
        retry_after_s: float = 0.0,
        code: str = "failed",
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.blameless = blameless
        self.retry_after_s = retry_after_s
        self.code = code
