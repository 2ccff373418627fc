"""SIPp's scenarios as short lists of steps; `scenario` writes the XML of one.

Every request of a call has the same From, To, Call-ID and Contact; a branch is named, so that a CANCEL, or the same
request again, can have its INVITE's.
"""

from collections.abc import Iterable
from typing import Final

PCMA: Final = "8 101"
PCMU: Final = "0 101"
G729: Final = "18 101"

ROUTES: Final = "[routes]"
"The Route headers of the dialog."

_SDP: Final = """
Content-Type: application/sdp
Content-Length: [len]

v=0
o=user1 53655765 {version} IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [media_port] RTP/AVP {formats}
a=rtpmap:101 telephone-event/8000
{lines}"""


def send(method: str, number: int, *headers: str, branch: str = "", sdp: str = "", to_tag: bool = True) -> str:
    """Send a request.

    :param branch: its name, by default of the method and number.
    :param sdp: the formats of an offer; empty: no body.
    """
    # With the route of a dialog its target is the Contact of the other side, not the proxy.
    target = "[next_url]" if ROUTES in headers else "sip:[service]@[remote_ip]:[remote_port]"
    lines = "\n".join(
        (
            f"{method} {target} SIP/2.0",
            f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]-"
            f"{branch or f'{method}{number}'}",
            "From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]SIPp[call_number]",
            f"To: <sip:[service]@[remote_ip]:[remote_port]>{'[peer_tag_param]' if to_tag else ''}",
            "Call-ID: [call_id]",
            f"CSeq: {number} {method}",
            "Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>",
            "Max-Forwards: 70",
            *headers,
        )
    )
    body = _SDP.format(formats=sdp, version=number, lines="a=sendrecv") if sdp else "\nContent-Length: 0"
    return f"<send><![CDATA[\n\n{lines}{body}\n\n]]></send>"


def invite(number: int = 1, *headers: str, sdp: str = PCMA) -> str:
    """Send an INVITE, the first without a tag in its To."""
    return send("INVITE", number, *headers, branch=f"invite{number}", sdp=sdp, to_tag=number > 1)


def ack(number: int = 1, *, failed: bool = False) -> str:
    """Send the ACK of a 2xx, or, of the same branch as its INVITE, that of a failure."""
    return send("ACK", number, branch=f"invite{number}" if failed else f"ack{number}")


def cancel(number: int = 1) -> str:
    """Send the CANCEL of an INVITE."""
    return send("CANCEL", number, branch=f"invite{number}", to_tag=False)


def recv(status: int, *patterns: str, optional: bool = False, routes: bool = False) -> str:
    """Wait for a response, in which all patterns must be found; `routes`: remember its Record-Route."""
    checks = [
        f'<ereg regexp="{pattern}" search_in="msg" check_it="true" assign_to="1"/><log message="[$1]"/>'
        for pattern in patterns
    ]
    actions = f"<action>{''.join(checks)}</action>" if checks else ""
    rrs = ' rrs="true"' if routes else ""
    return f'<recv response="{status}" optional="{str(optional).lower()}"{rrs}>{actions}</recv>'


def recv_numbered(status: int) -> str:
    """Wait for a reliable provisional response; `[$2]` is its RSeq from then on."""
    found = '<ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" check_it="true" assign_to="2"/>'
    return f'<recv response="{status}"><action>{found}<log message="[$2]"/></action></recv>'


def pause(ms: int) -> str:
    """Do nothing for a while."""
    return f'<pause milliseconds="{ms}"/>'


def play(pcap: str, ms: int) -> str:
    """Play a file of captured RTP, which takes so long."""
    return f'<nop><action><exec play_pcap_audio="pcap/{pcap}"/></action></nop>{pause(ms)}'


RINGS: Final = (recv(100, optional=True), recv(180, optional=True), recv(183, optional=True))


def hang_up(number: int = 2) -> tuple[str, ...]:
    """End the call."""
    return send("BYE", number), recv(200)


def scenario(name: str, steps: Iterable[str]) -> str:
    """Write the XML of a scenario."""
    head = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'
    return f'{head}<scenario name="{name}">\n' + "\n".join(steps) + "\n</scenario>\n"
