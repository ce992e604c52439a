"""The headers X-Request-Timeout-Ms and Server-Timing."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from server.batching import Job
from server.dialects.interface import Headers
from server.errors import InvalidRequest

_TIMEOUT_MS: Final = re.compile(r"[1-9][0-9]{0,999}")
_NOT_GIVEN: Final = "\r\n"  # no header has this value


def timeout_of(headers: Headers, longest_ms: float) -> float:
    """Return the deadline in seconds from now; a client can only lower it.

    Raises InvalidRequest.
    """
    given = headers.get("x-request-timeout-ms", _NOT_GIVEN)
    if given == _NOT_GIVEN:
        return longest_ms / 1000
    if not _TIMEOUT_MS.fullmatch(given):
        raise InvalidRequest(
            "X-Request-Timeout-Ms must be a whole number of milliseconds, at least 1."
        )
    return min(int(given), longest_ms) / 1000


def server_timing(job: Job, total_ms: str) -> str:
    """Return the times in queue and model, and in total, in milliseconds (W3C Server Timing)."""
    in_batch = _batch_timing(job.model_seconds, job.batch_rows)
    return f"queue;dur={job.queue_seconds * 1000:.3f}, {in_batch}, total;dur={total_ms}"


@lru_cache(maxsize=8)
def _batch_timing(seconds: float, rows: int) -> str:
    """Return the part that is the same for all requests of a batch, and so cached."""
    return f'model;dur={seconds * 1000:.3f}, batch;desc="{rows} rows"'
