"""The counts as Prometheus and OpenMetrics write them: the only home of prometheus_client."""

from __future__ import annotations

from asyncio import all_tasks
from collections.abc import Iterator
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
    """What `GET /metrics` shows: of the service, and of its process."""

    def __init__(self, service: Service, payload_log: PayloadLog | None) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ServiceCollector(service, payload_log))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type, in the format that an Accept header asks for.

        It is Prometheus' text format, or OpenMetrics for those who name it.
        """
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class ServiceCollector(Collector):
    """Reads the counts of a service when somebody asks, and writes nothing back."""

    def __init__(self, service: Service, payload_log: PayloadLog | None) -> None:
        self._service = service
        self._payload_log = payload_log

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of the service."""
        counts = self._service.counts
        yield from self._of_requests(counts)
        yield from of_batches(counts)
        yield from of_mishaps(counts)
        yield from of_reloads(counts)
        yield from of_models(self._service.repository)
        yield GaugeMetricFamily(
            "event_loop_lag_seconds",
            "The longest of the last 15 seconds' delays of a timer of the event loop.",
            self._service.loop_lag.longest,
        )
        yield GaugeMetricFamily(
            "event_loop_tasks", "The tasks of the event loop that have not ended.", len(all_tasks())
        )
        yield CounterMetricFamily(
            "payload_lines_dropped",
            "Lines of the payload log that were not written.",
            self._payload_log.dropped if self._payload_log else 0,
        )

    def _of_requests(self, counts: Counts) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "predict_requests",
            "Requests for predictions, by the status of their answer; 499: the client left before.",
            labels=["model", "dialect", "status"],
        )
        for (name, dialect), account in counts.requests.items():
            for status, times in account.by_status.items():
                requests.add_metric([name, dialect, str(status)], times)
        yield requests
        yield histogram(
            "predict_request_duration_seconds",
            "From a request's body to its answer, whatever its status.",
            counts.durations,
        )


def of_batches(counts: Counts) -> Iterator[Metric]:
    """Yield how rows wait, and are computed."""
    yield histogram(
        "predict_queue_wait_seconds",
        "From the queue to the first batch, of requests that were answered.",
        counts.queue_waits,
    )
    yield histogram(
        "predict_model_duration_seconds", "Each call of the model.", counts.model_durations
    )
    yield histogram("predict_batch_rows", "Rows in each call of the model.", counts.batch_rows)
    yield CounterMetricFamily("predict_rows", "Rows of requests that were answered.", counts.rows)


def of_mishaps(counts: Counts) -> Iterator[Metric]:
    """Yield why requests got no prediction."""
    refused = CounterMetricFamily(
        "predict_refused", "Requests that were not let into the queue.", labels=["reason"]
    )
    for reason, times in counts.refusals.items():
        refused.add_metric([reason], times)
    yield refused
    yield CounterMetricFamily(
        "predict_expired",
        "Requests whose deadline passed in the queue or in a batch.",
        counts.expiries,
    )
    yield CounterMetricFamily(
        "predict_cancelled",
        "Requests whose client left while they were in the queue or in a batch.",
        counts.cancellations,
    )
    yield CounterMetricFamily(
        "predict_isolated_failures",
        "Requests on which the model failed while it answered others of their batch.",
        counts.isolated_failures,
    )


def of_reloads(counts: Counts) -> Iterator[Metric]:
    """Yield how often a model took the place of another."""
    reloads = CounterMetricFamily(
        "predict_reloads",
        "Attempts to let another version of a model answer, after the start.",
        labels=["outcome"],
    )
    for outcome, times in counts.reloads.items():
        reloads.add_metric([outcome], times)
    yield reloads


def of_models(repository: Repository) -> Iterator[Metric]:
    """Yield what is served and what waits for it now."""
    models = repository.models()
    queues = [model.batcher.queue for model in models]
    yield GaugeMetricFamily(
        "predict_queue_rows", "Rows that wait now.", sum(queue.rows for queue in queues)
    )
    yield GaugeMetricFamily(
        "predict_queue_bytes",
        "Bytes of bodies and of input that wait now.",
        sum(queue.nbytes for queue in queues),
    )
    yield GaugeMetricFamily(
        "predict_model_busy_seconds",
        "How long a call of a model has been going on: the longest one that has not ended.",
        repository.busy_seconds(),
    )
    info = InfoMetricFamily("predict_model", "What is served.", labels=["model", "version"])
    for model in models:
        labels = [model.name, model.version]
        info.add_metric(labels, {"max_rows": str(model.batch_size.rows)})
    if models:
        yield info


def histogram(name: str, sentence: str, counted: Histogram) -> Metric:
    """Return a histogram as Prometheus has it: each bucket includes those below it."""
    bounds = [*map(floatToGoString, counted.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(counted.counts), strict=True))
    return HistogramMetricFamily(name, sentence, buckets=buckets, sum_value=counted.sum)
