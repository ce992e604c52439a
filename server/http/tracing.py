"""W3C Trace Context: the trace that a request belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from server.dialects.interface import Headers

TRACEPARENT: Final = "traceparent"

_IDS: Final = r"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT: Final = re.compile(rf"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(?:-.*)?")
_KNOWN: Final = 55  # characters of version 00; later versions may have more


def trace_of(headers: Headers) -> str:
    """Return the traceparent of a request; an empty string without one, or for an invalid one."""
    given = headers.get(TRACEPARENT, "")
    return given[:_KNOWN] if given and _TRACEPARENT.fullmatch(given) else ""


def traced(headers: Mapping[str, str], trace: str) -> Mapping[str, str]:
    """Return the headers of an answer with the traceparent of its request."""
    return {**headers, TRACEPARENT: trace} if trace else headers
