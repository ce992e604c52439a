"""The thread that the model lives in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")


# How long the event loop steps aside for the thread to begin with a call.
HAND_OVER_SECONDS: Final = 0.001


class _Call(NamedTuple):
    future: asyncio.Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class ModelThread:
    """Calls functions one after another in a thread of its own, never on the event loop.

    The thread is a daemon: one that is stuck does not keep the process from ending.
    """

    def __init__(self) -> None:
        self.busy = False
        self._begun = threading.Lock()  # held until the thread has begun with the last call
        self._ended = threading.Lock()  # held while the thread is in a call
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()  # None is the end
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Return a future of `function(*arguments)`, to be called after those before it.

        The event loop waits until the thread has begun, if that is soon. There is one interpreter
        for both: a thread that wakes up while the loop goes on waits for it for up to 5 ms, and is
        woken again at each of the loop's callbacks, in vain.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._begun.acquire(blocking=False)
        self._calls.put(_Call(future, function, arguments))
        self._begun.acquire(timeout=HAND_OVER_SECONDS)
        return future

    def step_aside(self, seconds: float) -> None:
        """Let the event loop wait until a call has ended, for `seconds` at most."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()

    def is_alive(self) -> bool:
        """Tell whether there is a thread to call in; it ends after `stop`, and never else."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread after the calls before; none may come after."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self.busy = True
            self._ended.acquire(blocking=False)
            with contextlib.suppress(RuntimeError):  # the loop has gone on, and it is released
                self._begun.release()
            self._do(call)
            self.busy = False
            del call  # a batch of memory, until the next one comes

    def _do(self, call: _Call) -> None:
        """Make one call and hand its outcome to the loop."""
        result: Any = None
        error: Exception | None = None
        try:
            result = call.function(*call.arguments)
        except Exception as failure:
            error = failure
        except BaseException as failure:  # the thread must live on
            error = RuntimeError(f"{type(failure).__name__}: {failure}")
        with contextlib.suppress(RuntimeError):  # the loop had it at that very moment
            self._ended.release()
        with contextlib.suppress(RuntimeError):  # the loop has been closed: the process ends
            call.future.get_loop().call_soon_threadsafe(_settle, call.future, result, error)


def _settle(future: asyncio.Future[T], result: T, error: Exception | None) -> None:
    if future.done():  # nobody waits for it any more
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
