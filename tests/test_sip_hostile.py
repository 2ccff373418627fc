"""What a peer can write into a message to harm others than itself: addresses that are none, moments that cross."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from typing import Any, ClassVar

import pytest
from twisted.internet.protocol import Factory, Protocol

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, bridge_of, reactor, serving, until


def ended_by(server: Any) -> dict[str, int]:
    return dict(server.switchboard.ended_by)


async def moved(phone: Telephone, contact: str) -> None:
    """Move the address of a telephone's dialog by a re-INVITE (RFC 3261, section 12.2)."""
    phone.send(
        "INVITE sip:bot@127.0.0.1 SIP/2.0\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{phone.port};branch=z9hG4bKmoves{phone.port};rport\n"
        f"From: <sip:+919800000001@phone>;tag=me\nTo: <sip:bot@127.0.0.1>{phone.to_tag}\nCall-ID: {phone.call_id}\n"
        f"CSeq: 9 INVITE\nMax-Forwards: 70\nContact: <sip:me@{contact}>\nContent-Length: 0\n\n"
    )
    await phone.answer()
    phone.to_tag = ""


@in_reactor
async def test_a_call_from_the_last_port_of_all_ends_as_others_do() -> None:
    async with serving() as server:
        phone = Telephone(server)
        sdp = phone.sdp().replace(f"m=audio {phone.sound_port}", "m=audio 65535").replace("a=rtcp:", "a=x-rtcp:")
        await phone.call(sdp)
        await until(lambda: bridge_of(server).rtp_ports.lent == 1 and server.metrics.frames_out > 2)
        await phone.hang_up()
        await until(lambda: ended_by(server) == {"caller_hung_up": 1})
        assert bridge_of(server).rtp_ports.lent == 0
        await phone.close()


@pytest.mark.parametrize("name", ["phone.invalid", "caf\u00e9", "x\0y"])
@in_reactor
async def test_no_name_is_looked_up_to_send_sound(name: str) -> None:
    async with serving() as server:
        phone = Telephone(server)
        sdp = phone.sdp().replace("c=IN IP4 127.0.0.1", f"c=IN IP4 {name}")
        sdp = sdp.replace(f"a=rtcp:{phone.report_port}", f"a=rtcp:{phone.report_port} IN IP4 {name}")
        await phone.call(sdp)
        # To where the signalling comes from, until its own sound says where it is.
        await until(lambda: len(phone.sound.got) > 2)
        await phone.hang_up()
        await until(lambda: phone.reports.got)
        assert ended_by(server) == {"caller_hung_up": 1}
        await phone.close()


@pytest.mark.parametrize("contact", ["[2001:db8::7]", "-x.invalid;transport=tls", f"{'a' * 70}.invalid;transport=tls"])
@in_reactor
async def test_a_contact_no_message_can_go_to_keeps_none_from_others(contact: str) -> None:
    async with serving() as server:
        one, other = Telephone(server), Telephone(server)
        for phone in (one, other):
            await phone.call()
        await moved(one, contact)
        (line,) = bridge_of(server).lines
        line.hang_up()
        await until(lambda: other.requests("BYE"))
        other.agree(other.requests("BYE")[0])
        await until(lambda: ended_by(server) == {"drained": 2} and not line.agent.dialogs)
        for phone in (one, other):
            await phone.close()


class Box(Protocol):
    """Takes requests over TCP, and agrees to each."""

    got: ClassVar[list[str]] = []

    def dataReceived(self, data: bytes) -> None:
        text = data.decode()
        self.got.append(text)
        kept = ("via:", "from:", "to:", "call-id:", "cseq:")
        lines = [line for line in text.split("\r\n\r\n")[0].split("\r\n")[1:] if line.lower().startswith(kept)]
        self.transport.write("\r\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""]).encode())  # type: ignore[union-attr]


@in_reactor
async def test_who_is_reached_over_tcp_by_a_name_is_heard() -> None:
    listening = reactor.listenTCP(0, Factory.forProtocol(Box), interface="127.0.0.1")
    async with serving() as server:
        phone = Telephone(server)
        await phone.call()
        await moved(phone, f"localhost:{listening.getHost().port};transport=tcp")
        (line,) = bridge_of(server).lines
        line.hang_up()
        await until(lambda: ended_by(server) == {"drained": 1} and not line.agent.dialogs)
        assert [text.partition(" ")[0] for text in Box.got] == ["BYE"]
        await phone.close()
    await listening.stopListening()
