"""Session descriptions, and the offers and answers made of them."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from voicemedia.errors import WireError
from voicemedia.sip_bridge.body_wire import body_of, parts_of
from voicemedia.sip_bridge.codec_wire import G722, OPUS, PCMA, PCMU, Codec
from voicemedia.sip_bridge.crypto_wire import Crypto, choose
from voicemedia.sip_bridge.framing_wire import read_datagram
from voicemedia.sip_bridge.headers_wire import Headers
from voicemedia.sip_bridge.offer_wire import Agreement, Negotiation, Terms
from voicemedia.sip_bridge.sdp_wire import Session
from voicemedia.sip_bridge.sip_wire import Message

WILD = Path(__file__).parent / "vectors/sip/wild"
OURS = Terms("192.0.2.10", 40000)
ALL = (PCMU, PCMA, G722, OPUS)
CERTIFICATE = ("sha-256", bytes(range(32)))


def wild(name: str) -> bytes:
    return read_datagram((WILD / f"{name}.sip").read_bytes()).body


def sdp(lines: str) -> bytes:
    head = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n"
    return (head + lines).replace("\n", "\r\n").encode()


def new_key(size: int) -> bytes:
    return bytes(range(size))


def negotiation(terms: Terms = OURS) -> Negotiation:
    return Negotiation(terms, 77, new_key)


def answered(offer: bytes, terms: Terms = OURS) -> tuple[Session, Agreement]:
    found = negotiation(terms).answer(offer)
    assert found is not None
    return Session.parse(found[0]), found[1]


@pytest.mark.parametrize("path", sorted(WILD.glob("*.sip")), ids=lambda path: path.stem)
def test_a_description_comes_back_line_for_line(path: Path) -> None:
    body = read_datagram(path.read_bytes()).body
    if body.startswith(b"v=0"):
        assert Session.parse(body).encode() == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"v=1\r\n",
        b"v=0\r\nhello",
        b"v=0\r\nm =audio 1 RTP/AVP 0",
        b"v=0\r\nm=audio x RTP/AVP 0",
        b"v=0\r\nm=audio 70000 RTP/AVP 0",
        b"v=0\r\nm=audio 1 RTP/AVP",
        b"v=0\r\n" + b"m=audio 1 RTP/AVP 0\r\n" * 100,
    ],
)
def test_a_bad_description_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        Session.parse(body)


def test_empty_lines_are_of_no_account() -> None:
    body = b"\r\nv=0\r\n\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n\r\nm=audio 9 RTP/AVP 0\r\n\r\n\r\n"
    assert [media.port for media in Session.parse(body).media] == [9]


def test_a_carriers_offer_is_answered_with_one_codec_and_keys() -> None:
    answer, agreement = answered(wild("twilio_invite"))
    assert str(answer) == (
        "v=0\r\no=voicemedia 77 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
        "m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
        "a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    )
    assert (agreement.address, agreement.port, agreement.rtcp) == ("168.86.128.31", 13868, ("168.86.128.31", 13869))
    assert (agreement.codec, agreement.send_type, agreement.send_dtmf) == (PCMU, 0, (101, 8000))
    assert agreement.sending and agreement.receiving and not agreement.held


@pytest.mark.parametrize(
    ("ours", "name", "codec", "send_type", "dtmf"),
    [
        ((PCMU, PCMA), "teams_upper_case", PCMU, 0, (101, 8000)),
        ((G722, PCMU), "teams_upper_case", G722, 9, (101, 8000)),
        ((OPUS, PCMU), "kamailio_r2_on", OPUS, 96, (101, 48000)),
        ((PCMA, PCMU), "kamailio_r2_on", PCMA, 8, (100, 8000)),
        ((PCMU,), "metaswitch_branch", PCMU, 0, (96, 8000)),
    ],
)
def test_our_order_decides_and_their_numbers_are_used(
    ours: tuple[Codec, ...], name: str, codec: Codec, send_type: int, dtmf: tuple[int, int]
) -> None:
    _, agreement = answered(wild(name), replace(OURS, codecs=ours, srtp="allow"))
    assert (agreement.codec, agreement.send_type, agreement.send_dtmf) == (codec, send_type, dtmf)
    assert agreement.receive == ((send_type, codec),)


@pytest.mark.parametrize(
    ("codecs", "formats", "dtmf"),
    [
        # As Asterisk and FreeSWITCH offer them: events of every clock their codecs have, or seem to have.
        ((G722,), "9 101 102", (101, 8000)),
        ((G722,), "9 102 101", (101, 8000)),
        ((G722,), "9 102", (102, 16000)),
        ((OPUS,), "107 102 103 101", (103, 48000)),
        ((OPUS,), "107 102 101", (101, 8000)),
        ((OPUS,), "107 102", (102, 16000)),
        ((PCMU,), "0 103", (103, 48000)),
        ((PCMU,), "0 104", None),
    ],
)
def test_the_events_are_those_of_the_codecs_clock_or_what_there_is(
    codecs: tuple[Codec, ...], formats: str, dtmf: tuple[int, int] | None
) -> None:
    offer = sdp(
        f"m=audio 40 RTP/AVP {formats}\na=rtpmap:107 opus/48000/2\na=rtpmap:101 telephone-event/8000\n"
        "a=rtpmap:102 telephone-event/16000\na=rtpmap:103 telephone-event/48000\na=rtpmap:104 telephone-event/7\n"
    )
    answer, agreement = answered(offer, replace(OURS, codecs=codecs))
    assert agreement.send_dtmf == dtmf
    assert agreement.receive_dtmf == (() if dtmf is None else (dtmf,))
    said = [line for line in answer.media[0].attributes("rtpmap") if "telephone-event" in line]
    assert said == ([] if dtmf is None else [f"{dtmf[0]} telephone-event/{dtmf[1]}"])


def test_a_static_number_can_be_given_another_meaning() -> None:
    assert negotiation().answer(sdp("m=audio 9 RTP/AVP 0\na=rtpmap:0 speex/8000\n")) is None


@pytest.mark.parametrize(
    ("lines", "packet_ms"),
    [
        ("", 20),
        ("a=ptime:30\n", 30),
        ("a=maxptime:40\na=ptime:10\n", 10),
        ("a=ptime:60\n", 20),
        ("a=ptime:60\na=maxptime:10\n", 10),
        ("a=ptime:40\na=maxptime:30\n", 30),
        ("a=ptime:x\n", 20),
        ("a=ptime:20.0\n", 20),
    ],
)
def test_packets_are_as_long_as_the_peer_wants_them(lines: str, packet_ms: int) -> None:
    assert answered(sdp("m=audio 9 RTP/AVP 0\n" + lines))[1].ptime_ms == packet_ms


@pytest.mark.parametrize(
    ("lines", "said", "sending", "receiving"),
    [
        ("", "sendrecv", True, True),
        ("a=sendonly\n", "recvonly", False, True),
        ("a=recvonly\n", "sendonly", True, False),
        ("a=inactive\n", "inactive", False, False),
        ("c=IN IP4 0.0.0.0\n", "recvonly", False, True),
        ("c=IN IP6 ::\na=inactive\n", "inactive", False, False),
    ],
)
def test_hold_is_understood_in_all_its_forms(lines: str, said: str, sending: bool, receiving: bool) -> None:
    answer, agreement = answered(sdp("m=audio 9 RTP/AVP 0\n" + lines))
    assert answer.media[0].direction == said
    assert (agreement.sending, agreement.receiving, agreement.held) == (sending, receiving, not sending)


def test_other_media_are_refused_in_their_place() -> None:
    answer, agreement = answered(
        sdp(
            "m=video 30 RTP/AVP 31\nm=audio 0 RTP/AVP 0\nm=audio 50 RTP/AVP 18\n"
            "m=audio 40 RTP/AVP 8\na=mid:v\nm=image 60 udptl t38\n"
        )
    )
    assert [(m.kind, m.port) for m in answer.media] == [
        ("video", 0),
        ("audio", 0),
        ("audio", 0),
        ("audio", 40000),
        ("image", 0),
    ]
    assert answer.media[3].attribute("mid") == "v" and agreement.port == 40


@pytest.mark.parametrize(
    "lines",
    [
        "m=audio 9 RTP/AVP 18\n",
        "m=audio 0 RTP/AVP 0\n",
        "m=video 9 RTP/AVP 31\n",
        "",
        "m=audio 9 TCP/X 0\n",
        "m=audio 9 RTP/SAVP 0\n",
    ],
)
def test_nothing_that_fits_is_488(lines: str) -> None:
    assert negotiation().answer(sdp(lines)) is None


def test_an_offer_without_an_address_is_an_error() -> None:
    with pytest.raises(WireError, match="bad_connection"):
        negotiation().answer(b"v=0\r\nm=audio 9 RTP/AVP 0\r\n")


def test_the_version_counts_changes_only() -> None:
    ours = negotiation()
    offers = [sdp("m=audio 9 RTP/AVP 0\n" + lines) for lines in ("", "", "a=sendonly\n", "a=sendonly\n", "")]
    bodies = [found[0] for offer in offers if (found := ours.answer(offer))]
    versions = [(Session.parse(body).first("o") or "").split()[2] for body in bodies]
    assert versions == ["1", "1", "2", "2", "3"]


def test_addresses_may_be_of_version_six() -> None:
    offer = b"v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\nc=IN IP6 2001:db8::2\r\n"
    answer, agreement = answered(offer, replace(OURS, address="2001:db8::3"))
    assert answer.first("c") == "IN IP6 2001:db8::3" and agreement.address == "2001:db8::2"


@pytest.mark.parametrize(
    ("lines", "rtcp", "mux"),
    [
        ("", ("192.0.2.1", 10), False),
        ("a=rtcp:53020\n", ("192.0.2.1", 53020), False),
        ("a=rtcp:53020 IN IP4 192.0.2.9\n", ("192.0.2.9", 53020), False),
        ("a=rtcp:9\na=rtcp-mux\n", ("192.0.2.1", 9), True),
    ],
)
def test_rtcp_goes_where_it_is_wanted(lines: str, rtcp: tuple[str, int], mux: bool) -> None:
    answer, agreement = answered(sdp("m=audio 9 RTP/AVP 0\n" + lines))
    assert (agreement.rtcp, agreement.rtcp_mux) == (rtcp, mux)
    assert (answer.media[0].attribute("rtcp-mux") is not None) is mux


# --- keys ---


def test_null_and_f8_are_never_chosen_from_twelve() -> None:
    answer, agreement = answered(wild("rtpengine_twelve_suites"), replace(OURS, srtp="allow"))
    assert agreement.unprotect and agreement.unprotect.suite == "AEAD_AES_256_GCM"
    assert agreement.protect and agreement.protect.tag == agreement.unprotect.tag == 3
    assert answer.media[0].protocol == "RTP/SAVP" and len(answer.media[0].attributes("crypto")) == 1
    assert answer.media[0].attribute("setup") is None


@pytest.mark.parametrize("suite", ["NULL_HMAC_SHA1_80", "F8_128_HMAC_SHA1_80"])
def test_an_offer_of_nothing_but_weak_suites_is_refused(suite: str) -> None:
    offer = sdp(f"m=audio 9 RTP/SAVP 0\na=crypto:1 {suite} inline:{'A' * 40}\n")
    assert negotiation(replace(OURS, srtp="allow")).answer(offer) is None


@pytest.mark.parametrize("parameter", ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "KDR=1"])
def test_parameters_that_take_protection_away_are_not_taken(parameter: str) -> None:
    assert choose([f"1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40} {parameter}"], OURS.suites) is None


def test_mki_and_lifetime_are_read_and_a_line_without_is_preferred() -> None:
    line = f"1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40}|2^31|1:1"
    assert Crypto.parse(line).mki == b"\x01"
    plain = f"2 AES_CM_128_HMAC_SHA1_32 inline:{'A' * 40}|2^20"
    chosen = choose([line, plain], OURS.suites)
    assert chosen and chosen.tag == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1",
        "1 AES_CM_128_HMAC_SHA1_80",
        "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
        "x AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40,
        "1 AES_CM_128_HMAC_SHA1_80 inline:" + "!" * 40,
        "1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "|9:0",
        "1 AES_CM_128_HMAC_SHA1_80 outline:" + "A" * 40,
    ],
)
def test_a_bad_crypto_line_is_refused(line: str) -> None:
    with pytest.raises(WireError):
        Crypto.parse(line)


def test_a_key_is_not_shown_in_logs() -> None:
    assert "AAAA" not in repr(Crypto.parse("1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40))


def test_best_effort_encryption_in_a_plain_offer_is_taken_when_allowed() -> None:
    answer, agreement = answered(wild("baresip_double_transport"), replace(OURS, srtp="allow"))
    assert answer.media[0].protocol == "RTP/AVP" and agreement.protect is not None
    answer, agreement = answered(wild("baresip_double_transport"))
    assert answer.media[0].attribute("crypto") is None and agreement.protect is None
    assert negotiation(replace(OURS, srtp="sdes")).answer(wild("twilio_invite")) is None


@pytest.mark.parametrize(
    ("setup", "ours", "client"),
    [("actpass", "active", True), ("active", "passive", False), ("passive", "active", True)],
)
def test_dtls_roles_are_settled(setup: str, ours: str, client: bool) -> None:
    print_ = ":".join(["AB"] * 32)
    offer = sdp(f"a=fingerprint:sha-256 {print_}\na=setup:{setup}\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=rtcp-mux\n")
    answer, agreement = answered(offer, replace(OURS, srtp="allow", fingerprint=CERTIFICATE))
    assert answer.media[0].attribute("setup") == ours
    assert agreement.dtls and agreement.dtls.client is client
    assert agreement.dtls.fingerprints == (("sha-256", b"\xab" * 32),)
    assert (answer.media[0].attribute("fingerprint") or "").startswith("sha-256 00:01:02")


# --- our own offers ---


@pytest.mark.parametrize("srtp", ["never", "sdes", "dtls"])
def test_two_of_us_agree(srtp: str) -> None:
    caller = negotiation(Terms("192.0.2.20", 50000, (OPUS, PCMA), srtp=srtp, fingerprint=CERTIFICATE))
    callee = negotiation(
        Terms("192.0.2.30", 60000, (PCMA, OPUS), srtp="allow" if srtp != "never" else srtp, fingerprint=CERTIFICATE)
    )
    found = callee.answer(caller.offer())
    assert found is not None
    agreement = caller.accept(found[0])
    assert agreement is not None
    assert agreement.codec is found[1].codec is PCMA
    assert (agreement.address, agreement.port) == ("192.0.2.30", 60000)
    assert agreement.rtcp_mux and agreement.rtcp == ("192.0.2.30", 60000)
    assert (agreement.protect is not None, agreement.dtls is not None) == (srtp == "sdes", srtp == "dtls")
    if agreement.dtls and found[1].dtls:
        assert found[1].dtls.client is not agreement.dtls.client
    again = callee.offer()
    assert Session.parse(again).media[0].protocol == Session.parse(found[0]).media[0].protocol
    back = caller.answer(again) if srtp == "never" else None
    assert back is None or callee.accept(back[0])


def test_a_hold_of_ours_and_its_end() -> None:
    caller, callee = negotiation(), negotiation(replace(OURS, address="192.0.2.30"))
    found = callee.answer(caller.offer())
    assert found and caller.accept(found[0])
    caller.direction = "sendonly"
    found = callee.answer(caller.offer())
    assert found and found[1].held
    agreement = caller.accept(found[0])
    assert agreement and agreement.sending and not agreement.receiving
    caller.direction = "sendrecv"
    found = callee.answer(caller.offer())
    assert found and not found[1].held


def test_a_re_offer_keeps_the_lines_and_the_numbers() -> None:
    ours = negotiation(replace(OURS, codecs=ALL))
    assert ours.answer(
        sdp(
            "m=video 30 RTP/AVP 31\nm=audio 40 RTP/AVP 107 101\n"
            "a=rtpmap:101 opus/48000/2\na=rtpmap:107 telephone-event/8000\n"
        )
    )
    again = Session.parse(ours.offer())
    assert [(m.kind, m.port) for m in again.media] == [("video", 0), ("audio", 40000)]
    maps = again.media[1].attributes("rtpmap")
    assert "101 opus/48000/2" in maps and "107 telephone-event/8000" in maps
    assert len({line.split()[0] for line in maps}) == len(maps)


def test_an_agreed_key_is_not_given_up_by_a_re_offer() -> None:
    ours = negotiation(replace(OURS, srtp="allow"))
    assert ours.answer(wild("baresip_double_transport"))
    assert Session.parse(ours.offer()).media[0].attribute("crypto")


def test_numbers_may_differ_by_direction() -> None:
    ours = negotiation(replace(OURS, codecs=(OPUS,)))
    ours.offer()
    agreement = ours.accept(
        sdp("m=audio 9 RTP/AVP 120 97\na=rtpmap:120 opus/48000/2\na=rtpmap:97 telephone-event/48000\n")
    )
    assert agreement and (agreement.send_type, agreement.send_dtmf) == (120, (97, 48000))
    assert agreement.receive == ((107, OPUS),) and (101, 8000) in agreement.receive_dtmf


@pytest.mark.parametrize(
    ("srtp", "lines", "outcome"),
    [
        ("never", "m=audio 0 RTP/AVP 0\n", None),
        ("never", "m=audio 9 RTP/AVP 18\n", None),
        ("never", "", "bad_answer"),
        ("never", "m=video 9 RTP/AVP 31\n", "bad_answer"),
        ("never", "m=video 9 RTP/AVP 31\nm=image 9 udptl t38\n", "bad_answer"),
        ("never", "m=video 9 RTP/AVP 31\nm=audio 9 RTP/AVP 0\nm=audio 11 RTP/AVP 0\n", "bad_answer"),
        ("sdes", "m=audio 9 RTP/SAVP 0\n", "bad_answer"),
        ("sdes", "m=audio 9 RTP/SAVP 0\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\n", "bad_answer"),
        ("dtls", "m=audio 9 UDP/TLS/RTP/SAVPF 0\na=setup:active\n", "bad_answer"),
    ],
)
def test_an_answer_must_fit_the_offer(srtp: str, lines: str, outcome: str | None) -> None:
    ours = negotiation(replace(OURS, srtp=srtp, fingerprint=CERTIFICATE))
    ours.offer()
    if outcome is None:
        assert ours.accept(sdp(lines)) is None
        return
    with pytest.raises(WireError, match=outcome):
        ours.accept(sdp(lines))


@pytest.mark.parametrize(
    "lines",
    [
        "m=audio 9 RTP/AVP 0\nm=video 9 RTP/AVP 31\n",
        "m=audio 9 RTP/AVP 0\nm=audio 11 RTP/AVP 8\n",
        "m=video 0 RTP/AVP 31\nm=audio 9 RTP/AVP 0\n",
    ],
)
def test_an_answer_with_more_lines_than_were_offered_is_taken_for_its_sound(lines: str) -> None:
    ours = negotiation()
    ours.offer()
    agreement = ours.accept(sdp(lines))
    assert agreement and agreement.misfit and (agreement.port, agreement.codec) == (9, PCMU)
    # What was never offered has no place in later offers.
    assert [media.kind for media in Session.parse(ours.offer()).media] == ["audio"]


def test_an_answer_that_leaves_out_what_was_refused_is_taken() -> None:
    ours = negotiation()
    assert ours.answer(sdp("m=video 30 RTP/AVP 31\nm=audio 40 RTP/AVP 0\n"))
    ours.offer()
    agreement = ours.accept(sdp("m=audio 9 RTP/AVP 0\n"))
    assert agreement and agreement.misfit and agreement.port == 9
    assert [(m.kind, m.port) for m in Session.parse(ours.offer()).media] == [("video", 0), ("audio", 40000)]


def test_an_answer_to_no_offer_is_an_error() -> None:
    ours = negotiation()
    ours.offer()
    ours.abandon()
    with pytest.raises(WireError, match="bad_answer"):
        ours.accept(sdp("m=audio 9 RTP/AVP 0\n"))


# --- several bodies in one ---


def test_the_description_is_found_in_a_multipart() -> None:
    body = (
        b"--x y\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n"
        b"--x y \r\nc: Text/XML\r\n\r\n<r>\0</r>\r\n--x y--\r\n"
    )
    message = Message(Headers([("c", 'multipart/mixed; boundary="x y"')]), body)
    assert body_of(message, "application/sdp") == b"v=0\r\n"
    assert [kind for kind, _ in parts_of(message)] == ["application/sdp", "text/xml"]
    assert body_of(message, "application/pidf+xml") == b""


def test_a_multipart_without_its_boundary_is_refused() -> None:
    with pytest.raises(WireError, match="bad_multipart"):
        body_of(Message(Headers([("Content-Type", "multipart/mixed;boundary=a")]), b"v=0"), "application/sdp")
