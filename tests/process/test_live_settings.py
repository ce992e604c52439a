"""What a real server does when not every model can be loaded, and when its settings change."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import wait_until
from tests.support.files import put

pytestmark = pytest.mark.process


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def test_sighup_reads_the_settings_again(start: Start, config: Path) -> None:
    config.write_text("models: [{path: a.keras}, {path: b.keras}]\n")
    server = start("--config", str(config))
    config.write_text(
        "models: [{path: c.keras}, {path: a.keras}]\n"
        "batching: {deadline_ms: 1000}\n"
        "auth: {api_keys: [one]}\n"
    )
    server.signal(signal.SIGHUP)
    wait_until(
        lambda: server.get("/v2/models").json["models"] == ["c", "a"], what="the models of the file"
    )

    assert server.post([10]).status == 401
    answer = server.post([10], {"X-API-Key": "one"})
    assert (answer.prediction, answer.headers["X-Model-Version"]) == (31, "1")
    assert server.get("/v2/health/ready").json["model"] == "c"
    server.until_logged("b: unloaded")
    server.until_logged("changed, but only used after a restart: batching.deadline_ms")
    server.until_logged("ready: c version 1")


def test_sighup_with_an_invalid_file_changes_nothing(start: Start, config: Path) -> None:
    config.write_text("models: [{path: a.keras}]\n")
    server = start("--config", str(config))
    config.write_text("models: [{pth: b.keras}]\n")
    server.signal(signal.SIGHUP)
    words = f"nothing is reloaded, because the settings are invalid: {config}: models[0].pth"
    server.until_logged(words)

    assert server.post([10]).prediction == 31
    assert server.get("/v2/models").json["models"] == ["a"]


def test_one_broken_model_of_two_leaves_the_other_serving(start: Start, config: Path) -> None:
    config.write_text("models: [{path: broken.keras}, {path: a.keras}]\n")
    server = start("--config", str(config))
    broken, other = server.get("/v2/health/ready").json["models"]

    assert (broken["state"], broken["failure"]) == ("UNAVAILABLE", "broken.keras: is broken")
    assert other == {"name": "a", "version": "1", "state": "READY"}
    server.until_logged("broken: not served, because it cannot be loaded")
    server.until_logged("ready: a version 1")
    assert server.post([10]).status == 503


def test_a_broken_model_ends_a_strict_start(start: Start, config: Path) -> None:
    config.write_text(
        "models: [{path: a.keras}, {path: broken.keras}, {path: c.keras}]\nmodels_strict: true\n"
    )
    server = start("--config", str(config), ready=False)

    assert server.exit_code() == 2
    assert server.stderr.splitlines()[-1] == "broken.keras: is broken"


def test_without_any_model_the_last_line_says_so(start: Start, config: Path) -> None:
    config.write_text("models: [{path: broken.keras}, {path: x/broken.h5, name: other}]\n")
    server = start("--config", str(config), ready=False)

    assert server.exit_code() == 2
    *_, first, second, last = server.stderr.splitlines()
    assert "broken: not served" in first
    assert "other: not served" in second
    assert last == "none of the 2 models can be loaded"


def test_a_replaced_file_is_served_without_a_signal(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "line.keras"
    file.write_text("one")
    server = start(str(file), "--model.poll_s", "0.05")
    assert server.post([10]).headers["X-Model-Version"] == "1"
    put(file, "another")

    wait_until(
        lambda: server.post([10]).headers["X-Model-Version"] == "2", what="the second version"
    )
    server.until_logged("line: its files have changed")
