"""Exit with 0 if the server on this machine is ready for predictions, else with 1.

It finds the server by the same settings: give it the flags that the server has, if any. It asks the
first address of `http.host`.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.config import ConfigError, HttpSettings, load_settings
from server.config.settings import UNIX

TIMEOUT_S: Final = 3
ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "localhost"}  # noqa: S104  # replaced, not bound


def main(arguments: Sequence[str]) -> int:
    """Send one request, without the proxy that the environment may name."""
    try:
        settings = load_settings(arguments, os.environ, Path.cwd()).http
    except ConfigError as error:
        print(error)
        return 1
    [address, *_] = settings.addresses
    where = address if address.startswith(UNIX) else f"{address}, port {settings.port}"
    try:
        status = status_at(address, settings)
    except (OSError, http.client.HTTPException) as error:
        print(f"{where}: {error}")
        return 1
    print(f"{where}: {status}")
    return 0 if status == http.client.OK else 1


def status_at(address: str, settings: HttpSettings) -> int:
    """Return the status of readiness; raises OSError, HTTPException."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = connect(address, settings.port)
    try:
        if settings.tls_cert:
            connection.sock = without_verification().wrap_socket(connection.sock)
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status
    finally:
        connection.close()


def connect(address: str, port: int) -> socket.socket:
    """Connect to an address of this machine; raises OSError."""
    if not address.startswith(UNIX):
        return socket.create_connection((ANY.get(address, address), port), TIMEOUT_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_S)
    try:
        connection.connect(address.removeprefix(UNIX))
    except OSError:
        connection.close()
        raise
    return connection


def without_verification() -> ssl.SSLContext:
    """Accept any certificate: it is for the name of the service, and not for this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
