from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio.g711 import decode_mulaw
from voicemedia.audio.ring import Ring


@given(
    pieces=st.lists(st.binary(max_size=40).map(lambda some: some + some), min_size=1),
    forgets=st.lists(st.integers(-10, 200)),
    span=st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_a_sample_keeps_its_number_whatever_is_forgotten(
    pieces: list[bytes], forgets: list[int], span: tuple[int, int]
) -> None:
    ring, whole = Ring(), b""
    for number, piece in enumerate(pieces):
        ring.add(piece)
        whole += piece
        if number < len(forgets):
            before = ring.start
            gone = ring.forget(forgets[number])
            assert ring.start == before + gone == min(max(before, forgets[number]), ring.end)
    assert ring.end == len(whole) // 2
    start, end = max(span[0], ring.start), span[1]
    assert ring.cut(*span) == whole[2 * start : 2 * max(start, end)]


def test_a_ring_may_begin_late() -> None:
    ring = Ring(1000)
    ring.add(b"\1\0\2\0\3\0")
    assert (ring.start, ring.end) == (1000, 1003)
    assert ring.cut(1001, 1002) == b"\2\0"
    assert ring.cut(0, 5000) == b"\1\0\2\0\3\0"


def test_a_compressed_ring_gives_telephone_sound_back_as_it_was() -> None:
    sound = decode_mulaw(bytes(range(256)))
    ring = Ring(1000, compressed=True)
    ring.add(sound[:320])
    ring.add(sound[320:])
    assert (ring.start, ring.end) == (1000, 1256)
    assert ring.cut(1100, 1150) == sound[200:300]
    assert ring.forget(1200) == 200
    assert ring.cut(0, 9999) == sound[400:]
