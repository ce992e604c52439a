"""The endpoint for predictions, independent of the transport: request in, response out."""

from __future__ import annotations

import logging
import re
import time
from functools import lru_cache
from typing import Final

from model.tensors import Rows
from server.batching import BatchingError, Job, ModelFailed
from server.dialects.interface import DecodedRequest, Dialect, Headers
from server.dialects.table import NATIVE, DialectEntry
from server.errors import (
    InternalError,
    InvalidRequest,
    ServiceError,
    UnknownModel,
)
from server.http.auth import PREDICT, ApiKeys
from server.http.cors import Cors
from server.http.message import CLIENT_LEFT, Request, Response, problem, request_id, with_cors
from server.logs import PayloadLog
from server.logs.format import of_request
from server.serving.answer_bytes import Reserved
from server.serving.served_model import ServedModel
from server.serving.service import Service

log = logging.getLogger(__name__)

# A longer body takes more time to decode than everything else about a rejected request.
EXPENSIVE_BYTES: Final = 16 * 1024

_TIMEOUT_MS = re.compile(r"[1-9][0-9]{0,999}")
_NOT_GIVEN: Final = "\r\n"  # no header has this value


# What was submitted for a request; a plain tuple is the fastest to make.
Submitted = tuple[ServedModel, Dialect, DecodedRequest, Job, Reserved]


class PredictEndpoint:
    """Answers requests for predictions of a model, or of one version of it, in one dialect.

    Cancel the call when the client has disconnected: rows that still wait are not computed then,
    and the request counts as 499. A call that is cancelled before its first step is not counted.
    """

    def __init__(
        self,
        service: Service,
        payload_log: PayloadLog | None,
        keys: ApiKeys,
        cors: Cors,
        entry: DialectEntry = NATIVE,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        """Find the model called `name`; without a name it is the default model."""
        repository = service.repository
        slot = repository.default if name is None else repository.slots.get(name)
        self._name = name or ""
        self._slot = slot
        self._version = version
        self._entry = entry
        self._dialect = entry.name
        self._payload_log = payload_log
        self._keys = keys
        self._cors = cors
        self._has_cors = cors.is_on
        self._requests = service.counts.requests_in(slot.name if slot else "", entry.name)
        self._longest_ms = service.settings.batching.deadline_ms
        self._answers = service.answers

    async def __call__(self, request: Request) -> Response:
        """Return the response, on an error a problem document; raises only CancelledError."""
        started = time.perf_counter()
        status = CLIENT_LEFT
        reserved = None
        try:
            submitted = self._submit(request)
            *_, job, reserved = submitted
            response = self._respond(request, submitted, await job, started)
            reserved = None  # the transport releases it
            status = response.status
        except Exception as error:
            response = self._problem(error, request.id)
            status = response.status
        finally:
            if reserved is not None:
                reserved.release()
            self._requests.ended(status, time.perf_counter() - started)
        return with_cors(response, self._cors, request.headers) if self._has_cors else response

    def check_head(self, headers: Headers) -> None:
        """Raise the error that a request gets whatever its body is.

        Raises Unauthorized, NotForThisKey, UnknownModel, Loading, UnsupportedMediaType and
        InvalidRequest.
        """
        if self._keys.guard_predictions:
            self._keys.check(headers, PREDICT)
        self._model().dialects.by_name[self._dialect].check(headers)
        self._timeout(headers)

    def reject(self, error: Exception, headers: Headers) -> Response:
        """Return and count the error response to a request that the transport rejects."""
        response = problem(error, request_id(headers), self._entry)
        self._requests.ended(response.status, 0.0)
        return with_cors(response, self._cors, headers)

    def _problem(self, error: Exception, id_: str) -> Response:
        """Return the response for an error; log errors of the model and internal errors."""
        if isinstance(error, ModelFailed):
            log.error("the model failed: %.300s", error.__cause__, extra=of_request(id_))
        elif not isinstance(error, ServiceError | BatchingError):
            log.error("internal error", exc_info=error, extra=of_request(id_))
            error = InternalError()
        return problem(error, id_, self._entry)

    def _submit(self, request: Request) -> Submitted:
        """Check a request, decode it and put its rows into the queue."""
        if self._keys.guard_predictions:
            self._keys.check(request.headers, PREDICT)
        slot = self._slot
        model = slot.current if slot is not None and self._version is None else None
        if model is None:
            model = self._model()
        dialect = model.dialects.by_name[self._dialect]
        dialect.check(request.headers)
        batcher = model.batcher
        now = batcher.loop.time()
        longest = self._timeout(request.headers)
        is_fixed = model.signature.is_fixed
        if len(request.body) > EXPENSIVE_BYTES:
            self._answers.check_room()
        if is_fixed and (batcher.is_crowded or len(request.body) > EXPENSIVE_BYTES):
            batcher.check_room(len(request.body))
        decoded = dialect.decode(request.body, request.headers)
        if decoded.timeout_ms is not None:
            longest = min(longest, decoded.timeout_ms / 1000)
        rows = decoded.tensors
        nbytes = rows.nbytes + len(request.body)
        shape = () if is_fixed else rows.row_shape
        reserved = self._answers.reserve(dialect.answer_bytes(decoded))
        try:
            job = batcher.submit(rows, now + longest, shape=shape, nbytes=nbytes)
        except BaseException:
            reserved.release()
            raise
        job.name = request.id
        return model, dialect, decoded, job, reserved

    def _respond(
        self, request: Request, submitted: Submitted, answer: Rows, started: float
    ) -> Response:
        """Encode the prediction, and write its line in the payload log.

        Raises UnreadAnswers or TooManyRows if the answer is larger than the shapes of the outputs
        told, and there is no memory for it.
        """
        model, dialect, decoded, job, reserved = submitted
        body, content_type, extra = dialect.encode(answer, decoded)
        reserved.correct(len(body))
        total_ms = f"{(time.perf_counter() - started) * 1000:.3f}"
        if self._payload_log is not None and self._payload_log.takes_next():
            self._record(self._payload_log, request, submitted, body, total_ms)
        headers = {
            "Content-Type": content_type,
            "X-Request-ID": request.id,
            "X-Model-Version": model.version,
            "Server-Timing": server_timing(job, total_ms),
        }
        return Response(200, {**headers, **extra} if extra else headers, body, reserved)

    def _model(self) -> ServedModel:
        """Return the model that is to answer; raises Loading, UnknownModel."""
        slot = self._slot
        if slot is None:
            raise UnknownModel(f"There is no model {self._name:.80}.")
        return slot.find(self._version)

    def _timeout(self, headers: Headers) -> float:
        """Return the deadline in seconds from now; a client can only lower it."""
        given = headers.get("x-request-timeout-ms", _NOT_GIVEN)
        if given == _NOT_GIVEN:
            return self._longest_ms / 1000
        if not _TIMEOUT_MS.fullmatch(given):
            raise InvalidRequest(
                "X-Request-Timeout-Ms must be a whole number of milliseconds, at least 1."
            )
        return min(int(given), self._longest_ms) / 1000

    def _record(
        self,
        payload_log: PayloadLog,
        request: Request,
        submitted: Submitted,
        body: bytes,
        total_ms: str,
    ) -> None:
        model, dialect, decoded, *_ = submitted
        data, prediction = dialect.excerpt(decoded, request.body, body)
        payload_log.write(
            request_id=request.id,
            model=model.name,
            version=model.version,
            input=data,
            prediction=prediction,
            ms=total_ms,
            redacted=dialect.redacted,
        )


def server_timing(job: Job, total_ms: str) -> str:
    """Return the times in queue and model, and in total, in milliseconds (W3C Server Timing)."""
    in_batch = _batch_timing(job.model_seconds, job.batch_rows)
    return f"queue;dur={job.queue_seconds * 1000:.3f}, {in_batch}, total;dur={total_ms}"


@lru_cache(maxsize=8)
def _batch_timing(seconds: float, rows: int) -> str:
    """Return the part that is the same for all requests of a batch, and so cached."""
    return f'model;dur={seconds * 1000:.3f}, batch;desc="{rows} rows"'
