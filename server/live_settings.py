"""SIGHUP: read the settings again, and apply those that a running service can change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final

from server.config import ConfigError, Settings
from server.config.schema import SETTINGS, SOURCE_NAMES
from server.http.auth import ApiKeys
from server.serving.repository import Repository
from server.transport.tls import context_of, use_certificate_of

log = logging.getLogger(__name__)

# Beside the list of models.
LIVE: Final = {
    *SOURCE_NAMES,
    *("auth.api_keys", "http.tls_cert", "http.tls_key"),
}


class LiveSettings:
    """The settings of a running service, which `reload` reads and applies again.

    Args:
        read: reads the settings as at the start; raises ConfigError.
        settings: what it returned at the start.
        tls: the context of the HTTPS connections; None for HTTP.
    """

    def __init__(
        self,
        read: Callable[[], Settings],
        settings: Settings,
        repository: Repository,
        keys: ApiKeys,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._read = read
        self._settings = settings
        self._repository = repository
        self._keys = keys
        self._tls = tls

    async def reload(self) -> None:
        """Read the settings; apply models, API keys and certificate; load what is new of models.

        If the settings or the certificate are invalid, nothing changes, and the log says why.
        """
        try:
            settings = await asyncio.to_thread(self._read)
            tls = context_of(settings.http)
        except ConfigError as error:
            log.error("SIGHUP: nothing is reloaded, because the settings are invalid: %s", error)
            return
        if waiting := self._waiting_for_restart(settings):
            log.warning("SIGHUP: changed, but only used after a restart: %s", ", ".join(waiting))
        if self._tls is not None and tls is not None:
            use_certificate_of(self._tls, tls)
            log.info("SIGHUP: new connections get the certificate of %s", settings.http.tls_cert)
        if settings.auth.api_keys != self._keys.given:
            self._keys.replace(settings.auth.api_keys)
            log.info("SIGHUP: the API keys are replaced; there are %d", len(self._keys.given))
        await self._repository.reload(settings.sources)

    def _waiting_for_restart(self, settings: Settings) -> list[str]:
        """Return the names of the settings that differ from the running ones and stay as they are.

        HTTPS cannot be switched on or off.
        """
        switches_tls = (self._tls is None) == bool(settings.http.tls_cert)
        return [
            item.name
            for item in SETTINGS
            if item.value_in(settings) != item.value_in(self._settings)
            and (item.name not in LIVE or (switches_tls and item.name.startswith("http.tls_")))
        ]
