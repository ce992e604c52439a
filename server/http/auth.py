"""Whether a request carries a key that opens what it asks for."""

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
    """The keys, and what is closed to those who have none.

    Without keys everybody may ask, and nobody may change anything. With any, predictions and the
    repository are closed; the counts are, too, as soon as a key names them.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = [(bytes.fromhex(key.sha256), key) for key in keys]
        named = {group for key in keys for group in key.allow}
        self._closed = named.union(CLOSED_BY_ANY_KEY) if keys else frozenset()

    def is_closed(self, group: str) -> bool:
        """Tell whether a key is needed for a group of routes."""
        return group in self._closed

    def check(self, headers: Headers, group: str) -> str:
        """Return the name of the request's key, empty where none is needed.

        Raises Unauthorized where it has none, NotForThisKey where that opens other groups.
        """
        if group not in self._closed:
            return ""
        keys = self._keys_of(headers)
        if not keys:
            raise Unauthorized
        for key in keys:
            if group in key.allow:
                return key.name
        raise NotForThisKey

    def check_change(self, headers: Headers) -> str:
        """Return the name of the key of a sender who may change what is served.

        Raises Forbidden where nobody may, and what `check` raises.
        """
        if not self._keys:
            raise Forbidden
        return self.check(headers, REPOSITORY)

    def _keys_of(self, headers: Headers) -> list[ApiKey]:
        """Return the entries of the key that a request gives."""
        given = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = token.strip()
        if not given:
            return []
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        # All are compared, so that time tells nothing of which it was.
        return [key for known, key in self._keys if hmac.compare_digest(digest, known)]
