"""Paths, however a client wrote them, in the form in which routes are written."""

from __future__ import annotations

import re
import string
from typing import Final

_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
# The letters of routes. All others stay escaped: a slash would be another path, `%25` another name.
_UNESCAPED: Final = frozenset(f"{string.ascii_letters}{string.digits}-._~:")


def normal_path(path: str) -> str:
    """Return a path without escapes that change nothing, and without one slash at its end.

    A client may escape any character (RFC 3986, section 2.4). Python's `quote`, JavaScript's
    `encodeURIComponent` and Java's `URLEncoder` write `m%3Apredict` for `m:predict`.
    """
    if "%" in path:
        path = _ESCAPE.sub(_unescaped, path)
    if path.endswith("/") and path[:-1] and not path.endswith("//"):
        return path[:-1]
    return path


def normal_target(target: str) -> str:
    """Return a target with its path in normal form; the query stays as it is."""
    path, mark, query = target.partition("?")
    return normal_path(path) + mark + query


def _unescaped(escape: re.Match[str]) -> str:
    letter = chr(int(escape[1], 16))
    return letter if letter in _UNESCAPED else escape[0]
