"""Whom a trunk may call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.errors import Unable
from voicemedia.sip_bridge.dial_plan_wire import EMERGENCY, DialPlan, is_emergency, tidy
from voicemedia.sip_bridge.uri_wire import Uri

INDIA = DialPlan(("+91", "+4420", "bot", "2"), emergency=False, rewrites=((r"^00", "+"), (r"^0", "+91")))


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+919800000001", "+919800000001"),
        ("+91 98000 00001", "+919800000001"),
        ("+91-(98000).00001", "+919800000001"),
        ("tel:+91-98000-00001", "+919800000001"),
        ("tel:+919800000001;phone-context=example.com", "+919800000001"),
        ("0044 20 7946 0000", "+442079460000"),
        ("09800000001", "+919800000001"),
        ("bot", "bot"),
        ("sip:bot@198.51.100.7:5070", "bot"),
        ("sip:+919800000001;x=1@carrier.example;user=phone", "+919800000001"),
        ("2100", "2100"),
    ],
)
def test_numbers_are_tidied_and_rewritten(written: str, number: str) -> None:
    assert INDIA.called(written).number == number


@pytest.mark.parametrize("written", ["+1900123456", "+4470000000", "alice", "tel:+8812345678", "sip:eve@192.0.2.1"])
def test_what_is_not_on_the_list_is_not_called(written: str) -> None:
    with pytest.raises(Unable, match="dial_prefixes") as refused:
        INDIA.called(written)
    assert refused.value.status == 403


def test_without_a_list_nobody_is_called() -> None:
    with pytest.raises(Unable, match="dial_prefixes"):
        DialPlan((), emergency=False, rewrites=()).called("+919800000001")


ALL = DialPlan(("",), emergency=False, rewrites=(("^77", ""),))


@pytest.mark.parametrize(
    "written",
    [
        *("112", "911", "999", "100", "108", "000", "9911", "0112", "9-1-1", "+91112", "+1911", "0044999", "(911)"),
        *("tel:112", "tel:911;phone-context=+1", "sip:112@192.0.2.1", "sip:9%31%31@192.0.2.1", "77112", " 112 "),
    ],
)
def test_emergency_numbers_are_not_called_however_they_are_written(written: str) -> None:
    with pytest.raises(Unable, match="emergency") as refused:
        ALL.called(written)
    assert refused.value.status == 403


def test_emergency_numbers_are_called_where_the_operator_says_so() -> None:
    assert DialPlan(("1",), emergency=True, rewrites=()).called("112").number == "112"


@pytest.mark.parametrize("written", ["2100", "3112", "+911234567112", "112112", "911911911", "+49110110110"])
def test_numbers_that_only_end_like_an_emergency_number_are_called(written: str) -> None:
    assert ALL.called(written).number == written


@pytest.mark.parametrize(
    "written",
    ["", " ", "sip:", "sip:@host", "http://example.com", "a b\r\nX: y", "sip:a@b@c", "x" * 300, "a\x00", "<sip:a@b>"],
)
def test_what_cannot_be_read_is_refused(written: str) -> None:
    with pytest.raises(Unable) as refused:
        ALL.called(written)
    assert refused.value.status in (400, 403)


@given(st.text(max_size=60))
def test_whatever_is_written_is_called_as_one_user_part_or_refused(written: str) -> None:
    try:
        called = ALL.called(written)
    except Unable:
        return
    uri = Uri.parse(f"sip:{called.user}@example.com")
    assert (uri.host, uri.params, uri.headers) == ("example.com", Uri.parse("sip:example.com").params, "")
    assert uri.name == called.number


@given(st.sampled_from(sorted(EMERGENCY)), st.sampled_from(["", "0", "9", "00", "+1", "+91", "0044"]))
def test_no_emergency_number_slips_through(number: str, before: str) -> None:
    assert is_emergency(before + number) and is_emergency("-".join(before + number))
    assert tidy("-".join(number)) == number
