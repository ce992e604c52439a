"""API keys: which routes require one, and whether that of a request is valid for them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from server.config import ApiKey
from server.config.settings import CLOSED_BY_ANY_KEY
from server.dialects.interface import Headers
from server.errors import Forbidden, NotForThisKey, Unauthorized

PREDICT: Final = "predict"
REPOSITORY: Final = "repository"
METRICS: Final = "metrics"


class ApiKeys:
    """The API keys of the settings, and the groups of routes that require one.

    Without any key, predictions need none and nobody can load or unload models. With keys,
    predictions and the repository require one; metrics do as soon as one key has that group.

    Attributes:
        given: the keys of the settings.
        guard_predictions: whether predictions require a key.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self.replace(keys)

    def replace(self, keys: Sequence[ApiKey]) -> None:
        """Let these be the keys from now on."""
        self.given = tuple(keys)
        self._keys = [(bytes.fromhex(key.sha256), key) for key in keys]
        named = {group for key in keys for group in key.allow}
        self._protected = named.union(CLOSED_BY_ANY_KEY) if keys else frozenset()
        self.guard_predictions = self.requires_key(PREDICT)

    def requires_key(self, group: str) -> bool:
        """Return whether the routes of a group require a key."""
        return group in self._protected

    def check(self, headers: Headers, group: str) -> str:
        """Return the name of the request's key, or "" if the group requires none.

        Raises Unauthorized if the key is missing or unknown, NotForThisKey if it lacks the group.
        """
        if group not in self._protected:
            return ""
        keys = self._keys_of(headers)
        if not keys:
            raise Unauthorized
        for key in keys:
            if group in key.allow:
                return key.name
        raise NotForThisKey

    def check_change(self, headers: Headers) -> str:
        """Return the name of the request's key if it allows to load and unload models.

        Raises Forbidden if there are no keys at all, and what `check` raises.
        """
        if not self._keys:
            raise Forbidden
        return self.check(headers, REPOSITORY)

    def _keys_of(self, headers: Headers) -> list[ApiKey]:
        """Return the entries of the settings with the key of a request."""
        given = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = token.strip()
        if not given:
            return []
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        # Compare with all of them: response times then reveal nothing about the keys.
        return [key for known, key in self._keys if hmac.compare_digest(digest, known)]
