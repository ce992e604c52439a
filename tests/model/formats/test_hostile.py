"""Hostile files are refused by the name of what is wrong, before Keras is imported."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import pytest

from model.formats import config_file
from model.formats.allowed import check_allowed
from model.formats.files import ModelError
from model.formats.options import LoadOptions
from tests.model.formats import hostile, hostile_archives

CHECKOUT = Path(__file__).parents[3]
DEFAULTS = LoadOptions()


def refusal(path: Path, options: LoadOptions = DEFAULTS) -> str:
    with pytest.raises(ModelError) as caught:
        check_allowed(path, options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert len(text.splitlines()) == 1
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", hostile.IN_KERAS_3)
@pytest.mark.parametrize("version", ["3.15.1", "2.15.0"])
def test_what_could_do_harm_in_a_keras_file_is_refused_by_name(
    name: str, version: str, tmp_path: Path
) -> None:
    make, named = hostile.IN_KERAS_3[name]

    path = hostile_archives.write_keras(tmp_path / "m.keras", make(tmp_path), version)

    assert named in refusal(path)


@pytest.mark.parametrize("name", hostile.IN_KERAS_2)
def test_what_could_do_harm_in_a_file_of_keras_2_is_refused_by_name(
    name: str, tmp_path: Path
) -> None:
    make, named = hostile.IN_KERAS_2[name]

    assert named in refusal(hostile_archives.write_h5(tmp_path / "m.h5", make(tmp_path)))


@pytest.mark.parametrize("name", hostile_archives.ARCHIVES)
def test_tricks_with_archives_are_refused(name: str, tmp_path: Path) -> None:
    make, named = hostile_archives.ARCHIVES[name]

    assert named in refusal(make(tmp_path / "m.keras"))


@pytest.mark.parametrize("name", hostile_archives.HDF5_TRICKS)
def test_tricks_with_hdf5_are_refused(name: str, tmp_path: Path) -> None:
    make, named = hostile_archives.HDF5_TRICKS[name]
    path = hostile_archives.write_h5(tmp_path / "m.h5", hostile.old_sequential())
    with h5py.File(path, "a") as file:
        make(file)

    assert named in refusal(path)


def test_bytes_before_hdf5_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs["model_config"] = "{}"

    assert "512 bytes before its HDF5 part" in refusal(path)


def test_an_entry_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Which of the two is read depends on who reads it."""
    with warnings.catch_warnings(action="ignore"):
        path = hostile_archives.write_keras(
            tmp_path / "m.keras", hostile.PLAIN, entries=[("config.json", b"{}")]
        )

    assert "has the entry 'config.json' twice" in refusal(path)


def test_a_few_bytes_that_become_many_are_refused(tmp_path: Path) -> None:
    path = hostile_archives.write_keras(tmp_path / "m.keras", hostile.PLAIN)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(70 << 20))

    assert "decompression bomb" in refusal(path)


def test_a_config_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "MAX_CONFIG", 1 << 20)
    large = {"a": "x" * (2 << 20)}

    in_zip = refusal(hostile_archives.write_keras(tmp_path / "m.keras", large))
    in_hdf5 = refusal(hostile_archives.write_h5(tmp_path / "m.h5", large))

    assert in_zip.startswith("config.json has 2 MiB, and at most 1 MiB are read")
    assert in_hdf5.startswith("model_config has 2 MiB, and at most 1 MiB are read")


WITH_IMPORTS = {
    "class of Keras that loads": hostile.layer("get_file", "keras.utils"),
    "by its registered name": {
        **hostile.layer("Dense", "keras.utils"),
        "registered_name": "get_file",
    },
    "function of Keras": hostile.dense(activation=hostile.function("get_file", "keras.utils")),
    "function of Python": hostile.dense(activation=hostile.function("eval")),
    "by the registered name of a function": hostile.dense(
        activation=hostile.function("mine", "builtins", "eval")
    ),
    "class of Python": hostile.layer("eval", "builtins"),
    "function of os": hostile.dense(activation=hostile.function("system", "os")),
    "function of TensorFlow": hostile.old("TFOpLambda", function="io.gfile.remove"),
    "code": hostile.dense(activation=hostile.python_lambda(Path("/tmp"))),
}


@pytest.mark.parametrize("name", WITH_IMPORTS)
def test_imports_allow_no_more_than_what_is_imported(name: str, tmp_path: Path) -> None:
    """Keras 2 looks in its own modules, and in those of Python, as well."""
    path = hostile_archives.write_keras(
        tmp_path / "m.keras", hostile.sequential(WITH_IMPORTS[name])
    )

    refusal(path, LoadOptions(imports=("own_layers",)))


def test_imports_do_not_let_a_file_name_any_module(tmp_path: Path) -> None:
    """Keras 2 would import the module that a file names."""
    options = LoadOptions(imports=("own_layers",))
    of_os = hostile.sequential(hostile.layer("system", "os"))
    of_others = hostile.sequential(hostile.layer("MyLayer", "other_package.layers"))

    assert "the module os" in refusal(
        hostile_archives.write_keras(tmp_path / "a.keras", of_os), options
    )
    found = check_allowed(hostile_archives.write_keras(tmp_path / "b.keras", of_others), options)
    assert found["config"]["layers"][1]["module"] is None


WATCH = """
import json, os, sys
from pathlib import Path
folder = Path(sys.argv[1])
from model.formats import config_file
from model.formats.load import ModelError, check, load_model
import h5py, importlib.metadata, numpy
importlib.metadata.version("keras")  # it imports what reads the version
WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT
seen = []
def watch(event, args):
    writes = event == "open" and args[2] & WRITE and str(args[0]) != os.devnull
    harmful = event.startswith(("os.", "subprocess", "socket", "ctypes", "marshal", "pickle"))
    if writes or event in {"exec", "import"} or harmful and event != "os.listdir":
        seen.append(f"{event} {args}"[:200])
files = sorted(folder.iterdir())
check(files[0])
sys.addaudithook(watch)
refused = 0
for path in files[1:]:
    try:
        load_model(path)
    except ModelError:
        refused += 1
loaded = [name for name in ("keras", "tf_keras", "tensorflow") if name in sys.modules]
print(json.dumps([refused, seen, loaded]))
"""


def test_a_refused_file_has_run_nothing_and_touched_nothing(tmp_path: Path) -> None:
    """Loaded as the service loads it, and watched by an audit hook of Python.

    Nothing is written, imported or started, and Keras is not imported.
    """
    folder = tmp_path / "files"
    folder.mkdir()
    hostile_archives.write_keras(folder / "0000.keras", hostile.PLAIN)
    for number, (make, _) in enumerate(hostile.IN_KERAS_3.values()):
        hostile_archives.write_keras(folder / f"a{number}.keras", make(tmp_path))
    for number, (make, _) in enumerate(hostile.IN_KERAS_2.values()):
        hostile_archives.write_h5(folder / f"b{number}.h5", make(tmp_path))
    for number, (write, _) in enumerate(hostile_archives.ARCHIVES.values()):
        write(folder / f"c{number}.keras")
    files = len(list(folder.iterdir())) - 1
    assert files >= 60

    done = subprocess.run(
        [sys.executable, "-c", WATCH, folder], cwd=CHECKOUT, capture_output=True, check=True
    )

    assert json.loads(done.stdout) == [files, [], []]
    assert list(tmp_path.rglob(hostile.CANARY)) == []


LOAD = """
import sys, tf_keras
try:
    tf_keras.models.load_model(sys.argv[1], compile=False)
except Exception:
    pass  # the harm is done before Keras sees that it is no model
"""


@pytest.mark.torture
@pytest.mark.keras
@pytest.mark.parametrize("name", ["TFOpLambda io.gfile.remove", "marshalled Lambda"])
def test_without_the_check_keras_2_would_obey(name: str, tmp_path: Path) -> None:
    """The payloads are real ones: this is what the check is for."""
    canary = tmp_path / hostile.CANARY
    removes = "remove" in name
    if removes:
        canary.touch()
    path = hostile_archives.write_h5(tmp_path / "m.h5", hostile.IN_KERAS_2[name][0](tmp_path))

    subprocess.run([sys.executable, "-c", LOAD, path], check=True, capture_output=True)

    assert canary.exists() is not removes
