"""End to end with the example model: train, serve, predict, load-test, shut down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.process.harness import READY_WITHIN, REAL, Answer, LoadTest, Server

pytestmark = [pytest.mark.process, pytest.mark.keras, pytest.mark.timeout(240)]

OWN_ANSWERS = 3_000


@dataclass(frozen=True)
class ServerRun:
    """The answers, logs and figures of one run of the server."""

    one: Answer
    two: Answer
    lines_of_these: list[dict[str, Any]]
    crowd: dict[str, Any]
    alone: dict[str, Any]
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def run(example_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerRun]:
    """One run of the server for all tests of this file, because TensorFlow starts slowly."""
    folder = tmp_path_factory.mktemp("run")
    with Server(folder / "server", str(example_model), command=REAL) as server:
        server.until_ready()
        one, two = server.post([10]), server.post([[10], [20]])
        crowd = put_load(server, folder / "crowd", OWN_ANSWERS, "--model", str(example_model))
        alone = put_load(server, folder / "alone", 300, "--connections", "1")
        server.signal()
        code = server.exit_code()
        lines = [json.loads(line) for line in server.stdout.splitlines()[:2]]
        yield ServerRun(one, two, lines, crowd, alone, code, server.stdout, server.stderr)


def put_load(server: Server, folder: Path, requests: int, *arguments: str) -> dict[str, Any]:
    with LoadTest(server, folder, "--requests", str(requests), *arguments) as load:
        return load.figures(READY_WITHIN + requests / 200)


def test_one_example_gets_one_prediction(run: ServerRun) -> None:
    assert run.one.prediction == pytest.approx(31, abs=0.1)
    assert run.one.json.keys() == {"prediction"}


def test_a_batch_gets_its_predictions_in_order(run: ServerRun) -> None:
    assert run.two.prediction == pytest.approx([31, 61], abs=0.2)


def test_answers_have_model_version_and_timing_headers(run: ServerRun) -> None:
    assert run.one.headers["X-Model-Version"] == "1"
    assert run.one.headers["Content-Type"] == "application/json"
    assert re.fullmatch(
        r'queue;dur=[\d.]+, model;dur=[\d.]+, batch;desc="1 rows", total;dur=[\d.]+',
        run.one.headers["Server-Timing"],
    )


def test_every_answer_under_load_belongs_to_its_request(run: ServerRun) -> None:
    """All requests have different rows; the load test compares answers within 1e-5."""
    assert (run.crowd["wrong"], run.crowd["lost"]) == (0, 0)
    assert run.crowd["statuses"] == {"200": OWN_ANSWERS}


def test_requests_share_batches_under_load(run: ServerRun) -> None:
    assert run.crowd["batches"]["mean_rows"] > 1


def test_a_single_client_gets_batches_of_one_row(run: ServerRun) -> None:
    assert run.alone["batches"]["by_rows"] == {"1": 300}


def test_standard_output_is_one_json_line_for_every_answer(run: ServerRun) -> None:
    lines = [json.loads(line) for line in run.stdout.splitlines()]

    assert len(lines) == 2 + OWN_ANSWERS + 300
    keys = ["time", "request_id", "model", "version", "input", "prediction", "ms"]
    assert all(list(line) == keys for line in lines)
    assert len({line["request_id"] for line in lines}) == len(lines)


def test_a_payload_line_has_inputs_and_predictions(run: ServerRun) -> None:
    one, two = run.lines_of_these

    assert (one["input"], one["prediction"]) == ([10], run.one.prediction)
    assert (two["input"], two["prediction"]) == ([[10], [20]], run.two.prediction)
    assert one["request_id"] == run.one.headers["X-Request-ID"]
    assert (one["model"], one["version"]) == ("my_best_model", "1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"])
    assert 0 < one["ms"] < 5_000


def test_the_access_log_is_on_standard_error(run: ServerRun) -> None:
    request_id = run.one.headers["X-Request-ID"]
    [line] = [line for line in run.stderr.splitlines() if request_id in line]
    assert re.search(r"INFO server\.access: POST /predict 200 [\d.]+ ms \w+ from 127\.", line)


def test_nothing_was_logged_as_a_warning_or_an_error(run: ServerRun) -> None:
    assert "Traceback" not in run.stderr
    assert not re.search(r"Z (WARNING|ERROR|CRITICAL) ", run.stderr)


def test_sigterm_exits_with_0(run: ServerRun) -> None:
    assert run.exit_code == 0


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_each_of_100_000_answers_belongs_to_its_request(
    example_model: Path, tmp_path: Path
) -> None:
    """The same with 100,000 requests over 64 connections."""
    with Server(tmp_path / "server", str(example_model), command=REAL) as server:
        server.until_ready()
        figures = put_load(server, tmp_path / "load", 100_000, "--model", str(example_model))

    print(json.dumps(figures, indent=2))
    assert (figures["wrong"], figures["lost"]) == (0, 0)
    assert figures["statuses"] == {"200": 100_000}
    assert figures["batches"]["mean_rows"] > 1
