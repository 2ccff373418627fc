"""What SIPp does at awkward moments: the steps of each scenario, and how the trunk it calls is set."""

from dataclasses import dataclass, field
from typing import Any, Final

from tests.peers.scenario import (
    G729,
    PCMA,
    PCMU,
    RINGS,
    ROUTES,
    ack,
    cancel,
    hang_up,
    invite,
    pause,
    play,
    recv,
    recv_numbered,
    send,
)


@dataclass(frozen=True)
class Moment:
    """One scenario."""

    steps: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    "Of SIPp; `-nr`: it neither repeats anything itself nor keeps repetitions of ours from the scenario."
    trunk: dict[str, Any] = field(default_factory=dict)
    transports: tuple[str, ...] = ("u1", "t1")


UP: Final = (invite(), *RINGS, recv(200), ack())
AS_WRITTEN: Final = ("-nr",)
RINGING: Final = {"answer_after_s": 8.0}
EARLY: Final = {"answer_after_s": 1.2, "early_media": True}
RELIABLE: Final = (invite(1, "Supported: 100rel"), recv(100, optional=True), recv_numbered(183))
PRACK: Final = send("PRACK", 2, "RAck: [$2] 1 INVITE")
TIMED: Final = ("Supported: timer", "Session-Expires: 1800;refresher=uac")

MOMENTS: Final = {
    "the_ack_is_lost_twice": Moment((invite(), *RINGS, recv(200), recv(200), recv(200), ack(), *hang_up()), AS_WRITTEN),
    "the_200_is_lost_and_the_invite_comes_again": Moment(
        (invite(), *RINGS, recv(200), invite(), recv(200), ack(), *hang_up()), AS_WRITTEN, transports=("u1",)
    ),
    "every_request_comes_twice": Moment(
        (
            *(invite(), recv(100, optional=True), recv(180), invite(), recv(180), recv(200), ack(), ack()),
            *(send("BYE", 2), recv(200), send("BYE", 2), recv(200)),
        ),
        AS_WRITTEN,
        {"answer_after_s": 0.4},
        ("u1",),
    ),
    "the_caller_cancels_while_it_rings": Moment(
        (invite(), recv(100, optional=True), recv(180), pause(200), cancel(), recv(200), recv(487), ack(failed=True)),
        AS_WRITTEN,
        RINGING,
    ),
    "the_caller_cancels_twice": Moment(
        (
            *(invite(), recv(100, optional=True), recv(180), cancel(), recv(200), recv(487)),
            *(cancel(), recv(200), ack(failed=True)),
        ),
        AS_WRITTEN,
        RINGING,
        ("u1",),
    ),
    "the_caller_cancels_what_is_answered": Moment(
        (
            *(invite(), recv(100, optional=True), recv(200), cancel(), recv(200, "CSeq: 1 CANCEL")),
            *(ack(), pause(200), *hang_up()),
        ),
        AS_WRITTEN,
    ),
    "the_caller_cancels_what_never_was": Moment(
        (send("CANCEL", 1, branch="never", to_tag=False), recv(481)), AS_WRITTEN
    ),
    "the_caller_says_bye_while_it_rings": Moment(
        (invite(), recv(100, optional=True), recv(180), send("BYE", 2), recv(200), recv(487), ack(failed=True)),
        AS_WRITTEN,
        RINGING,
    ),
    "early_sound_is_acknowledged": Moment(
        (*RELIABLE, PRACK, recv(200, "CSeq: 2 PRACK"), recv(200, "CSeq: 1 INVITE"), ack(), *hang_up(3)), (), EARLY
    ),
    "early_sound_is_announced_until_it_is_acknowledged": Moment(
        (*RELIABLE, recv(183), PRACK, recv(200, "CSeq: 2 PRACK"), recv(200), ack(), *hang_up(3)), AS_WRITTEN, EARLY
    ),
    "a_prack_of_nothing": Moment((*UP, send("PRACK", 2, "RAck: 1 1 INVITE"), recv(481), *hang_up(3))),
    "a_session_is_refreshed_by_update_and_invite": Moment(
        (
            invite(1, *TIMED),
            *RINGS,
            recv(200, "Session-Expires: 1800;refresher=uac", "Require: timer"),
            ack(),
            send("UPDATE", 2, *TIMED),
            recv(200, "Session-Expires: 1800;refresher=uac"),
            invite(3, *TIMED),
            *RINGS,
            recv(200, "Session-Expires: 1800;refresher=uac"),
            ack(3),
            *hang_up(4),
        )
    ),
    "the_codec_changes_and_an_impossible_one_changes_nothing": Moment(
        (
            *(invite(sdp=PCMA), *RINGS, recv(200, "RTP/AVP 8 101"), ack()),
            *(invite(2, sdp=PCMU), *RINGS, recv(200, "RTP/AVP 0 101"), ack(2)),
            *(invite(3, sdp=G729), *RINGS, recv(488), ack(3, failed=True)),
            *(send("OPTIONS", 4), recv(200), *hang_up(5)),
        )
    ),
}

KEYS: Final = {**{key: key for key in "0123456789"}, "*": "star", "#": "pound"}
"Key -> how SIPp calls its capture."

ALL_KEYS: Final = (
    invite(sdp=PCMA),
    *RINGS,
    recv(200),
    ack(),
    *(play(f"dtmf_2833_{name}.pcap", 320) for name in KEYS.values()),
    *hang_up(),
)

THROUGH_A_PROXY: Final = (
    *(invite(), *RINGS, recv(200, routes=True), send("ACK", 1, ROUTES), pause(300)),
    *(send("BYE", 2, ROUTES), recv(200)),
)
"A call whose proxy wants to stay in the route."
