"""How lines of the application log and the access log look: JSON for programs, text for people."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, TextIO

import orjson

# Extra fields of a record: see `of_request`.
OF_REQUESTS: Final = ("request_id", "request_ids", "trace_id")
ACCESS: Final = "server.access"
QUOTING: Final = "tornado.general"  # logs whole headers that it does not understand
MAX_QUOTED: Final = 120
MAX_REPLACED_ID: Final = 40  # shown characters of an id that was replaced
MANY: Final = 256  # cached parts of lines: frequent requests, frequent clients

DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"
CYAN: Final = "36"
LEVEL_COLOURS: Final = {
    "DEBUG": DIM,
    "INFO": GREEN,
    "WARNING": YELLOW,
    "ERROR": RED,
    "CRITICAL": RED,
}
STATUS_COLOURS: Final = {2: GREEN, 3: CYAN, 4: YELLOW, 5: RED}

_INVISIBLE: Final = re.compile(r"[^ -~]")
_CONTROL: Final = (*range(32), *range(127, 160), 0x2028, 0x2029)
_ESCAPES: Final = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CONTROL}
_JSON_ESCAPES: Final = {code: f"\\u{code:04x}" for code in _CONTROL}  # orjson escapes those < 32


class Access(NamedTuple):
    """A finished request, for the access log.

    Attributes:
        replaced_id: the X-Request-ID of the client if it was invalid, so that `request_id` is a
            new one.
        trace: its traceparent (W3C Trace Context), if it has a valid one.
    """

    method: str
    path: str
    status: int
    seconds: float
    request_id: str
    client: str
    replaced_id: str = ""
    trace: str = ""


class LineFormat(NamedTuple):
    """How lines look: records of the application log, and requests.

    Attributes:
        access: returns the line, with its line end, of a request that ended at a time in seconds
            since 1970.
    """

    formatter: logging.Formatter
    access: Callable[[float, Access], bytes]


def line_format_of(word: str, stream: TextIO | None, environ: Mapping[str, str]) -> LineFormat:
    """Return the format that `logging.format` asks for, for lines that go to `stream`.

    Text is coloured on a terminal, unless NO_COLOR (https://no-color.org) is set.
    """
    is_terminal = stream is not None and stream.isatty()
    if word == "json" or (word == "auto" and not is_terminal):
        return json_format()
    has_colours = is_terminal and environ.get("TERM") != "dumb" and not environ.get("NO_COLOR")
    return text_format(_coloured if has_colours else _plain)


def of_request(id_: str, trace: str = "") -> Mapping[str, str]:
    """Return the `extra` of a record that belongs to a request, and to a trace if it has one."""
    return {"request_id": id_, "trace_id": trace_id(trace)} if trace else {"request_id": id_}


def trace_id(trace: str) -> str:
    """Return the id of the trace in a valid traceparent."""
    return trace[3:35]


def span_id(trace: str) -> str:
    """Return the id of the caller's span in a valid traceparent."""
    return trace[36:52]


def of_requests(ids: list[str]) -> Mapping[str, list[str]]:
    """Return the `extra` of a record that belongs to several requests."""
    return {"request_ids": ids}


class Stamp:
    """Formats times as RFC 3339 in UTC with milliseconds; keeps the last one."""

    def __init__(self) -> None:
        self._second = self._millisecond = -1
        self._text = self._whole = ""

    def at(self, now: float) -> str:
        """Return seconds since 1970 as `2026-11-23T21:17:10.689Z`."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._whole = f"{self._up_to_second(millisecond // 1000)}.{millisecond % 1000:03d}Z"
        return self._whole

    def _up_to_second(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return self._text


# JSON.


def json_format() -> LineFormat:
    """Return the format with one JSON object a line."""
    stamp = Stamp()

    # Most requests are alike, so these parts of a line are cached.
    @lru_cache(maxsize=MANY)
    def request_part(method: str, path: str, status: int) -> str:
        return _dumps({"method": method, "path": path, "status": status})[1:-1]

    @lru_cache(maxsize=MANY)
    def encoded(client: str) -> str:
        return _dumps(client)

    def access(now: float, entry: Access) -> bytes:
        method, path, status, seconds, request_id, client, replaced_id, trace = entry
        traced = f',"trace_id":"{trace_id(trace)}","span_id":"{span_id(trace)}"' if trace else ""
        replaced = f',"replaced_request_id":{_dumps(_shown_id(replaced_id))}' if replaced_id else ""
        return (
            f'{{"time":"{stamp.at(now)}","level":"info","logger":"{ACCESS}",'
            f'"request_id":{_id(request_id)},{request_part(method, path, status)},'
            f'"ms":{seconds * 1000:.3f},"client":{encoded(client)}{replaced}{traced}}}\n'
        ).encode()

    return LineFormat(JsonFormatter(), access)


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, the request's id, and a traceback as one field."""

    def __init__(self) -> None:
        super().__init__()
        self._stamp = Stamp()

    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object, on one line."""
        line: dict[str, Any] = {
            "time": self._stamp.at(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
        }
        line |= {key: vars(record)[key] for key in OF_REQUESTS if key in vars(record)}
        if text := traceback_of(self, record):
            line["traceback"] = text
        return _dumps(line)


def _shown_id(replaced_id: str) -> str:
    """Return what a line shows of an invalid id: up to 40 characters of visible ASCII."""
    return _INVISIBLE.sub("?", replaced_id[:MAX_REPLACED_ID])


def _id(request_id: str) -> str:
    """Return a request's id as JSON; generated ids need no escaping."""
    return f'"{request_id}"' if request_id.isalnum() else _dumps(request_id)


def _dumps(value: Any) -> str:
    """Return JSON on one line, without control characters."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # such as a file name that is not Unicode
        text = orjson.dumps(_sound(value)).decode()
    return text if text.isprintable() else text.translate(_JSON_ESCAPES)


def _sound(value: Any) -> Any:
    """Return a value whose texts are all valid Unicode."""
    if isinstance(value, dict):
        return {key: _sound(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sound(item) for item in value]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


# Text.


def text_format(paint: Callable[[str, str], str]) -> LineFormat:
    """Return the format that people read."""
    stamp = Stamp()
    level = paint("INFO", LEVEL_COLOURS["INFO"])

    @lru_cache(maxsize=MANY)
    def request_part(method: str, path: str, status: int) -> str:
        colour = STATUS_COLOURS.get(status // 100, DIM)
        return f"{level} {ACCESS}: {_escaped(method)} {_escaped(path)} {paint(str(status), colour)}"

    def access(now: float, entry: Access) -> bytes:
        method, path, status, seconds, request_id, client, replaced_id, trace = entry
        traced = f" trace {trace_id(trace)}" if trace else ""
        replaced = f" in place of {_shown_id(replaced_id)!r}" if replaced_id else ""
        line = (
            f"{paint(stamp.at(now), DIM)} {request_part(method, path, status)} "
            f"{seconds * 1000:.1f} ms {_escaped(request_id)}{replaced} "
            f"from {_escaped(client)}{traced}\n"
        )
        return line.encode(errors="replace")

    return LineFormat(TextFormatter(paint), access)


class TextFormatter(logging.Formatter):
    """Time (UTC), level, logger, message and request on one line; a traceback below, indented."""

    def __init__(self, paint: Callable[[str, str], str]) -> None:
        super().__init__()
        self._paint = paint
        self._stamp = Stamp()

    def format(self, record: logging.LogRecord) -> str:
        """Return a line; only lines of a traceback start with spaces."""
        paint, level = self._paint, record.levelname
        text = (
            f"{paint(self._stamp.at(record.created), DIM)} "
            f"{paint(level, LEVEL_COLOURS.get(level, RED))} {record.name}: "
            f"{_escaped(message_of(record))}"
        )
        for key in OF_REQUESTS:
            if key in vars(record):
                text += paint(f" {key}={_escaped(_listed(vars(record)[key]))}", DIM)
        below = [f"\n    {_escaped(line)}" for line in traceback_of(self, record).split("\n")]
        return text + "".join(below) if below != ["\n    "] else text


def _listed(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def _escaped(text: str) -> str:
    """Escape control characters, so that text from clients cannot start a new line."""
    return text if text.isprintable() else text.translate(_ESCAPES)


def _plain(text: str, _: str) -> str:
    return text


def _coloured(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


# Both.


def message_of(record: logging.LogRecord) -> str:
    """Return a record's message, shortened if it quotes bytes of a client."""
    text = record.getMessage()
    if record.name == QUOTING and len(text) > MAX_QUOTED:
        return f"{text[:MAX_QUOTED]}…"
    return text


def traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return a record's traceback and stack; empty if it has none."""
    parts = [record.exc_text or ""]
    if record.exc_info and record.exc_info[0] and not record.exc_text:
        parts = [formatter.formatException(record.exc_info)]
    parts.append(record.stack_info or "")
    return "\n".join(filter(None, parts))
