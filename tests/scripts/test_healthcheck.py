"""The health check finds the server by its settings: port, address, TLS, Unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripts import healthcheck
from scripts.healthcheck import main
from tests.support.harness import Server, listening, over_http, serving, with_settings
from tests.transport.test_addresses import needs_ipv6
from tests.transport.test_tls import CERT, KEY

WITHIN = 60  # seconds; a busy machine may need more than the 3 of an orchestrator


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check wait longer."""
    monkeypatch.setattr(healthcheck, "TIMEOUT_S", WITHIN)


TLS = {"tls_cert": CERT, "tls_key": KEY}


async def check(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the health check in a folder with the server's config.yaml; return the exit code."""
    http = server.service.settings.http
    lines = [f"{key}: {getattr(http, key)!r}" for key in ("host", "tls_cert", "tls_key")]
    text = "\n  ".join(["http:", f"port: {server.port}", *lines])
    (folder / "config.yaml").write_text(text)
    monkeypatch.chdir(folder)
    return await asyncio.to_thread(main, [])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0.0.0.0",
        "localhost",
        pytest.param("::", marks=needs_ipv6),
        pytest.param("::1", marks=needs_ipv6),
        pytest.param("::1,127.0.0.1", marks=needs_ipv6),
        "unix:s",
    ],
)
@pytest.mark.parametrize("tls", [{}, TLS], ids=["http", "https"])
@over_http
async def test_it_passes_when_the_server_is_ready(
    host: str, tls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving(settings=with_settings(http={"host": host, **tls})) as server:
        code = await check(server, tmp_path, monkeypatch)

    assert code == 0


@over_http
async def test_it_fails_while_the_server_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with listening(with_settings()) as server:
        code = await check(server, tmp_path, monkeypatch)

    assert (code, capsys.readouterr().out) == (1, f"127.0.0.1, port {server.port}: 503\n")


@over_http
async def test_flags_and_variables_count_as_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving() as server:
        by_flag = await asyncio.to_thread(main, ["--http.port", str(server.port)])
        monkeypatch.setenv("SERVER_HTTP__PORT", str(server.port))
        by_variable = await asyncio.to_thread(main, [])

    assert (by_flag, by_variable) == (0, 0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--http.host", "unix:none"], "unix:none: [Errno 2] No such file or directory"),
        (["--http.port", "x"], "--http.port: 'x' is not an integer"),
        (["--http.host", "no.such.host.invalid"], "no.such.host.invalid, port 8888: "),
    ],
)
def test_it_says_why_it_fails(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 1
    assert capsys.readouterr().out.startswith(words)
