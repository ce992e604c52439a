"""HTTPS: the certificate and the key that the settings name."""

from __future__ import annotations

import ssl
from pathlib import Path

from server.config import ConfigError, HttpSettings


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
