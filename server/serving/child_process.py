"""A process that the main process starts and exchanges messages with; detects its end.

Nothing here blocks: the event loop reports when the socket and the process's output can be read,
large arrays are copied in threads, and a process whose call hangs is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

import numpy as np

from model.process import shared_memory
from model.process.channel import WITH_MEMORY, WITHOUT_MEMORY
from model.process.messages import (
    MAX_PAYLOAD_BYTES,
    MAX_SMALL_PAYLOAD_BYTES,
    PREFIX,
    ArraySpec,
    Header,
    Message,
    MessageError,
    arrays_inline,
    arrays_shared,
    parse_header,
    parse_prefix,
    shared_size,
)
from model.process.protocol import LOG, PROGRESS
from model.process.shared_memory import SharedMemory
from server.serving.client import ProcessEnded
from server.serving.hang_watch import HangWatch
from server.serving.process_output import ProcessOutput
from server.serving.process_start import Ended, start, why_ended

RECEIVE_BYTES: Final = 256 * 2**10
CLOSE_SECONDS: Final = 2.0
IN_THREAD_BYTES: Final = 2**20  # arrays of more than this are copied in a thread

P = ParamSpec("P")
T = TypeVar("T")


class ChildProcess:
    """A process at the other end of a socket, which answers one message at a time.

    Attributes:
        pid: its process id.
        step: what the process is doing before it can be called; "" after that.
        ended: a future that is done once the process has ended.
    """

    what = "process"  # how messages name it

    def __init__(self, log: logging.Logger, hang_timeout: float, command: Sequence[str]) -> None:
        """Start a process; what it logs and prints goes to `log`.

        An answer may take `hang_timeout` seconds; 0 means no limit.

        Raises OSError when no process can be started.
        """
        self.step = "starting"
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._log = log
        self._killed_for: Ended | None = None
        self._reply: asyncio.Future[tuple[Header, bytes]] | None = None
        self._buffer = b""
        self._unsent = b""
        self._hang = HangWatch(self._loop, hang_timeout, self._is_hung)
        self._requests: SharedMemory | None = None
        self._answers: SharedMemory | None = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        reading, output = os.pipe()
        try:
            self._process = start(command, theirs, output)
        except OSError:
            self._socket.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            os.close(output)
        self.pid = self._process.pid
        self._share_memory()
        self._socket.setblocking(False)
        self._output = ProcessOutput(reading, self._log, self._loop)
        self._loop.add_reader(self._socket, self._readable)

    def kill(self, reason: str, text: str) -> None:
        """End the process now."""
        if self._killed_for is None and not self.ended.done():
            self._killed_for = Ended(reason, text)
            self._process.kill()

    async def close(self) -> None:
        """Let the process end, and wait for it."""
        if not self.ended.done() and self._killed_for is None:
            self._killed_for = Ended("closed", "closed")
            with contextlib.suppress(OSError):  # the process has just ended
                self._socket.shutdown(socket.SHUT_RDWR)
            await asyncio.wait([self.ended], timeout=CLOSE_SECONDS)
            self._process.kill()  # it cannot end by itself during a call that holds the GIL
        await asyncio.wait([self.ended])

    async def _broken(self, error: Exception) -> ProcessEnded:
        """End a process that sent an invalid message, or whose socket failed; return the error."""
        self.kill("crash", f"the {self.what} sent an invalid message: {error}")
        await asyncio.wait([self.ended])
        return ProcessEnded(self.ended.result())

    # Sending messages.

    def _share_memory(self) -> None:
        """Give the process shared memory, if this system supports it."""
        if not shared_memory.is_available():
            self._socket.send(WITHOUT_MEMORY)
            return
        descriptors = [shared_memory.create("requests"), shared_memory.create("answers")]
        self._requests = SharedMemory(descriptors[0], writable=True)
        self._answers = SharedMemory(descriptors[1], writable=False)
        socket.send_fds(self._socket, [WITH_MEMORY], descriptors)

    async def _in_thread_if_large(
        self, nbytes: int, make: Callable[P, T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        if nbytes > IN_THREAD_BYTES:
            return await asyncio.to_thread(make, *arguments, **named)
        return make(*arguments, **named)

    def _expect_reply(self) -> asyncio.Future[tuple[Header, bytes]]:
        reply = self._reply = self._loop.create_future()
        return reply

    async def _reply_to(self, message: bytes) -> tuple[Header, bytes]:
        """Send a message and wait for its answer; raises ProcessEnded, MessageError."""
        if self.ended.done():
            raise ProcessEnded(self.ended.result())
        reply = self._expect_reply()
        self._send(message)
        return await reply

    async def _ask(self, message: bytes) -> Message:
        """Send a message and wait for its answer; raises ProcessEnded, MessageError."""
        header, payload = await self._reply_to(message)
        if not header.shared:
            return Message(header.kind, header.fields, arrays_inline(header.specs, payload))
        nbytes = shared_size(header.specs)
        arrays = await self._in_thread_if_large(nbytes, self._copied, header.specs)
        return Message(header.kind, header.fields, arrays)

    def _copied(self, specs: Sequence[ArraySpec]) -> list[np.ndarray]:
        """Return copies of arrays in shared memory, because the next answer overwrites it."""
        if self._answers is None:
            raise MessageError("there is no shared memory")
        memory = self._answers.read(shared_size(specs))
        return [
            array if array.dtype.hasobject else array.copy()
            for array in arrays_shared(specs, memory)
        ]

    def _send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # the process has ended; `_readable` handles that
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self._send(self._unsent)

    # Receiving messages.

    def _readable(self) -> None:
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._socket_ended()
            return
        self._buffer = self._buffer + data if self._buffer else data
        try:
            self._take_messages()
        except MessageError as error:
            self.kill("crash", f"the {self.what} sent an invalid message: {error}")

    def _take_messages(self) -> None:
        buffer, position = self._buffer, 0
        most = MAX_SMALL_PAYLOAD_BYTES if self._answers else MAX_PAYLOAD_BYTES
        while len(buffer) - position >= PREFIX.size:
            header_size, payload_size = parse_prefix(buffer, position, most)
            start = position + PREFIX.size
            middle, stop = start + header_size, start + header_size + payload_size
            if len(buffer) < stop:
                break
            self._take(parse_header(buffer[start:middle]), buffer[middle:stop])
            position = stop
        self._buffer = buffer[position:]

    def _take(self, header: Header, payload: bytes) -> None:
        if header.kind == LOG:
            level, text = header.fields.get("level"), header.fields.get("text")
            self._log.log(level if isinstance(level, int) else logging.INFO, "%s", text)
        elif header.kind == PROGRESS:
            self.step = str(header.fields.get("step", ""))
            self._log.debug("%s", self.step)
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result((header, payload))

    # The end of the process.

    def _is_hung(self, seconds: float) -> None:
        if unread(self._socket):  # the answer arrived while the event loop was busy
            return
        self.kill("hang", f"a call has taken more than {seconds:g} s (model.hang_timeout_s)")

    def _socket_ended(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._hang.end()
        self._process.kill()  # in case it only closed its socket
        ending = asyncio.ensure_future(asyncio.to_thread(self._process.wait))
        ending.add_done_callback(self._process_ended)

    def _process_ended(self, ending: asyncio.Task[int]) -> None:
        self._output.close()
        self._socket.close()
        for memory in (self._requests, self._answers):
            if memory is not None:
                memory.close()
        ended = self._killed_for or why_ended(ending.result(), self.step, self.what)
        if not self.ended.done():
            self.ended.set_result(ended)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ProcessEnded(ended))


def unread(connection: socket.socket) -> bool:
    """Return whether the socket has unread data."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
