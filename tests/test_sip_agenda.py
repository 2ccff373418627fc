"""The agenda of many timed things."""

import gc
import weakref

from voicemedia.sip_bridge.agenda_wire import SPARE, Agenda


class Thing:
    def __init__(self, due_ms: int | None) -> None:
        self.next_due_ms = due_ms


def test_things_that_want_nothing_any_more_are_not_kept_until_their_old_time() -> None:
    agenda: Agenda[Thing] = Agenda()
    kept = Thing(5)
    agenda.note(kept)
    known = []
    for _ in range(10 * SPARE):
        thing = Thing(1_800_000)
        agenda.note(thing)
        thing.next_due_ms = None
        agenda.note(thing)
        known.append(weakref.ref(thing))
    del thing
    gc.collect()
    assert sum(each() is not None for each in known) <= 2 * SPARE
    assert agenda.take(5) is kept


def test_the_first_comes_first_however_often_it_was_moved() -> None:
    agenda: Agenda[Thing] = Agenda()
    late, early = Thing(10), Thing(20)
    for thing in (late, early):
        agenda.note(thing)
    late.next_due_ms = 40
    agenda.note(late)
    assert agenda.next_due_ms == 20 and agenda.take(19) is None
    assert agenda.take(20) is early and agenda.take(39) is None and agenda.take(40) is late
