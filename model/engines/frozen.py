"""A traced network with its variables as constants, for conversions and for TensorFlow itself.

With constants TensorFlow folds what does not depend on the input, such as batch normalization into
the convolution before it.
"""

from __future__ import annotations

from typing import Any, Final

from model.engines.tensorflow import TensorFlowEngine

MAX_WEIGHT_BYTES: Final = 100 * 10**6  # a frozen graph takes several times its weights in memory


class CannotConvert(Exception):
    """A network cannot be given to another engine; the text says why."""


class FrozenEngine(TensorFlowEngine):
    """A network that TensorFlow computes, with its variables as constants."""

    name = "frozen"


def freeze(engine: TensorFlowEngine) -> Any:
    """Return the concrete function of an engine with its variables as constants.

    Control flow stays in functions: of a lowered loop tf2onnx cannot make an LSTM. Raises
    CannotConvert.
    """
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    if engine.function is None:
        raise CannotConvert("the network is not traced")
    try:
        return convert_variables_to_constants_v2(engine.function, lower_control_flow=False)
    except Exception as error:  # such as for a variable that the network assigns to
        raise CannotConvert(f"its variables cannot become constants: {error}") from error


def frozen_engine(engine: TensorFlowEngine, function: Any) -> FrozenEngine:
    """Return the engine that calls a function that `freeze` returned."""
    tables = captures_left(engine, function)
    frozen = FrozenEngine.traced(
        function,
        engine.signature,
        owner=engine if tables else None,
        fixed_rows=engine.fixed_rows,
        captured=tables,
    )
    frozen.padding_hint = engine.padding_hint
    return frozen


def captures_left(engine: TensorFlowEngine, function: Any) -> list[Any]:
    """Return what is still an argument of a frozen function, such as the table of a lookup."""
    left = {argument.name for argument in function.inputs}
    return [outside for outside, inside in engine.function.graph.captures if inside.name in left]


def weight_bytes(engine: TensorFlowEngine) -> int:
    """Return the size of all variables that the traced function uses."""
    variables = engine.function.graph.variables if engine.function is not None else ()
    return sum(variable.dtype.size * (variable.shape.num_elements() or 0) for variable in variables)
