"""How the main process handles a model process: starts it, calls it, detects its end.

Nothing here blocks: the event loop reports when the socket and the process's output can be read,
large arrays are copied in threads, and a process whose call hangs is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from model.process import shared_memory
from model.process.channel import WITH_MEMORY, WITHOUT_MEMORY
from model.process.messages import (
    INLINE_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_SMALL_PAYLOAD_BYTES,
    PREFIX,
    ArraySpec,
    Header,
    Message,
    MessageError,
    arrays_inline,
    arrays_shared,
    merged_spec,
    pack,
    pack_shared,
    parse_header,
    parse_prefix,
    shared_size,
    views,
)
from model.process.prepare import LoadRequest, Report
from model.process.protocol import (
    CALL,
    ERROR,
    FAILED,
    LOAD,
    LOG,
    PROGRESS,
    load_fields,
    outputs_of,
    report_of,
)
from model.process.shared_memory import SharedMemory
from model.signature import Signature
from model.tensors import Rows, View, merge, split
from server.serving.client import LoadRejected, ModelRaised, ProcessEnded
from server.serving.hang_watch import HangWatch
from server.serving.process_output import ProcessOutput
from server.serving.process_start import COMMAND, Ended, start, why_ended

log = logging.getLogger(__name__)

RECEIVE_BYTES: Final = 256 * 2**10
CLOSE_SECONDS: Final = 2.0
IN_THREAD_BYTES: Final = 2**20  # arrays of more than this are copied in a thread


class ModelProcess:
    """A model process; calls are made one at a time.

    Attributes:
        pid: its process id.
        step: what the process is doing while it loads; "" once it has loaded.
        ended: a future that is done once the process has ended.
    """

    def __init__(
        self, name: str, hang_timeout: float = 0.0, command: Sequence[str] = COMMAND
    ) -> None:
        """Start a process for the model `name`.

        A call may take `hang_timeout` seconds; 0 means no limit.

        Raises OSError when no process can be started.
        """
        self.step = "starting"
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._log = logging.getLogger(f"model.{name}")
        self._signature: Signature | None = None
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

    async def load(self, request: LoadRequest, within: float = math.inf) -> Report:
        """Load a model within so many seconds; raises LoadRejected, ProcessEnded."""
        timer = None
        if within < math.inf:
            timer = self._loop.call_later(within, self._load_takes_too_long, within)
        try:
            return await self._load(request)
        except (MessageError, OSError) as error:
            raise await self._broken(error) from error
        finally:
            if timer:
                timer.cancel()

    async def call(self, parts: Sequence[Rows]) -> list[View]:
        """Answer `parts`, all of one `row_shape`, by ONE call of the network.

        Raises ModelRaised, ProcessEnded, and RowCountMismatch.
        """
        assert self._signature is not None, "it has been loaded"
        try:
            message = await self._call_message(parts)
            self._hang.begin()
            reply = await self._ask(message)
            if reply.kind == ERROR:
                raise ModelRaised.of(reply.fields)
            answer = outputs_of(reply, self._signature)
        except (MessageError, OSError) as error:
            raise await self._broken(error) from error
        finally:
            self._hang.end()
        return split(answer, [len(part) for part in parts])

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

    async def _load(self, request: LoadRequest) -> Report:
        fields, arrays = load_fields(request)
        reply = await self._ask(
            await self._in_thread_if_large(
                sum(array.nbytes for array in arrays), pack, LOAD, arrays, self._requests, fields
            )
        )
        if reply.kind == FAILED:
            if detail := reply.fields.get("detail"):
                self._log.debug("%s", detail)
            raise LoadRejected(str(reply.fields.get("reason", "")))
        report = report_of(reply)
        self._signature = report.signature
        self._output.is_loaded = True
        self.step = ""
        return report

    async def _broken(self, error: Exception) -> ProcessEnded:
        """End a process that sent an invalid message, or whose socket failed; return the error."""
        self.kill("crash", f"the model process sent an invalid message: {error}")
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

    async def _call_message(self, parts: Sequence[Rows]) -> bytes:
        nbytes = sum([part.nbytes for part in parts])
        if self._requests is None or nbytes <= INLINE_BYTES:
            return pack(CALL, self._merged(parts), self._requests)
        return await self._in_thread_if_large(nbytes, self._pack_shared, parts)

    def _merged(self, parts: Sequence[Rows]) -> list[np.ndarray]:
        assert self._signature is not None
        arrays = merge(parts).arrays
        return [arrays[spec.name] for spec in self._signature.inputs]

    def _pack_shared(self, parts: Sequence[Rows]) -> bytes:
        """Merge rows directly into shared memory; with strings, merge them before."""
        assert self._signature is not None
        assert self._requests is not None
        inputs = self._signature.inputs
        if any(spec.dtype == "string" for spec in inputs):
            return pack(CALL, self._merged(parts), self._requests)
        given = [part.arrays for part in parts]
        columns = [[arrays[spec.name] for arrays in given] for spec in inputs]
        specs = tuple([merged_spec(column) for column in columns])
        targets = views(self._requests.reserve(shared_size(specs)), specs)
        for column, target in zip(columns, targets, strict=True):
            np.concatenate(column, out=target)
        return pack_shared(CALL, specs)

    async def _in_thread_if_large(
        self, nbytes: int, make: Callable[..., bytes], *arguments: Any
    ) -> bytes:
        if nbytes > IN_THREAD_BYTES:
            return await asyncio.to_thread(make, *arguments)
        return make(*arguments)

    async def _ask(self, message: bytes) -> Message:
        """Send a message and wait for its answer; raises ProcessEnded, MessageError."""
        if self.ended.done():
            raise ProcessEnded(self.ended.result())
        reply = self._reply = self._loop.create_future()
        self._send(message)
        header, payload = await reply
        if not header.shared:
            return Message(header.kind, header.fields, arrays_inline(header.specs, payload))
        if shared_size(header.specs) > IN_THREAD_BYTES:
            arrays = await asyncio.to_thread(self._copied, header.specs)
        else:
            arrays = self._copied(header.specs)
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
            self.kill("crash", f"the model process sent an invalid message: {error}")

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

    def _load_takes_too_long(self, seconds: float) -> None:
        text = f"not loaded within {seconds:g} s (model.load_timeout_s); last step: {self.step}"
        self.kill("load_timeout", text)

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
        ended = self._killed_for or why_ended(ending.result(), self.step)
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
