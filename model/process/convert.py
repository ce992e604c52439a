"""Tries other engines with a network, in a process of its own that ends afterwards."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from model.engines.agree import Agreement
from model.engines.batch_engine import BatchEngine
from model.engines.choose import (
    TENSORFLOW,
    Choice,
    Timing,
    choose,
    rows_timed,
    scored,
    time_in_turn,
)
from model.engines.convert import (
    Network,
    answer_with_nan,
    convert,
    load_converted,
    not_installed,
)
from model.engines.frozen import (
    MAX_WEIGHT_BYTES,
    CannotConvert,
    FrozenEngine,
    freeze,
    frozen_engine,
    weight_bytes,
)
from model.engines.interface import Engine
from model.engines.nan_rows import NanRows
from model.engines.tensorflow import TensorFlowEngine
from model.formats.digest import digest_of
from model.formats.files import in_one_line
from model.process.child import be_killed_first
from model.process.prepare import Load, LoadRequest, Tell
from model.process.trials import MAX_NOISE, Trials
from model.signature import Signature

log = logging.getLogger(__name__)

FROZEN: Final = FrozenEngine.name
CHOICE: Final = "choice.json"
FIRST_OF_ALL: Final = 1000  # oom_score_adj
NICENESS: Final = 19


@dataclass
class Tried:
    """What became of each engine so far.

    Attributes:
        trials: those that agree, and TensorFlow.
        reasons: why an engine is not taken.
    """

    trials: dict[str, Trials]
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def tensorflow(self) -> TensorFlowEngine:
        engine = self.trials[TENSORFLOW].engine
        assert isinstance(engine, TensorFlowEngine)
        return engine

    @cached_property
    def frozen_function(self) -> Any:
        """What all engines are made of; raises CannotConvert.

        It holds a copy of the weights. Made once, it takes no more memory at the worst moment, a
        conversion, which needs it anyway.
        """
        return freeze(self.tensorflow)

    def forget_frozen_function(self) -> None:
        """Free its memory, unless the engine `frozen` calls it."""
        self.__dict__.pop("frozen_function", None)


def try_engines(load: Load, request: LoadRequest, tell: Tell = lambda _: None) -> Choice:
    """Convert, compare and time the engines of a request; write what was chosen into its folder.

    Raises what `load` raises.
    """
    conversion = request.conversion
    assert conversion is not None
    tell("loading")
    engine = load(request)
    trials = Trials(engine, request.shown_path or request.path)
    if why := not_convertible(engine, trials, request):
        choice = Choice(reasons=dict.fromkeys(conversion.engines, why))
    else:
        tried = Tried({TENSORFLOW: trials})
        for name in conversion.engines:
            tell(f"trying {name}")
            if why := why_not(name, tried, request):
                tried.reasons[name] = why
        tried.forget_frozen_function()
        tell("timing the engines")
        choice = choose(timed(tried, request.max_rows), tried.reasons, conversion.only or None)
    write(choice, Path(conversion.folder))
    return choice


def not_convertible(engine: Engine, trials: Trials, request: LoadRequest) -> str:
    """Return why only TensorFlow can compute a network; "" if nothing is known against it."""
    if request.options.keep_state:
        return "the model keeps state"
    if not isinstance(engine, TensorFlowEngine) or engine.function is None:
        return "Keras calls the model layer by layer"
    if engine.is_half_precision:
        return "the model computes with 16 bits"
    if not trials.find_rows():
        return "no rows are known that the model accepts"
    if trials.noise > MAX_NOISE:
        return "the model answers the same rows differently at every call"
    return ""


def why_not(name: str, tried: Tried, request: LoadRequest) -> str:
    """Add an engine to those that agree; return why it is not among them, or ""."""
    if why := not_installed(name):
        return why
    try:
        reference = tried.trials[TENSORFLOW]
        made = make(name, tried, request)
        recorded = [golden.rows for golden in request.before.golden] if request.before else []
        agreement = Agreement(
            reference, Trials(made, reference.path), max_rows=request.max_rows, recorded=recorded
        )
        if why := agreement.disagreement():
            return why
        if agreement.lost:
            if name == FROZEN:
                return "it answers otherwise than TensorFlow to NaN in the input"
            answer_with_nan(folder_of(request, name), agreement.lost)
            made = NanRows(made, agreement.lost)
    except Exception as error:  # whatever a library raises
        log.debug("%s", name, exc_info=True)
        return in_one_line(error)
    tried.trials[name] = Trials(made, reference.path)
    return ""


def make(name: str, tried: Tried, request: LoadRequest) -> BatchEngine:
    """Return the network computed by an engine; raises CannotConvert, and what it raises."""
    engine = tried.tensorflow
    if name != FROZEN and has_strings(engine.signature):
        raise CannotConvert("strings stay on TensorFlow")
    if name == FROZEN and (size := weight_bytes(engine)) > MAX_WEIGHT_BYTES:
        most = MAX_WEIGHT_BYTES >> 20
        raise CannotConvert(f"its weights take {size >> 20} MiB, and at most {most} are frozen")
    if name == FROZEN:
        return frozen_engine(engine, tried.frozen_function)
    folder = folder_of(request, name)
    rows, hint = engine.fixed_rows, engine.padding_hint
    convert(Network(tried.frozen_function, engine.signature, rows, hint), name, folder)
    return load_converted(folder, request.options.threads)


def has_strings(signature: Signature) -> bool:
    return any(spec.dtype == "string" for spec in (*signature.inputs, *signature.outputs))


def folder_of(request: LoadRequest, name: str) -> Path:
    assert request.conversion is not None
    return Path(request.conversion.folder) / name


def timed(tried: Tried, max_rows: int) -> Mapping[str, Timing]:
    """Time the engines that agree, in turn."""
    seconds: dict[str, dict[int, float]] = {name: {} for name in tried.trials}
    for rows in rows_timed(max_rows):
        calls = {name: trials.trial(rows) for name, trials in tried.trials.items()}
        for name, each in time_in_turn(calls).items():
            seconds[name][rows] = each
    return scored(seconds)


def write(choice: Choice, folder: Path) -> None:
    """Write a choice, with the hashes of the files of the engine; remove the other engines."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name != choice.engine:
            shutil.rmtree(path)
    fields = choice.fields() | {"files": hashes(folder / choice.engine)}
    (folder / CHOICE).write_text(json.dumps(fields, indent=1))


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder; {} if there is none. Raises OSError."""
    if not folder.is_dir():
        return {}
    return {path.name: digest_of(path) for path in sorted(folder.iterdir())}


def read(folder: Path) -> Choice:
    """Read what `write` has written; raises OSError, ValueError, KeyError and the like."""
    fields = json.loads((folder / CHOICE).read_text())
    choice = Choice.of(fields)
    if fields["files"] != hashes(folder / choice.engine):
        raise ValueError("its files have changed")
    return choice


def load_engine(load: Load, request: LoadRequest) -> Engine:
    """Load a version with the engine of a request; with TensorFlow where that fails.

    Raises what `load` raises.
    """
    if request.converted:
        with failing("what was converted cannot be loaded"):
            return load_converted(request.converted, request.options.threads)
    engine = load(request)
    if request.engine == FROZEN and isinstance(engine, TensorFlowEngine):
        with failing("the engine frozen cannot be made"):
            return frozen_engine(engine, freeze(engine))
    return engine


@contextlib.contextmanager
def failing(what: str) -> Iterator[None]:
    """Log a warning for an error inside, and go on."""
    try:
        yield
    except Exception as error:  # whatever a library raises
        log.warning("%s (%s): TensorFlow computes the model", what, in_one_line(error))


def be_unimportant() -> None:
    """Leave memory and the processor to the processes that serve."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # what tf2onnx calls is deprecated
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    be_killed_first(FIRST_OF_ALL)
