"""What tests of several folders share."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from tornado.ioloop import IOLoop

from tests.support import harness

# Else Tornado's first loop makes asyncio make one of its own, which nobody closes, and the warning
# of that fails some later test in which garbage is collected.
asyncio.set_event_loop(None)


# Each of some hundred processes would start threads for linear algebra that none uses.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# How fast a test makes its examples says how busy the machine is, and nothing about the code.
settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def example_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example model's file, trained on first use, once for all processes of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "example" / "my_best_model.keras"
    path.parent.mkdir(exist_ok=True)
    with (path.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            from model.train import get_data, save_model, train_model

            save_model(train_model(*get_data()), path)
    return path


@pytest.fixture(autouse=True)
def no_unexpected_warnings(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """A record at WARNING or above fails a test that is not marked `logs_warnings`."""
    yield
    if not request.node.get_closest_marker("logs_warnings"):
        records = caplog.get_records("call")
        unexpected = [
            record.getMessage()
            for record in records
            if record.levelno >= logging.WARNING and record.name != "absl"  # Keras on .h5 files
        ]
        assert not unexpected


LOOPS = {"llhttp": uvloop.new_event_loop, "llhttp-asyncio": asyncio.new_event_loop}


TRANSPORTS = [
    "llhttp",
    "tornado",
    pytest.param("llhttp-asyncio", marks=pytest.mark.torture),  # where there is no uvloop
]


# Rooms whose tests do not depend on the transport: on Tornado's they run in `make torture`
ABOVE_TRANSPORTS = ("dialects", "handlers", "monitoring", "openapi", "process", "serving")


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what the tests make, and not at the tests themselves.

    It would look through some million objects of pytest and TensorFlow every other moment.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests of rooms above the transports to one transport, except in `make torture`."""
    for item in items:
        params = getattr(item, "callspec", None)
        is_tornado = params is not None and params.params.get("transport") == "tornado"
        if is_tornado and item.path.parent.name in ABOVE_TRANSPORTS:
            item.add_marker(pytest.mark.torture)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """The transport that serves a test, also for servers that the test starts."""
    harness.transport = request.param.partition("-")[0]
    yield harness.transport
    harness.transport = "llhttp"


@pytest.fixture
def io_loop(request: pytest.FixtureRequest) -> Iterator[IOLoop]:
    """The loop that a test runs on; pytest-tornado looks for it under this name."""
    params = getattr(request.node, "callspec", None)
    name = params.params.get("transport") if params else None
    loop = IOLoop(asyncio_loop=LOOPS.get(name, asyncio.new_event_loop)())
    loop.make_current()
    yield loop
    loop.clear_current()
    loop.close(all_fds=True)
