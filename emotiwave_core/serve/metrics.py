"""Figures of the server, as Prometheus reads them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters and histograms of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "emotiwave_requests", "Requests by path and status.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "emotiwave_request_seconds",
            "From a request to its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.refusals = Counter(
            "emotiwave_refusals", "Requests that were refused, by reason.", ["reason"], registry=self.registry
        )
        self.waiting = Gauge("emotiwave_waiting_samples", "Samples that wait or are computed.", registry=self.registry)
        self.batch = Histogram(
            "emotiwave_batch_samples", "Samples that were computed together.", buckets=SIZES, registry=self.registry
        )
        self.sessions = Gauge("emotiwave_sessions", "Streams that are open.", registry=self.registry)
        self.media = Gauge("emotiwave_media_busy", "Processes for media that are at work.", registry=self.registry)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)
