"""Makes files that would run code, or touch files, when Keras loads them unchecked.

Written by hand as JSON: no Keras is needed to make them. The payloads create or remove the file
CANARY in the folder of the file.
"""

from __future__ import annotations

import base64
import marshal
from collections.abc import Callable
from pathlib import Path
from typing import Any

Config = dict[str, Any]
CANARY = "canary"


def layer(class_name: str, module: str | None = "keras.layers", /, **config: Any) -> Config:
    """Return a layer as Keras 3 and the newer files of Keras 2 write it."""
    settings = {"name": class_name.lower(), "trainable": True, **config}
    return {"module": module, "class_name": class_name, "config": settings, "registered_name": None}


def sequential(*layers: Config) -> Config:
    first = layer("InputLayer", batch_shape=[None, 4], dtype="float32", name="x")
    config = {"name": "m", "layers": [first, *layers]}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": config,
        "registered_name": None,
    }


def old(class_name: str, /, **config: Any) -> Config:
    """Return a layer as Keras 2 writes it into `.h5`."""
    return {"class_name": class_name, "config": {"name": class_name.lower(), **config}}


def old_sequential(*layers: Config) -> Config:
    first = old("InputLayer", batch_input_shape=[None, 4], dtype="float32")
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [first, *layers]}}


def dense(**config: Any) -> Config:
    return layer("Dense", units=2, **config)


PLAIN = sequential(dense())


def marshalled() -> str:
    def payload(x: Any, path: str = "") -> Any:
        open(path, "w").close()  # noqa: PTH123 -- it needs no global
        return x

    return base64.b64encode(marshal.dumps(payload.__code__)).decode()


def python_lambda(folder: Path) -> Config:
    code = {"code": marshalled(), "defaults": [str(folder / CANARY)], "closure": None}
    return {"class_name": "__lambda__", "config": code}


def function(name: str, module: str = "builtins", registered: str | None = None) -> Config:
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": registered or name,
    }


def tf_op(name: str, layer_class: str = "TFOpLambda") -> Callable[[Path], Config]:
    """Return what makes a network of Keras 2 that calls a function of TensorFlow with CANARY."""

    def make(folder: Path) -> Config:
        constant = ["_CONSTANT_VALUE", -1, str(folder / CANARY), {}]
        first = old("InputLayer", name="x", batch_input_shape=[None, 4], dtype="float32")
        call = old(layer_class, name="op", function=name)
        layers = [
            {**first, "name": "x", "inbound_nodes": []},
            {**call, "name": "op", "inbound_nodes": [constant]},
        ]
        ends = {"input_layers": [["x", 0, 0]], "output_layers": [["op", 0, 0]]}
        return {"class_name": "Functional", "config": {"name": "m", "layers": layers, **ends}}

    return make


def in_keras_3(*layers: Callable[[Path], Config]) -> Callable[[Path], Config]:
    return lambda folder: sequential(*(make(folder) for make in layers))


def module_of_keras_2(module: str, name: str, **more: Any) -> Callable[[Path], Config]:
    """Return what makes a config whose module Keras 2 would import."""
    return lambda _: sequential({**layer(name, module, command=f"touch {CANARY}"), **more})


def old_lambda(**config: Any) -> Callable[[Path], Config]:
    def make(folder: Path) -> Config:
        code = [marshalled(), [str(folder / CANARY)], None]
        raw = {"output_shape": None, "output_shape_type": "raw", "output_shape_module": None}
        settings = {"function": code, "function_type": "lambda", "module": None, **raw, **config}
        return old_sequential(old("Lambda", **settings))

    return make


def op_bytes(operation: str) -> str:
    """Return a NodeDef as TensorFlow 2.0 wrote it."""
    return "".join(
        chr(field << 3 | 2) + chr(len(text)) + text for field, text in ((1, "n"), (2, operation))
    )


# name -> what makes the config, and what the refusal must name. Those of Keras 3:
IN_KERAS_3: dict[str, tuple[Callable[[Path], Config], str]] = {
    "lambda layer": (
        in_keras_3(lambda f: layer("Lambda", function=python_lambda(f))),
        "model.allow_code: true",
    ),
    "lambda in TimeDistributed": (
        in_keras_3(
            lambda f: layer("TimeDistributed", layer=layer("Lambda", function=python_lambda(f)))
        ),
        "model.allow_code: true",
    ),
    "lambda in Bidirectional": (
        in_keras_3(
            lambda f: layer(
                "Bidirectional",
                layer=layer("LSTM", units=2, activation=python_lambda(f)),
            )
        ),
        "model.allow_code: true",
    ),
    "lambda in an inner model": (
        in_keras_3(lambda f: sequential(layer("Lambda", function=python_lambda(f)))),
        "model.allow_code: true",
    ),
    "lambda as activation": (
        in_keras_3(lambda f: dense(activation=python_lambda(f))),
        "model.allow_code: true",
    ),
    "lambda in the cell of an RNN": (
        in_keras_3(
            lambda f: layer("RNN", cell=layer("LSTMCell", units=2, activation=python_lambda(f)))
        ),
        "model.allow_code: true",
    ),
    "lambda in a default": (
        in_keras_3(lambda f: dense(extra={"a": [{"b": python_lambda(f)}]})),
        "model.allow_code: true",
    ),
    "lambda in a FeatureSpace": (
        in_keras_3(
            lambda f: layer(
                "FeatureSpace",
                "keras.utils",
                features={"a": layer("Feature", preprocessor=python_lambda(f))},
            )
        ),
        "model.allow_code: true",
    ),
    "lambda as output shape": (
        in_keras_3(
            lambda f: layer("Lambda", function=function("relu"), output_shape=python_lambda(f))
        ),
        "model.allow_code: true",
    ),
    "marshalled list in a Keras 3 Lambda": (
        in_keras_3(lambda f: layer("Lambda", function=[marshalled(), None, None])),
        "model.allow_code: true",
    ),
    "Lambda calls os.system": (
        in_keras_3(lambda _: layer("Lambda", function=function("system", "os"))),
        "the module os",
    ),
    "Lambda calls a function by name": (
        in_keras_3(lambda _: layer("Lambda", function=function("run", "other_package.tools"))),
        "function run of other_package",
    ),
    "class of os": (module_of_keras_2("os", "system"), "the module os"),
    "class of builtins": (module_of_keras_2("builtins", "eval"), "the module builtins"),
    "class of subprocess": (module_of_keras_2("subprocess", "Popen"), "the module subprocess"),
    "class of tensorflow": (
        module_of_keras_2("tensorflow.io.gfile", "remove"),
        "the module tensorflow.io.gfile",
    ),
    "module with a path": (module_of_keras_2("../evil", "Dense"), "'../evil'"),
    "module that begins like keras": (module_of_keras_2("kerasevil.x", "Dense"), "kerasevil"),
    "get_file as a class": (module_of_keras_2("keras.utils", "get_file"), "get_file"),
    "get_file as activation": (
        in_keras_3(lambda _: dense(activation=function("get_file", "keras.utils"))),
        "get_file",
    ),
    "get_file by its registered name": (
        in_keras_3(lambda _: dense(activation=function("relu", "keras.utils", "get_file"))),
        "keras.utils",
    ),
    "system by its registered name": (
        module_of_keras_2("keras.layers", "Dense", registered_name="os>system"),
        "system of os",
    ),
    "Dense by a foreign registered name": (
        module_of_keras_2("keras.layers", "Dense", registered_name="other_package>Dense"),
        "Dense",
    ),
    "tensor shape of os": (
        module_of_keras_2("os", "TensorShape", registered_name="system"),
        "'os'",
    ),
    "type spec of os": (
        in_keras_3(
            lambda _: {
                "class_name": "__typespec__",
                "spec_name": "system",
                "module": "os",
                "registered_name": None,
                "config": ["true"],
            }
        ),
        "'system' of 'os'",
    ),
    "SavedModel as a layer": (
        in_keras_3(lambda f: layer("TFSMLayer", filepath=str(f))),
        "TFSMLayer",
    ),
    "pickled PyTorch module": (
        in_keras_3(lambda _: layer("TorchModuleWrapper", module="gASV")),
        "TorchModuleWrapper",
    ),
    "vocabulary from a file": (
        in_keras_3(lambda _: layer("StringLookup", vocabulary="/etc/passwd")),
        "'/etc/passwd'",
    ),
    "function that is code": (
        in_keras_3(lambda f: dense(activation={**function("f"), "config": {"code": "x"}})),
        "Python code",
    ),
    "class that is a list": (
        in_keras_3(lambda _: {"class_name": ["os", "system"], "config": {}}),
        "no name",
    ),
}
# and those that Keras 2 would obey.
IN_KERAS_2: dict[str, tuple[Callable[[Path], Config], str]] = {
    **{
        f"TFOpLambda {name}": (tf_op(name), f"tf.{name}")
        for name in (
            *("io.gfile.remove", "io.write_file", "io.read_file", "io.gfile.GFile"),
            *("load_op_library", "load_library", "py_function", "numpy_function", "print"),
            *("keras.utils.get_file", "keras.models.load_model", "raw_ops.WriteFile"),
            *("compat.v1.gfile.Remove", "compat.v1.py_func", "saved_model.load", "queue.FIFOQueue"),
            *("debugging.experimental.enable_dump_debug_info", "summary.create_file_writer"),
            *("raw_ops.ReadFile", "data.TFRecordDataset", "keras.backend.set_value"),
        )
    },
    "SlicingOpLambda io.gfile.remove": (
        tf_op("io.gfile.remove", "SlicingOpLambda"),
        "tf.io.gfile.remove",
    ),
    "method of a class": (
        lambda _: old_sequential(old("ClassMethod", cls_symbol="io.gfile.GFile", method_name="w")),
        "tf.io.gfile.GFile",
    ),
    "secret method of a class": (
        lambda _: old_sequential(
            old("ClassMethod", cls_symbol="RaggedTensor", method_name="__subclasses__")
        ),
        "__subclasses__",
    ),
    "property of a tensor": (
        lambda _: old_sequential(old("InstanceProperty", attr_name="__class__")),
        "__class__",
    ),
    "operation of TensorFlow 2.3": (
        lambda _: old_sequential(old("TensorFlowOpLayer", node_def={"op": "WriteFile"})),
        "WriteFile",
    ),
    "operation of TensorFlow 2.0": (
        lambda _: old_sequential(old("TensorFlowOpLayer", node_def=op_bytes("ReadFile"))),
        "ReadFile",
    ),
    "marshalled Lambda": (old_lambda(), "model.allow_code: true"),
    "marshalled output shape": (
        old_lambda(function="relu", function_type="function", output_shape_type="lambda"),
        "model.allow_code: true",
    ),
    "marshalled mask": (
        old_lambda(function="relu", function_type="function", mask_type="lambda"),
        "model.allow_code: true",
    ),
    "Lambda by name": (
        old_lambda(function="system", function_type="function", module="os"),
        "the module os",
    ),
    "own class": (lambda _: old_sequential(old("MyLayer")), "MyLayer"),
    "own registered class": (lambda _: old_sequential(old("mine>MyLayer")), "MyLayer of mine"),
    "own activation": (
        lambda _: old_sequential(old("Dense", units=1, activation="my_swish")),
        "my_swish",
    ),
}
