"""Kinds of models as people build them, loaded from every format that can hold them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from model.engines.interface import Engine
from model.formats.load import ModelError, load_model
from model.process.eager_check import traced_or_eager
from model.process.neighbours import Neighbours
from model.process.trials import MAX_NOISE, Trials
from tests.model.zoo import (  # noqa: F401 (each adds its kinds)
    applications,
    attention,
    convolution,
    core,
    networks,
    precision,
    preprocessing,
    recurrent,
    structures,
    texts,
)
from tests.model.zoo.kinds import H5, KERAS, KINDS, Case, Named, build, cases

pytestmark = [
    pytest.mark.keras,
    pytest.mark.logs_warnings,  # of TensorFlow, when it saves
    pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict"),
]

CASES = {str(case): case for case in cases()}

# Of every format and nearly every family; all together take ten minutes.
QUICK = [
    *("dense_sequential-h5", "merging-keras2_h5", "convolution_2d-saved_model"),
    *("string_lookup-keras2_saved_model", "text_tf_idf-keras", "odd_names-keras"),
]


DEPENDENT = {"text_int_of_any_length", "ragged_text_made_dense"}  # padded to the longest text


class Saved(NamedTuple):
    """A file or folder with a model, and what the model answered before."""

    path: Path
    inputs: Named
    expected: Named


def saved(name: str, folder: Path) -> Saved:
    """Build a model and save it in the format of a case."""
    case = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library that builds and saves
        built, inputs, expected = build(case.kind, case.library)
        return Saved(save(case, built.model, folder), inputs, expected)


def save(case: Case, model: Any, folder: Path) -> Path:
    if case.format in {KERAS, H5}:
        path = folder / f"model.{case.format}"
        model.save(path)
        return path
    path = folder / "model"
    if case.library == "keras":
        model.export(path, verbose=False)
    else:
        model.save(path, save_format="tf")
    return path


def assert_answers_as_before(engine: Engine, model: Saved) -> None:
    """See that a loaded model answers what it answered before it was saved."""
    inputs, outputs = engine.signature.inputs, engine.signature.outputs
    given = engine.call(model.inputs.in_order_of([spec.name for spec in inputs]))
    wanted = model.expected.in_order_of([spec.name for spec in outputs])
    assert [array.shape for array in given] == [array.shape for array in wanted]
    for array, right in zip(given, wanted, strict=True):
        if right.dtype.hasobject:
            assert array.tolist() == right.tolist()
            continue
        exact = right.astype("float64")
        off = np.abs(array.astype("float64") - exact) / np.maximum(1, np.abs(exact))
        assert off.max() < 2e-4


def assert_not_flagged(name: str, engine: Engine) -> None:
    """See that the tests at load find nothing wrong with a sound model."""
    kind = CASES[name].kind
    trials = Trials(engine, name)
    if not trials.find_rows():
        assert kind == "lookup_without_unknown_words"  # a SavedModel does not tell its vocabulary
        return
    assert traced_or_eager(trials).engine is engine
    assert trials.noise <= MAX_NOISE
    assert Neighbours(trials).matter() == (kind in DEPENDENT)


def test_there_are_sixty_kinds() -> None:
    assert len(KINDS) >= 60
    assert set(QUICK) <= set(CASES)


@pytest.mark.parametrize("name", QUICK)
def test_it_answers_as_before_it_was_saved(name: str, tmp_path: Path) -> None:
    model = saved(name, tmp_path)
    assert_answers_as_before(load_model(model.path), model)


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", QUICK)
def test_the_tests_at_load_find_nothing_wrong_with_it(name: str, tmp_path: Path) -> None:
    assert_not_flagged(name, load_model(saved(name, tmp_path).path))


def others(*, may_be_refused: bool) -> list[str]:
    """The names of the cases that are not among the quick ones."""
    return [
        name
        for name, case in CASES.items()
        if case.may_be_refused == may_be_refused and name not in QUICK
    ]


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", others(may_be_refused=False))
def test_every_kind_answers_as_before_it_was_saved(name: str, tmp_path: Path) -> None:
    model = saved(name, tmp_path)
    engine = load_model(model.path)
    assert_answers_as_before(engine, model)
    assert_not_flagged(name, engine)


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", others(may_be_refused=True))
def test_what_keras_may_not_read_again_is_refused_or_answers_as_before(
    name: str, tmp_path: Path
) -> None:
    """A model that would answer other numbers than before is never served."""
    try:
        model = saved(name, tmp_path)
    except (NotImplementedError, TypeError, ValueError) as error:
        pytest.skip(f"Keras cannot save it: {error}")
    try:
        engine = load_model(model.path)
    except ModelError:
        return
    assert_answers_as_before(engine, model)
