"""The message layer: lossless, answerable when broken, framed in datagrams and streams."""

import re
from pathlib import Path

import pytest

from voicemedia.errors import WireError
from voicemedia.sip_bridge.address_wire import Address
from voicemedia.sip_bridge.framing_wire import Ping, Stream, read_datagram
from voicemedia.sip_bridge.grammar_wire import Params, quote, split_list, unquote
from voicemedia.sip_bridge.headers_wire import Headers
from voicemedia.sip_bridge.sip_wire import CSeq, Request, Response
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.via_wire import Via

WILD = sorted((Path(__file__).parent / "vectors/sip/wild").glob("*.sip"))
OPTIONS = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nl: 2\r\n\r\nhi"


def wild(name: str) -> Request:
    message = read_datagram((Path(__file__).parent / f"vectors/sip/wild/{name}.sip").read_bytes())
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize("path", WILD, ids=lambda path: path.stem)
def test_what_was_received_is_sent_again_byte_for_byte(path: Path) -> None:
    # Only padding around values, and the place of Content-Length, which is always ours to say, may differ.
    raw = path.read_bytes()
    head, _, body = raw.partition(b"\r\n\r\n")
    head = re.sub(rb":[ ]+", b": ", head)
    kept = [
        line for line in head.split(b"\r\n") if line.partition(b":")[0].lower().strip() not in (b"content-length", b"l")
    ]
    again = read_datagram(raw).encode()
    assert again == b"\r\n".join([*kept, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body


@pytest.mark.parametrize("path", WILD, ids=lambda path: path.stem)
def test_every_wild_message_can_be_read(path: Path) -> None:
    message = read_datagram(path.read_bytes())
    assert message.vias and message.contact and message.call_id and message.cseq
    assert message.sender.tag and message.recipient.uri


def test_a_response_copies_via_from_to_and_record_route_untouched() -> None:
    request = wild("metaswitch_branch")
    response = request.answer(200, to_tag="ours")
    assert response.headers.raw("via") == request.headers.raw("via")
    assert response.via.branch == "z9hG4bK+c469dd14bbdc0b0c1a8ee2b7c5b34f2d1+sip+2+a76fc9d8"
    assert response.headers.raw("record-route") == request.headers.raw("record-route")
    assert response.headers.first("to") == "<sip:1001@192.0.2.10>;transport=UDP;tag=ours"
    assert response.sender.tag == "192.0.2.44+1+f3a60007+d2f1"


def test_quotes_in_a_via_parameter_hide_commas_and_slashes() -> None:
    via = wild("cisco_quoted_via").via
    assert via.params.get("x-ds0num") == '"ISDN 0 / 0"'
    assert via.branch == "z9hG4bK2B1C5"


def test_a_quoted_comma_does_not_hand_one_identity_to_another() -> None:
    first, second = wild("teams_upper_case").addresses("p-asserted-identity")
    assert (first.display, str(first.uri)) == ("Doe, John", "tel:+4989654321")
    assert (second.display, str(second.uri)) == ("Doe John", "sip:john@example.com")


def test_a_diversion_list_keeps_its_parameters_apart() -> None:
    first, second = wild("cisco_quoted_via").addresses("diversion")
    assert (first.display, first.params.get("reason")) == ("Main, Desk", "no-answer")
    assert second.params.get("reason") == "user-busy"


def test_a_parameter_outside_the_brackets_belongs_to_the_header() -> None:
    recipient = wild("metaswitch_branch").recipient
    assert recipient.params.get("transport") == "UDP"
    assert "transport" not in recipient.uri.params


def test_a_doubled_uri_parameter_is_kept() -> None:
    assert str(Uri.parse(wild("baresip_double_transport").uri)) == (
        "sip:bot@127.0.0.1:5061;transport=tls;transport=tls"
    )


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:example.com", None, "example.com", None),
        ("sips:alice:secret@[2001:db8::1]:5061;transport=tls", "alice", "[2001:db8::1]", 5061),
        ("sip:user;par=u%40example.net@example.com", "user;par=u%40example.net", "example.com", None),
        (
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@h",
            "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
            "h",
            None,
        ),
        ("tel:+1-201-555-0123;phone-context=example.com", "+1-201-555-0123", "", None),
        ("soap.beep://192.0.2.103:3002", "//192.0.2.103:3002", "", None),
    ],
)
def test_a_uri_comes_back_as_it_was(text: str, user: str | None, host: str, port: int | None) -> None:
    uri = Uri.parse(text)
    assert (uri.user, uri.host, uri.port, str(uri)) == (user, host, port, text)


def test_escapes_are_undone_only_when_asked_for() -> None:
    assert Uri.parse("sip:null-%00-null@h").name == "null-\0-null"
    assert Uri.parse("sip:sips%3Auser%40example.com@example.net").name == "sips:user@example.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        ":x",
        "sip:a b@c",
        "sip:a@b:99999",
        "sip:@h",
        "sip:a@b@c",
        "sip:a@b;;x",
        "sip:a@h[",
        "<sip:a@b>",
        "sip:a@b\r\nX: y",
    ],
)
def test_a_bad_uri_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Uri.parse(text)


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        (
            '"J Rosenberg \\\\\\""       <sip:j@e.com>\r\n  ;\r\n  tag = 98asjd8',
            'J Rosenberg \\"',
            "sip:j@e.com",
            "98asjd8",
        ),
        ("caller<sip:caller@example.com>;tag=323", "caller", "sip:caller@example.com", "323"),
        ("sip:a@b;tag=1", "", "sip:a@b", "1"),
        ("< sip:t.watson@example.org >", "", "sip:t.watson@example.org", None),
        ("A. Bell <sip:a@b>;tag=a.b+c", "A. Bell", "sip:a@b", "a.b+c"),
        ('"<sip:evil@x>" <sip:good@y>', "<sip:evil@x>", "sip:good@y", None),
    ],
)
def test_an_address_is_read(text: str, display: str, uri: str, tag: str | None) -> None:
    address = Address.parse(text)
    assert (address.display, str(address.uri), address.tag) == (display, uri, tag)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"open <sip:a@b>',
        "Bell, A <sip:a@b>",
        "<sip:a@b",
        "sip:a@b?h=1",
        "<sip:a@b>;;;",
        '"a" b <sip:x@y>',
        "<sip:a@b>junk",
    ],
)
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Address.parse(text)


def test_a_via_is_stamped_with_where_it_came_from() -> None:
    via = Via.parse("SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKx").stamped("192.0.2.9", 49152)
    assert str(via) == "SIP/2.0/UDP 10.0.0.1:5060;rport=49152;branch=z9hG4bKx;received=192.0.2.9"
    assert via.reply_to == ("192.0.2.9", 49152)


def test_without_rport_a_response_goes_to_the_port_in_the_via() -> None:
    via = Via.parse("SIP/2.0/UDP pc.example.com;branch=z9hG4bKx").stamped("192.0.2.9", 49152)
    assert via.reply_to == ("192.0.2.9", 5060)
    assert Via.parse("SIP/2.0/UDP 192.0.2.9;branch=x").stamped("192.0.2.9", 5060).params.get("received") is None


def test_a_sender_cannot_say_where_it_came_from() -> None:
    via = Via.parse("SIP/2.0/UDP 192.0.2.9:5070;received=198.51.100.1;branch=z9hG4bKx").stamped("192.0.2.9", 5070)
    assert via.reply_to == ("192.0.2.9", 5070)
    via = Via.parse("SIP/2.0/UDP 192.0.2.9;rport=7;received=198.51.100.1;branch=z9hG4bKx").stamped("192.0.2.9", 5070)
    assert via.reply_to == ("192.0.2.9", 5070)


def test_an_ipv6_received_needs_no_brackets() -> None:
    message = read_datagram((Path(__file__).parent / "vectors/sip/wild/ipv6_received.sip").read_bytes())
    assert message.via.reply_to == ("2001:db8::9:255", 5060)


def test_lists_split_only_outside_quotes_and_brackets() -> None:
    assert split_list('a,  "b,c" <x,y>,, d') == ["a", '"b,c" <x,y>', "d"]


@pytest.mark.parametrize("text", ['"' + "\\\\" * 4000 + '"', '""' * 4000, "<a>," * 2000])
def test_a_hostile_list_is_given_up_early(text: str) -> None:
    with pytest.raises(WireError):
        split_list(text)


def test_quoting_is_undone_by_unquoting() -> None:
    assert unquote(quote('a"b\\c')) == 'a"b\\c'


def test_parameters_keep_case_and_order() -> None:
    params = Params.parse('lr;Transport=TCP;x="a;b"')
    assert params.get("transport") == "TCP" and "lr" in params and params.get("nope") is None
    assert str(params.with_("transport", "tls")) == ';lr;transport=tls;x="a;b"'


def test_compact_and_long_names_are_one_header() -> None:
    headers = Headers([("v", "1"), ("VIA", "2"), ("Via", "3")])
    assert headers.all("via") == ["1", "2", "3"]


def test_headers_are_found_however_they_came_in() -> None:
    headers = Headers([("v", "2")])
    assert headers.first("via") == "2"
    headers.add("Via", "3")
    headers.extend([("f", "me"), ("Via", "4")])
    headers.put_first("Via", "1")
    headers.replace("from", "you")
    headers.replace("x-new", "y")
    assert (headers.all("via"), headers.one("from"), headers.first("x-new")) == (["1", "2", "3", "4"], "you", "y")
    headers.remove("via")
    assert list(headers) == [("f", "you"), ("X-New", "y")] and "via" not in headers and headers.one("from") == "you"


def test_our_own_value_cannot_smuggle_a_header_in() -> None:
    with pytest.raises(WireError):
        Headers().add("Subject", "hello\r\nVia: evil")


@pytest.mark.parametrize("text", ["4711", "INVITE", "2147483648 INVITE", "-1 INVITE", "1 IN VITE", "\u0661 INVITE"])
def test_a_bad_cseq_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="bad_cseq"):
        CSeq.parse(text)


def test_binary_in_headers_survives() -> None:
    raw = b"OPTIONS sip:a@b SIP/2.0\r\nSubject: caf\xe9 \xf0\x9f\x98\x80\r\nContent-Length: 0\r\n\r\n"
    assert read_datagram(raw).encode() == raw


# --- datagrams ---


def test_bytes_beyond_the_length_are_noise_in_a_datagram() -> None:
    assert read_datagram(OPTIONS + b"INVITE sip:x@y SIP/2.0\r\n\r\n").body == b"hi"


def test_without_a_length_the_datagram_is_the_body() -> None:
    assert read_datagram(OPTIONS.replace(b"l: 2\r\n", b"")).body == b"hi"


@pytest.mark.parametrize(
    ("old", "new", "trouble"),
    [
        (b"l: 2", b"l: 9", "short_body"),
        (b"l: 2", b"l: -1", "bad_content_length"),
        (b"l: 2", b"l: 2\r\nContent-Length: 3", "repeated_content_length"),
        (b"\r\n\r\nhi", b"\r\n", "no_empty_line"),
        (b"l: 2", b"what is this\r\nl: 2", "bad_header_line"),
        (b"l: 2", b"S: a\nVia: b\r\nl: 2", "bare_line_end"),
        (b"l: 2", b"S: " + b"x" * 9000 + b"\r\nl: 2", "line_too_long"),
        (b"l: 2", b"S: x\r\n" * 300 + b"l: 2", "too_many_headers"),
        (b" SIP/2.0", b" SIP/2.0 ", "bad_start_line"),
        (b" sip:a@b ", b"  sip:a@b  ", "bad_start_line"),
    ],
)
def test_a_broken_request_is_noted_and_can_still_be_answered(old: bytes, new: bytes, trouble: str) -> None:
    message = read_datagram(OPTIONS.replace(old, new, 1))
    assert isinstance(message, Request)
    assert message.trouble == trouble
    assert message.answer(400).via.branch == "z9hG4bK1"


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"hello",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SIP/2.0 99 x\r\n\r\n",
        b"SIP/2.0 2000 x\r\n\r\n",
        b"SIP/2.0 200 OK\r\nbroken\r\n\r\n",
        b"x" * 70000,
    ],
)
def test_what_cannot_be_answered_is_dropped(datagram: bytes) -> None:
    with pytest.raises(WireError):
        read_datagram(datagram)


def test_a_stray_line_end_does_not_get_into_the_answer() -> None:
    message = read_datagram(OPTIONS.replace(b"l: 2", b"From: <sip:a@b>\nX: evil\r\nl: 2"))
    assert isinstance(message, Request) and message.trouble == "bare_line_end"
    assert message.answer(400).headers.first("from") == "<sip:a@b> X: evil"


def test_line_feeds_alone_are_understood() -> None:
    assert read_datagram(OPTIONS.replace(b"\r\n", b"\n")).via.branch == "z9hG4bK1"


# --- streams ---


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_and_keep_alives_are_found_however_the_stream_is_cut(size: int) -> None:
    stream = Stream()
    wire = OPTIONS + b"\r\n" + OPTIONS + b"\r\n\r\n" + OPTIONS + b"\r\n\r\n"
    found = [item for at in range(0, len(wire), size) for item in stream.feed(wire[at : at + size])]
    kinds = [type(item).__name__ for item in found]
    assert kinds == ["Request", "Request", "Ping", "Request", "Ping"]
    assert not stream.broken


def test_a_stream_needs_a_content_length() -> None:
    stream = Stream()
    (request,) = stream.feed(OPTIONS.replace(b"l: 2\r\n", b"") + OPTIONS)
    assert isinstance(request, Request) and request.trouble == "missing_content_length"
    assert stream.broken == "missing_content_length"
    assert stream.feed(OPTIONS) == []


def test_a_stream_waits_for_the_rest_of_a_body() -> None:
    stream = Stream()
    assert stream.feed(OPTIONS[:-1]) == []
    assert len(stream.feed(b"i")) == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 70000,
        b"OPTIONS sip:a@b SIP/2.0\r\nl: 99999999\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
    ],
)
def test_a_stream_that_makes_no_sense_is_given_up(wire: bytes) -> None:
    stream = Stream()
    stream.feed(wire)
    assert stream.broken


def test_a_ping_equals_a_ping() -> None:
    assert Stream().feed(b"\r\n\r\n") == [Ping()]


def test_a_response_is_read_with_an_empty_reason() -> None:
    response = read_datagram(b"SIP/2.0 100 \r\nl: 0\r\n\r\n")
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (100, "")
