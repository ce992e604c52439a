"""The endpoint for predictions, independent of the transport: request in, response out."""

from __future__ import annotations

import logging
import time
from typing import Final, NamedTuple

from model.tensors import Rows, Tensors
from server.batching import BatchingError, Held, Job, ModelFailed
from server.dialects.answer_size import about
from server.dialects.interface import (
    SLOW_JSON,
    DecodedRequest,
    Dialect,
    Encoded,
    Headers,
    decoding_headers,
)
from server.dialects.table import NATIVE, DialectEntry
from server.errors import InternalError, ServiceError, UnknownModel
from server.http.auth import PREDICT, ApiKeys
from server.http.codings import Codings
from server.http.cors import Cors
from server.http.message import CLIENT_LEFT, Request, Response, problem, request_id, with_cors
from server.http.timing import server_timing, timeout_of
from server.http.tracing import trace_of
from server.logs import PayloadLog
from server.logs.format import of_request
from server.logs.payload import Shown
from server.serving.answer_bytes import Reserved
from server.serving.decoders.jobs import DECODE, ENCODE, Decoded
from server.serving.decoders.protocol import buffer
from server.serving.decoders.work import Work
from server.serving.served_model import ServedModel
from server.serving.service import Service

log = logging.getLogger(__name__)

# A longer body takes more time to decode than everything else about a rejected request.
EXPENSIVE_BYTES: Final = 16 * 1024


class Large(NamedTuple):
    """What else is known of a request whose body or answer is large.

    Attributes:
        shown: the input for the payload log, if the body is released already.
        encoding: the work of encoding its answer; None if the event loop does it.
    """

    shown: Shown | None
    encoding: Work | None


# A request that may be decoded: the model, its dialect, when the request came, and how many seconds
# later its deadline is. Plain tuples are the fastest to make.
Admitted = tuple[ServedModel, Dialect, float, float]

# What was submitted for a request, and its deadline by the loop's clock.
Submitted = tuple[ServedModel, Dialect, DecodedRequest, Job, Reserved, float, Large | None]


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
        codings: Codings,
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
        self._codings = codings
        self._least_compressed = codings.least
        self._requests = service.counts.requests_in(slot.name if slot else "", entry.name)
        self._longest_ms = service.settings.batching.deadline_ms
        self._answers = service.answers
        self._decoders = service.decoders

    async def __call__(self, request: Request) -> Response:
        """Return the response, on an error a problem document; raises only CancelledError."""
        started = time.perf_counter()
        status = CLIENT_LEFT
        reserved = large = None
        try:
            if request.headers.get("content-encoding", ""):
                self.check_head(request.headers)
                request = await self._codings.decoded(request)
            admitted = self._admit(request)
            if self._is_for_decoders(request, admitted):
                submitted = await self._submit_elsewhere(request, admitted)
                request = request._replace(body=b"")  # the tensors are counted in its place
            else:
                decoded = admitted[1].decode(request.body, request.headers)
                nbytes = decoded.tensors.nbytes + len(request.body)
                submitted = self._enqueue(request, admitted, decoded, nbytes)
            *_, job, reserved, _, large = submitted
            answer = await job
            is_known = large is None and admitted[0].loaded.knows_answer_size
            if not is_known and (encoding := self._encoding(request, submitted, answer)):
                response = await self._respond_elsewhere(
                    request, submitted, answer, started, encoding
                )
            else:
                response = self._respond(request, submitted, answer, started)
            if len(response.body) >= self._least_compressed:
                response = await self._codings.encoded(response, request.headers)
            reserved = None  # the transport releases it
            status = response.status
        except Exception as error:
            response = self._problem(error, request)
            status = response.status
        finally:
            if reserved is not None:
                reserved.release()
            if large is not None and large.encoding is not None:
                large.encoding.leave()
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
        timeout_of(headers, self._longest_ms)

    def reject(self, error: Exception, headers: Headers) -> Response:
        """Return and count the error response to a request that the transport rejects."""
        response = problem(error, request_id(headers), self._entry)
        self._requests.ended(response.status, 0.0)
        return with_cors(response, self._cors, headers)

    def _problem(self, error: Exception, request: Request) -> Response:
        """Return the response for an error; log errors of the model and internal errors."""
        extra = of_request(request.id, trace_of(request.headers))
        if isinstance(error, ModelFailed):
            log.error("the model failed: %.300s", error.__cause__, extra=extra)
        elif not isinstance(error, ServiceError | BatchingError):
            log.error("internal error", exc_info=error, extra=extra)
            error = InternalError()
        return problem(error, request.id, self._entry)

    def _admit(self, request: Request) -> Admitted:
        """Check all of a request that can be checked before its body is decoded."""
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
        longest = timeout_of(request.headers, self._longest_ms)
        nbytes = len(request.body)
        if nbytes > EXPENSIVE_BYTES:
            self._answers.check_room()
        if model.signature.is_fixed and (batcher.is_crowded or nbytes > EXPENSIVE_BYTES):
            batcher.check_room(nbytes)
        return model, dialect, now, longest

    def _is_for_decoders(self, request: Request, admitted: Admitted) -> bool:
        """Return whether a body is large, or has pictures."""
        (model, dialect, *_), body = admitted, request.body
        if len(body) >= SLOW_JSON and dialect.decodes_slowly(len(body), request.headers):
            return True
        return bool(model.dialects.pictures) and dialect.holds_pictures(body, request.headers)

    async def _submit_elsewhere(self, request: Request, admitted: Admitted) -> Submitted:
        """Decode a large body in a decoder process, and put its rows into the queue."""
        model, _, now, longest = admitted
        nbytes = len(request.body)
        held = model.batcher.hold(nbytes, self._decoders.wait(request.client))
        try:
            decoded: Decoded = await self._decoders.submit(
                self._decoders.expect(request.client, DECODE, nbytes),
                now + longest,
                model.loaded.recipe,
                self._dialect,
                decoding_headers(request.headers),
                self._payload_log.display if self._payload_log is not None else None,
                buffer(request.body),
            )
            return self._enqueue(
                request, admitted, decoded.request, decoded.nbytes, held, decoded.shown
            )
        finally:
            held.release()

    def _enqueue(
        self,
        request: Request,
        admitted: Admitted,
        decoded: DecodedRequest,
        nbytes: int,
        held: Held | None = None,
        shown: Shown | None = None,
    ) -> Submitted:
        """Reserve memory for the answer, and put rows of `nbytes` bytes into the queue."""
        model, dialect, now, longest = admitted
        if request.query:
            decoded = dialect.with_query(decoded, request.query)
        if decoded.timeout_ms is not None:
            longest = min(longest, decoded.timeout_ms / 1000)
        rows, deadline, wait = decoded.tensors, now + longest, 0.0
        shape = () if model.signature.is_fixed else model.shape_of(rows)
        encoding = None
        reserved = self._answers.reserve(dialect.answer_bytes(decoded))
        if reserved.size >= SLOW_JSON and dialect.encodes_slowly(decoded, reserved.size):
            wait = self._decoders.wait(request.client)
            encoding = self._decoders.expect(request.client, ENCODE, reserved.size)
        try:
            job = model.batcher.submit(
                rows, deadline, shape=shape, nbytes=nbytes, wait=wait, held=held
            )
        except BaseException:
            reserved.release()
            if encoding is not None:
                encoding.leave()
            raise
        job.name = request.id
        large = None if shown is None and encoding is None else Large(shown, encoding)
        return model, dialect, decoded, job, reserved, deadline, large

    def _encoding(self, request: Request, submitted: Submitted, answer: Rows) -> Work | None:
        """Return the work of encoding an answer if it is large, be that known only now."""
        model, dialect, decoded, *_, large = submitted
        if large is not None and large.encoding is not None:
            return large.encoding
        if model.loaded.knows_answer_size:
            return None
        size = about(model.signature.outputs, answer)
        if size >= SLOW_JSON and dialect.encodes_slowly(decoded, size):
            return self._decoders.expect(request.client, ENCODE, size)
        return None

    def _respond(
        self, request: Request, submitted: Submitted, answer: Rows, started: float
    ) -> Response:
        """Encode the prediction, and write its line in the payload log.

        Raises UnreadAnswers or TooManyRows if the answer is larger than the shapes of the outputs
        told, and there is no memory for it; NonFiniteOutput.
        """
        encoded = submitted[1].encode(answer, submitted[2])
        takes_line = self._payload_log is not None and self._payload_log.takes_next()
        return self._finished(request, submitted, encoded, None, takes_line, started)

    async def _respond_elsewhere(
        self,
        request: Request,
        submitted: Submitted,
        answer: Rows,
        started: float,
        encoding: Work,
    ) -> Response:
        """Do what `_respond` does, but have a decoder process encode; raises DeadlineExceeded."""
        model, _, decoded, *_, deadline, _ = submitted
        takes_line = self._payload_log is not None and self._payload_log.takes_next()
        *encoded, shown = await self._decoders.submit(
            encoding,
            deadline,
            model.loaded.recipe,
            self._dialect,
            decoded.form,
            self._payload_log.display if takes_line and self._payload_log else None,
            Tensors(answer.arrays),
        )
        return self._finished(request, submitted, Encoded(*encoded), shown, takes_line, started)

    def _finished(
        self,
        request: Request,
        submitted: Submitted,
        encoded: Encoded,
        shown: Shown | None,
        takes_line: bool,
        started: float,
    ) -> Response:
        """Return the response, and write its line in the payload log."""
        body, content_type, extra = encoded
        model, _, _, job, reserved, *_ = submitted
        reserved.correct(len(body))
        total_ms = f"{(time.perf_counter() - started) * 1000:.3f}"
        if takes_line:
            self._record(request, submitted, body, shown, total_ms)
        headers = {
            "Content-Type": content_type,
            "X-Request-ID": request.id,
            "X-Model-Version": model.version,
            "X-Model-Engine": model.engine,
            "Server-Timing": server_timing(job, total_ms),
        }
        return Response(200, {**headers, **extra} if extra else headers, body, reserved)

    def _model(self) -> ServedModel:
        """Return the model that is to answer; raises Loading, UnknownModel."""
        slot = self._slot
        if slot is None:
            raise UnknownModel(f"There is no model {self._name:.80}.")
        return slot.find(self._version)

    def _record(
        self,
        request: Request,
        submitted: Submitted,
        body: bytes,
        shown: Shown | None,
        total_ms: str,
    ) -> None:
        """Write the payload line; `shown` is the prediction, if it was encoded elsewhere."""
        assert self._payload_log is not None
        model, dialect, decoded, *_, large = submitted
        given = large.shown if large is not None else None
        self._payload_log.write(
            request_id=request.id,
            model=model.name,
            version=model.version,
            input=given or dialect.input_excerpt(decoded, request.body),
            prediction=shown or dialect.answer_excerpt(decoded, body),
            ms=total_ms,
            redacted=dialect.redacted,
        )
