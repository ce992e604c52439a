"""The three logs: application, access and payload."""

from server.logs.access import AccessLog
from server.logs.format import Access
from server.logs.payload import PayloadLog

__all__ = [
    "Access",
    "AccessLog",
    "PayloadLog",
]
