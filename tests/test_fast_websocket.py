"""The fast WebSocket says and hears what RFC 6455 wants, and what Autobahn alone would say and hear."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.websocket_wires import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LIMIT,
    PING,
    PONG,
    TEXT,
    Frame,
    Served,
    close,
    ours,
    stock,
    text,
)
from voicemedia.protocols.fast_websocket import unmask

BAD_UTF8 = b"caf\xc3("


def close_code(frames: list[tuple[int, bytes]]) -> int | None:
    """The code of the close frame that ends these frames."""
    opcode, payload = frames[-1]
    assert opcode == CLOSE
    return int(struct.unpack("!H", payload[:2])[0]) if payload else None


def test_the_masking_example_of_the_rfc_is_read() -> None:
    server = ours()
    # Section 5.7: a single-frame masked text message "Hello".
    server.receive(bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58"))
    assert server.messages == [("text", b"Hello")]


def test_the_request_can_be_read_from_the_protocol() -> None:
    protocol = ours().protocol
    assert protocol.http_request_uri == "/vendor-stream/secret?token=7"
    assert protocol.http_request_path == "/vendor-stream/secret"
    assert protocol.http_request_params == {"token": ["7"]}
    assert protocol.http_headers["x-caller"] == "alice"


def test_no_compression_is_agreed_to() -> None:
    response = ours().response
    assert response.startswith(b"HTTP/1.1 101 ")
    assert b"permessage" not in response


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_unmasking_is_xor_with_the_repeated_mask(payload: bytes, mask: bytes) -> None:
    assert unmask(payload, mask) == bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_kind_of_length_go_both_ways(size: int, opcode: int) -> None:
    payload = b"a" * size
    server = ours()
    assert server.receive(bytes(Frame(opcode, payload))) == []
    assert server.messages == [("text" if opcode == TEXT else "binary", payload)]
    (server.protocol.send_text if opcode == TEXT else server.protocol.send_binary)(payload)
    assert server.receive() == [(opcode, payload)]


VIOLATIONS = {
    "text that is not UTF-8": ([Frame(TEXT, BAD_UTF8)], 1007),
    "text that ends inside a character": ([Frame(TEXT, "é".encode()[:1])], 1007),
    "a surrogate in text": ([Frame(TEXT, b"\xed\xa0\x80")], 1007),
    "fragments that are not UTF-8 together": ([Frame(TEXT, b"\xc3", fin=False), Frame(CONTINUATION, b"(")], 1007),
    "a close reason that is not UTF-8": ([Frame(CLOSE, b"\x03\xe8\xff")], 1007),
    "a frame that is too long": ([Frame(TEXT, b"a" * (LIMIT + 1))], 1009),
    "fragments that are too long together": (
        [Frame(TEXT, b"a" * 40_000, fin=False), Frame(CONTINUATION, b"a" * 40_000)],
        1009,
    ),
    "an unmasked frame": ([Frame(TEXT, b"hello", mask=None)], 1002),
    "an unmasked ping": ([Frame(PING, b"hello", mask=None)], 1002),
    **{f"reserved bits {bits}": ([Frame(TEXT, b"hello", reserved=bits)], 1002) for bits in range(1, 8)},
    **{f"opcode {opcode}": ([Frame(opcode, b"hello")], 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a fragmented ping": ([Frame(PING, b"hello", fin=False)], 1002),
    "a ping that is too long": ([Frame(PING, b"a" * 126)], 1002),
    "a close frame that is too long": ([Frame(CLOSE, b"\x03\xe8" + b"a" * 124)], 1002),
    "a close frame of one byte": ([Frame(CLOSE, b"\x03")], 1002),
    "a continuation of nothing": ([Frame(CONTINUATION, b"hello")], 1002),
    "a last continuation of nothing": ([Frame(CONTINUATION, b"hello", fin=False)], 1002),
    "a new message inside a message": ([Frame(TEXT, b"a", fin=False), Frame(TEXT, b"b")], 1002),
    "a longer length than needed": ([Frame(TEXT, b"hello, world", length_bytes=2)], 1002),
    "a much longer length than needed": ([Frame(TEXT, b"hello, world", length_bytes=8)], 1002),
    **{
        f"close code {code}": ([Frame(CLOSE, struct.pack("!H", code))], 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
}


@pytest.mark.parametrize("name", VIOLATIONS)
@pytest.mark.parametrize("before", [b"", text("fine")], ids=["at once", "after a good frame"])
def test_a_violation_is_answered_with_its_code_and_nothing_after_it_is_heard(name: str, before: bytes) -> None:
    frames, code = VIOLATIONS[name]
    server = ours()
    answer = server.receive(before + b"".join(map(bytes, frames)) + text("and more"))
    assert close_code(answer) == code
    assert len(answer) == 1
    assert server.messages == ([("text", b"fine")] if before else [])


@pytest.mark.parametrize("code", [None, 1000, 1001, 1002, 1003, 1007, 1011, 1012, 3000, 3999, 4000, 4999])
def test_a_proper_close_is_answered_and_the_connection_dropped(code: int | None) -> None:
    server = ours()
    assert close_code(server.receive(close(code))) == 1000
    assert server.dropped
    assert server.lose() == [("opened",), ("closed", True, code, "")]


@pytest.mark.parametrize("size", [0, 1, 125])
def test_a_ping_is_answered_with_its_own_payload(size: int) -> None:
    server = ours()
    assert server.receive(bytes(Frame(PING, b"p" * size))) == [(PONG, b"p" * size)]


def test_control_frames_between_fragments_are_answered_at_once() -> None:
    server = ours()
    assert server.receive(bytes(Frame(TEXT, b"one ", fin=False)) + bytes(Frame(PING, b"?"))) == [(PONG, b"?")]
    server.receive(bytes(Frame(CONTINUATION, b"two ", fin=False)) + bytes(Frame(PONG, b"unasked")))
    server.receive(bytes(Frame(CONTINUATION, b"three")) + text("four"))
    assert server.messages == [("text", b"one two three"), ("text", b"four")]


def test_a_character_may_be_split_between_fragments() -> None:
    server = ours()
    first, second = "é".encode()[:1], "é".encode()[1:]
    server.receive(bytes(Frame(TEXT, first, fin=False)) + bytes(Frame(CONTINUATION, second)))
    assert server.messages == [("text", "é".encode())]


def test_a_stream_may_be_cut_anywhere() -> None:
    stream = (
        text("one") + text("zwölf") + bytes(Frame(PING, b"?")) + bytes(Frame(TEXT, b"t" * 130))
        + bytes(Frame(BINARY, b"\xff" * 5)) + bytes(Frame(TEXT, b"a", fin=False)) + bytes(Frame(CONTINUATION, b"b"))
    )  # fmt: skip
    heard = [
        ("text", b"one"),
        ("text", "zwölf".encode()),
        ("text", b"t" * 130),
        ("binary", b"\xff" * 5),
        ("text", b"ab"),
    ]
    for cut in range(len(stream) + 1):
        server = ours()
        assert server.receive(stream[:cut], stream[cut:]) == [(PONG, b"?")]
        assert server.messages == heard
    server = ours()
    assert server.receive(*(stream[at : at + 1] for at in range(len(stream)))) == [(PONG, b"?")]
    assert server.messages == heard


def test_a_thousand_frames_in_one_segment_are_all_heard_in_order() -> None:
    server = ours()
    server.receive(b"".join(text(str(number)) for number in range(1_000)))
    assert server.messages == [("text", b"%d" % number) for number in range(1_000)]


# --- the same bytes to both ---

payloads = st.one_of(st.binary(max_size=140), st.text(max_size=60).map(str.encode), st.just(b"x" * 126))
good_frames = st.one_of(
    st.builds(Frame, st.sampled_from([TEXT, BINARY]), payloads),
    st.builds(Frame, st.just(TEXT), st.text(max_size=60).map(str.encode)),
    st.builds(Frame, st.sampled_from([PING, PONG]), st.binary(max_size=125)),
    st.builds(Frame, st.sampled_from([TEXT, CONTINUATION]), st.text(max_size=9).map(str.encode), fin=st.booleans()),
)
any_frames = st.builds(
    Frame,
    st.integers(0, 15),
    payloads,
    fin=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 0, 1, 4]),
    mask=st.sampled_from([None, b"\0\0\0\0", b"\x37\xfa\x21\x3d", b"\xff\x00\x01\x80"]),
    length_bytes=st.sampled_from([None, None, None, 2, 8]),
)
close_frames = st.builds(
    lambda code, reason: Frame(CLOSE, struct.pack("!H", code) + reason), st.integers(995, 1020), st.binary(max_size=9)
)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[begin:end] for begin, end in pairwise(at)]


def both(stream: bytes, cuts: list[int]) -> tuple[Served, Served]:
    """Feed ours and Autobahn's alike, and compare what was sent, what was heard and how it ended."""
    pair = ours(), stock()
    answers = [server.receive(*pieces_of(stream, cuts)) for server in pair]
    assert answers[0] == answers[1]
    assert pair[0].dropped == pair[1].dropped
    assert pair[0].lose() == pair[1].lose()
    return pair


@settings(max_examples=300, deadline=None)
@given(st.lists(good_frames, max_size=12), st.lists(st.integers(0, 2_000), max_size=4))
def test_ours_and_autobahns_agree_on_talk(frames: list[Frame], cuts: list[int]) -> None:
    both(b"".join(map(bytes, frames)), cuts)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(good_frames, max_size=3),
    any_frames | close_frames,
    st.lists(any_frames, max_size=3),
    st.lists(st.integers(0, 900), max_size=3),
)
def test_ours_and_autobahns_agree_on_violations(
    before: list[Frame], bad: Frame, after: list[Frame], cuts: list[int]
) -> None:
    both(b"".join(map(bytes, [*before, bad, *after])), cuts)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=3))
def test_ours_and_autobahns_agree_on_noise(noise: bytes, cuts: list[int]) -> None:
    both(noise, cuts)
