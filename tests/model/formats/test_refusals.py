"""Every message in the table of refusals in docs/models.md is that of a file made here."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.formats.load import LoadOptions, ModelError, check, load_model
from server.config import ModelSource
from server.serving.versions import files_of
from tests.model.formats import refused_files, refused_models
from tests.model.formats.hostile import PLAIN, dense, layer, python_lambda, sequential
from tests.model.formats.hostile_archives import link, npz, write_h5, write_keras

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
TABLE = re.compile(r"<!-- refusals -->(.*)<!-- /refusals -->", re.DOTALL)

Make = Callable[[Path], object]

WITHOUT_KERAS: dict[str, Make] = {**refused_files.REFUSED}
WITH_KERAS: dict[str, Make] = {**refused_models.REFUSED}


def messages() -> list[str]:
    """Return the first column of the table."""
    found = TABLE.search(DOCUMENT.read_text(encoding="utf-8"))
    assert found
    lines = [line for line in found[1].splitlines() if line.startswith("| ")][1:]
    return [line.strip("| ").split(" | ")[0] for line in lines]


def refuses(message: str, makers: dict[str, Make] = WITHOUT_KERAS) -> Callable[[Make], Make]:
    """Register a function that loads such a file from a folder."""

    def register(make: Make) -> Make:
        makers[message] = make
        return make

    return register


def content(name: str, data: bytes) -> Make:
    """Return what loads a file with this content."""

    def make(folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        return check(path)

    return make


def archive(**entries: str) -> Make:
    def make(folder: Path) -> object:
        with zipfile.ZipFile(folder / "m.keras", "w") as file:
            for name, text in entries.items():
                file.writestr(name.replace("__", "."), text)
        return check(folder / "m.keras")

    return make


def keras_file(config: Any = PLAIN, **options: Any) -> Make:
    return lambda folder: check(write_keras(folder / "m.keras", config, **options))


WITHOUT_KERAS |= {
    "no such file; check the path": lambda folder: check(folder / "m.keras"),
    "is an address; download the file": lambda _: check("https://example.org/m.keras"),
    "is not a regular file": lambda _: check("/dev/null"),
    "is a part of a SavedModel; give the path of the folder": content("saved_model.pb", b"x"),
    "ends in …, and only .keras and .h5 are served": content("m.pt", b"x"),
    "is empty; copy it once more": content("m.keras", b""),
    "is a Git LFS pointer, not the file itself; run `git lfs pull`": content(
        "m.keras", b"version https://git-lfs.github.com/spec/v1\n"
    ),
    "is a zip archive, as .keras files are; rename it to .keras": content("m.h5", b"PK\3\4"),
    "is an HDF5 file; rename it to .h5": content("m.keras", b"\x89HDF\r\n\x1a\n..."),
    "is no zip archive, so no .keras file": content("m.keras", b"hello"),
    "is cut off or damaged": content("m.keras", b"PK"),
    "is a zip archive without config.json, so no model": archive(a="b"),
    "is a zip archive without weights, so no model": archive(config__json="{}"),
    "its entry … leaves the archive": keras_file(entries=[("../x", b"")]),
    "its entry … is a link": keras_file(entries=[(link("assets/x"), b"/etc/passwd")]),
    "…, which could run code": keras_file(
        entries=[("model.weights.npz", npz(np.array([{}], object)))]
    ),
    "needs … of …; install … and set model.imports: […]": keras_file(
        sequential(layer("Mine", "mine.layers"))
    ),
    "takes … from the module …, which has no layers and could do harm": keras_file(
        sequential(layer("system", "os"))
    ),
    "needs … of a newer version of Keras": keras_file(
        sequential(layer("HyperDense")), keras_version="3.99.0"
    ),
}


@refuses("is a SavedModel in text form (saved_model.pbtxt)")
def text_form(folder: Path) -> object:
    (folder / "saved_model.pbtxt").write_text("")
    return check(folder)


@refuses("has … models (…); set model.path to one of them")
def several_models(folder: Path) -> object:
    for name in ("a.keras", "b.keras"):
        (folder / name).write_text("")
    return files_of(ModelSource(path=str(folder)), 1, "")


@refuses("its SHA-256 is …, but … is expected")
def another_digest(folder: Path) -> object:
    (folder / "m.keras").write_bytes(b"PK")
    return check(folder / "m.keras", LoadOptions(sha256="0" * 64))


@refuses("is damaged: the checksum of … is wrong")
def wrong_checksum(folder: Path) -> object:
    path = write_keras(folder / "m.keras", PLAIN)
    data = bytearray(path.read_bytes())
    data[data.index(b"Sequential")] ^= 1
    path.write_bytes(data)
    return check(path)


@refuses("does not hold a whole model, weights alone perhaps")
def weights_alone(folder: Path) -> object:
    with h5py.File(folder / "m.h5", "w") as file:
        file["kernel"] = [1.0]
    return check(folder / "m.h5")


@refuses("… is a decompression bomb: …")
def bomb(folder: Path) -> object:
    write_keras(folder / "m.keras", PLAIN)
    with zipfile.ZipFile(folder / "m.keras", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("assets/zeros", bytes(70 << 20))
    return check(folder / "m.keras")


@refuses("… is a soft link in HDF5")
def soft_link(folder: Path) -> object:
    path = write_h5(folder / "m.h5", {})
    with h5py.File(path, "r+") as file:
        file["model_weights/a"] = h5py.SoftLink("/elsewhere")
    return check(path)


@refuses("has the Lambda layer … with Python code in it")
def python_code(folder: Path) -> object:
    config = sequential(layer("Lambda", function=python_lambda(folder)))
    return check(write_keras(folder / "m.keras", config))


@refuses("needs …, a class that Keras does not have; set model.imports: […]")
def class_without_module(folder: Path) -> object:
    return check(write_h5(folder / "m.h5", sequential(layer("Mine", None))))


@refuses("calls … of keras.ops, which .h5 files lose", WITH_KERAS)
def operation_in_h5(folder: Path) -> object:
    import keras

    x = keras.Input((2,))
    return saved(folder / "m.h5", keras.Model(x, keras.ops.not_equal(x, 0)))


@refuses("the vocabulary of the … is lost in an .h5 file", WITH_KERAS)
def learned_vocabulary(folder: Path) -> object:
    import keras

    layer = keras.layers.StringLookup(name="words")
    layer.adapt(np.array(["a", "b"]))
    return saved(folder / "m.h5", keras.Sequential([keras.Input((1,), dtype="string"), layer]))


@refuses("has a … with groups: …, which Keras 2 does not compute", WITH_KERAS)
def groups_in_keras_2(folder: Path) -> object:
    config = sequential(layer("Conv2DTranspose", None, filters=2, kernel_size=1, groups=2))
    return load_model(write_h5(folder / "m.h5", config, "2.15.0"))


@refuses("the BatchNormalization … is called with training=True", WITH_KERAS)
def normalizes_by_the_batch(folder: Path) -> object:
    import tf_keras

    x = tf_keras.Input((2,))
    y = tf_keras.layers.BatchNormalization()(x, training=True)
    return saved(folder / "m.keras", tf_keras.Model(x, y))


@refuses("the model has no input shape", WITH_KERAS)
def no_input_shape(folder: Path) -> object:
    config = sequential(dense())
    del config["config"]["layers"][0]
    return load_model(write_keras(folder / "m.keras", config, weights_file=no_weights()))


@refuses("has a ragged output", WITH_KERAS)
def ragged(folder: Path) -> object:
    import keras

    x = keras.Input((1,), dtype="string")
    words = keras.layers.TextVectorization(vocabulary=["a"], ragged=True)(x)
    return saved(folder / "m.keras", keras.Model(x, words))


@refuses("… has no axis for the rows", WITH_KERAS)
def no_rows(folder: Path) -> object:
    import keras

    x = keras.Input((2,))
    return saved(folder / "m.keras", keras.Model(x, keras.ops.sum(x)))


@refuses("answers … rows when it is called with …", WITH_KERAS)
def other_rows(folder: Path) -> object:
    import keras

    x = keras.Input(batch_shape=(4, 3))
    y = keras.layers.Add()(keras.ops.unstack(x, axis=0))
    return saved(folder / "m.keras", keras.Model(x, y))


def saved(path: Path, model: Any) -> object:
    model.save(path)
    return load_model(path)


def no_weights() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w"):
        pass
    return file.getvalue()


def assert_refused(folder: Path, message: str, make: Make) -> None:
    with pytest.raises(ModelError) as caught:
        make(folder)
    pattern = re.escape(message).replace("…", ".+")
    assert re.search(f": {pattern}", str(caught.value)), str(caught.value)


def test_the_table_has_every_message_that_is_tested_and_no_other() -> None:
    assert sorted(messages()) == sorted([*WITHOUT_KERAS, *WITH_KERAS])


@pytest.mark.parametrize("message", WITHOUT_KERAS)
def test_a_file_is_refused_with_its_message(tmp_path: Path, message: str) -> None:
    assert_refused(tmp_path, message, WITHOUT_KERAS[message])


@pytest.mark.keras
@pytest.mark.logs_warnings
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("message", WITH_KERAS)
def test_a_model_is_refused_with_its_message(tmp_path: Path, message: str) -> None:
    assert_refused(tmp_path, message, WITH_KERAS[message])
