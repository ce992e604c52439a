"""Every private name of Tornado and asyncio that this server uses.

A new version may change them without notice. `tests/transport/test_private_names.py` checks for
each that it still means what is written here, and that no other is used.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class PrivateName(NamedTuple):
    """A private attribute of a library.

    Attributes:
        owner: the class that has it.
        read_in: the version whose source was read.
        used_in: the file that uses it.
        meaning: what we rely on.
    """

    name: str
    owner: str
    read_in: str
    used_in: str
    meaning: str


_TORNADO: Final = "Tornado 6.6.1"
_SERVER: Final = "server/transport/tornado_server.py"
_STREAMS: Final = "server/transport/tornado_streams.py"

PRIVATE_NAMES: Final = (
    PrivateName(
        "_connections",
        "tornado.httpserver.HTTPServer",
        _TORNADO,
        _SERVER,
        "the set of open connections, each with its `stream`",
    ),
    PrivateName(
        "_read_buffer_size",
        "tornado.iostream.IOStream",
        _TORNADO,
        _STREAMS,
        "how many bytes have been read from the socket and not been used",
    ),
    PrivateName(
        "_read_buffer",
        "tornado.iostream.IOStream",
        _TORNADO,
        _STREAMS,
        "the bytes that have been read from the socket and not been used",
    ),
    PrivateName(
        "_total_write_done_index",
        "tornado.iostream.IOStream",
        _TORNADO,
        _SERVER,
        "how many bytes the socket has taken, in all",
    ),
    PrivateName(
        "_ssl_accepting",
        "tornado.iostream.SSLIOStream",
        _TORNADO,
        _STREAMS,
        "true until the TLS handshake is done",
    ),
    PrivateName(
        "_disconnect_on_finish",
        "tornado.http1connection.HTTP1Connection",
        _TORNADO,
        "server/transport/tornado_body.py",
        "set to true, it closes the connection behind the answer",
    ),
    PrivateName(
        "_headers",
        "tornado.web.RequestHandler",
        _TORNADO,
        "server/handlers/base.py",
        "the headers of the answer; they may be set without the checks of `set_header`",
    ),
    PrivateName(
        "_asyncio_future_blocking",
        "asyncio.Future",
        "CPython 3.11.7",
        "server/transport/llhttp/endpoint_run.py",
        "true when a coroutine has yielded the future to whoever steps it, who sets it to false",
    ),
)
