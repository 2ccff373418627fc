"""What every test gets: no error may stay unseen in a Deferred or in the log."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

# No example is at fault for the machine being busy, nor is it for how long it takes to make one up.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

LONGEST = (
    "pythons",
    "sip_peers",
    "sip_load",
    "sip_peers_called",
    "sip_kamailio",
    "sip_linphone",
    "whole",
    "playground",
    "stt_bad_network",
    "readme",
    "recording_whole",
    "stt_pocketsphinx",
    "start",
)
"""Files that take long: begun first, so that no worker is left alone with one at the end.

What waits for telephones runs beside the other Pythons, which work hard; whole calls in real time come after them.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@implementer(ILogObserver)
class Failures:
    """The failures logged during one test."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.critical or "log_failure" in event:
            self.events.append(event)

    def take(self, kind: type[Exception]) -> int:
        """Return how many of this kind were logged, and forgive them."""
        mine = [event for event in self.events if event["log_failure"].check(kind)]
        self.events = [event for event in self.events if event not in mine]
        return len(mine)


@pytest.fixture(autouse=True)
def no_unseen_failure(request: pytest.FixtureRequest) -> Iterator[Failures]:
    """Fail a test that leaves an error nobody looked at, unless it is marked as looking for itself."""
    failures = Failures()
    globalLogPublisher.addObserver(failures)
    yield failures
    globalLogPublisher.removeObserver(failures)
    if request.node.get_closest_marker("looks_at_the_log") is None:
        assert [event.get("log_format") for event in failures.events] == []


@pytest.fixture
def caught(no_unseen_failure: Failures) -> Callable[[type[Exception]], int]:
    """Count the failures of a kind that this test expects to be logged."""
    return no_unseen_failure.take
