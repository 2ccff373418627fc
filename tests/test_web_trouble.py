"""How long a failure is news."""

import pytest
from twisted.internet.task import Clock

from voicemedia.errors import ProviderError
from voicemedia.web.trouble import Trouble


@pytest.mark.parametrize(
    ("error", "told_s"),
    [
        (ProviderError("busy"), 20),
        (ProviderError("busy", retry_after_s=60), 60),
        (ProviderError("bad key", retryable=False), 300),
        (ProviderError("not this", retryable=False, blameless=True), 0),
    ],
)
def test_a_failure_is_told_for_a_while(error: ProviderError, told_s: int) -> None:
    clock = Clock()
    trouble = Trouble(clock.seconds)
    trouble.failed(error)
    for second in range(0, 400, 10):
        assert trouble.text == (str(error) if second < told_s else "")
        clock.advance(10)


def test_success_ends_it() -> None:
    trouble = Trouble(Clock().seconds)
    trouble.failed(ProviderError("busy"))
    trouble.served()
    assert trouble.text == ""
