"""Random bytes out of pages."""

from voicemedia.random_bytes import PAGE, RandomBytes


class Counting:
    """Bytes whose place can be told from their value, and how often they were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, count: int) -> bytes:
        self.asked.append(count)
        return bytes((len(self.asked) * 7 + at) % 251 for at in range(count))


def test_no_byte_is_given_out_twice() -> None:
    source = Counting()
    random = RandomBytes(source)
    given = b"".join(random(12) for _ in range(PAGE // 12))
    assert given == Counting()(PAGE)[: len(given)]
    assert source.asked == [PAGE]


def test_a_piece_never_spans_two_pages() -> None:
    source = Counting()
    random = RandomBytes(source)
    random(PAGE - 5)
    second = random(12)
    assert source.asked == [PAGE, PAGE]
    assert second == bytes((14 + at) % 251 for at in range(12))


def test_more_than_a_page_comes_from_the_source_at_once() -> None:
    source = Counting()
    assert len(RandomBytes(source)(PAGE + 1)) == PAGE + 1
    assert source.asked == [PAGE + 1]
