"""HTTPS: the certificate and the key that the settings name; requests that come without it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Final

from server.config import ConfigError, HttpSettings

FIRST_BYTES: Final = 1024  # enough for the path of a request that comes without TLS


def context_of(settings: HttpSettings) -> ssl.SSLContext | None:
    """Return the TLS context, None when HTTPS is off. Raises ConfigError.

    Supports TLS 1.2 and 1.3 with Python's default ciphers.
    """
    if not settings.tls_cert and not settings.tls_key:
        return None
    for name, path in (("tls_cert", settings.tls_cert), ("tls_key", settings.tls_key)):
        if not path:
            raise ConfigError(f"http.{name}: HTTPS needs both a certificate and a key")
        _check_readable(name, path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_2
    )  # overrides the configuration of the system's OpenSSL
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, _no_password)
    except (ssl.SSLError, ValueError) as error:
        pair = f"{settings.tls_cert} and {settings.tls_key}"
        reason = getattr(error, "reason", None) or error
        raise ConfigError(
            f"http.tls_cert: {pair} are not a certificate and its key: {reason}"
        ) from None
    return context


def use_certificate_of(context: ssl.SSLContext, newer: ssl.SSLContext) -> None:
    """Let connections that `context` accepts from now on have the certificate of `newer`.

    OpenSSL asks at every handshake, also of clients that name no server. Loading the files into
    `context` itself would leave it without a valid pair where only one of them could be loaded.
    """

    def use_newer(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = newer

    context.sni_callback = use_newer


def _check_readable(name: str, path: str) -> None:
    try:
        with Path(path).open("rb"):  # OpenSSL does not say which of the two it could not read
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"http.{name}: {path!r} cannot be read: {reason}") from None


def _no_password() -> str:
    """Reject an encrypted key, instead of asking for its password on a terminal."""
    raise ValueError("the key is encrypted")


async def first_bytes(connection: socket.socket, seconds: float) -> bytes:
    """Wait for the first bytes of a connection, and leave them there for whoever reads next.

    Returns b"" if it ends without any, or nothing arrives in time.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        async with asyncio.timeout(seconds):
            await readable.wait()
            return connection.recv(FIRST_BYTES, socket.MSG_PEEK)
    except (TimeoutError, OSError):
        return b""
    finally:
        loop.remove_reader(connection)


def is_plain_http(start: bytes) -> bool:
    """Return whether a connection begins with a word, such as a method, and not with TLS.

    A TLS connection begins with the content type of a handshake, 22 (RFC 8446, section 5.1).
    """
    return start[:1].isalpha()
