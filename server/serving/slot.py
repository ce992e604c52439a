"""The versions of one model under one name: load, roll back, unload."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from model.formats.files import ModelError
from server.batching import ModelUnavailable
from server.config import ModelSource, Settings
from server.errors import LoadFailed, Loading, UnknownModel
from server.serving.client import LoadRejected
from server.serving.counts import Counts
from server.serving.kept_file import KeptFile
from server.serving.labels import LabelsError
from server.serving.loading import why_gone
from server.serving.served_model import ServedModel
from server.serving.versions import (
    Origin,
    Seen,
    VersionFile,
    files_of,
    look,
    rank,
    seen_in,
)

log = logging.getLogger(__name__)

MAX_SHOWN = 80  # characters of a name that a client made up
MAX_BEFORE = 3  # versions before the newest that are tried in its place


class ModelState(Enum):
    """What is said of a version, in the words of the Open Inference Protocol."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class Entry(NamedTuple):
    """A line of the repository's index.

    Attributes:
        reason: why it is not ready.
        failure: the same, unless somebody has unloaded it on purpose.
    """

    name: str
    version: str
    state: ModelState
    reason: str = ""
    failure: str = ""


class Owner(Protocol):
    """What a slot needs of the repository that it belongs to."""

    counts: Counts
    batcher_ended: Callable[[asyncio.Task[None]], object]

    def bring_up(
        self, name: str, origin: Origin, before: ServedModel | None
    ) -> Coroutine[Any, Any, ServedModel]: ...

    def retire(self, model: ServedModel) -> None: ...

    def served(self, slot: Slot, model: ServedModel) -> None: ...


class Slot:
    """A name under which a model is served.

    Attributes:
        current: the version that answers when none is asked for.
        versions: all that are loaded.
        failure: why the last attempt to load failed, or "".
        source: where its file is; a change has an effect when it is loaded again.
        seen: of the files, at the last attempt to load.
        is_unloaded: somebody has unloaded it, and nobody has loaded it since.
    """

    def __init__(self, source: ModelSource, repository: Owner, settings: Settings) -> None:
        self.name = source.served_name
        self.current: ServedModel | None = None
        self.versions: dict[str, ServedModel] = {}
        self.failure = ""
        self.source = source
        self.is_unloaded = False
        self.seen: Seen = ""
        self._repository = repository
        self._max_versions = settings.model.max_versions
        self._max_before = 0 if settings.models_strict else MAX_BEFORE
        self._count = self._max_versions + self._max_before
        self._newest = ""  # the version that was loaded from the file last
        self._before: Origin | None = None  # what was served before `current`

    def find(self, version: str | None = None) -> ServedModel:
        """Return a version, or the one that is served.

        Raises Loading, ModelUnavailable when it could not be loaded, UnknownModel.
        """
        model = self.current if version is None else self.versions.get(version)
        if model is not None:
            return model
        if self.current is not None:
            raise UnknownModel(f"The model {self.name} has no version {version:.{MAX_SHOWN}}.")
        if self.state is ModelState.LOADING:
            raise Loading
        if self.failure and not self.is_unloaded:
            raise ModelUnavailable(self.not_loaded)
        raise UnknownModel(f"The model {self.name} is not loaded.")

    @property
    def not_loaded(self) -> str:
        """What clients are told of a model that could not be loaded; the reason may name files."""
        return f"The model {self.name} could not be loaded; GET /v2/health/ready gives the reason."

    @property
    def state(self) -> ModelState:
        """Whether predictions can be asked for."""
        if self.current is not None:
            return condition_of(self.current)
        return ModelState.UNAVAILABLE if self.is_unloaded or self.failure else ModelState.LOADING

    def describe(self) -> dict[str, str]:
        """Return what readiness tells: name, version, state, and what is wrong.

        That is why its processes cannot be called, or why the last attempt to load failed.
        """
        version = self.current.version if self.current else ""
        told = {"name": self.name, "version": version, "state": self.state.value}
        failure = (self.current.trouble if self.current else "") or self.failure
        return told | ({"failure": failure} if failure else {})

    def index(self) -> Iterator[Entry]:
        """Yield a line for every version that is loaded, or one that tells why there is none.

        The highest comes first.
        """
        for version in sorted(self.versions, key=rank, reverse=True):
            model = self.versions[version]
            yield Entry(self.name, version, condition_of(model), model.trouble, model.trouble)
        if not self.versions:
            reason = self.failure or ("unloaded" if self.is_unloaded else "")
            yield Entry(self.name, self._newest, self.state, reason, self.failure)

    async def load(self) -> None:
        """Load what is new, let the newest answer, free what it replaces; raises LoadFailed.

        A single file is loaded anew each time; of a folder, what has come or changed. If the newest
        version of a folder cannot be loaded, and nothing is served, one before it is.
        """
        files: list[VersionFile] = []
        try:
            files = await asyncio.to_thread(files_of, self.source, self._count, self._newest)
            self.seen = await asyncio.to_thread(seen_in, files)
            await self._load_newest(files[0])
        except (LoadFailed, ModelError, OSError) as error:
            if not files:
                self.seen = str(error)
            failed = self._failed(error)
            if self.current is None:
                await self._load_one_before(files)
            raise failed from error
        self._succeeded()
        await self._load_others(files)

    async def look(self) -> Seen:
        """Return what is to be seen of the files now."""
        return await asyncio.to_thread(look, self.source, self._count)

    async def roll_back(self) -> None:
        """Let what was served before answer again; raises LoadFailed."""
        origin = self._before
        if origin is None:
            raise LoadFailed(f"No version of {self.name} was served before this one.")
        model = self.versions.get(origin.file.version)
        if model is None or model.origin != origin or model.failure:
            if not origin.is_there():
                raise LoadFailed(why_gone(origin))
            try:
                model = await self._bring_up(origin, self.current)
            except LoadFailed as error:
                raise self._failed(error) from error
        self._serve(model, "rolled_back")
        self._succeeded()

    async def change_engine(self, model: ServedModel) -> None:
        """Serve a version with the engine that was chosen for it, if it is still served."""
        if self.current is not model:
            return
        try:
            new = await self._bring_up(model.origin, model)
        except LoadFailed as error:
            log.warning("%s: stays with %s: %s", self.name, model.engine, error)
            return
        if new.engine == model.engine:
            self._repository.retire(new)
            return
        self.versions[new.version] = self.current = new
        self._repository.retire(model)
        text = "%s: %s computes version %s from now on; %s"
        log.info(text, self.name, new.engine, new.version, movement(new, model))

    async def unload(self) -> None:
        """Answer no longer, and free all versions."""
        if self.current is not None:
            self._before, self.current = self.current.origin, None
        self.is_unloaded = True
        for version in list(self.versions):
            self._drop(version)
        log.info("%s: unloaded", self.name)

    async def _load_newest(self, file: VersionFile) -> None:
        loaded = self.versions.get(file.version)
        if loaded is None or loaded.origin.file != file or loaded.failure:
            loaded = await self._bring_up(keep(file), self.current)
        self._newest = file.version
        self._serve(loaded, "loaded")

    async def _load_one_before(self, files: Sequence[VersionFile]) -> None:
        """Serve the highest version below the newest that can be loaded, if any."""
        for number, file in enumerate(files[1 : 1 + self._max_before], start=1):
            try:
                await self._load_newest(file)
            except LoadFailed as error:
                log.warning("%s: version %s is left out: %s", self.name, file.version, error)
                continue
            self.is_unloaded = False
            log.error(
                "%s: version %s is served, because version %s cannot be loaded: %s",
                *(self.name, file.version, files[0].version, self.failure),
            )
            await self._load_others(files[number:])
            return

    async def _load_others(self, files: Sequence[VersionFile]) -> None:
        """Load the versions before the first of these as well, and free all that are not wanted."""
        wanted = files[: self._max_versions]
        for file in wanted[1:]:
            await self._load_older(file)
        for version in self.versions.keys() - {file.version for file in wanted}:
            self._drop(version)

    async def _load_older(self, file: VersionFile) -> None:
        """Load a version for those who ask for it; without it the others are served."""
        loaded = self.versions.get(file.version)
        if loaded is not None and loaded.origin.file == file and not loaded.failure:
            return
        try:
            model = await self._bring_up(keep(file), None)
        except LoadFailed as error:
            log.warning("%s: version %s is left out: %s", self.name, file.version, error)
            return
        self._drop(file.version)
        self.versions[file.version] = model

    async def _bring_up(self, origin: Origin, before: ServedModel | None) -> ServedModel:
        if origin.file.refusal:
            raise LoadFailed(origin.file.refusal)
        try:
            model = await self._repository.bring_up(self.name, origin, before)
        except Exception as error:
            raise LoadFailed(reason(error, origin)) from error
        model.serving.add_done_callback(self._repository.batcher_ended)
        return model

    def _serve(self, model: ServedModel, outcome: str) -> None:
        """Let a version answer from now on; what was accepted before, the old one answers."""
        old, namesake = self.current, self.versions.get(model.version)
        self.versions[model.version] = self.current = model
        self._repository.served(self, model)
        if namesake is not None and namesake is not model:
            self._repository.retire(namesake)
        if old is None or old is model:
            return
        self._before = old.origin
        if old is not namesake and old.origin.file.is_single:
            self._drop(old.version)  # its file has been overwritten
        self._repository.counts.reloads[outcome] += 1
        log.info(
            "%s: version %s replaces version %s; %s",
            self.name,
            model.version,
            old.version,
            movement(model, old),
        )

    def _drop(self, version: str) -> None:
        model = self.versions.pop(version, None)
        if model is not None:
            self._repository.retire(model)

    def _succeeded(self) -> None:
        self.failure = ""
        self.is_unloaded = False

    def _failed(self, error: Exception) -> LoadFailed:
        """Remember why nothing was loaded, and say so where something else is served."""
        self.failure = " ".join(str(error).split())
        if self.current is not None:
            self._repository.counts.reloads["failed"] += 1
            log.error(
                "%s: version %s stays, because the new one cannot take its place: %s",
                self.name,
                self.current.version,
                self.failure,
            )
        return LoadFailed(self.failure)


def condition_of(model: ServedModel) -> ModelState:
    """Return whether predictions of a version can be asked for."""
    if model.failure:
        return ModelState.UNAVAILABLE
    return ModelState.LOADING if model.step else ModelState.READY


def keep(file: VersionFile) -> Origin:
    """Keep a file open, to load it again when another has been put in its place."""
    try:
        return Origin(file, KeptFile(file.path))
    except (OSError, ValueError):  # loading it says what is wrong
        return Origin(file)


def reason(error: Exception, origin: Origin) -> str:
    """Return why a version was not loaded, with the name of its file."""
    if isinstance(error, LoadRejected):
        return str(error)
    if isinstance(error, LabelsError):
        return f"{origin.file.path}: {error}"
    return f"{origin.file.path}: cannot be loaded: {error}"


def movement(model: ServedModel, old: ServedModel) -> str:
    """Say how far the answers of a version are from those of the one before."""
    if model.loaded.report.moved is None or not old.loaded.report.golden:
        return "its answers were not compared"
    rows = sum(len(golden.rows) for golden in old.loaded.report.golden)
    moved = model.loaded.report.moved
    return f"answers to {rows} example rows moved by up to {moved:.1e} of their scale"
