"""From the settings to open logs."""

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
    """What is written about requests; None is off."""

    payload: PayloadLog | None
    access: AccessLog | None

    def close(self, give_up: float) -> None:
        """Write what waits, until `give_up` on the monotonic clock at the latest."""
        for each in (self.payload, self.access):
            if each:
                each.close(max(0.0, give_up - time.monotonic()))


def open_payload_log(settings: Settings, turn: AbstractContextManager[object]) -> PayloadLog | None:
    """Open the log of inputs and predictions, unless it is off; `turn` is standard error's."""
    wanted = settings.logging
    if not wanted.payloads or not wanted.payload_sample:
        return None
    return PayloadLog(
        wanted.file,
        max_bytes=wanted.payload_max_bytes,
        sample_rate=wanted.payload_sample,
        redact=wanted.payload_redact,
        rotation=Rotation(wanted.file_max_bytes, wanted.file_backups),
        turn=turn if not wanted.file and outputs_are_one() else ALONE,
    )


def open_access_log(
    settings: Settings, line_format: LineFormat, turn: AbstractContextManager[object]
) -> AccessLog | None:
    """Open the log of requests, whose lines are of the level `info`, unless it is off."""
    is_shown = logging.getLogger().isEnabledFor(logging.INFO)
    return AccessLog(line_format, turn) if settings.logging.access and is_shown else None
