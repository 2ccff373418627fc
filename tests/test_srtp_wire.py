"""SRTP with keys out of the SDP."""

import pytest

from voicemedia.errors import WireError
from voicemedia.sip_bridge.crypto_wire import SUITES, Crypto
from voicemedia.sip_bridge.rtcp_wire import Bye, Report, write_rtcp
from voicemedia.sip_bridge.rtp_wire import Packet
from voicemedia.sip_bridge.srtp_wire import Protection

PACKET = Packet(0, 1, 160, 0xCAFEBABE, bytes(range(160))).encode()
REPORT = write_rtcp(Report(0xCAFEBABE), Bye((0xCAFEBABE,)))


def ends(suite: str, mki: bytes = b"") -> tuple[Protection, Protection]:
    one, other = (Crypto(1, suite, bytes([number]) * SUITES[suite], mki) for number in (1, 2))
    return Protection(one, other), Protection(other, one)


@pytest.mark.parametrize("suite", SUITES)
def test_what_one_end_protects_the_other_reads(suite: str) -> None:
    here, there = ends(suite)
    for packet, rtcp in ((PACKET, False), (REPORT, True)):
        wire = here.protect(packet, rtcp=rtcp)
        assert packet[8 if rtcp else 12 :] not in wire and len(wire) > len(packet)
        assert there.unprotect(wire, rtcp=rtcp) == packet


@pytest.mark.parametrize("suite", SUITES)
def test_forged_and_replayed_packets_are_refused(suite: str) -> None:
    here, there = ends(suite)
    wire = here.protect(PACKET)
    for wrong in (wire[:-1] + bytes([wire[-1] ^ 1]), PACKET, b"", b"\x80"):
        with pytest.raises(WireError, match="srtp_refused"):
            there.unprotect(wrong)
    assert there.unprotect(wire) == PACKET
    with pytest.raises(WireError, match="srtp_refused"):
        there.unprotect(wire)


@pytest.mark.parametrize(("suite", "tag"), [("AES_CM_128_HMAC_SHA1_80", 10), ("AEAD_AES_128_GCM", 0)])
def test_a_key_identifier_is_taken_out(suite: str, tag: int) -> None:
    here, there = ends(suite, b"\0\0\0\1")
    wire = here.protect(PACKET)
    end = len(wire) - tag
    assert there.unprotect(wire[:end] + b"\0\0\0\1" + wire[end:]) == PACKET


def test_the_packet_of_rfc_3711s_library_is_made() -> None:
    # The known answer of libsrtp's own test driver (srtp_validate).
    key = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6")
    crypto = Crypto(1, "AES_CM_128_HMAC_SHA1_80", key)
    plain = bytes.fromhex("800f1234decafbadcafebabe" + "ab" * 16)
    wire = "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"
    assert Protection(crypto, crypto).protect(plain).hex() == wire
