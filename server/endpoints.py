"""Request in, response out, whatever carried the bytes."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, NamedTuple, Protocol

import orjson

from server.batching import BatchingError, Job, ModelFailed
from server.dialects.native import MEDIA_TYPE, NAME
from server.errors import (
    InternalError,
    InvalidData,
    InvalidRequest,
    ServiceError,
    UnsupportedMediaType,
    detail_of,
    headers_of,
    problem_of,
)
from server.logs import PayloadLog
from server.service import ServedModel, Service

log = logging.getLogger("server")

CLIENT_LEFT: Final = 499
COMMON_HEADERS: Final = {
    "Server": "keras-batch-server",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

_PROCESS_ID: Final = os.urandom(8).hex()  # no other process makes the same request ids
_NUMBERS: Final = count()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TIMEOUT_MS = re.compile(r"[1-9][0-9]{0,999}")


class Headers(Protocol):
    """A request's headers."""

    def get(self, name: str, default: str, /) -> str:
        """Return the value of the header with this name, in lower case, or `default`."""


class Request(NamedTuple):
    """What an endpoint sees of a request."""

    id: str
    headers: Headers
    body: bytes


class Response(NamedTuple):
    """What an endpoint answers; the length of the body is the carrier's to declare."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request_id(headers: Headers) -> str:
    """Return the client's X-Request-ID where it is a sound one, else a new one."""
    given = headers.get("x-request-id", "")
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_PROCESS_ID}{next(_NUMBERS):016x}"


def problem(error: Exception, id_: str) -> Response:
    """Answer an error as a problem document (RFC 9457); `instance` is the request's id."""
    what = problem_of(error)
    document: dict[str, Any] = {
        "type": f"/problems/{what.slug}",
        "title": what.title,
        "status": what.status.value,
        "detail": detail_of(error),
        "instance": id_,
    }
    if isinstance(error, InvalidData):
        document["errors"] = error.violations
    headers = {
        "Content-Type": "application/problem+json",
        "X-Request-ID": id_,
        **COMMON_HEADERS,
        **headers_of(error),
    }
    return Response(what.status.value, headers, orjson.dumps(document))


class PredictEndpoint:
    """`POST /predict` in the native dialect.

    Cancel the call when the client has left: the rows that still wait are not computed then, and
    the request counts as 499. A call that is cancelled before its first step is not counted.
    """

    def __init__(self, service: Service, payload_log: PayloadLog | None) -> None:
        self._service = service
        self._payload_log = payload_log
        self._requests = service.counts.requests_in(NAME)
        self._longest_ms = service.settings.batching.deadline_ms

    async def __call__(self, request: Request) -> Response:
        """Answer a request, with a problem document if need be; never raises an error."""
        started = time.perf_counter()
        status = CLIENT_LEFT
        try:
            response = await self._predict(request, started)
            status = response.status
        except Exception as error:
            response = self._problem(error, request.id)
            status = response.status
        finally:
            self._requests.ended(status, time.perf_counter() - started)
        return response

    def refused(self, status: int) -> None:
        """Count a request that was answered before it came here."""
        self._requests.ended(status, 0.0)

    def _problem(self, error: Exception, id_: str) -> Response:
        """Answer an error; log the model's, and mistakes of ours."""
        if isinstance(error, ModelFailed):
            log.error("request %s: the model failed: %.300s", id_, error.__cause__)
        elif not isinstance(error, ServiceError | BatchingError):
            log.error("request %s failed", id_, exc_info=error)
            error = InternalError()
        return problem(error, id_)

    async def _predict(self, request: Request, started: float) -> Response:
        model = self._service.model
        check_media_type(request.headers)
        deadline = model.batcher.loop.time() + self._timeout(request.headers)
        rows, single = model.dialect.decode(request.body)
        nbytes = rows.nbytes + len(request.body)
        shape = () if model.signature.is_fixed else rows.row_shape
        job = model.batcher.submit(rows, deadline, shape=shape, nbytes=nbytes)
        body = model.dialect.encode(await job, single)
        seconds = time.perf_counter() - started
        self._record(request, model, body, seconds)
        headers = {
            "Content-Type": MEDIA_TYPE,
            "X-Request-ID": request.id,
            "X-Model-Version": model.version,
            "Server-Timing": server_timing(job, seconds),
            **COMMON_HEADERS,
        }
        return Response(200, headers, body)

    def _timeout(self, headers: Headers) -> float:
        """Return the seconds that the request may take; a client can only ask for less."""
        given = headers.get("x-request-timeout-ms", "")
        if not given:
            return self._longest_ms / 1000
        if not _TIMEOUT_MS.fullmatch(given):
            raise InvalidRequest("X-Request-Timeout-Ms must be a whole number of milliseconds > 0.")
        return min(int(given), self._longest_ms) / 1000

    def _record(self, request: Request, model: ServedModel, body: bytes, seconds: float) -> None:
        if self._payload_log is None:
            return
        data, prediction = model.dialect.excerpt(request.body, body)
        self._payload_log.write(
            request_id=request.id,
            model=model.name,
            version=model.version,
            input=data,
            prediction=prediction,
            ms=seconds * 1000,
        )


def check_media_type(headers: Headers) -> None:
    """Raise UnsupportedMediaType unless the body is JSON that is not compressed."""
    given = headers.get("content-type", "")
    media_type = given if given == MEDIA_TYPE else given.partition(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        raise UnsupportedMediaType(
            f"Send the header Content-Type: {MEDIA_TYPE}, not {media_type[:80] or 'none'}."
        )
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMediaType(f"Send the body as it is, without {coding[:80]}.")


def server_timing(job: Job, seconds: float) -> str:
    """Return where the time went, in milliseconds (W3C Server Timing)."""
    return (
        f"queue;dur={job.queue_seconds * 1000:.3f}, model;dur={job.model_seconds * 1000:.3f}, "
        f'batch;desc="{job.batch_rows} rows", total;dur={seconds * 1000:.3f}'
    )
