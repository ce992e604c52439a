"""The model process's end of the socket."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from model.process.cores import usable_cores
from model.process.messages import (
    MAX_PAYLOAD_BYTES,
    PREFIX,
    Message,
    MessageError,
    arrays_inline,
    arrays_shared,
    pack,
    parse_header,
    parse_prefix,
    shared_size,
)
from model.process.shared_memory import SharedMemory

POLL_SECONDS: Final = 600e-6  # how long to look for the next message before sleeping
RECEIVE_BYTES: Final = 128 * 2**10
WITH_MEMORY: Final = b"M"
WITHOUT_MEMORY: Final = b"-"


class Channel:
    """Receives and sends messages; receiving blocks.

    The main process first sends one byte. If it is `WITH_MEMORY`, two descriptors of shared memory
    come with it: one for requests, which is mapped read-only here, and one for answers.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self._buffer = b""
        self._arrivals = select.poll()
        self._arrivals.register(connection, select.POLLIN)
        self._may_poll = usable_cores() > 1  # else it would keep the main process from its core
        self._is_polling = False
        self._requests: SharedMemory | None = None
        self._answers: SharedMemory | None = None
        said, descriptors, _, _ = socket.recv_fds(connection, 1, 2)
        if said == WITH_MEMORY and len(descriptors) == 2:
            self._requests = SharedMemory(descriptors[0], writable=False)
            self._answers = SharedMemory(descriptors[1], writable=True)

    def receive(self) -> Message:
        """Wait for a message; raises EOFError when the main process has closed the socket.

        Arrays in shared memory are valid until the next message overwrites them.
        """
        header_size, payload_size = parse_prefix(self._read(PREFIX.size), 0, MAX_PAYLOAD_BYTES)
        header = parse_header(self._read(header_size))
        payload = self._read(payload_size) if payload_size else b""
        if not header.shared:
            return Message(header.kind, header.fields, arrays_inline(header.specs, payload))
        if self._requests is None:
            raise MessageError("there is no shared memory")
        memory = self._requests.read(shared_size(header.specs))
        return Message(header.kind, header.fields, arrays_shared(header.specs, memory))

    def send(self, kind: str, arrays: Sequence[np.ndarray] = (), **fields: Any) -> None:
        """Send a message from any thread; one with arrays only from the thread that receives."""
        self.send_packed(self.pack(kind, arrays, **fields))

    def pack(self, kind: str, arrays: Sequence[np.ndarray] = (), **fields: Any) -> bytes:
        """Make a message for `send_packed`; raises MessageError, or the error of a bad array."""
        return pack(kind, arrays, self._answers, fields)

    def send_packed(self, message: bytes) -> None:
        """Send a message that `pack` made."""
        with self._lock:  # held for nothing else: other code could log, and so wait for it forever
            self._socket.sendall(message)

    def _wait(self) -> None:
        """Wait until bytes have arrived; poll first if the last wait was a short one.

        A core that has slept between two calls computes the next one several times more slowly:
        with one client, the example model answered 0.90 of the requests of a thread in the main
        process without polling, and 1.05 with it.
        """
        started = time.perf_counter()
        if self._is_polling:
            while time.perf_counter() - started < POLL_SECONDS:
                if self._arrivals.poll(0):
                    return
        self._arrivals.poll()
        is_short = time.perf_counter() - started < POLL_SECONDS
        self._is_polling = is_short and self._may_poll

    def _read(self, size: int) -> bytes:
        """Return the next `size` bytes; usually a whole message is received at once."""
        while len(self._buffer) < size:
            self._wait()
            data = self._socket.recv(max(RECEIVE_BYTES, size - len(self._buffer)))
            if not data:
                raise EOFError
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data
