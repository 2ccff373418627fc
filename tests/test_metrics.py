import pytest
from prometheus_client.parser import text_string_to_metric_families

from voicemedia.interfaces import Goodbye
from voicemedia.metrics import PLAIN, Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.mark.parametrize("name", PLAIN)
def test_an_addition_is_seen_at_the_next_scrape(name: str) -> None:
    metrics = Metrics()
    assert samples(metrics)[f"voicemedia_{name}_total"] == 0
    setattr(metrics, name, getattr(metrics, name) + 3)
    assert samples(metrics)[f"voicemedia_{name}_total"] == 3


def test_ends_errors_and_failures_are_counted_by_their_names() -> None:
    metrics = Metrics()
    metrics.call_ended("drained")
    metrics.wire_error("smartflo", "bad_base64")
    metrics.wire_error("smartflo", "bad_base64")
    metrics.provider_failed("stt")
    found = samples(metrics)
    assert found["voicemedia_calls_ended_total{reason=drained}"] == 1
    assert found["voicemedia_wire_errors_total{carrier=smartflo,kind=bad_base64}"] == 2
    assert found["voicemedia_providers_failed_total{provider=stt}"] == 1


def test_what_has_not_happened_yet_is_zero_so_that_the_first_time_is_an_increase() -> None:
    metrics = Metrics()
    metrics.routes = ("/vendor-stream", "/sip/office")
    metrics.live_by_route = lambda: {"/sip/office": 2}
    found = samples(metrics)
    assert [found[f"voicemedia_calls_ended_total{{reason={reason.value}}}"] for reason in Goodbye] == [0] * len(Goodbye)
    assert [found[f"voicemedia_providers_failed_total{{provider={name}}}"] for name in ("stt", "agent", "tts")] == [
        0
    ] * 3
    assert found["voicemedia_calls_active{route=/vendor-stream}"] == 0
    assert found["voicemedia_calls_active{route=/sip/office}"] == 2


def test_a_value_falls_into_the_bucket_of_its_upper_bound() -> None:
    metrics = Metrics()
    for took_ms in (10, 11, 99_999):
        metrics.reply("total", took_ms)
    metrics.reply("transcript", 1)
    found = samples(metrics)
    assert found["voicemedia_reply_ms_bucket{le=10.0,stage=total}"] == 1
    assert found["voicemedia_reply_ms_bucket{le=20.0,stage=total}"] == 2
    assert found["voicemedia_reply_ms_bucket{le=30000.0,stage=total}"] == 2
    assert found["voicemedia_reply_ms_bucket{le=+Inf,stage=total}"] == 3
    assert found["voicemedia_reply_ms_count{stage=total}"] == 3
    assert found["voicemedia_reply_ms_sum{stage=total}"] == 100_020
    assert found["voicemedia_reply_ms_count{stage=transcript}"] == 1


def test_lag_is_a_histogram() -> None:
    metrics = Metrics()
    metrics.lag(1.5)
    assert samples(metrics)["voicemedia_loop_lag_ms_bucket{le=2.0}"] == 1
    assert samples(metrics)["voicemedia_loop_lag_ms_bucket{le=1.0}"] == 0


def test_live_calls_are_asked_for_at_each_scrape() -> None:
    metrics, live = Metrics(), {"/vendor-stream": 1}
    metrics.live_by_route = lambda: live
    assert samples(metrics)["voicemedia_calls_active{route=/vendor-stream}"] == 1
    live["/vendor-stream"] = 7
    assert samples(metrics)["voicemedia_calls_active{route=/vendor-stream}"] == 7


def test_voices_that_were_replaced_are_counted() -> None:
    metrics = Metrics()
    metrics.voices = lambda: {"elevenlabs": {"failures": {"busy": 2, "silent": 1}, "failovers": 3}}
    found = samples(metrics)
    assert found["voicemedia_tts_failures_total{code=busy,provider=elevenlabs}"] == 2
    assert found["voicemedia_tts_failovers_total{provider=elevenlabs}"] == 3


def test_what_history_lost_and_what_waits_is_told_where_history_is_written() -> None:
    metrics = Metrics()
    assert not any("history" in name for name in samples(metrics))
    metrics.history = lambda: {
        "written": 7,
        "lost": 1,
        "refused": 2,
        "pending": 3,
        "spooled_bytes": 4096,
        "spool_limit_bytes": 1 << 20,
    }
    found = samples(metrics)
    assert found["voicemedia_history_records_written_total"] == 7
    assert found["voicemedia_history_records_lost_total"] == 1
    assert found["voicemedia_history_records_refused_total"] == 2
    assert found["voicemedia_history_records_pending"] == 3
    assert found["voicemedia_history_spooled_bytes"] == 4096
    assert found["voicemedia_history_spool_limit_bytes"] == 1 << 20


def test_what_became_of_the_segments_of_gateways_is_told() -> None:
    metrics = Metrics()
    assert samples(metrics)["voicemedia_gateway_segments_lost_total"] == 0
    metrics.segments = lambda: {"received_segments": 50, "lost_segments": 2}
    found = samples(metrics)
    assert found["voicemedia_gateway_segments_received_total"] == 50
    assert found["voicemedia_gateway_segments_lost_total"] == 2


def test_the_process_itself_is_measured() -> None:
    assert samples(Metrics())["process_resident_memory_bytes"] > 1_000_000


def test_two_servers_in_one_process_share_no_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.frames_in += 1
    assert samples(other)["voicemedia_frames_in_total"] == 0


def test_sessions_of_the_streaming_api_are_counted_when_somebody_asks() -> None:
    metrics = Metrics()
    metrics.live_sessions = lambda: {"google": 2, "pocketsphinx": 0}
    text = metrics.text().decode()
    assert 'voicemedia_stt_sessions_active{provider="google"} 2.0' in text
    assert 'voicemedia_stt_sessions_active{provider="pocketsphinx"} 0.0' in text


def test_the_quality_of_calls_is_counted_by_route() -> None:
    metrics = Metrics()
    totals = {"packets_in": 500, "lost": 7, "r": 88, "mos_hundredths": 430, "jitter_ms": 3, "delay_ms": 40}
    metrics.quality("/sip/office", totals)
    metrics.quality("/sip/office", {"packets_in": 0, "jitter_ms": 0})
    found = samples(metrics)
    assert found["voicemedia_rtp_received_total{route=/sip/office}"] == 500
    assert found["voicemedia_rtp_lost_total{route=/sip/office}"] == 7
    assert found["voicemedia_call_r_count{route=/sip/office}"] == 1, "nobody can judge a call that was not heard"
    assert found["voicemedia_call_r_bucket{le=85.0,route=/sip/office}"] == 0
    assert found["voicemedia_call_r_bucket{le=90.0,route=/sip/office}"] == 1
    assert found["voicemedia_call_mos_sum{route=/sip/office}"] == 430
