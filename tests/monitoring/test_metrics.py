"""`GET /metrics`, over a real socket: every counter is exact."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from server.logs import PayloadLog
from tests.support.harness import (
    JSON,
    FakeModel,
    Response,
    Server,
    listening,
    over_http,
    predict_bytes,
    request_bytes,
    serving,
    with_settings,
)

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NAMES = {  # DESIGN's, but for reloads, of which there are none yet
    "predict_requests_total",
    "predict_request_duration_seconds",
    "predict_queue_wait_seconds",
    "predict_model_duration_seconds",
    "predict_batch_rows",
    "predict_queue_rows",
    "predict_queue_bytes",
    "predict_rows_total",
    "predict_refused_total",
    "predict_expired_total",
    "predict_cancelled_total",
    "predict_isolated_failures_total",
    "predict_model_busy_seconds",
    "predict_model_info",
    "event_loop_lag_seconds",
    "event_loop_tasks",
    "payload_lines_dropped_total",
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """The metrics as a scraper reads them."""

    def __init__(self, response: Response) -> None:
        assert response.status == 200
        openmetrics = response.media_type == "application/openmetrics-text"
        parse = parse_openmetrics if openmetrics else parse_text
        self.families = {family.name: family for family in parse(response.body.decode())}
        self._samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {name for name, _ in self._samples}

    def __getitem__(self, name: str) -> float:
        """Return the value of a metric without labels."""
        return self._samples[name, frozenset()]

    def by(self, label: str, name: str) -> Counter[str]:
        """Return the values of a metric by one of its labels; zeros are left out."""
        values: Counter[str] = Counter()
        for (sample, labels), value in self._samples.items():
            if sample == name and value:
                values[dict(labels)[label]] += value
        return values

    def labels(self, name: str) -> dict[str, str]:
        """Return the labels of a metric's only sample."""
        [labels] = [dict(labels) for sample, labels in self._samples if sample == name]
        return labels


async def scrape(server: Server, accept: str = "") -> Scrape:
    return Scrape(await server.ask("GET", "/metrics", {"Accept": accept} if accept else None))


@over_http
async def test_every_metric_has_its_name_from_the_start():
    async with serving() as server:
        text = (await server.ask("GET", "/metrics")).body.decode()

    lines = text.splitlines()
    described = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert described >= NAMES
    assert {line.split()[2] for line in lines if line.startswith("# HELP")} >= NAMES
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info"} <= described


@pytest.mark.logs_warnings
@over_http
async def test_a_burst_is_counted_exactly():
    """With an overload, a failing row, a missed deadline, a disconnect and an invalid body."""
    model = FakeModel()
    settings = with_settings(batching={"queue_rows": 4}, http={"max_body_bytes": 1000})
    async with serving(model, settings, expected_logs=["the model failed"]) as server:
        model.poison = {99}
        model.hold()
        clients = [await server.connect() for _ in range(5)]
        running, failing, good, late, leaving = clients
        await running.send(predict_bytes([[1], [2]]))
        await model.called()
        await failing.send(predict_bytes([99]))
        await server.waiting(1)
        await good.send(predict_bytes([3]))
        await leaving.send(predict_bytes([4]))
        await server.waiting(3)
        before = await scrape(server)
        await late.send(predict_bytes([5], {"X-Request-Timeout-Ms": "200"}))
        await server.waiting(4)
        answers = [await server.predict([6])]  # overloaded
        answers += [await late.receive()]
        leaving.abort()
        await server.logs.access("499")
        model.release()
        answers += [await client.receive() for client in (running, failing, good)]
        answers += [
            await server.predict([["x"]]),
            await server.post(b"{"),
            await server.post(b"{}", {"Content-Type": "text/plain"}),
            await server.post(b"{}", {"X-Request-Timeout-Ms": "soon"}),
            await server.post(b" " * 1001),
            await server.predict([[1]] * 5),
        ]
        for target in ("/nowhere", "/v2/health/ready", "/predict"):
            await server.ask("GET", target)  # none of them asks for predictions
        after = await scrape(server)

    assert (before["predict_queue_rows"], before["predict_queue_bytes"]) == (
        3,
        3 * 4 + len('{"data": [99]}{"data": [3]}{"data": [4]}'),  # the arrays and their bodies
    )
    sent = Counter(str(answer.status) for answer in answers) + Counter({"499": 1})
    assert sent == {
        "200": 2,
        "400": 2,
        "413": 2,
        "415": 1,
        "422": 1,
        "499": 1,
        "500": 1,
        "503": 1,
        "504": 1,
    }
    assert after.by("status", "predict_requests_total") == sent
    assert after.by("model", "predict_requests_total") == {"my_best_model": sent.total()}
    assert after.by("dialect", "predict_requests_total") == {"native": sent.total()}
    assert after["predict_request_duration_seconds_count"] == sent.total()
    assert after.by("reason", "predict_refused_total") == {"queue_full": 1, "too_large": 1}
    assert after["predict_expired_total"] == 1
    assert after["predict_cancelled_total"] == 1
    assert after["predict_isolated_failures_total"] == 1
    assert after["predict_rows_total"] == 3
    assert after["predict_queue_wait_seconds_count"] == 2
    assert after["predict_model_duration_seconds_count"] == len(model.batches) == 4
    assert after["predict_batch_rows_count"] == 4
    assert after["predict_batch_rows_sum"] == len(model.rows)
    assert (after["predict_queue_rows"], after["predict_queue_bytes"]) == (0, 0)


@over_http
async def test_many_requests_at_once_are_all_counted():
    """A hundred connections send ten requests each."""

    async def talk(server: Server) -> None:
        client = await server.connect()
        for n in range(10):
            assert (await client.predict([n])).status == 200

    async with serving() as server:
        await asyncio.gather(*[talk(server) for _ in range(100)])
        scraped = await scrape(server)

    assert scraped.by("status", "predict_requests_total") == {"200": 1000}
    assert scraped["predict_rows_total"] == scraped["predict_batch_rows_sum"] == 1000


@over_http
async def test_a_client_that_sends_and_disconnects_at_once_is_counted():
    """Even before the server has done anything for it."""
    async with serving() as server:
        for _ in range(50):
            client = await server.connect()
            client.writer.write(predict_bytes([1]))
            client.close()
        async with asyncio.timeout(20):
            while len(server.logs.accesses) < 50:
                await asyncio.sleep(0.01)
        scraped = await scrape(server)

    by_status = scraped.by("status", "predict_requests_total")
    assert by_status.total() == 50
    assert set(by_status) <= {"200", "499"}


@over_http
async def test_openmetrics_is_sent_if_the_accept_header_names_it():
    async with serving() as server:
        await server.predict([10])
        plain = await server.ask("GET", "/metrics")
        other = await server.ask("GET", "/metrics", {"Accept": OPENMETRICS})
        both = await server.ask("GET", "/metrics", {"Accept": f"{OPENMETRICS};q=0.5,text/plain"})
        head = await server.ask("HEAD", "/metrics")

    assert plain["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert other.media_type == both.media_type == "application/openmetrics-text"
    assert other.body.endswith(b"# EOF\n")
    assert Scrape(other).by("status", "predict_requests_total") == {"200": 1}
    assert Scrape(plain).names == Scrape(other).names
    assert (head.status, head.body) == (200, b"")


@over_http
async def test_buckets_are_cumulative_and_end_with_inf():
    async with serving() as server:
        for rows in (1, 2, 3, 4, 64):
            await server.predict([[0]] * rows)
        scraped = await scrape(server)

    sizes = scraped.by("le", "predict_batch_rows_bucket")
    assert {le: sizes[le] for le in ("1.0", "2.0", "4.0", "32.0", "64.0", "+Inf")} == {
        "1.0": 1,
        "2.0": 2,
        "4.0": 4,
        "32.0": 4,
        "64.0": 5,
        "+Inf": 5,
    }
    seconds = scraped.by("le", "predict_request_duration_seconds_bucket")
    bounds = sorted(map(float, seconds))
    assert bounds[-1] == float("inf")
    assert seconds["+Inf"] == 5


@over_http
async def test_metrics_are_available_while_the_model_loads():
    async with listening() as server:
        await server.predict([10])
        scraped = await scrape(server)

    assert scraped.by("status", "predict_requests_total") == {"503": 1}
    assert scraped["predict_queue_rows"] == 0
    assert "predict_model_info" not in scraped.names


@over_http
async def test_metrics_list_the_served_versions():
    settings = with_settings(model={"name": 'say "x"', "version": "7"}, batching={"max_rows": 17})
    async with serving(settings=settings) as server:
        await server.predict([10])
        scraped = await scrape(server)

    about = {"model": 'say "x"', "version": "7", "max_rows": "17", "engine": "tensorflow"}
    assert scraped.labels("predict_model_info") == about
    assert scraped.by("model", "predict_requests_total") == {'say "x"': 1}


@pytest.mark.logs_warnings
@over_http
async def test_payload_lines_that_are_lost_are_counted(tmp_path: Path):
    """A full disk, for example."""
    log = PayloadLog("/dev/full", warn_every_s=0)
    async with serving(payload_log=log, expected_logs=["payload lines are lost"]) as server:
        for n in range(3):
            await server.predict([n])
        log.close(20)
        scraped = await scrape(server)

    assert scraped["payload_lines_dropped_total"] == 3


@over_http
async def test_scraping_changes_nothing():
    async with serving() as server:
        await server.predict([10])
        first, second = await scrape(server), await scrape(server)

    ours = {name for name in first.families if name.startswith("predict_")}
    assert {n: first.families[n] for n in ours} == {n: second.families[n] for n in ours}


@over_http
async def test_other_methods_are_refused():
    async with serving() as server:
        client = await server.connect()
        await client.send(request_bytes("POST", "/metrics", {"Content-Type": JSON}, b"{}"))
        response = await client.receive("POST", "/metrics")

    assert response.status == 405
    assert response["Allow"] == "GET, HEAD, OPTIONS"
