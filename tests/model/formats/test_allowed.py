"""What a Keras config may contain, and what is said about the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.formats.allowed import check_allowed, check_config, without_training
from model.formats.files import ModelError
from model.formats.known_names import LIST
from model.formats.options import LoadOptions
from tests.model.formats.hostile import (
    PLAIN,
    dense,
    function,
    layer,
    old,
    old_lambda,
    old_sequential,
    python_lambda,
    sequential,
)
from tests.model.formats.hostile_archives import write_h5, write_keras

CHECKOUT = Path(__file__).parents[3]
DEFAULTS = LoadOptions()


def refusal(path: Path, config: dict[str, Any], options: LoadOptions = DEFAULTS) -> str:
    with pytest.raises(ModelError) as caught:
        check_config(path, config, options)
    return str(caught.value).removeprefix(f"{path}: ")


ALLOWED = {
    "plain": PLAIN,
    "policy": sequential(dense(dtype=layer("DTypePolicy", "keras"))),
    "activation by name": sequential(dense(activation="hard_sigmoid")),
    "activation by function": sequential(dense(activation=function("gelu", "keras.activations"))),
    "activation of builtins": sequential(dense(activation=function("softmax"))),
    "operation": sequential(layer("NotEqual", "keras.src.ops.numpy")),
    "Lambda with a function of Keras": sequential(
        layer("Lambda", function=function("exp", "keras.ops"))
    ),
    "tensors": sequential(
        dense(
            a={"class_name": "__numpy__", "config": {"value": [1], "dtype": "float32"}},
            b={"class_name": "__keras_tensor__", "config": {"shape": [None]}},
            c={
                "class_name": "__typespec__",
                "spec_name": "TensorSpec",
                "module": "tensorflow.python.framework.tensor",
                "registered_name": None,
                "config": [[None, 1], "float32", "x"],
            },
        )
    ),
    "words as a list": sequential(layer("StringLookup", vocabulary=["os", "system", "lambda"])),
    "Keras 2": old_sequential(old("Dense", units=1, activation="relu")),
    "module of TensorFlow 2.15": sequential(layer("Dense", "keras.src.layers.core.dense")),
    "module of tf_keras": sequential(layer("Functional", "tf_keras.src.engine.functional")),
    "list of layers, as in Keras 2.1": {"class_name": "Sequential", "config": [old("Dense")]},
    **{
        name: old_sequential(old("TFOpLambda", function=name))
        for name in (
            *("math.add", "__operators__.add", "cast", "reshape", "concat", "expand_dims"),
            *("nn.relu", "strings.lower", "compat.v1.nn.softmax", "compat.v1.to_float", "where"),
            *("image.resize", "linalg.matmul", "keras.backend.mean", "one_hot", "raw_ops.Relu"),
        )
    },
    "slice": old_sequential(old("SlicingOpLambda", function="__operators__.getitem")),
    "ragged": old_sequential(old("InstanceMethod", attr_name="to_tensor")),
    "operation of TensorFlow 2.3": old_sequential(
        old("TensorFlowOpLayer", node_def={"name": "n", "op": "AddV2"})
    ),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_keras_writes_is_allowed(name: str) -> None:
    check_config("m.keras", ALLOWED[name], DEFAULTS)


def test_the_check_does_not_import_keras(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.keras", PLAIN)
    code = (
        "import sys; from model.formats.allowed import *; from model.formats.options import *;"
        f"check_allowed({str(path)!r}, LoadOptions());"
        "print([m for m in ('keras', 'tf_keras', 'tensorflow') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True)

    assert done.stdout == b"[]\n"


def test_a_class_of_a_package_is_refused_with_what_to_install() -> None:
    config = sequential(layer("BertBackbone", "keras_hub.src.models.bert.bert_backbone"))
    config["config"]["layers"][1]["registered_name"] = "keras_hub>BertBackbone"

    assert refusal(Path("m.keras"), config) == (
        "needs BertBackbone of keras_hub; install keras-hub and set model.imports: [keras_hub]"
    )
    check_config("m.keras", config, LoadOptions(imports=("keras_hub",)))


def test_an_own_class_by_its_name_needs_imports() -> None:
    config = old_sequential(old("MyLayer"))

    assert refusal(Path("m.h5"), config) == (
        "needs MyLayer, a class that Keras does not have; "
        "set model.imports: [my_module], with the name of the module that defines it"
    )
    check_config("m.h5", config, LoadOptions(imports=("own_layers",)))


@pytest.mark.parametrize("item", [dense(), function("relu")])
def test_a_module_that_is_no_text_is_refused_by_the_name_of_the_object(item: Any) -> None:
    name = "Dense" if item["class_name"] == "Dense" else "relu"
    config = sequential(dense(activation={**item, "module": 7}))

    assert refusal(Path("m.keras"), config).startswith(f"takes {name} from '7', which is no module")


def test_a_class_of_a_newer_keras_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.keras", sequential(layer("HyperDense")), "3.99.0")

    with pytest.raises(ModelError, match=r"HyperDense of a newer version .*3\.99\.0.*has 3\.\d+"):
        check_allowed(path, DEFAULTS)


def test_allow_code_lets_a_lambda_through(tmp_path: Path) -> None:
    options = LoadOptions(allow_code=True)

    check_config("m.h5", old_lambda()(tmp_path), options)
    check_config("m.keras", sequential(layer("Lambda", function=python_lambda(tmp_path))), options)


def test_allow_code_does_not_let_an_archive_trick_through(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.keras", PLAIN, entries=[("../x", b"")])

    with pytest.raises(ModelError, match="leaves the archive"):
        check_allowed(path, LoadOptions(allow_code=True))


def test_losses_and_metrics_are_removed_from_inner_models_too(tmp_path: Path) -> None:
    inner = {**sequential(dense()), "compile_config": {"loss": python_lambda(tmp_path)}}
    outer = {**sequential(inner), "compile_config": {"metrics": [layer("MyMetric", "mine")]}}
    path = write_keras(tmp_path / "m.keras", outer)

    found = check_allowed(path, DEFAULTS)

    assert "compile_config" not in json.dumps(found)
    assert found == sequential(sequential(dense()))


@pytest.mark.parametrize(
    "own", ["my_function", layer("Mine", "mine"), {"class_name": "mine>Mine", "config": {}}]
)
def test_own_regularizers_constraints_and_initializers_are_replaced(own: object) -> None:
    parts = ("kernel_initializer", "bias_regularizer", "kernel_constraint")
    config = sequential(dense(**dict.fromkeys(parts, own)))

    found = without_training(config)

    assert found == sequential(
        dense(kernel_initializer="zeros", bias_regularizer=None, kernel_constraint=None)
    )
    check_config("m.keras", config, DEFAULTS)


def test_those_of_keras_stay_and_an_own_layer_keeps_all_of_its_config() -> None:
    kept = sequential(
        dense(
            kernel_initializer=layer("GlorotUniform", "keras.initializers"),
            bias_initializer="zeros",
            kernel_regularizer={"class_name": "L2", "config": {"l2": 0.01}},
            bias_constraint=None,
        ),
        layer("MyLayer", "mine", kernel_initializer="mine"),
    )

    assert without_training(kept) == kept


def test_a_file_of_keras_2_is_read(tmp_path: Path) -> None:
    config = old_sequential(old("Dense", units=1))

    assert check_allowed(write_h5(tmp_path / "m.h5", config), DEFAULTS) == config


@pytest.mark.torture
@pytest.mark.keras
def test_the_list_of_names_is_that_of_the_installed_versions() -> None:
    """After an upgrade: `python -m model.formats.list_names`, and read what is new."""
    code = "from model.formats.list_names import text; print(text(), end='')"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, check=True, text=True
    )

    assert json.loads(done.stdout) == json.loads(LIST.read_text())
