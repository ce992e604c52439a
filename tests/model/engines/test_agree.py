"""A conversion that is wrong in any way is never taken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from model.engines.agree import Agreement
from model.engines.nan_rows import NanRows
from model.process.trials import Trials
from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from tests.support.fake_engine import NUMBERS, SEQUENCES, FakeEngine, Network, only, trials

THREE = Signature((TensorSpec("x", (3,), "float32"),), (TensorSpec("y", (2,), "float32"),))
CLASSES = Signature((TensorSpec("x", (3,), "float32"),), (TensorSpec("y", (), "int64"),))
WORDS = Signature((TensorSpec("x", (1,), "string"),), (TensorSpec("y", (1,), "string"),))
WEIGHTS = np.array([[1.0, -1.0], [2.0, 0.5], [0.25, 3.0]], np.float32)

MAX_ROWS = 16

pytestmark = pytest.mark.filterwarnings("ignore:invalid value|overflow:RuntimeWarning")


def layer(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.tanh(x @ WEIGHTS))


def agreement(
    reference: Network, other: Network, signature: Signature = THREE, **more: object
) -> Agreement:
    both = [trials(network, signature) for network in (reference, other)]
    return Agreement(both[0], both[1], max_rows=MAX_ROWS, **more)  # type: ignore[arg-type]


def changed(change: Callable[[np.ndarray, np.ndarray], None]) -> Network:
    """The layer, with its answer changed by a function of input and answer."""

    def network(x: np.ndarray) -> np.ndarray:
        y = layer(x)
        change(x, y)
        return y

    return network


def in_one_row_of_seven(x: np.ndarray, y: np.ndarray) -> None:
    y[6::7] += 0.01


def at_seven_rows(x: np.ndarray, y: np.ndarray) -> None:
    y[:] += 0.01 * (len(x) == 7)


def at_most_rows(x: np.ndarray, y: np.ndarray) -> None:
    y[:] += 0.01 * (len(x) == MAX_ROWS)


def for_negative_inputs(x: np.ndarray, y: np.ndarray) -> None:
    y[(x < 0).all(axis=1)] += 0.01


def for_small_inputs(x: np.ndarray, y: np.ndarray) -> None:
    y[(np.abs(x) < 0.02).all(axis=1)] *= 1.01


def for_large_inputs(x: np.ndarray, y: np.ndarray) -> None:
    y[(np.abs(x) > 50).any(axis=1)] *= 0.99


def in_one_output(x: np.ndarray, y: np.ndarray) -> None:
    y[:, 1] += 0.01


def by_a_swap_of_rows(x: np.ndarray, y: np.ndarray) -> None:
    y[:] = y[::-1].copy()


def by_nan_made(x: np.ndarray, y: np.ndarray) -> None:
    y[(x > 2).any(axis=1)] = np.nan


WRONG = [
    in_one_row_of_seven,
    at_seven_rows,
    at_most_rows,
    for_negative_inputs,
    for_small_inputs,
    for_large_inputs,
    in_one_output,
    by_a_swap_of_rows,
    by_nan_made,
]


def test_equal_engines_agree() -> None:
    found = agreement(layer, layer)

    assert (found.disagreement(), found.lost) == ("", [])
    assert found.calls > 10


def test_rounding_is_no_disagreement() -> None:
    assert agreement(layer, lambda x: layer(x) * np.float32(1 + 1e-6)).disagreement() == ""


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change.__name__)
def test_a_conversion_that_is_wrong_disagrees(
    change: Callable[[np.ndarray, np.ndarray], None],
) -> None:
    assert (
        "it answers otherwise than TensorFlow" in agreement(layer, changed(change)).disagreement()
    )


def test_a_conversion_that_is_wrong_for_recorded_rows_alone_disagrees() -> None:
    recorded = np.array([[31, 41, 59]], np.float32)

    def other(x: np.ndarray) -> np.ndarray:
        return layer(x) + np.float32(0.01) * (x == recorded).all(axis=1, keepdims=True)

    assert agreement(layer, other).disagreement() == ""
    found = agreement(layer, other, recorded=[Tensors({"x": recorded})])
    assert "(examples)" in found.disagreement()


def test_one_that_is_wrong_at_another_size_of_variable_dimensions_disagrees() -> None:
    def total(x: np.ndarray) -> np.ndarray:
        return np.asarray(x.sum(axis=1, keepdims=True))

    def other(x: np.ndarray) -> np.ndarray:
        return np.asarray(total(x) * np.float32(1.01 if x.shape[1] % 2 else 1))

    assert agreement(total, total, SEQUENCES).disagreement() == ""
    assert "answers otherwise" in agreement(total, other, SEQUENCES).disagreement()


def relu(x: np.ndarray) -> np.ndarray:
    """As TensorFlow computes it, a NaN stays one."""
    return np.asarray(np.maximum(x @ WEIGHTS, np.float32(0)))


def relu_that_loses_nan(x: np.ndarray) -> np.ndarray:
    """As OpenVINO computes it."""
    return np.asarray(np.where(np.isnan(x).any(axis=1, keepdims=True), np.float32(0), relu(x)))


def test_nan_lost_where_tensorflow_answers_nothing_else_can_be_put_right() -> None:
    found = agreement(relu, relu_that_loses_nan)
    assert (found.disagreement(), str(found.lost)) == ("", "[nan]")
    engine = NanRows(FakeEngine(relu_that_loses_nan, THREE), found.lost)  # type: ignore[arg-type]
    rows = np.array([[1, 2, 3], [1, np.nan, 3], [np.inf, 1, 1]], np.float32)

    [answer] = engine.call([rows])
    assert np.array_equal(answer[:2], relu(rows[:2]), equal_nan=True)
    again = agreement(relu, lambda x: engine.call([x])[0])
    assert (again.disagreement(), again.lost) == ("", [])


def test_infinity_that_is_lost_is_answered_with_nan() -> None:
    def other(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(np.isinf(x).any(axis=1, keepdims=True), 0, layer(x)), np.float32)

    found = agreement(layer, other)
    assert (found.disagreement(), str(found.lost)) == ("", "[inf, -inf]")
    engine = NanRows(FakeEngine(other, THREE), found.lost)  # type: ignore[arg-type]

    rows = np.array([[1, 2, 3], [1, np.inf, 3], [-np.inf, 1, 1]], np.float32)
    assert np.isnan(engine.call([rows])[0]).all(axis=1).tolist() == [False, True, True]


def test_nan_is_as_right_where_the_layers_of_keras_have_it() -> None:
    """TensorFlow's fused `relu` answers 0."""
    traced, other = FakeEngine(relu_that_loses_nan, THREE), FakeEngine(relu, THREE)
    assert agreement(relu_that_loses_nan, relu).disagreement() != ""
    traced.eager = FakeEngine(relu, THREE)  # type: ignore[assignment]
    found = Agreement(Trials(traced, "m"), Trials(other, "m"), max_rows=MAX_ROWS)

    assert (found.disagreement(), found.lost) == ("", [])


@pytest.mark.parametrize("rank", [1, 3])
def test_nan_that_tensorflow_loses_at_some_places_may_be_answered_to_images_alone(
    rank: int,
) -> None:
    """It may be a missing value in a table, and a pooling layer may drop it in an image."""
    shape = (3,) if rank == 1 else (1, 1, 3)
    y = TensorSpec("y", (2,), "float32")
    signature = Signature((TensorSpec("x", shape, "float32"),), (y,))

    def network(x: np.ndarray) -> np.ndarray:
        cells = x.reshape(-1, 3).copy()
        cells[:, 0] = np.nan_to_num(cells[:, 0])
        return layer(cells)

    def other(x: np.ndarray) -> np.ndarray:
        return layer(np.nan_to_num(x.reshape(-1, 3), nan=7.0, posinf=np.inf, neginf=-np.inf))

    found = agreement(network, other, signature)
    assert (found.disagreement() == "") == (rank == 3)


def test_a_number_for_a_missing_value_is_compared() -> None:
    def without_nan(x: np.ndarray) -> np.ndarray:
        return layer(np.nan_to_num(x, nan=1.0))

    def other(x: np.ndarray) -> np.ndarray:
        return layer(np.nan_to_num(x, nan=2.0))

    assert agreement(without_nan, without_nan).disagreement() == ""
    for wrong in (other, layer):
        found = agreement(without_nan, wrong).disagreement()
        assert found == "it answers otherwise than TensorFlow to NaN in the input"


def test_an_engine_that_fails_disagrees() -> None:
    def fails(x: np.ndarray) -> np.ndarray:
        if len(x) == 2:
            raise ValueError("no kernel")
        return layer(x)

    assert "it fails: no kernel, in a call of 2 rows" in agreement(layer, fails).disagreement()


def test_an_engine_that_answers_what_tensorflow_rejects_disagrees() -> None:
    def short(x: np.ndarray) -> np.ndarray:
        if x.shape[1] > 8:
            raise ValueError("too long")
        return x[:, :1]

    found = agreement(short, lambda x: x[:, :1], SEQUENCES)
    assert "answers what TensorFlow rejects" in found.disagreement()


def test_an_answer_of_another_shape_or_type_disagrees() -> None:
    assert "y is float64" in agreement(layer, lambda x: layer(x).astype(float)).disagreement()
    assert "y is float32[1, 1]" in agreement(layer, lambda x: layer(x)[:, :1]).disagreement()


def test_a_network_that_rejects_all_generated_rows_is_not_compared() -> None:
    picky = only(lambda x: x == 7)

    found = agreement(picky, picky, NUMBERS).disagreement()
    assert found == "no rows are known that the network accepts"


def test_decisions_that_are_unclear_do_not_count() -> None:
    """A class may change where its score is as large as that of another."""

    def best(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.argmax(x, axis=1), np.int64)

    def other(x: np.ndarray) -> np.ndarray:
        classes = best(x)
        classes[margins([x]) <= 1e-4] = 2
        return classes

    def margins(arrays: object) -> np.ndarray:
        ordered = np.sort(np.round(arrays[0], 1), axis=1)  # type: ignore[index]
        return np.asarray(ordered[:, -1] - ordered[:, -2])

    def found(is_known: bool) -> str:
        reference = FakeEngine(best, CLASSES)
        if is_known:
            reference.eager = FakeEngine(best, CLASSES)  # type: ignore[assignment]
            reference.eager.margins = margins  # type: ignore[method-assign,union-attr]
        both = [Trials(each, "m.keras") for each in (reference, FakeEngine(other, CLASSES))]
        return Agreement(both[0], both[1], max_rows=MAX_ROWS).disagreement()

    assert found(is_known=False) != ""
    assert "otherwise" not in found(is_known=True) or "nan" in found(is_known=True)
