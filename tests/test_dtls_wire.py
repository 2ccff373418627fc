"""DTLS-SRTP: two of our ends on memory, every role, bad peers and a lossy way."""

import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.in_reactor import in_reactor
from tests.sip_house import pause
from voicemedia.errors import WireError
from voicemedia.sip_bridge.codec_wire import PCMA
from voicemedia.sip_bridge.crypto_wire import Dtls, fingerprint_line
from voicemedia.sip_bridge.dtls_wire import MTU, PATIENCE_MS, DtlsSession, Identity, is_dtls
from voicemedia.sip_bridge.offer_wire import Agreement, Negotiation, Terms
from voicemedia.sip_bridge.rtp_wire import Packet
from voicemedia.sip_bridge.security_wire import RTCP, RTP, Security
from voicemedia.sip_bridge.srtp_wire import Protection

ONE, OTHER = Identity.make(), Identity.make()


def pair(ours: tuple[tuple[str, bytes], ...] = (ONE.fingerprint,)) -> tuple[DtlsSession, DtlsSession]:
    client = DtlsSession(ONE, Dtls((OTHER.fingerprint,), client=True), 0)
    return client, DtlsSession(OTHER, Dtls(ours, client=False), 0)


def shake(client: DtlsSession, server: DtlsSession, way: Callable[[bytes], list[bytes]] = lambda each: [each]) -> None:
    """Carry datagrams until nobody has any."""
    for _ in range(20):
        there = [each for sent in client.outputs() for each in way(sent)]
        for datagram in there:
            server.receive(datagram)
        back = [each for sent in server.outputs() for each in way(sent)]
        for datagram in back:
            client.receive(datagram)
        if not there and not back:
            return


def test_both_ends_get_the_same_keys_crosswise() -> None:
    client, server = pair()
    shake(client, server)
    assert client.keys is not None and server.keys is not None
    assert client.keys[0].key == server.keys[1].key != client.keys[1].key == server.keys[0].key
    assert client.keys[0].suite == "AEAD_AES_128_GCM"


def test_datagrams_are_whole_records_that_any_path_carries() -> None:
    client, server = pair()
    sizes: list[int] = []

    def look(datagram: bytes) -> list[bytes]:
        sizes.append(len(datagram))
        assert is_dtls(datagram)
        return [datagram]

    shake(client, server, look)
    assert client.keys is not None and max(sizes) <= MTU


def test_a_certificate_the_sdp_did_not_name_is_refused() -> None:
    client, server = pair((("sha-256", bytes(32)),))
    shake(client, server)
    assert "certificate" in server.failed and server.keys is None


def test_sha_1_counts_only_where_there_is_nothing_better() -> None:
    better = pair((("sha-1", bytes(20)), ONE.fingerprint))
    shake(*better)
    assert better[1].keys is not None


def test_datagrams_twice_and_in_any_order_do_no_harm() -> None:
    client, server = pair()
    shake(client, server, lambda each: [each, each])
    assert client.keys is not None and server.keys is not None


def test_garbage_during_and_after_the_handshake_does_no_harm() -> None:
    chance = random.Random(4)
    client, server = pair()

    def way(datagram: bytes) -> list[bytes]:
        return [bytes([22]) + chance.randbytes(chance.randrange(12, 80)), datagram]

    shake(client, server, way)
    assert client.keys is not None and server.keys is not None
    for _ in range(500):
        server.receive(bytes([chance.randrange(20, 64)]) + chance.randbytes(chance.randrange(12, 100)))
    assert not server.failed


@in_reactor
async def test_lost_flights_are_sent_again() -> None:
    client, server = pair()
    # The first flight of each side goes down.
    client.outputs()
    await pause(1.05)
    client.due(1_050)
    for datagram in client.outputs():
        server.receive(datagram)
    assert server.outputs()
    await pause(1.05)
    server.due(1_050)
    again = server.outputs()
    assert again
    for datagram in again:
        client.receive(datagram)
    shake(client, server)
    assert client.keys is not None and server.keys is not None


def test_a_peer_that_never_answers_is_given_up() -> None:
    session = DtlsSession(ONE, Dtls((OTHER.fingerprint,), client=True), 0)
    session.due(PATIENCE_MS - 1)
    assert session.pending
    session.due(PATIENCE_MS + 100)
    assert session.failed == "no answer"


# --- the roles and the protection of a call ---


def agreements(ours: str, theirs: str = "") -> tuple[Agreement, Agreement, Negotiation, Negotiation]:
    """Let one offer and the other answer."""
    both = [
        Negotiation(
            Terms("127.0.0.1", 4000 + 2 * number, (PCMA,), srtp=how, fingerprint=identity.fingerprint),
            1,
            random.randbytes,
        )
        for number, (how, identity) in enumerate(((ours, ONE), (theirs or "allow", OTHER)))
    ]
    answered = both[1].answer(both[0].offer())
    assert answered is not None
    accepted = both[0].accept(answered[0])
    assert accepted is not None
    return accepted, answered[1], both[0], both[1]


def test_who_answers_an_offer_begins_and_stays_the_client_in_later_offers() -> None:
    one, other, first, second = agreements("dtls")
    assert one.dtls is not None and other.dtls is not None
    assert (one.dtls.client, other.dtls.client) == (False, True)
    # Now the other side offers, with actpass as it has to.
    answered = first.answer(second.offer())
    assert answered is not None and b"a=setup:passive" in answered[0]
    assert answered[1].dtls == one.dtls
    again = second.accept(answered[0])
    assert again is not None and again.dtls == other.dtls


@pytest.mark.parametrize(("setup", "client"), [("actpass", True), ("passive", True), ("active", False)])
def test_every_setup_is_answered_by_its_counterpart(setup: str, client: bool) -> None:
    offerer = Negotiation(
        Terms("127.0.0.1", 4000, (PCMA,), srtp="dtls", fingerprint=ONE.fingerprint), 1, random.randbytes
    )
    answerer = Negotiation(
        Terms("127.0.0.1", 4002, (PCMA,), srtp="dtls", fingerprint=OTHER.fingerprint), 1, random.randbytes
    )
    answered = answerer.answer(offerer.offer().replace(b"setup:actpass", b"setup:" + setup.encode()))
    assert answered is not None and answered[1].dtls is not None
    assert answered[1].dtls.client is client
    assert (b"a=setup:active" in answered[0]) is client


@pytest.mark.parametrize("protocol", ["RTP/SAVPF", "RTP/SAVP", "RTP/AVP", "UDP/TLS/RTP/SAVP"])
def test_a_fingerprint_stands_for_dtls_whatever_the_protocol_is_called(protocol: str) -> None:
    offer = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" + (
        f"m=audio 4000 {protocol} 8\r\na=setup:actpass\r\na={fingerprint_line(ONE.fingerprint)}\r\n".encode()
    )
    for srtp, taken in (("allow", True), ("dtls", True), ("sdes", False)):
        terms = Terms("127.0.0.1", 4002, (PCMA,), srtp=srtp, fingerprint=OTHER.fingerprint)
        answered = Negotiation(terms, 1, random.randbytes).answer(offer)
        assert (answered is not None and answered[1].dtls is not None) is taken
        assert answered is None or f"m=audio 4002 {protocol} 8".encode() in answered[0]
    never = Negotiation(Terms("127.0.0.1", 4002, (PCMA,)), 1, random.randbytes).answer(offer)
    assert (never is not None) is (protocol == "RTP/AVP")


def exchange(end: Security, peer: Security, port: int, datagrams: list[bytes]) -> None:
    """Carry datagrams to a peer, its answers back, and so on."""
    for datagram in datagrams:
        exchange(peer, end, port, peer.receive(datagram, port))


def secured(*, mux: bool = True) -> tuple[Security, Security]:
    one, other, _, _ = agreements("dtls")
    ends = Security(ONE), Security(OTHER)
    for end, agreement in zip(ends, (one, other), strict=True):
        end.agree(replace(agreement, rtcp_mux=mux), 0)
    for _ in range(6):
        for end, peer in (ends, ends[::-1]):
            for port, datagram in end.due(0):
                exchange(end, peer, port, [datagram])
    return ends


SOUND = Packet(8, 1, 160, 99, b"\xd5" * 160).encode()
REPORT = bytes.fromhex("80c90001 00000063".replace(" ", ""))


@pytest.mark.parametrize("mux", [True, False])
def test_sound_and_reports_are_protected_on_every_port(mux: bool) -> None:
    one, other = secured(mux=mux)
    assert not one.pending and not other.pending
    wire = one.protect(SOUND)
    assert wire is not None and SOUND[12:] not in wire
    assert other.unprotect(wire) == SOUND
    port = RTP if mux else RTCP
    report = other.protect(REPORT, port, rtcp=True)
    assert report is not None and one.unprotect(report, port, rtcp=True) == REPORT


def test_forged_and_repeated_packets_are_refused() -> None:
    one, other = secured()
    wire = one.protect(SOUND)
    assert wire is not None
    other.unprotect(wire)
    for bad in (wire, wire[:-1] + bytes([wire[-1] ^ 1]), SOUND):
        with pytest.raises(WireError, match="srtp_refused"):
            other.unprotect(bad)


def test_a_handshake_that_begins_before_the_answer_has_come_is_not_lost() -> None:
    one, other, _, _ = agreements("dtls")
    offerer, answerer = Security(ONE), Security(OTHER)
    answerer.agree(other, 0)
    for port, datagram in answerer.due(0):
        assert not offerer.receive(datagram, port)
    offerer.agree(one, 5)
    for port, datagram in offerer.due(5):
        exchange(offerer, answerer, port, [datagram])
    assert not offerer.pending and not answerer.pending


def test_before_there_are_keys_nothing_passes() -> None:
    one, _, _, _ = agreements("dtls")
    end = Security(ONE)
    end.agree(one, 0)
    assert end.protect(SOUND) is None
    with pytest.raises(WireError, match="srtp_without_keys"):
        end.unprotect(SOUND)


def test_the_same_fingerprints_agreed_on_again_change_nothing() -> None:
    end, other = secured()
    one, _, _, _ = agreements("dtls")
    end.agree(one, 9)
    wire = other.protect(SOUND)
    assert wire is not None and end.unprotect(wire) == SOUND


@pytest.mark.parametrize("mux", [True, False])
def test_a_later_offer_without_encryption_leaves_neither_sound_nor_reports_encrypted(mux: bool) -> None:
    plain, dtls = agreements("never")[0], agreements("dtls")[0]
    ports = (RTP, RTP if mux else RTCP)
    for end in secured(mux=mux):
        end.agree(replace(plain, rtcp_mux=mux), 9)
        for packet, port in zip((SOUND, REPORT), ports, strict=True):
            rtcp = packet is REPORT
            assert end.protect(packet, port, rtcp=rtcp) == end.unprotect(packet, port, rtcp=rtcp) == packet
        # And back: nothing passes before there are new keys.
        end.agree(replace(dtls, rtcp_mux=mux), 9)
        assert end.pending and end.protect(SOUND) is end.protect(REPORT, ports[1], rtcp=True) is None


def test_keys_from_the_sdp_take_the_place_of_those_from_a_handshake() -> None:
    sdes = agreements("sdes")[0]
    for end in secured():
        end.agree(sdes, 9)
        wire = end.protect(REPORT, RTCP, rtcp=True)
        assert sdes.protect is not None and sdes.unprotect is not None and wire is not None
        assert Protection(sdes.unprotect, sdes.protect).unprotect(wire, rtcp=True) == REPORT
