"""Events of the peer's own reach whoever registered for them, and their bugs reach nobody."""

from collections.abc import Callable, Iterator

import pytest

from tests.house import House
from voicemedia.errors import WireError
from voicemedia.interfaces import Leg
from voicemedia.protocols.smartflo_wire import CustomEvent, router


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = dict(router._handlers)
    yield
    router._handlers.clear()
    router._handlers.update(before)


def test_an_event_nobody_registered_for_is_counted() -> None:
    house = House()
    peer = house.call()
    peer.event("transfer")
    assert house.wire_errors() == {"unknown_event": 1}


@pytest.mark.parametrize("is_async", [True, False])
def test_a_handler_that_raises_harms_nobody(is_async: bool, caught: Callable[[type[Exception]], int]) -> None:
    def plain(event: CustomEvent, leg: Leg | None) -> None:
        raise LookupError

    async def waiting(event: CustomEvent, leg: Leg | None) -> None:
        raise LookupError

    router.route("transfer")(waiting if is_async else plain)
    house = House()
    peer = house.call()
    peer.event("transfer")
    peer.media()
    assert caught(LookupError) == 1
    assert house.server.metrics.frames_in == 1
    assert not peer.gone()


def test_a_handler_may_say_that_the_peer_is_wrong() -> None:
    @router.route("transfer")
    async def transfer(event: CustomEvent, leg: Leg | None) -> None:
        raise WireError("missing_field", "to")

    house = House()
    peer = house.call()
    peer.event("transfer")
    assert house.wire_errors() == {"missing_field": 1}
    assert not peer.gone()
