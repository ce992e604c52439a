"""What tests of several folders share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

# Else Tornado's first loop makes asyncio make one of its own, which nobody closes, and the warning
# of that fails some later test in which garbage is collected.
asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def example_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example model's file, trained on first use, which takes a few seconds."""
    from model.train import get_data, save_model, train_model

    path = tmp_path_factory.mktemp("model") / "my_best_model.keras"
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
