"""The header Server-Timing."""

from __future__ import annotations

from functools import lru_cache

from server.batching import Job


def server_timing(job: Job, total_ms: str) -> str:
    """Return the times in queue and model, and in total, in milliseconds (W3C Server Timing)."""
    in_batch = _batch_timing(job.model_seconds, job.batch_rows)
    return f"queue;dur={job.queue_seconds * 1000:.3f}, {in_batch}, total;dur={total_ms}"


@lru_cache(maxsize=8)
def _batch_timing(seconds: float, rows: int) -> str:
    """Return the part that is the same for all requests of a batch, and so cached."""
    return f'model;dur={seconds * 1000:.3f}, batch;desc="{rows} rows"'
