"""The command of the installed package: built as a wheel, installed into a venv of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.process.harness import CHECKOUT, Server

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
NAMESPACE = "keras_batch_server"
NOT_SHIPPED = {".ipynb", ".keras", ".h5"}
MADE = {"__pycache__", ".ipynb_checkpoints", "shapes"}  # the last one by `make serve-images`
BUILT_FROM = ["LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"]
SHIPPED = [
    *BUILT_FROM,
    *(f"requirements/{name}.in" for name in ("http", "model", "onnx")),
    *(
        path.relative_to(CHECKOUT).as_posix()
        for folder in ("model", "server")
        for path in sorted((CHECKOUT / folder).rglob("*"))
        if path.is_file() and path.suffix not in NOT_SHIPPED and not MADE & set(path.parts)
    ),
]


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Run a command in a folder; return what it says."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout, because builds leave files behind."""
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((CHECKOUT / name).read_bytes())
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "."], source)
    [wheel] = (source / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in a venv that sees the libraries of this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (own / "shared.pth").write_text("\n".join(shared))
    python = folder / "bin" / "python"
    run([*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel], folder)
    return folder / "bin" / "keras-batch-server"


def test_the_wheel_has_every_file_in_one_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"{NAMESPACE}/{name}" for name in SHIPPED if name.startswith(("model/", "server/"))}

    assert names == expected


def test_the_command_works_from_any_folder(command: Path, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()  # it must not be taken for ours
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "m.keras").write_bytes(b"PK")

    usage = run([command, "--help"], tmp_path)
    assert usage.startswith("usage: keras-batch-server [MODEL]")
    assert "--http.root_path" in usage
    assert "sha256" in run([command, "key"], tmp_path)
    assert len(run([command, "hash", "m.keras"], tmp_path).split()[0]) == 64


@pytest.mark.torture
@pytest.mark.keras
def test_the_command_serves_a_model(command: Path, example_model: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "server", str(example_model), command=[str(command)]) as server:
        server.until_ready()
        assert server.post([10]).prediction == pytest.approx(31, abs=0.2)
        assert server.get("/docs").status == 200
