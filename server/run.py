"""The life of the process: bind, load, serve, drain, end."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import quote

from model.process.heap import keep_freed_blocks
from server.app import make_transport
from server.config import ConfigError, Settings
from server.config.foreign import unread_configs
from server.config.settings import UNIX
from server.errors import LoadFailed
from server.http.activity import Activity
from server.http.auth import ApiKeys
from server.listening import EXIT_CANNOT_START, CannotStart, Listening, address_of
from server.live_settings import LiveSettings
from server.logs.application import configure, log_unhandled_exceptions, write_in_background
from server.logs.format import line_format_of
from server.logs.open import Logs, open_access_log, open_payload_log
from server.monitoring.live_page import LivePage, read
from server.serving.leftovers import remove_leftovers
from server.serving.model_process import ModelProcess
from server.serving.process_start import COMMAND
from server.serving.service import Service
from server.serving.watch import Watch
from server.signals import on_signal
from server.systemd import Supervisor
from server.transport.interface import Transport
from server.transport.sockets import HANDSHAKE_SECONDS, block_new_handshakes, remove_file_of
from server.transport.tls import context_of

log = logging.getLogger(__name__)

EXIT_CLEAN = 0
EXIT_BROKEN = 1
EXIT_DRAIN_TIMEOUT = 3
FLUSH_SECONDS = 2.0
SPARE_FILES = 256
FILES_PER_PROCESS = 5  # socket, output, shared memory twice, the kept file
LAST_REQUESTS_SECONDS = 0.1  # for those whose connection was accepted last to send their request


def main(listening: Listening, command: Sequence[str] = COMMAND) -> int:
    """Run the service on its sockets; return its exit code.

    `command` starts a model process.
    """
    settings = listening.settings
    keep_freed_blocks()
    supervisor = Supervisor.taken_from(os.environ)
    line_format = line_format_of(settings.logging.format, sys.stderr, os.environ)
    lock = configure(settings.logging.level, line_format)
    flush_log = write_in_background()
    log_unhandled_exceptions(flush_log)
    try:
        settings = with_enough_files(settings)
        tls = context_of(settings.http)
        logs = Logs(open_payload_log(settings, lock), open_access_log(settings, line_format, lock))
        process = Process(listening, settings, tls, logs, command, supervisor)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            try:
                code = runner.run(process.run())
            finally:  # Python gives a handler back to the system before it ends
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except (ConfigError, CannotStart) as error:
        flush_log(FLUSH_SECONDS)  # what was logged before comes first
        for listener in listening.sockets:
            remove_file_of(listener)
        print(error, file=sys.stderr)
        return EXIT_CANNOT_START
    give_up = time.monotonic() + FLUSH_SECONDS
    logs.close(give_up)
    log_is_written = flush_log(give_up - time.monotonic())
    if not log_is_written:
        os._exit(code)  # Python would wait for the log
    return code


class Process:
    """One run of the service, from its sockets to its exit code.

    Args:
        settings: those that `listening` has read, as far as the system allows.
    """

    def __init__(
        self,
        listening: Listening,
        settings: Settings,
        tls: ssl.SSLContext | None,
        logs: Logs,
        command: Sequence[str],
        supervisor: Supervisor,
    ) -> None:
        self._listening = listening
        self._settings = settings
        self._sockets = listening.sockets
        self._tls = tls
        self._logs = logs
        self._command = command
        self._supervisor = supervisor
        self._is_told_to_end = False

    async def run(self) -> int:
        """Serve until a signal comes; return the exit code.

        Raises CannotStart.
        """
        stop = self._catch_signals()
        service = Service(self._settings)
        keys = ApiKeys(self._settings.auth.api_keys)
        activity = Activity()
        live_page = LivePage(lambda: read(service))
        live_page.start()
        transport = make_transport(
            service,
            activity,
            live_page,
            payload_log=self._logs.payload,
            log_access=self._logs.access.write if self._logs.access else lambda _: None,
            keys=keys,
            tls=self._tls,
        )
        await transport.listen(self._sockets)
        paths = ", ".join(source.path for source in self._settings.sources)
        log.info("listening on %s, loading %s", ", ".join(self._addresses()), paths)
        warn_of_unread_configs(self._settings)
        self._supervisor.start_watchdog()
        self._supervisor.status(f"loading {paths}")
        read_at_start = self._listening.settings
        live = LiveSettings(
            self._listening.read, read_at_start, service.repository, keys, self._tls
        )
        self._reload_on_signal(live)
        cleaning = asyncio.ensure_future(asyncio.to_thread(remove_leftovers))
        await self._until_ready(service, stop)
        service.when_broken(lambda: os._exit(EXIT_BROKEN))  # a supervisor starts it anew
        await self._serve_until(stop, service)
        code = await self._drain(service, transport, activity)
        await service.close()
        await cleaning
        self._supervisor.stop_watchdog()
        return code

    async def _serve_until(self, stop: asyncio.Event, service: Service) -> None:
        """Serve, and load new versions of models by themselves unless that is off."""
        seconds = self._settings.model.poll_s
        watching = Watch(service.repository).run(seconds) if seconds else asyncio.sleep(0)
        task = asyncio.ensure_future(watching)
        await stop.wait()
        task.cancel()

    async def _until_ready(self, service: Service, stop: asyncio.Event) -> None:
        """Load the model, unless a signal comes before it is there."""
        loading = asyncio.ensure_future(service.start(self._start_process))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not loading.done():
            loading.cancel()
            await asyncio.wait({loading})
            return
        try:
            loading.result()
        except LoadFailed as error:
            raise CannotStart(str(error)) from error
        warn_of_unknown_names(service, self._settings.logging.payload_redact)
        loaded = ", ".join(f"{model.name} version {model.version}" for model in service.models)
        self._supervisor.ready(f"serving {loaded}")
        for model in service.models:
            is_default = model is service.default.current
            path = "/predict" if is_default else f"/models/{quote(model.name)}/predict"
            log.info("ready: %s, POST %s%s", model, self._origin(), path)

    async def _drain(self, service: Service, transport: Transport, activity: Activity) -> int:
        """Answer everything that was accepted, then end.

        Until the grace is over predictions are accepted, because clients learn from
        `Connection: close` alone that they must not send another one.
        """
        log.info("draining")
        self._supervisor.stopping()
        http = self._settings.http
        transport.close_after_answers()
        if service.stop_being_ready():
            await asyncio.sleep(http.drain_grace_ms / 1000)
        for listener in self._sockets:
            block_new_handshakes(listener)
        await asyncio.sleep(HANDSHAKE_SECONDS)
        transport.stop()
        try:
            async with asyncio.timeout(http.drain_timeout_s):
                await asyncio.sleep(LAST_REQUESTS_SECONDS)
                await activity.idle()
                await service.drain()
                await transport.close_all_connections()
        except TimeoutError:
            log.error("not drained after %g s: giving up", http.drain_timeout_s)
            return EXIT_DRAIN_TIMEOUT
        log.info("drained")
        return EXIT_CLEAN

    def _start_process(self, name: str) -> ModelProcess:
        return ModelProcess(name, self._settings.hang_timeout, self._command)

    def _catch_signals(self) -> asyncio.Event:
        """Return an event that the first signal sets; the second ends the process at once."""
        stop = asyncio.Event()

        def end(number: int) -> None:
            if self._is_told_to_end:
                os._exit(128 + number)
            self._is_told_to_end = True
            stop.set()

        on_signal(signal.SIGTERM, end)
        on_signal(signal.SIGINT, end)
        return stop

    def _reload_on_signal(self, live: LiveSettings) -> None:
        """Load what is new when SIGHUP comes."""
        reloads: set[asyncio.Task[None]] = set()

        def reload(_: int) -> None:
            task = asyncio.ensure_future(live.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        on_signal(signal.SIGHUP, reload)

    def _addresses(self) -> list[str]:
        """Return the addresses at which the service listens."""
        return [address_of(each, "https" if self._tls else "http") for each in self._sockets]

    def _origin(self) -> str:
        """Return the first address that URLs can begin with; without any, an empty string."""
        return next((each for each in self._addresses() if not each.startswith(UNIX)), "")


def warn_of_unread_configs(settings: Settings) -> None:
    """Say which files of Triton beside the models are not read."""
    if files := unread_configs(settings.sources):
        text = (
            "not read: %.400s; the model says its inputs and outputs, and settings the rest, such "
            "as model.version, batching.max_rows and model.replicas"
        )
        log.warning(text, ", ".join(files))


def warn_of_unknown_names(service: Service, redacted: Sequence[str]) -> None:
    """Say which names of `logging.payload_redact` hide nothing: one may be misspelt."""
    known = {"input", "prediction"}
    for model in service.repository.models():
        known |= {spec.name for spec in (*model.signature.inputs, *model.signature.outputs)}
    for name in redacted:
        if name not in known:
            text = (
                "logging.payload_redact: no model has an input or output %.80s; there are: %.200s"
            )
            log.warning(text, name, ", ".join(sorted(known)))


def with_enough_files(settings: Settings) -> Settings:
    """Raise the limit on open files; lower `http.max_connections` to what it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = SPARE_FILES + files_of_models(settings)
    wanted = settings.http.max_connections + spare
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if max(soft, limit) >= wanted:
        return settings
    connections = max(1, limit - spare)
    log.warning("only %d files can be open: http.max_connections is %d", limit, connections)
    return replace(settings, http=replace(settings.http, max_connections=connections))


def files_of_models(settings: Settings) -> int:
    """Return how many files are open for model processes, one version more than may be loaded."""
    processes = settings.model.replicas * (settings.model.max_versions + 1)
    return FILES_PER_PROCESS * processes * len(settings.sources)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop: uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
