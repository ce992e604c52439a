"""Open the logs that the settings ask for."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from server.config import Settings
from server.logs import AccessLog, PayloadLog
from server.logs.format import LineFormat
from server.logs.line_writer import ALONE
from server.logs.sinks import Rotation, outputs_are_one


@dataclass(frozen=True)
class Logs:
    """The logs of requests; None if off."""

    payload: PayloadLog | None
    access: AccessLog | None

    def close(self, deadline: float) -> None:
        """Write the lines that wait, until `deadline` on the monotonic clock at the latest."""
        for each in (self.payload, self.access):
            if each:
                each.close(max(0.0, deadline - time.monotonic()))


def open_payload_log(settings: Settings, lock: AbstractContextManager[object]) -> PayloadLog | None:
    """Open the payload log, unless it is off; `lock` is that of standard error."""
    wanted = settings.logging
    if not wanted.payloads or not wanted.payload_sample:
        return None
    return PayloadLog(
        wanted.file,
        max_bytes=wanted.payload_max_bytes,
        sample_rate=wanted.payload_sample,
        redact=wanted.payload_redact,
        rotation=Rotation(wanted.file_max_bytes, wanted.file_backups),
        lock=lock if not wanted.file and outputs_are_one() else ALONE,
    )


def open_access_log(
    settings: Settings, line_format: LineFormat, lock: AbstractContextManager[object]
) -> AccessLog | None:
    """Open the access log, unless it is off or `logging.level` is above info."""
    is_shown = logging.getLogger().isEnabledFor(logging.INFO)
    if not settings.logging.access or not is_shown:
        return None
    return AccessLog(line_format, lock, skip=settings.logging.access_skip)
