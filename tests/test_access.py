"""Who may open a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.config import Secret, networks
from voicemedia.protocols.access import Access

SECRET = Secret("VOICE_SECRET", "s3cret/ü")
GUARDED = Access(SECRET, networks(("10.0.0.0/8",)))


@pytest.mark.parametrize(
    ("allow", "peer_ip", "welcome"),
    [
        ("", "203.0.113.9", True),
        ("", "not an address", True),
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "::ffff:11.0.0.1", False),
        ("10.0.0.0/8", "::1", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("10.0.0.0/8 192.0.2.0/24", "192.0.2.8", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::ffff:10.0.0.0/104", "::ffff:10.1.1.1", True),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "10.0.0.1:80", False),
    ],
)
def test_addresses_decide(allow: str, peer_ip: str, welcome: bool) -> None:
    refusal = Access(allow=networks(tuple(allow.split()))).refusal(peer_ip, "", {})
    assert refusal == ("" if welcome else "address not allowed")


@pytest.mark.parametrize(
    ("path_rest", "query", "refusal"),
    [
        ("/s3cret%2F%C3%BC", {}, ""),
        ("s3cret/ü", {}, ""),
        ("/s3cret/ü/", {}, ""),
        ("", {"secret": ["s3cret/ü"]}, ""),
        ("", {"token": ["s3cret/ü"]}, ""),
        ("", {"token": ["wrong", "s3cret/ü"]}, ""),
        ("/wrong", {"secret": ["s3cret/ü"]}, ""),
        ("", {}, "secret missing"),
        ("/", {"secret": [""]}, "secret missing"),
        ("", {"password": ["s3cret/ü"]}, "secret missing"),
        ("/wrong", {}, "secret wrong"),
        ("", {"secret": ["s3cret"]}, "secret wrong"),
        ("", {"secret": ["\ud800"]}, "secret wrong"),
        ("%FF%", {}, "secret wrong"),
    ],
)
def test_the_secret_decides(path_rest: str, query: dict[str, list[str]], refusal: str) -> None:
    assert Access(SECRET).refusal("203.0.113.9", path_rest, query) == refusal


def test_both_rules_must_be_met() -> None:
    assert GUARDED.refusal("10.0.0.1", "/s3cret/ü", {}) == ""
    assert GUARDED.refusal("11.0.0.1", "/s3cret/ü", {}) == "address not allowed"
    assert GUARDED.refusal("10.0.0.1", "", {}) == "secret missing"


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_no_url_gets_past_or_breaks_the_rules(peer_ip: str, text: str) -> None:
    assert Access(SECRET).refusal(peer_ip, text, {"secret": [text]}) in ("secret missing", "secret wrong")
    assert GUARDED.refusal(peer_ip, text, {"secret": [text]}) == "address not allowed"


def test_the_rules_show_no_secret() -> None:
    assert "s3cret" not in repr(GUARDED)
