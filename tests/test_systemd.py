"""What systemd is told, and the unit file in `deploy/systemd/`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.config import HttpSettings, Settings
from server.run import EXIT_CANNOT_START
from server.systemd import Supervisor
from tests.support.systemd import listening_as_systemd

CHECKOUT = Path(__file__).parents[1]
UNIT = CHECKOUT / "deploy" / "systemd" / "keras-batch-server.service"
PLACE = "/opt/keras-batch-server"
SOON = 10.0

needs_systemd_analyze = pytest.mark.skipif(
    not shutil.which("systemd-analyze"),
    reason="systemd-analyze is not installed: apt-get install systemd",
)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket on which systemd listens."""
    with listening_as_systemd(str(tmp_path / "notify"), SOON) as listener:
        yield listener


def told(systemd: socket.socket) -> str:
    return systemd.recv(4096).decode()


def test_the_service_says_that_it_is_ready_and_stopping(systemd: socket.socket) -> None:
    supervisor = Supervisor.taken_from({"NOTIFY_SOCKET": systemd.getsockname()})
    supervisor.status("loading a.keras")
    supervisor.ready("serving a version 1")
    supervisor.stopping()

    assert told(systemd) == "STATUS=loading a.keras"
    assert told(systemd) == "READY=1\nSTATUS=serving a version 1"
    assert told(systemd).startswith("STOPPING=1\n")


def test_a_socket_without_a_file_is_reached() -> None:
    name = f"test-of-systemd-{os.getpid()}"
    with listening_as_systemd(f"\0{name}", SOON) as listener:
        Supervisor(f"@{name}").status("x")

        assert told(listener) == "STATUS=x"


def test_the_variables_are_removed() -> None:
    environ = {"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Supervisor.taken_from(environ)

    assert environ == {"HOME": "/"}


@pytest.mark.gen_test
async def test_the_watchdog_hears_of_the_event_loop_until_it_stops(systemd: socket.socket) -> None:
    variables = {"WATCHDOG_USEC": "2000", "WATCHDOG_PID": str(os.getpid())}
    supervisor = Supervisor.taken_from({"NOTIFY_SOCKET": systemd.getsockname(), **variables})
    supervisor.start_watchdog()
    heard = [await asyncio.to_thread(told, systemd) for _ in range(3)]
    supervisor.stop_watchdog()
    supervisor.status("the last message")
    while told(systemd) == "WATCHDOG=1":
        pass
    await asyncio.sleep(0.01)  # ten times the pause; a message would be one too many
    supervisor.status("nothing between")

    assert heard == ["WATCHDOG=1"] * 3
    assert told(systemd) == "STATUS=nothing between"


@pytest.mark.gen_test
@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}])
async def test_without_a_watchdog_for_this_process_nothing_is_sent(
    systemd: socket.socket, variables: dict[str, str]
) -> None:
    supervisor = Supervisor.taken_from({"NOTIFY_SOCKET": systemd.getsockname(), **variables})
    supervisor.start_watchdog()
    supervisor.status("the first message")

    assert told(systemd) == "STATUS=the first message"


def test_without_systemd_nothing_is_sent() -> None:
    supervisor = Supervisor.taken_from({})
    supervisor.ready("x")
    supervisor.stopping()


@pytest.mark.logs_warnings
def test_a_missing_socket_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Supervisor(f"{tmp_path}/none").ready("x")

    assert "systemd cannot be told READY=1" in caplog.text


def settings_of_unit(name: str) -> list[str]:
    """Return the values of a setting of the unit file."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_unit_fits_the_service() -> None:
    http = HttpSettings()
    drain_seconds = http.drain_grace_ms / 1000 + http.drain_timeout_s

    assert settings_of_unit("Type") == ["notify"]
    assert settings_of_unit("RestartPreventExitStatus") == [str(EXIT_CANNOT_START)]
    assert settings_of_unit("OOMPolicy") == ["continue"]
    assert float(settings_of_unit("TimeoutStopSec")[0]) > drain_seconds + 10
    assert settings_of_unit("TimeoutStartSec") == ["infinity"]
    assert float(settings_of_unit("WatchdogSec")[0]) >= 30


def test_the_memory_of_the_unit_is_the_sum_in_its_comment() -> None:
    """And its parts are those of docs/operations.md and of the settings."""
    parts = {
        what: int(mb)
        for mb, what in re.findall(r"^#  +(\d+)  (\w+)", UNIT.read_text(), re.MULTILINE)
    }
    *summands, total = re.findall(r"^#  +(\d+)  ", UNIT.read_text(), re.MULTILINE)
    page = (CHECKOUT / "docs" / "operations.md").read_text()

    assert sum(map(int, summands)) == int(total)
    settings = Settings()
    assert parts["connections"] * 10**6 == settings.http.max_connections * 4_000
    assert parts["bodies"] * 2**20 == settings.http.body_bytes
    assert parts["requests"] * 2**20 == 2 * settings.batching.queue_bytes
    assert parts["answers"] * 2**20 == settings.http.answer_bytes
    assert f"| main process | {parts['main']} MB |" in page
    assert f"| libraries | {parts['libraries']} MB," in page
    assert "| each model process | 200 MB" in page
    assert settings_of_unit("MemoryMax") == ["3G"]
    assert f"3G leaves {3072 - int(total)} MB" in UNIT.read_text()


@needs_systemd_analyze
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """With the paths of a checkout that is there."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PLACE, str(tmp_path)))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd_analyze
def test_the_exposure_of_the_unit_stays_small() -> None:
    """On systemd's scale from 0 to 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-200:] + done.stderr
