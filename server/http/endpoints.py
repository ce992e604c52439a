"""The endpoints for predictions, by method and path."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from server.dialects.interface import Headers
from server.dialects.table import DIALECTS, DialectEntry, dialect_of
from server.http.auth import ApiKeys
from server.http.codings import Codings
from server.http.cors import Cors
from server.http.message import Response, problem, request_id, with_cors
from server.http.paths import normal_path
from server.http.predict import PredictEndpoint
from server.logs import PayloadLog
from server.serving.service import Service

CACHED_PATHS = 1024  # clients can send any number of different ones

# Takes method, path and headers; raises a ServiceError.
CheckHead = Callable[[tuple[str, str], Headers], None]

_PARAMETER = re.compile(r"\\\{(\w+)\\\}")


class Endpoints:
    """Every endpoint for predictions; those for a version are made when a request comes.

    `check_other` raises the error that a request for any other route gets whatever its body is.

    Paths of unknown models have one, too: it answers 404 in the format of its dialect.

    Attributes:
        codings: decompresses requests and compresses answers.
    """

    def __init__(
        self,
        service: Service,
        keys: ApiKeys,
        cors: Cors,
        payload_log: PayloadLog | None,
        check_other: CheckHead,
    ) -> None:
        self._check_other = check_other
        self._service = service
        self._keys = keys
        self._cors = cors
        self.codings = Codings(service.settings.http)
        self._payload_log = payload_log
        self._find_models()
        service.repository.models_changed = self._find_models

    def _find_models(self) -> None:
        """Make the endpoints of all models; endpoints keep the model that they have found."""
        self._known = {
            ("POST", normal_path(path.replace("{name}", quote(name, safe="")))): self._endpoint(
                entry, name if "{name}" in path else None
            )
            for entry in DIALECTS
            for path in entry.paths
            for name in self._service.repository.slots
            if "{version}" not in path
        }
        self._resolve = lru_cache(CACHED_PATHS)(self._find)

    def get(self, route: tuple[str, str], /) -> PredictEndpoint | None:
        """Return the endpoint for a method and a path in normal form, or None."""
        return self._known.get(route) or (self._resolve(route[1]) if route[0] == "POST" else None)

    def reject(self, route: tuple[str, str], error: Exception, headers: Headers, /) -> Response:
        """Return the error response to a request that the transport rejects."""
        if endpoint := self.get(route):
            return endpoint.reject(error, headers)
        return with_cors(
            problem(error, request_id(headers), dialect_of(route[1])), self._cors, headers
        )

    def check_head(self, route: tuple[str, str], headers: Headers, /) -> None:
        """Raise the error that a request gets whatever its body is."""
        if endpoint := self.get(route):
            endpoint.check_head(headers)
        else:
            self._check_other(route, headers)

    def _find(self, path: str) -> PredictEndpoint | None:
        for entry, pattern in _PATTERNS:
            if match := pattern.fullmatch(path):
                return self._endpoint_of(entry, match.groupdict())
        return None

    def _endpoint_of(self, entry: DialectEntry, given: dict[str, str]) -> PredictEndpoint | None:
        try:
            names = {key: _decoded(text) for key, text in given.items()}
        except UnicodeError:
            return None  # a Tornado handler answers 400
        return self._endpoint(entry, **names)

    def _endpoint(
        self, entry: DialectEntry, name: str | None = None, version: str | None = None
    ) -> PredictEndpoint:
        return PredictEndpoint(
            *(self._service, self._payload_log, self._keys, self._cors, self.codings),
            *(entry, name, version),
        )


def pattern_of(path: str) -> str:
    """Return the regular expression for a path in OpenAPI's notation."""
    return _PARAMETER.sub(r"(?P<\1>[^/]+)", re.escape(path))


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode()


_PATTERNS = [(entry, re.compile(pattern_of(path))) for entry in DIALECTS for path in entry.paths]
