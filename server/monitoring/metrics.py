"""The counters in the formats of Prometheus and OpenMetrics."""

from __future__ import annotations

from asyncio import all_tasks
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from server.logs import PayloadLog
from server.serving.counts import Counts, Histogram
from server.serving.repository import Repository
from server.serving.service import Service


class Metrics:
    """The metrics of the service and of its process, for `GET /metrics`."""

    def __init__(self, service: Service, payload_log: PayloadLog | None) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ServiceCollector(service, payload_log))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type.

        The format is OpenMetrics if the Accept header names it, else Prometheus' text format.
        """
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class ServiceCollector(Collector):
    """Reads the counters of a service for each request to `/metrics`."""

    def __init__(self, service: Service, payload_log: PayloadLog | None) -> None:
        self._service = service
        self._payload_log = payload_log

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of the service."""
        counts = self._service.counts
        yield from self._of_requests(counts)
        yield of_rejections(counts)
        yield from of_batches(counts)
        yield from of_failures(counts)
        yield from of_reloads(counts)
        yield from of_models(self._service.repository)
        yield counter_by(
            "reason",
            "predict_decoders_ended",
            "Decoder processes that ended by themselves or were killed, by why they ended.",
            counts.decoders_ended,
        )
        yield GaugeMetricFamily(
            "predict_answer_bytes",
            "Bytes reserved for answers that are being computed or wait for their readers.",
            self._service.answers.used,
        )
        yield GaugeMetricFamily(
            "event_loop_lag_seconds",
            "The longest delay of an event-loop timer in the last 15 seconds.",
            self._service.loop_lag.longest,
        )
        yield GaugeMetricFamily(
            "event_loop_tasks", "Asyncio tasks that have not ended.", len(all_tasks())
        )
        yield CounterMetricFamily(
            "payload_lines_dropped",
            "Lines of the payload log that could not be written.",
            self._payload_log.dropped if self._payload_log else 0,
        )

    def _of_requests(self, counts: Counts) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "predict_requests",
            "Prediction requests by HTTP status; 499: the client disconnected before the response.",
            labels=["model", "dialect", "status"],
        )
        for (name, dialect), account in counts.requests.items():
            for status, times in account.by_status.items():
                requests.add_metric([name, dialect, str(status)], times)
        yield requests
        yield histogram(
            "predict_request_duration_seconds",
            "Seconds from the complete request to its response, for every status.",
            counts.durations,
        )


def counter_by(label: str, name: str, text: str, counts: Mapping[str, int]) -> Metric:
    """Return a counter with one label; `text` describes it, `counts` are by the label's value."""
    counter = CounterMetricFamily(name, text, labels=[label])
    for value, times in counts.items():
        counter.add_metric([value], times)
    return counter


def of_rejections(counts: Counts) -> Metric:
    """Return the metric of what the transport rejected before a handler saw it."""
    return counter_by(
        "reason",
        "http_rejected",
        "Requests and connections rejected by the HTTP server itself, for any path.",
        counts.rejections,
    )


def of_batches(counts: Counts) -> Iterator[Metric]:
    """Yield the metrics of queue and batches."""
    yield histogram(
        "predict_queue_wait_seconds",
        "Seconds in the queue until the first batch, for answered requests.",
        counts.queue_waits,
    )
    yield histogram(
        "predict_model_duration_seconds",
        "Duration of each model call, in seconds.",
        counts.model_durations,
    )
    yield histogram("predict_batch_rows", "Rows in each model call.", counts.batch_rows)
    yield CounterMetricFamily("predict_rows", "Rows of answered requests.", counts.rows)


def of_failures(counts: Counts) -> Iterator[Metric]:
    """Yield the metrics of requests that got no prediction."""
    yield counter_by(
        "reason", "predict_refused", "Requests rejected before the queue.", counts.refusals
    )
    yield CounterMetricFamily(
        "predict_expired",
        "Requests whose deadline passed in the queue, in a batch or in a decoder process.",
        counts.expiries,
    )
    yield CounterMetricFamily(
        "predict_cancelled",
        "Requests whose client disconnected in the queue, in a batch or in a decoder process.",
        counts.cancellations,
    )
    yield CounterMetricFamily(
        "predict_isolated_failures",
        "Requests that the model failed on while it answered others of the same batch.",
        counts.isolated_failures,
    )


def of_reloads(counts: Counts) -> Iterator[Metric]:
    """Yield the metrics of reloads."""
    yield counter_by(
        "outcome", "predict_reloads", "Attempts to replace a served model.", counts.reloads
    )
    restarts = CounterMetricFamily(
        "predict_model_restarts",
        "Model processes that ended and were started again, by why they ended.",
        labels=["model", "reason"],
    )
    for labels, times in counts.restarts.items():
        restarts.add_metric(labels, times)
    yield restarts


def of_models(repository: Repository) -> Iterator[Metric]:
    """Yield the served models, and the gauges of queues and model calls."""
    models = repository.models()
    queues = [model.batcher.queue for model in models]
    yield GaugeMetricFamily(
        "predict_queue_rows", "Rows in the queue now.", sum(queue.rows for queue in queues)
    )
    yield GaugeMetricFamily(
        "predict_queue_bytes",
        "Bytes of bodies and input tensors that are decoded or in the queue now.",
        sum(model.batcher.waiting_bytes for model in models),
    )
    yield GaugeMetricFamily(
        "predict_model_busy_seconds",
        "How long the current model call has been running; with several, the longest.",
        repository.busy_seconds(),
    )
    info = InfoMetricFamily(
        "predict_model", "Versions that are served.", labels=["model", "version"]
    )
    for model in models:
        labels = [model.name, model.version]
        about = {"max_rows": str(model.batch_size.rows), "engine": model.engine}
        info.add_metric(labels, about)
    if models:
        yield info


def histogram(name: str, sentence: str, counted: Histogram) -> Metric:
    """Return a histogram in Prometheus' form: each bucket includes the ones below it."""
    bounds = [*map(floatToGoString, counted.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(counted.counts), strict=True))
    return HistogramMetricFamily(name, sentence, buckets=buckets, sum_value=counted.sum)
