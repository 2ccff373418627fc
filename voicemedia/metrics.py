"""What is counted, and its form for Prometheus.

Counting is an addition to a plain number, because some of it happens for every frame of every call; the
numbers are gathered when somebody asks.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from voicemedia.interfaces import Goodbye

REPLY_BUCKETS_MS: Final = (10, 20, 50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10000, 30000)
LAG_BUCKETS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

PLAIN: Final = {
    "frames_in": "Frames of 20 ms taken from callers.",
    "frames_out": "Frames of 20 ms sent to callers.",
    "frames_concealed": "Frames made up because their packet did not come in time.",
    "frames_late": "Frames that came after they had been given up, and were dropped.",
    "frames_dropped": "Frames not sent because the peer did not read.",
    "turns": "Replies the agents have spoken.",
    "calls_started": "Calls answered.",
    "calls_refused": "Calls refused because the server was full or draining.",
    "peers_denied": "Peers without the right secret, address or signature.",
    "bugs": "Exceptions of ours in the work for calls: each has cost one call at most.",
}
"Counters that are attributes of `Metrics`, and what they count."

QUALITY: Final = {
    "call_r": ("r", "R of the E-model (G.107), of each call over RTP.", (40, 50, 60, 70, 75, 80, 85, 90, 92)),
    "call_mos": (
        "mos_hundredths",
        "The MOS-CQ that goes with it, in hundredths.",
        (200, 250, 300, 350, 380, 400, 420, 440),
    ),
    "call_jitter_ms": ("jitter_ms", "Jitter as RFC 3550 counts it.", (1, 2, 5, 10, 20, 40, 80, 160)),
    "call_delay_ms": ("delay_ms", "From mouth to ear, as far as it is known.", (20, 50, 100, 150, 200, 300, 400, 600)),
    "call_concealed_ms": ("concealed_ms", "Sound made up in a call.", (20, 100, 500, 1000, 5000, 20000, 100000)),
}
"Histogram -> what of a call's totals it counts, its meaning and its buckets; by route."
ARRIVED: Final = {
    "rtp_received": ("packets_in", "Packets of sound that came by RTP, of calls that have ended."),
    "rtp_lost": ("lost", "Packets that never came."),
    "rtp_late": ("late", "Packets that came after they had been given up."),
    "rtp_duplicate": ("duplicate", "Packets that came twice."),
    "rtp_reordered": ("reordered", "Packets that came after a later one, in time."),
    "rtp_peer_lost": ("peer_lost", "Packets of ours that the peers missed, as they say."),
}
"Counter -> what of a call's totals it adds up, and its meaning; by route."

RECOGNIZED: Final = (
    ("streams", "stt_streams", "Streams opened at recognizers."),
    ("seconds", "stt_seconds", "Sound paid for, in streams that have ended, in seconds."),
    ("cost_usd", "stt_cost_usd", "What that costs by the configured rates, in US dollars."),
)
"Key of what `recognizers` gives, the counter it becomes, and what that counts."
CONTINUED: Final = (
    ("renewals", "stt_renewals", "Streams replaced because of their age, by route."),
    ("recoveries", "stt_recoveries", "Streams replaced because they failed, ended or stalled."),
    ("replayed_ms", "stt_replayed_ms", "Sound that went to more than one stream."),
    ("dropped_ms", "stt_skipped_silence_ms", "Silence left out to catch up with a slow provider."),
    ("lost_ms", "stt_lost_ms", "Sound that was too old to be heard again when its stream failed."),
)
"The same for what `continuity` gives."
CHARGED: Final = (
    ("seconds", "stt_route_seconds", "Sound paid for, by route; the streaming API and `grpc` are routes here."),
    ("cost_usd", "stt_route_cost_usd", "What that costs by the configured rates, in US dollars."),
)
"The same for what `costs` gives."
SPOKEN: Final = (
    ("failures", "tts_failures", "Sentences a voice that has a deputy failed at, by code."),
    ("failovers", "tts_failovers", "Sentences the next voice had to say in its place, all or the rest."),
)
"The same for what `voices` gives."
REMEMBERED: Final = (
    ("written", "history_records_written", "Records that left the spool: for the database, or refused by it."),
    ("lost", "history_records_lost", "Records that neither memory nor spool could keep."),
    ("refused", "history_records_refused", "Records the database did not take; they are in the spool's `refused`."),
)
"The same for what `history` gives."
HANDED_IN: Final = (
    ("received_segments", "gateway_segments_received", "Segments of voice gateways that came."),
    ("lost_segments", "gateway_segments_lost", "Segments that never came, or too late: sound was made up for them."),
    ("late_segments", "gateway_segments_late", "Segments that came after they had been given up."),
    ("duplicate_segments", "gateway_segments_duplicate", "Segments that came twice."),
    ("reordered_segments", "gateway_segments_reordered", "Segments that came after a later one, in time."),
)
"The same for what `segments` gives."
WAITING: Final = (
    ("pending", "history_records_pending", "Records in memory that are not yet in the spool."),
    ("spooled_bytes", "history_spooled_bytes", "What waits on the disk for the database."),
    ("spool_limit_bytes", "history_spool_limit_bytes", "What the spool may hold: history.spool_mb."),
)
"The same for what only is at the moment."
RECORDED: Final = (
    ("seconds", "recording_seconds", "Length of the recordings written, in seconds."),
    ("dropped_seconds", "recording_dropped_seconds", "Sound of one side that no disk took, in seconds."),
)
"The same for what `recordings` gives."


class Histogram:
    """Counts of values by size.

    :param buckets: upper bounds, rising.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._bounds = tuple(map(float, buckets))
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """Return (upper bound, values up to it) pairs and the sum of all values."""
        below, pairs = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            pairs.append((bound, float(below)))
        return pairs, self._sum


class Metrics:
    """Everything the server counts."""

    __slots__ = (
        "_arrived",
        "_lag",
        "_quality",
        "_registry",
        "_replies",
        "bugs",
        "calls_ended",
        "calls_refused",
        "calls_started",
        "continuity",
        "costs",
        "frames_concealed",
        "frames_dropped",
        "frames_in",
        "frames_late",
        "frames_out",
        "history",
        "live_by_route",
        "live_sessions",
        "peers_denied",
        "providers_failed",
        "recognizers",
        "recordings",
        "routes",
        "segments",
        "turns",
        "voices",
        "wire_errors",
    )

    def __init__(self) -> None:
        self.frames_in = 0
        self.frames_out = 0
        self.frames_concealed = 0
        self.frames_late = 0
        self.frames_dropped = 0
        self.turns = 0
        self.calls_started = 0
        self.calls_refused = 0
        self.peers_denied = 0
        self.bugs = 0
        self.calls_ended: Counter[str] = Counter()
        "By the word of `Goodbye`."
        self.wire_errors: Counter[tuple[str, str]] = Counter()
        "By carrier and kind of `WireError`."
        self.providers_failed: Counter[str] = Counter()
        self.routes: tuple[str, ...] = ()
        "Those that are answered, called or not."
        self.live_by_route: Callable[[], Mapping[str, int]] = dict
        "Asked at each scrape: calls that are on, by route."
        self.live_sessions: Callable[[], Mapping[str, int]] = dict
        "Asked at each scrape: sessions of the streaming API, by recognizer."
        self.recognizers: Callable[[], Mapping[str, Mapping[str, Any]]] = dict
        "Asked at each scrape: what each recognizer has done and cost."
        self.costs: Callable[[], Mapping[str, Mapping[str, Mapping[str, float]]]] = dict
        "Asked at each scrape: what each has cost, by the way in."
        self.continuity: Callable[[], Mapping[str, Mapping[str, int]]] = dict
        "Asked at each scrape: how often streams were replaced, and what that cost, by the way in."
        self.voices: Callable[[], Mapping[str, Mapping[str, Any]]] = dict
        "Asked at each scrape: how voices that have deputies fared."
        self.history: Callable[[], Mapping[str, int]] = dict
        "Asked at each scrape: how the writing of history goes; empty: none is written."
        self.segments: Callable[[], Mapping[str, int]] = dict
        "Asked at each scrape: what became of the segments of voice gateways."
        self.recordings: Callable[[], Mapping[str, float]] = dict
        "Asked at each scrape: what is recorded; empty: nothing."
        self._replies: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(REPLY_BUCKETS_MS))
        self._lag = Histogram(LAG_BUCKETS_MS)
        self._arrived: Counter[tuple[str, str]] = Counter()
        self._quality: dict[tuple[str, str], Histogram] = {}
        "By metric and route."
        # The registry of our own: two services in one process (tests) must not share numbers.
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def wire_error(self, carrier: str, kind: str) -> None:
        """Count a message that broke the carrier's protocol."""
        self.wire_errors[carrier, kind] += 1

    def call_ended(self, reason: str) -> None:
        """Count the end of a call by its reason."""
        self.calls_ended[reason] += 1

    def provider_failed(self, provider: str) -> None:
        """Count a recognizer, agent or synthesizer that failed in a call."""
        self.providers_failed[provider] += 1

    def reply(self, stage: str, took_ms: float) -> None:
        """Count how long one stage of a reply took; stage `total` is the whole."""
        self._replies[stage].add(took_ms)

    def quality(self, route: str, totals: Mapping[str, int]) -> None:
        """Count how the sound of a call over RTP got through, when it has ended."""
        for name, (key, _) in ARRIVED.items():
            self._arrived[name, route] += totals.get(key, 0)
        if "r" not in totals:
            return
        for name, (key, _, buckets) in QUALITY.items():
            if key in totals:
                self._quality.setdefault((name, route), Histogram(buckets)).add(totals[key])

    def lag(self, late_ms: float) -> None:
        """Count how late a tick of the reactor came."""
        self._lag.add(late_ms)

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give prometheus_client what was counted (its `Collector` protocol)."""
        for name, what in PLAIN.items():
            yield CounterMetricFamily(f"voicemedia_{name}", what, value=getattr(self, name))
        # What has not happened is 0 and not absent: Prometheus sees no increase in a series that begins with 1.
        ended = dict.fromkeys((reason.value for reason in Goodbye), 0) | self.calls_ended
        yield _labeled("calls_ended", "Calls ended, by reason.", ("reason",), ended)
        yield _labeled("wire_errors", "Messages that broke the protocol.", ("carrier", "kind"), self.wire_errors)
        failed = dict.fromkeys(("stt", "agent", "tts"), 0) | self.providers_failed
        yield _labeled("providers_failed", "Failures of providers in calls.", ("provider",), failed)
        yield from self._of_calls()
        yield from self._of_recognizers()
        yield from self._of_voices()
        yield from self._of_history()
        segments = self.segments()
        for key, name, what in HANDED_IN:
            yield CounterMetricFamily(f"voicemedia_{name}", what, value=segments.get(key, 0))
        yield from self._of_recordings()
        active = GaugeMetricFamily("voicemedia_calls_active", "Calls that are on.", labels=("route",))
        for route, calls in {**dict.fromkeys(self.routes, 0), **self.live_by_route()}.items():
            active.add_metric((route,), calls)
        yield active
        sessions = GaugeMetricFamily(
            "voicemedia_stt_sessions_active", "Sessions of the streaming API.", labels=("provider",)
        )
        for provider, count in self.live_sessions().items():
            sessions.add_metric((provider,), count)
        yield sessions
        replies = HistogramMetricFamily(
            "voicemedia_reply_ms", "From the caller's last word to our first sound, by stage.", labels=("stage",)
        )
        for stage, histogram in self._replies.items():
            replies.add_metric((stage,), *histogram.read())
        yield replies
        buckets, total = self._lag.read()
        yield HistogramMetricFamily(
            "voicemedia_loop_lag_ms", "How late the tick came.", buckets=buckets, sum_value=total
        )

    def _of_calls(self) -> Iterator[Metric]:
        for name, (_, what) in ARRIVED.items():
            by_route = {route: count for (counted, route), count in self._arrived.items() if counted == name}
            yield _labeled(name, what, ("route",), by_route)
        for name, (_, what, _) in QUALITY.items():
            family = HistogramMetricFamily(f"voicemedia_{name}", what, labels=("route",))
            for (counted, route), histogram in self._quality.items():
                if counted == name:
                    family.add_metric((route,), *histogram.read())
            yield family

    def _of_recognizers(self) -> Iterator[Metric]:
        counts = self.recognizers()
        for key, name, what in RECOGNIZED:
            yield _labeled(name, what, ("provider",), {provider: each[key] for provider, each in counts.items()})
        failures = {
            (provider, code): count for provider, each in counts.items() for code, count in each["failures"].items()
        }
        for key, name, what in CHARGED:
            charges = {
                (path, provider): each[key]
                for path, account in self.costs().items()
                for provider, each in account.items()
            }
            yield _labeled(name, what, ("route", "provider"), charges)
        for key, name, what in CONTINUED:
            by_route = {path: each[key] for path, each in self.continuity().items()}
            yield _labeled(name, what, ("route",), by_route)
        yield _labeled("stt_failures", "Streams that failed, by code.", ("provider", "code"), failures)

    def _of_voices(self) -> Iterator[Metric]:
        voices = self.voices()
        (failures, failed, what), (failovers, replaced, whose) = SPOKEN
        codes = {(voice, code): count for voice, each in voices.items() for code, count in each[failures].items()}
        yield _labeled(failed, what, ("provider", "code"), codes)
        yield _labeled(replaced, whose, ("provider",), {voice: each[failovers] for voice, each in voices.items()})

    def _of_history(self) -> Iterator[Metric]:
        counts = self.history()
        if counts:
            for key, name, what in REMEMBERED:
                yield CounterMetricFamily(f"voicemedia_{name}", what, value=counts[key])
            for key, name, what in WAITING:
                yield GaugeMetricFamily(f"voicemedia_{name}", what, value=counts[key])

    def _of_recordings(self) -> Iterator[Metric]:
        counts = self.recordings()
        if counts:
            for key, name, what in RECORDED:
                yield CounterMetricFamily(f"voicemedia_{name}", what, value=counts[key])
            yield GaugeMetricFamily("voicemedia_recordings_active", "Recordings that are on.", value=counts["active"])

    def describe(self) -> Iterator[Metric]:
        """Name what may be collected: nothing, so that registering asks for no numbers."""
        return iter(())


def _labeled(
    name: str, what: str, labels: tuple[str, ...], counts: Mapping[str, float] | Mapping[tuple[str, str], float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"voicemedia_{name}", what, labels=labels)
    for key, count in counts.items():
        family.add_metric((key,) if isinstance(key, str) else key, count)
    return family
