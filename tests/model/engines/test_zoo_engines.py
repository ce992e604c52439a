"""Every kind of model on every engine: it agrees, or it stays on TensorFlow and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.engines.agree import TOLERANCE
from model.engines.convert import not_installed
from model.examples import RANDOM
from model.formats.load import load_model
from model.process import convert
from model.process.differences import largest_difference, scale_of
from model.process.eager_check import traced_or_eager
from model.process.prepare import Conversion, LoadRequest
from model.process.trials import Trials
from model.tensors import Tensors
from tests.model.engines.test_conversions import (
    attention,
    convolution,
    dense,
    recurrent,
    two_of_each,
)
from tests.model.test_zoo import CASES, assert_answers_as_before, saved

pytestmark = [
    pytest.mark.keras,
    pytest.mark.torture,
    pytest.mark.logs_warnings,
    pytest.mark.filterwarnings("ignore"),  # of Keras, TensorFlow and tf2onnx, which warn of a lot
]

ENGINES = ("frozen", "onnx", "openvino")
MAX_ROWS = 8
# One format of each kind: the graph that is converted is the same.
KINDS = list({case.kind: name for name, case in reversed(CASES.items())}.values())

ANSWERS = 100_000  # of each engine, in all
NETWORKS = (dense, convolution, recurrent, attention, two_of_each)
CALLS_OF = (1, 2, 7, 64, 1000)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_kind_agrees_or_stays_on_tensorflow_with_a_reason(name: str, tmp_path: Path) -> None:
    """Run with `-rP` to read the reasons."""
    model = saved(name, tmp_path)
    request = LoadRequest(
        str(model.path), max_rows=MAX_ROWS, conversion=Conversion(ENGINES, str(tmp_path / "new"))
    )
    engine: Any = load_model(model.path)
    trials = Trials(engine, name)
    if trials.find_rows() and traced_or_eager(trials).engine is not engine:
        print("all: Keras calls the model layer by layer")
        return
    if why := convert.not_convertible(engine, trials, request):
        assert_is_a_line(why)
        print(f"all: {why}")
        return
    tried = convert.Tried({"tensorflow": trials})
    for each in ENGINES:
        why = convert.why_not(each, tried, request)
        print(f"{each}: {why or 'agrees'}")
        if why:
            assert_is_a_line(why)
            assert each not in tried.trials
        else:
            assert_answers_as_before(tried.trials[each].engine, model)


def assert_is_a_line(why: str) -> None:
    assert 10 < len(why) <= 400
    assert "\n" not in why


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_thousands_of_answers_are_those_of_keras(network: Any, engine: str, tmp_path: Path) -> None:
    """100,000 of each engine in all networks together, in calls of 1 to 1,000 rows."""
    import keras

    if why := not_installed(engine):
        pytest.skip(why)
    keras.utils.set_random_seed(0)
    built = network(keras)
    built.save(tmp_path / "m.keras")
    request = LoadRequest(
        str(tmp_path / "m.keras"),
        max_rows=MAX_ROWS,
        conversion=Conversion((engine,), str(tmp_path / "new")),
    )
    tried = convert.Tried({"tensorflow": Trials(load_model(request.path), "m")})
    assert convert.why_not(engine, tried, request) == ""
    found = tried.trials[engine]
    signature = found.engine.signature
    names = [spec.name for spec in signature.outputs]
    apart, scales = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    compared = number = 0
    while compared < ANSWERS // len(NETWORKS):
        rows = RANDOM.rows(signature, CALLS_OF[number % len(CALLS_OF)], 5 + number % 7, compared)
        expected, answer = answer_of(built, rows, names), found.answer(rows).arrays
        for name in names:
            apart[name] = max(apart[name], largest_difference(expected[name], answer[name]))
            scales[name] = max(scales[name], scale_of(expected[name]))
        compared += len(rows)
        number += 1
    assert all(apart[name] <= TOLERANCE * scales[name] for name in names)


def answer_of(built: Any, rows: Tensors, names: list[str]) -> dict[str, np.ndarray]:
    """Return what Keras itself answers; inputs are in the order of the model."""
    given = list(rows.arrays.values())
    answer = built(given if len(given) > 1 else given[0], training=False)
    outputs = answer if isinstance(answer, dict) else {names[0]: answer}
    return {name: np.asarray(outputs[name]) for name in names}
