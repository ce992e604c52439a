"""Whether a request carries one of the service's keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from server.dialects.dialect import Headers
from server.errors import Forbidden, Unauthorized

HASHED = "sha256:"


class ApiKeys:
    """The keys, of which only hashes are kept.

    Where there are none, everybody may ask, and nobody may change anything.

    Attributes:
        are_needed: whether there are any.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest_of(key) for key in keys]
        self.are_needed = bool(self._digests)

    def check(self, headers: Headers) -> None:
        """Raise Unauthorized where a key is needed and the request has no right one."""
        if self._digests and not self._has_key(headers):
            raise Unauthorized

    def check_change(self, headers: Headers) -> None:
        """Raise Forbidden, or Unauthorized, unless the sender may change what is served."""
        if not self._digests:
            raise Forbidden
        self.check(headers)

    def _has_key(self, headers: Headers) -> bool:
        given = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = token.strip()
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        # All are compared, so that time tells nothing of which it was.
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return True in found


def _digest_of(key: str) -> bytes:
    if key.startswith(HASHED):
        return bytes.fromhex(key.removeprefix(HASHED))
    return hashlib.sha256(key.encode()).digest()
