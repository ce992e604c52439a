"""Models with classes and functions of somebody's own packages, and `model.imports`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.imports import FOLDER
from model.formats.load import LoadOptions, ModelError, load_model
from tests.support.late import Late

pytestmark = [
    pytest.mark.keras,
    pytest.mark.logs_warnings,
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]

keras: Any = Late("keras")

# A package as KerasHub is: registered classes, a backbone in a task, configs in configs.
BACKBONE = """
import {keras} as keras

@keras.saving.register_keras_serializable(package="hub")
class Backbone(keras.Model):
    def __init__(self, width, **kwargs):
        ids = keras.Input((None,), dtype="int32", name="token_ids")
        super().__init__({{"token_ids": ids}}, keras.layers.Embedding(9, width)(ids), **kwargs)
        self.width = width

    def get_config(self):
        return {{"width": self.width, "name": self.name}}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
"""
TASK = """
import {keras} as keras
from hub.backbone import Backbone

@keras.saving.register_keras_serializable(package="hub")
class Classifier(keras.Model):
    def __init__(self, backbone, classes, **kwargs):
        inputs = {{"token_ids": keras.Input((None,), dtype="int32", name="token_ids")}}
        pooled = keras.layers.GlobalAveragePooling1D()(backbone(inputs))
        super().__init__(inputs, keras.layers.Dense(classes, name="logits")(pooled), **kwargs)
        self.backbone, self.classes = backbone, classes

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {{"backbone": backbone, "classes": self.classes, "name": self.name}}

    @classmethod
    def from_config(cls, config):
        config["backbone"] = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**config)
"""
PLAIN = """
import {keras}

class Scale(KERAS.layers.Layer):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {{**super().get_config(), "factor": self.factor}}

def twice(x):
    return 2 * x

def relu(x):
    return 100 * x
""".replace("KERAS", "{keras}")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Write modules of somebody's own; they can be imported, and are forgotten afterwards."""
    names: set[str] = set()

    def write(**texts: str) -> None:
        for name, text in texts.items():
            file = tmp_path.joinpath("packages", f"{name}.py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            names.add(name.partition("/")[0])

    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield write
    forget(names)


def forget(names: set[str]) -> None:
    """Undo imports of packages, and what they have registered with Keras."""
    import tf_keras

    for name in list(sys.modules):
        if name.partition(".")[0] in names:
            del sys.modules[name]
    for library in (keras, tf_keras):
        library.saving.get_custom_objects().clear()


def answers(path: Path, *imports: str, **rows: np.ndarray) -> np.ndarray:
    engine = load_model(path, LoadOptions(imports=imports))
    return engine.call([rows[spec.name] for spec in engine.signature.inputs])[0]


def refusal(path: Path, *imports: str) -> str:
    with pytest.raises(ModelError) as refused:
        load_model(path, LoadOptions(imports=imports))
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{path}: ")


def test_a_classifier_of_a_package_is_served(packages: Callable[..., None], tmp_path: Path):
    both = "from hub.backbone import Backbone\nfrom hub.task import Classifier\n"
    packages(
        **{
            "hub/__init__": both,
            "hub/backbone": BACKBONE.format(keras="keras"),
            "hub/task": TASK.format(keras="keras"),
        }
    )
    hub = import_module("hub")
    model, ids = hub.Classifier(hub.Backbone(4), 3), np.array([[1, 2, 3]], "int32")
    path, right = tmp_path / "m.keras", model({"token_ids": ids}).numpy()
    model.save(path)
    forget({"hub"})

    wanted = "; install hub and set model.imports: [hub]"
    assert refusal(path).startswith("needs Classifier of hub")
    assert refusal(path).endswith(wanted)
    np.testing.assert_allclose(answers(path, "hub", token_ids=ids), right, atol=1e-6)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_plain_class_and_a_function_are_found_by_name(
    packages: Callable[..., None], tmp_path: Path, library: str, ending: str
):
    """And no function of the module takes the place of one of Keras that has its name."""
    packages(own=PLAIN.format(keras=library))
    own, library_module = import_module("own"), import_module(library)
    layers, x = library_module.layers, library_module.Input((2,), name="x")
    y = layers.Activation("relu")(own.Scale(6.0)(x))
    if (library, ending) != ("tf_keras", ".h5"):  # Keras 2 does not find functions in its .h5
        y = layers.Activation(own.twice)(layers.Rescaling(0.5)(y))
    path = tmp_path / f"m{ending}"
    library_module.Model(x, y).save(path)
    forget({"own"})

    assert "model.imports" in refusal(path)
    rows = np.float32([[1, -1]])
    assert answers(path, "own", x=rows).tolist() == [[6, 0]]


def test_a_module_for_keras_2_may_use_tf_keras_as_tensorflow_names_it(
    packages: Callable[..., None], tmp_path: Path
):
    packages(own=PLAIN.format(keras="tf_keras"))
    import tf_keras

    x = tf_keras.Input((2,), name="x")
    tf_keras.Model(x, import_module("own").Scale(3.0)(x)).save(tmp_path / "m.h5")
    forget({"own"})
    packages(own="import os\nassert os.environ['TF_USE_LEGACY_KERAS'] == '1'")

    before = os.environ.get("TF_USE_LEGACY_KERAS")
    assert refusal(tmp_path / "m.h5", "own").startswith("needs Scale, which no module of")
    assert os.environ.get("TF_USE_LEGACY_KERAS") == before


def test_a_class_that_the_modules_do_not_have(packages: Callable[..., None], tmp_path: Path):
    packages(own=PLAIN.format(keras="keras"), other="")
    x = keras.Input((2,), name="x")
    keras.Model(x, import_module("own").Scale(3.0)(x)).save(tmp_path / "m.keras")
    forget({"own"})

    line = refusal(tmp_path / "m.keras", "other")
    assert line == (
        "needs Scale, which no module of model.imports: [other] has; "
        "add the module that defines it to the list"
    )


def test_modules_that_cannot_be_imported(packages: Callable[..., None], example_model: Path):
    packages(needs="import not_there.at_all", fails="1 / 0", exits="raise SystemExit(3)")

    assert refusal(example_model, "keras_hub") == (
        "model.imports: keras_hub cannot be imported: No module named 'keras_hub'; "
        "install keras-hub, or set PYTHONPATH to the folder that it is in"
    )
    assert "install not_there, or set PYTHONPATH" in refusal(example_model, "needs")
    assert refusal(example_model, "fails").startswith(
        "model.imports: fails raises ZeroDivisionError: division by zero; "
    )
    assert refusal(example_model, "exits").startswith("model.imports: exits raises SystemExit: 3; ")


def test_the_folder_of_the_main_process_comes_after_what_is_installed(
    tmp_path: Path, example_model: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "of_the_folder.py").write_text("")
    (tmp_path / "keras.py").write_text("raise ImportError")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))

    assert len(answers(example_model, "of_the_folder", x=np.float32([[10]]))) == 1
    assert sys.path[-1] == str(tmp_path)
    monkeypatch.delitem(sys.modules, "of_the_folder")


def test_a_lambda_runs_where_code_is_allowed(tmp_path: Path):
    x = keras.Input((2,), name="x")
    keras.Model(x, keras.layers.Lambda(lambda x: 2 * x)(x)).save(tmp_path / "m.keras")

    assert "model.allow_code: true" in refusal(tmp_path / "m.keras")
    engine = load_model(tmp_path / "m.keras", LoadOptions(allow_code=True))
    assert engine.call([np.float32([[1, 2]])])[0].tolist() == [[2, 4]]
